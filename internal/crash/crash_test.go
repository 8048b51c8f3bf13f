package crash

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPointsAreAllThereAre compares Points with the constants.
func TestPointsAreAllThereAre(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "crash.go", nil, 0)
	require.NoError(t, err)
	var declared []Point
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for _, v := range spec.Values {
			name, err := strconv.Unquote(v.(*ast.BasicLit).Value)
			require.NoError(t, err)
			declared = append(declared, Point(name))
		}
		return true
	})
	require.NotEmpty(t, declared)
	require.ElementsMatch(t, declared, Points())
}

// BenchmarkAt is nothing at all, except in a build that can be killed.
func BenchmarkAt(b *testing.B) {
	for b.Loop() {
		At(LogBegun)
	}
}
