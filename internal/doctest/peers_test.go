package doctest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	peerRow    = regexp.MustCompile(`(?m)^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$`)
	peerTests  = regexp.MustCompile("`([a-z0-9/-]+)`: ((?:`Test[A-Za-z0-9_]*`(?:, )?)+)")
	peerClause = regexp.MustCompile(`clause: "([^"]+)"`)
	peerName   = regexp.MustCompile(`^(?:[a-z]+/)?([A-Za-z0-9-]+)(?: (?:#|PR )(\d+))?(?:: .+)?$`)
)

// normal is a name as the names of tests have it: without dashes and case.
func normal(name string) string { return strings.ToLower(strings.ReplaceAll(name, "-", "")) }

// TestEveryReportOfAPeerIsHeld demands that the tests and clauses that
// docs/peers.md names exist, that each report is held, and that no test named
// after a report is missing from it.
func TestEveryReportOfAPeerIsHeld(t *testing.T) {
	known, all, listed, peers := clauses(t), everyTest(t), map[string]bool{}, map[string]bool{}
	own := map[string]bool{} // tests named after the report of their row
	for _, row := range peerRow.FindAllStringSubmatch(read(t, "docs/peers.md"), -1) {
		report, held := row[1], row[3]
		if report == "Report" {
			continue
		}
		name := peerName.FindStringSubmatch(strings.Replace(report, "commanded/eventstore", "commanded", 1))
		require.NotNil(t, name, "%q is no report", report)
		peers[normal(name[1])] = true
		n := 0
		for _, m := range peerTests.FindAllStringSubmatch(held, -1) {
			for _, test := range testName.FindAllStringSubmatch(m[2], -1) {
				require.Contains(t, all[m[1]], test[1], "%s: %s has no test %s", report, m[1], test[1])
				listed[m[1]+" "+test[1]] = true
				own[report] = own[report] || strings.HasPrefix(strings.ToLower(test[1]), "test"+normal(name[1])+name[2]+"_")
				n++
			}
		}
		for _, m := range peerClause.FindAllStringSubmatch(held, -1) {
			require.True(t, known[m[1]], "%s: no clause of eventstore/storetest says %q", report, m[1])
			n++
		}
		require.Positive(t, n, "%s: no test holds it", report)
		if !own[report] {
			require.Contains(t, row[2], "no more is known", "%s: a report of which more is known has a test of its own name", report)
		}
	}
	require.NotEmpty(t, peers)
	named := regexp.MustCompile(`^Test([A-Za-z]+\d*?[A-Za-z]*?)(\d*)_[A-Z]`)
	for dir, names := range all {
		for name, file := range names {
			m := named.FindStringSubmatch(name)
			ofPeer := m != nil && (m[2] != "" || peers[normal(m[1])])
			if ofPeer || strings.HasPrefix(file, "peers") && dir != "internal/doctest" {
				require.True(t, listed[dir+" "+name], "%s: %s is not in docs/peers.md", dir, name)
			}
		}
	}
}

// everyTest returns the tests of the module with their files, by directory.
func everyTest(t *testing.T) map[string]map[string]string {
	t.Helper()
	found := map[string]map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".." || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || !isTest(d.Name()):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		dir = filepath.ToSlash(dir)
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") {
				if found[dir] == nil {
					found[dir] = map[string]string{}
				}
				found[dir][fn.Name.Name] = d.Name()
			}
		}
		return nil
	})
	require.NoError(t, err)
	return found
}
