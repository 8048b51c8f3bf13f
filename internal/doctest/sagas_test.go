package doctest

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// failureCases is how many cases docs/sagas.md has.
const failureCases = 47

var (
	caseRow   = regexp.MustCompile("(?m)^\\| ([^|]+) \\| ((?:`[a-z/-]+`: )[^|]+) \\|$")
	goSnippet = regexp.MustCompile("(?s)```go\n(.*?)```")
)

// TestEveryFailureCaseOfSagasHasATest demands of each row that its tests exist.
func TestEveryFailureCaseOfSagasHasATest(t *testing.T) {
	_, table, found := strings.Cut(read(t, "docs/sagas.md"), "\n## Failure cases\n")
	require.True(t, found)
	rows := caseRow.FindAllStringSubmatch(table, -1)
	require.Equal(t, failureCases, len(rows))
	require.Equal(t, failureCases+2, strings.Count(table, "\n| ")+strings.Count(table, "\n|-"), "every row names tests")
	all := everyTest(t)
	for _, row := range rows {
		held := 0
		for _, m := range peerTests.FindAllStringSubmatch(row[2], -1) {
			for _, test := range testName.FindAllStringSubmatch(m[2], -1) {
				require.Contains(t, all[m[1]], test[1], "%s: %s has no test %s", row[1], m[1], test[1])
				held++
			}
		}
		require.Equal(t, strings.Count(row[2], "Test"), held, "%s: every test is named with its package", row[1])
	}
}

// TestTheCodeOfTheSagasChapterIsCompiled demands of each Go snippet that it
// stands, line by line, in the test that compiles and runs it.
func TestTheCodeOfTheSagasChapterIsCompiled(t *testing.T) {
	source := read(t, "saga/sagatest/guide_test.go")
	snippets := goSnippet.FindAllStringSubmatch(read(t, "docs/sagas.md"), -1)
	require.Len(t, snippets, 6)
	for _, s := range snippets {
		for part := range strings.SplitSeq(strings.TrimRight(s[1], "\n"), "\n\n") {
			require.Contains(t, source, part+"\n")
		}
	}
}
