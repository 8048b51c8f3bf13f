package doctest

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/internal/sqlite"
)

var (
	section = regexp.MustCompile(`(?m)^(##|###) (.+)$`)
	anyTest = regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9_]*)`")
)

// TestEverySecurityClaimNamesTestsThatExist holds SECURITY.md to the tests: every
// claim of what Leat does has some, and all that are named exist.
func TestEverySecurityClaimNamesTestsThatExist(t *testing.T) {
	text := read(t, "SECURITY.md")
	known := clauses(t)
	heads := section.FindAllStringSubmatchIndex(text, -1)
	claims, inside := 0, false
	for i, h := range heads {
		level, name, end := text[h[2]:h[3]], text[h[4]:h[5]], len(text)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		if level == "##" {
			inside = name == "What Leat does"
		}
		held := 0
		for line := range strings.Lines(text[h[1]:end]) {
			line = strings.TrimSpace(line)
			if m := clauseOf.FindStringSubmatch(line); m != nil {
				require.True(t, known[m[1]], "%s: no clause of eventstore/storetest says %q", name, m[1])
				held++
				continue
			}
			m := testLine.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			there, fuzzed := tests(t, m[1], "Test"), tests(t, m[1], "Fuzz")
			for _, test := range anyTest.FindAllStringSubmatch(m[2], -1) {
				require.True(t, there[test[1]] || fuzzed[test[1]], "%s: %s has no %s", name, m[1], test[1])
				held++
			}
		}
		if level == "###" && inside {
			claims++
			require.Positive(t, held, "%s: no test holds it", name)
		}
	}
	require.Greater(t, claims, 8)
	words := strings.Join(strings.Fields(text), " ")
	for _, says := range []string{
		size(sqlite.MaxRow) + " for a row or value", size(sqlite.MaxSQL) + " for a statement", number(sqlite.MaxDepth) + " levels of an expression",
		number(sqlite.MaxCompound) + " SELECTs", number(sqlite.MaxProgram) + " instructions", number(sqlite.MaxArguments) + " arguments",
		number(sqlite.MaxPattern) + " bytes of a pattern", number(sqlite.MaxTriggers) + " levels of triggers",
	} {
		require.Contains(t, words, says)
	}
}
