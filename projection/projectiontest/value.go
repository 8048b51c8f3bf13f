package projectiontest

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// equal compares rows; integers by value, whatever their types.
func equal(got, want [][]any) bool {
	return slices.EqualFunc(got, want, func(g, w []any) bool { return slices.EqualFunc(g, w, same) })
}

func same(got, want any) bool {
	g, w := normal(got), normal(want)
	if gb, ok := g.([]byte); ok {
		wb, ok := w.([]byte)
		return ok && bytes.Equal(gb, wb)
	}
	return reflect.DeepEqual(g, w)
}

// normal returns integers as int64, floats as float64 and strings as string,
// of named types as well.
func normal(v any) any {
	r := reflect.ValueOf(v)
	switch {
	case !r.IsValid():
		return nil
	case r.CanInt():
		return r.Int()
	case r.CanUint():
		return int64(r.Uint())
	case r.CanFloat():
		return r.Float()
	case r.Kind() == reflect.String:
		return r.String()
	default:
		return v
	}
}

func render(rows [][]any) string {
	if len(rows) == 0 {
		return "\t(no rows)"
	}
	lines := make([]string, len(rows))
	for i, row := range rows {
		cells := make([]string, len(row))
		for j, v := range row {
			cells[j] = fmt.Sprintf("%#v", normal(v))
		}
		lines[i] = "\t" + strings.Join(cells, " | ")
	}
	return strings.Join(lines, "\n")
}
