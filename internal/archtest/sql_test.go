package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// composed lists the SQL that is put together from more than constants and
// numbers, by file and expression, with what stands in it. Everything else binds
// its values.
var composed = map[string]string{
	`internal/sqlite/migrate.go: fmt.Sprintf("%s;\nPRAGMA application_id = %d;\nPRAGMA user_version = %d;", scripts[i], applicationID, i+1)`: "an embedded migration",
	`internal/sqlite/sqlite.go: "PRAGMA " + name`:                                                                                   "names of this package",
	`internal/sqlite/wal.go: "PRAGMA wal_checkpoint(" + mode + ")"`:                                                                 "modes of this package",
	`internal/sqlite/inspect.go: fmt.Sprintf("SELECT * FROM (%s) LIMIT %d", query, MaxProblems)`:                                    "constants of the callers",
	`projection/digest.go: "SELECT " + values(t.columns) + " FROM " + quote(t.name)`:                                                "quoted names of the schema",
	`projection/difference.go: "SELECT " + values(t.columns) + " FROM " + quote(t.name) + " ORDER BY " + strings.Join(order, ", ")`: "quoted names of the schema",
	`taxi-demo/past.go: "SELECT COUNT(*) FROM " + quoted(table)`:                                                                    "quoted names of the schema",
	`taxi-demo/past.go: "SELECT * FROM " + quoted(table) + " LIMIT ?"`:                                                              "quoted names of the schema",
	`projection/window/fold.go: "SELECT " + strings.Join(names, ", ") + w.fill(" FROM {w} WHERE key = ? AND starts = ?")`:           "names of the declaration, of a-z, 0-9 and _, as in every statement of the package",
}

var (
	statement = regexp.MustCompile(`^\s*(?:%s;|(?:SELECT|INSERT|UPDATE|DELETE|REPLACE|WITH|CREATE|DROP|ALTER|PRAGMA|ATTACH|DETACH|VACUUM|BEGIN|SAVEPOINT)\b)`)
	verb      = regexp.MustCompile(`%[^d%]`)
)

// TestNoTextGetsIntoSQL finds SQL that is put together, in everything that is
// shipped.
func TestNoTextGetsIntoSQL(t *testing.T) {
	const root = "../.."
	seen, names := map[string]bool{}, map[string]map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := filepath.ToSlash(strings.TrimPrefix(path, root+"/"))
		switch {
		case d.IsDir() && (rel == "bench" || rel == "internal/mutants" || rel == "internal/crashkit" || rel == "internal/experiment" || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && path != root):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		dir := filepath.Dir(path)
		if names[dir] == nil {
			names[dir] = constants(t, dir)
		}
		for _, text := range compositions(file, names[dir]) {
			key := rel + ": " + text
			if composed[key] == "" {
				t.Errorf("%s is SQL made of text: bind values as parameters, or say in this test why it is safe", key)
			}
			seen[key] = true
		}
		return nil
	})
	require.NoError(t, err)
	for key := range composed {
		require.True(t, seen[key], "%s is not there any more", key)
	}
}

// constants are the names that a package declares as constants.
func constants(t *testing.T, dir string) map[string]bool {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	names := map[string]bool{}
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			if d, ok := n.(*ast.GenDecl); ok && d.Tok == token.CONST {
				for _, s := range d.Specs {
					for _, name := range s.(*ast.ValueSpec).Names {
						names[name.Name] = true
					}
				}
			}
			return true
		})
	}
	return names
}

// compositions returns the expressions that put SQL together of more than
// literals, constants and numbers.
func compositions(file *ast.File, constant map[string]bool) (found []string) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch e := n.(type) {
		case *ast.BinaryExpr:
			parts := operands(e)
			if e.Op != token.ADD || !isStatement(parts[0]) {
				return true
			}
			for _, p := range parts {
				name, isName := p.(*ast.Ident)
				if _, literal := p.(*ast.BasicLit); !literal && !(isName && constant[name.Name]) {
					found = append(found, render(e))
					break
				}
			}
			return false
		case *ast.CallExpr:
			if len(e.Args) == 0 || !isStatement(e.Args[0]) {
				return true
			}
			fn, ok := e.Fun.(*ast.SelectorExpr)
			if ok && strings.HasSuffix(fn.Sel.Name, "printf") && verb.MatchString(e.Args[0].(*ast.BasicLit).Value) {
				found = append(found, render(e))
			}
		}
		return true
	})
	return found
}

// operands returns what a chain of additions adds.
func operands(e ast.Expr) []ast.Expr {
	if b, ok := e.(*ast.BinaryExpr); ok && b.Op == token.ADD {
		return append(operands(b.X), operands(b.Y)...)
	}
	return []ast.Expr{e}
}

func isStatement(e ast.Expr) bool {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return false
	}
	text, err := strconv.Unquote(lit.Value)
	return err == nil && statement.MatchString(text)
}

func render(e ast.Expr) string {
	var b strings.Builder
	if err := printer.Fprint(&b, token.NewFileSet(), e); err != nil {
		return fmt.Sprint(err)
	}
	return b.String()
}
