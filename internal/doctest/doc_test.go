// Package doctest holds the documents to the code: the tests and clauses they
// name exist, the README's program is the example, its limits are the
// constants, and links lead somewhere.
package doctest

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/saga"
	"github.com/leat-go/leat/serverless"
)

const (
	root       = "../.."
	guarantees = 12
	// maxExample is the number of lines of an example, tests not counted.
	maxExample = 120
)

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, path))
	require.NoError(t, err)
	return string(data)
}

// goFiles parses the Go files of a directory that the filter takes.
func goFiles(t *testing.T, dir string, take func(name string) bool) (files []*ast.File) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	require.NoError(t, err)
	for _, name := range names {
		if !take(filepath.Base(name)) {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		require.NoError(t, err)
		files = append(files, f)
	}
	return files
}

func isTest(name string) bool { return strings.HasSuffix(name, "_test.go") }

// tests returns the names of the tests of a package that begin with prefix.
func tests(t *testing.T, dir, prefix string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, f := range goFiles(t, dir, isTest) {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, prefix) {
				found[fn.Name.Name] = true
			}
		}
	}
	return found
}

// clauses returns the sentences of the suite that every engine passes.
func clauses(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, f := range goFiles(t, "eventstore/storetest", func(name string) bool { return !isTest(name) }) {
		ast.Inspect(f, func(n ast.Node) bool {
			kv, ok := n.(*ast.KeyValueExpr)
			if !ok {
				return true
			}
			key, isKey := kv.Key.(*ast.Ident)
			says, isText := kv.Value.(*ast.BasicLit)
			if isKey && isText && key.Name == "says" {
				sentence, err := strconv.Unquote(says.Value)
				require.NoError(t, err)
				found[sentence] = true
			}
			return true
		})
	}
	return found
}

var (
	heading   = regexp.MustCompile(`(?m)^## (G\d+) (.+)$`)
	testLine  = regexp.MustCompile("^- `([a-z0-9/-]+)`: (.+)$")
	testName  = regexp.MustCompile("`(Test[A-Za-z0-9_]*)`")
	clauseOf  = regexp.MustCompile(`^- clause: "(.+)"$`)
	goProgram = regexp.MustCompile("(?s)```go\n(.*?)```")
	limitRow  = regexp.MustCompile("(?m)^\\| `([a-z]+\\.[A-Z][A-Za-z]*)` \\| ([^|]+) \\|")
	link      = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	fenced    = regexp.MustCompile("(?s)```.*?```") // a generic call looks like a link
)

func TestEveryGuaranteeNamesTestsThatExist(t *testing.T) {
	text := read(t, "docs/guarantees.md")
	heads := heading.FindAllStringSubmatchIndex(text, -1)
	require.Len(t, heads, guarantees)
	known := clauses(t)
	for i, h := range heads {
		name, end := text[h[2]:h[3]], len(text)
		require.Equal(t, fmt.Sprintf("G%d", i+1), name, "the guarantees are numbered in order")
		if i+1 < len(heads) {
			end = heads[i+1][0]
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
				require.False(t, strings.HasPrefix(line, "- "), "%s: %q names neither tests nor a clause", name, line)
				continue
			}
			there := tests(t, m[1], "Test")
			for _, test := range testName.FindAllStringSubmatch(m[2], -1) {
				require.True(t, there[test[1]], "%s: %s has no test %s", name, m[1], test[1])
				held++
			}
		}
		require.Positive(t, held, "%s: no test holds it", name)
		require.Contains(t, text[h[1]:end], "Not promised: ", "%s: what is not promised stands beside it", name)
	}
}

func TestTheReadmeHasEveryGuarantee(t *testing.T) {
	readme := strings.Join(strings.Fields(read(t, "README.md")), " ")
	for _, h := range heading.FindAllStringSubmatch(read(t, "docs/guarantees.md"), -1) {
		require.Contains(t, readme, "**"+h[1]+"** "+h[2], "the README has %s in the same words", h[1])
	}
}

func TestTheReadmesProgramIsTheExample(t *testing.T) {
	program := goProgram.FindStringSubmatch(read(t, "README.md"))
	require.NotNil(t, program, "the README has a Go program")
	require.Equal(t, read(t, "examples/hello/main.go"), program[1])
}

func TestTheReadmesLimitsAreTheConstants(t *testing.T) {
	constants := map[string]string{
		"eventstore.MaxData":         size(eventstore.MaxData),
		"eventstore.MaxMetadata":     size(eventstore.MaxMetadata),
		"eventstore.MaxBatch":        number(eventstore.MaxBatch),
		"eventstore.MaxBatchBytes":   size(eventstore.MaxBatchBytes),
		"eventstore.MaxGuards":       number(eventstore.MaxGuards),
		"eventstore.MaxFilter":       number(eventstore.MaxFilter),
		"eventstore.MaxName":         size(eventstore.MaxName),
		"eventstore.MaxPage":         number(eventstore.MaxPage),
		"sqlite.Queue":               number(sqlite.Queue),
		"sqlite.GroupEvents":         number(sqlite.GroupEvents),
		"sqlite.MaxSnapshot":         size(sqlite.MaxSnapshot),
		"aggregate.DefaultAttempts":  number(aggregate.DefaultAttempts),
		"aggregate.DefaultCache":     number(aggregate.DefaultCache),
		"bus.DefaultPageSize":        number(bus.DefaultPageSize),
		"projection.DefaultAttempts": number(projection.DefaultAttempts),
		"serverless.DefaultAttempts": number(serverless.DefaultAttempts),
		"serverless.MaxConcurrency":  number(serverless.MaxConcurrency),
		"serverless.MaxPayload":      size(serverless.MaxPayload),
		"saga.Workers":               number(saga.Workers),
		"saga.MaxEffects":            number(saga.MaxEffects),
		"saga.MaxState":              size(saga.MaxState),
		"saga.MaxHops":               number(saga.MaxHops),
	}
	rows := limitRow.FindAllStringSubmatch(read(t, "README.md"), -1)
	for _, row := range rows {
		require.Equal(t, constants[row[1]], row[2], row[1])
	}
	require.Len(t, rows, len(constants))
}

func number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func size(n int) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return number(n>>20) + " MiB"
	case n >= 1<<10 && n%(1<<10) == 0:
		return number(n>>10) + " KiB"
	default:
		return number(n) + " B"
	}
}

func TestExamplesAreShortAndRun(t *testing.T) {
	dirs, err := filepath.Glob(filepath.Join(root, "examples", "*"))
	require.NoError(t, err)
	require.NotEmpty(t, dirs)
	for _, dir := range dirs {
		sources, err := filepath.Glob(filepath.Join(dir, "*.go"))
		require.NoError(t, err)
		lines, runs := 0, false
		for _, source := range sources {
			data, err := os.ReadFile(source)
			require.NoError(t, err)
			if isTest(source) {
				runs = runs || bytes.Contains(data, []byte("// Output:"))
			} else {
				lines += bytes.Count(data, []byte("\n"))
			}
		}
		require.Less(t, lines, maxExample, "lines of %s", dir)
		require.True(t, runs, "%s has an Example with checked output", dir)
	}
}

func TestLinksLeadSomewhere(t *testing.T) {
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".md" {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range link.FindAllSubmatch(fenced.ReplaceAll(data, nil), -1) {
			target, _, _ := strings.Cut(string(m[1]), "#")
			if target == "" || strings.Contains(target, "://") {
				continue
			}
			_, err := os.Stat(filepath.Join(filepath.Dir(path), target))
			require.NoError(t, err, "%s links to %s", path, target)
		}
		return nil
	})
	require.NoError(t, err)
}
