package window

import (
	"encoding/json"
	"fmt"
	"strings"
)

type kind int

const (
	count kind = iota
	sum
	least
	greatest
	buckets
	foldAnyOrder
	foldInOrder
)

// column is what is known of each window under one name.
type column[T any] struct {
	name string
	kind kind
	of   func(T) int64
	// Of folds, over JSON; nil is the zero state.
	add  func(state []byte, item T) ([]byte, error)
	join func(a, b []byte) ([]byte, error)

	addRun, moveBuckets, deleteBuckets, selectBuckets string
}

func part[T any](c *column[T]) Part[T] {
	return func(w *Window[T]) error {
		w.columns = append(w.columns, c)
		return nil
	}
}

// Count has a column count the items.
func Count[T any](name string) Part[T] {
	return part(&column[T]{name: name, kind: count, of: func(T) int64 { return 1 }})
}

// Sum has a column add up what of returns. An event that takes a sum out of the
// range of an int64 fails.
func Sum[T any](name string, of func(T) int64) Part[T] {
	return part(&column[T]{name: name, kind: sum, of: of})
}

// Min has a column hold the least of what of returns.
func Min[T any](name string, of func(T) int64) Part[T] {
	return part(&column[T]{name: name, kind: least, of: of})
}

// Max has a column hold the greatest of what of returns.
func Max[T any](name string, of func(T) int64) Part[T] {
	return part(&column[T]{name: name, kind: greatest, of: of})
}

// Quantiles has a table <window>_<name> hold the distribution of what of
// returns, for Window.Quantile and Final.Quantile: a histogram whose buckets are
// fixed, so that it is the same whatever the order of the items, and of merged
// sessions. Values from -255 to 255 are exact; of others a quantile is within
// 1/256 of itself (0.4 %). A window takes a row for each bucket that something
// fell in, 7,296 at most for each sign.
func Quantiles[T any](name string, of func(T) int64) Part[T] {
	return part(&column[T]{name: name, kind: buckets, of: of})
}

// FoldAnyOrder has a column hold a value of the user's, as JSON: add is called
// with every item as it comes, first on S's zero value. Whoever declares it says
// that the order does not matter: any order of adds gives the same value. merge
// says what two sessions that become one amount to, is commutative and
// associative as well, and may be nil for other windows. Both are functions of
// their arguments alone; states they may change, items not. MaxItem bounds the
// JSON.
func FoldAnyOrder[T, S any](name string, add func(state S, item T) S, merge func(a, b S) S) Part[T] {
	c := &column[T]{name: name, kind: foldAnyOrder}
	if add != nil {
		c.add = fold(add)
	}
	if merge != nil {
		c.join = func(a, b []byte) ([]byte, error) {
			x, err := decode[S](a)
			if err != nil {
				return nil, err
			}
			y, err := decode[S](b)
			if err != nil {
				return nil, err
			}
			return encode(merge(x, y))
		}
	}
	return part(c)
}

// FoldInOrder has a column hold a value of the user's, as JSON, for which the
// order matters: it is always the fold of the window's items in the order of
// their event times, those of one instant in the order of the log. To that end
// items are kept, as JSON, until their windows are final, and an item that comes
// before another has its window folded anew: n items in the wrong order cost n²
// adds. add is a function of its arguments alone, and sees what JSON keeps of
// state and item. MaxItem bounds the JSON of each.
func FoldInOrder[T, S any](name string, add func(state S, item T) S) Part[T] {
	c := &column[T]{name: name, kind: foldInOrder}
	if add != nil {
		c.add = fold(add)
	}
	return part(c)
}

func fold[T, S any](add func(S, T) S) func([]byte, T) ([]byte, error) {
	return func(state []byte, item T) ([]byte, error) {
		s, err := decode[S](state)
		if err != nil {
			return nil, err
		}
		return encode(add(s, item))
	}
}

func decode[V any](data []byte) (v V, err error) {
	if data == nil {
		return v, nil
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return v, fmt.Errorf("decode a %T: %w", v, err)
	}
	return v, nil
}

func encode(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	switch {
	case err != nil:
		return nil, invalid("encode a %T: %w", v, err)
	case len(data) > MaxItem:
		return nil, invalid("a %T has %d bytes as JSON, %d are allowed", v, len(data), MaxItem)
	}
	return data, nil
}

// check returns what is wrong with the column in this window, and prepares it.
func (c *column[T]) check(w *Window[T]) error {
	switch c.kind {
	case foldAnyOrder, foldInOrder:
		if c.add == nil {
			return invalid("column %q: the fold has no function", c.name)
		}
		if c.kind == foldAnyOrder && w.session && c.join == nil {
			return invalid("column %q: sessions that become one need a merge", c.name)
		}
	default:
		if c.of == nil {
			return invalid("column %q: the function is nil", c.name)
		}
	}
	if c.kind == buckets {
		c.buildBuckets(w.name)
	}
	return nil
}

// column is the name as SQL has it.
func (c *column[T]) column() string { return `"` + c.name + `"` }

func (c *column[T]) definition() string {
	if c.kind == foldAnyOrder || c.kind == foldInOrder {
		return c.column() + " TEXT"
	}
	return c.column() + " INTEGER NOT NULL"
}

// merge is how SQL merges the column of an excluded row into that of the row;
// empty where SQL cannot.
func (c *column[T]) merge() string {
	var how string
	switch c.kind {
	case count, sum:
		how = "{c} = {c} + excluded.{c}"
	case least:
		how = "{c} = MIN({c}, excluded.{c})"
	case greatest:
		how = "{c} = MAX({c}, excluded.{c})"
	}
	return strings.ReplaceAll(how, "{c}", c.column())
}
