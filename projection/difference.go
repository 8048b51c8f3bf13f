package projection

import (
	"bytes"
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/leat-go/leat/internal/sqlite"
)

const (
	// MaxDifferences is how many rows that differ are named.
	MaxDifferences = 10
	// maxRowText is how much of a row a difference shows, in bytes.
	maxRowText = 300
)

// Difference is a row, or a table, that two files of a read model have not in
// common.
type Difference struct {
	// Table is the name of the table.
	Table string
	// Key is the row's primary key, or its values in a table without one; empty
	// where the tables differ and not a row of them.
	Key string
	// Live and Rebuilt are the row in the file that was live and in the new
	// one, as text, cut off where it is long; or the table's name and columns.
	// Empty where that file has none.
	Live, Rebuilt string
}

// differentTables is the difference between files whose first table here is not
// the same. They are in the order of their names.
func differentTables(live, rebuilt []table) Difference {
	switch {
	case len(rebuilt) == 0 || len(live) > 0 && live[0].name < rebuilt[0].name:
		return Difference{Table: live[0].name, Live: live[0].describe()}
	case len(live) == 0 || rebuilt[0].name < live[0].name:
		return Difference{Table: rebuilt[0].name, Rebuilt: rebuilt[0].describe()}
	default:
		return Difference{Table: live[0].name, Live: live[0].describe(), Rebuilt: rebuilt[0].describe()}
	}
}

// String returns the difference in one line.
func (d Difference) String() string {
	switch {
	case d.Rebuilt == "":
		return fmt.Sprintf("table %s: only the live file has %s", d.Table, d.Live)
	case d.Live == "":
		return fmt.Sprintf("table %s: only the rebuilt file has %s", d.Table, d.Rebuilt)
	default:
		return fmt.Sprintf("table %s: live has %s, rebuilt has %s", d.Table, d.Live, d.Rebuilt)
	}
}

// first is the first difference in one line, empty without one.
func first(all []Difference) string {
	if len(all) == 0 {
		return ""
	}
	return all[0].String()
}

// differences reads the table of both files in the order of its key, or of all
// its columns, and describes the first rows that only one has, limit at most.
// The order is that of SQLite's BINARY, whatever the column declares, since it
// is compared here as well.
func differences(ctx context.Context, live, rebuilt *sqlite.DB, t table, limit int) (found []Difference, err error) {
	order := make([]string, len(t.order))
	for i, c := range t.order {
		order[i] = "+" + quote(c) + " COLLATE BINARY"
	}
	query := "SELECT " + values(t.columns) + " FROM " + quote(t.name) + " ORDER BY " + strings.Join(order, ", ")
	a, err := openCursor(ctx, live, query, len(t.columns))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	b, err := openCursor(ctx, rebuilt, query, len(t.columns))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	hasA, err := a.next()
	if err != nil {
		return nil, err
	}
	hasB, err := b.next()
	for err == nil && (hasA || hasB) && len(found) < limit {
		var side int // which is to be told of: less, only the live one; more, only the rebuilt one
		switch {
		case !hasA:
			side = 1
		case !hasB:
			side = -1
		default:
			side = t.compareKeys(a.row, b.row)
		}
		if side != 0 || !slices.Equal(a.encoded, b.encoded) {
			found = append(found, t.difference(side, a.row, b.row))
		}
		if side <= 0 {
			hasA, err = a.next()
		}
		if side >= 0 && err == nil {
			hasB, err = b.next()
		}
	}
	return found, err
}

func (t table) difference(side int, live, rebuilt []driver.Value) Difference {
	d := Difference{Table: t.name}
	if side <= 0 {
		d.Key, d.Live = render(t.order, t.keyOf(live)), render(t.columns, live)
	}
	if side >= 0 {
		d.Key, d.Rebuilt = render(t.order, t.keyOf(rebuilt)), render(t.columns, rebuilt)
	}
	return d
}

func (t table) keyOf(row []driver.Value) []driver.Value {
	key := make([]driver.Value, len(t.order))
	for i, c := range t.order {
		key[i] = row[slices.Index(t.columns, c)]
	}
	return key
}

// compareKeys compares the keys of two rows.
func (t table) compareKeys(a, b []driver.Value) int {
	for _, c := range t.order {
		i := slices.Index(t.columns, c)
		if n := collate(a[i], b[i]); n != 0 {
			return n
		}
	}
	return 0
}

// collate compares two values as SQLite does: NULL, numbers, text, blobs.
func collate(a, b driver.Value) int {
	if n := cmp.Compare(class(a), class(b)); n != 0 {
		return n
	}
	switch x := a.(type) {
	case int64:
		if y, ok := b.(float64); ok {
			return -realWithInt(y, x)
		}
		return cmp.Compare(x, b.(int64))
	case float64:
		if y, ok := b.(int64); ok {
			return realWithInt(x, y)
		}
		return cmp.Compare(x, b.(float64))
	case string:
		return cmp.Compare(x, b.(string))
	case []byte:
		return bytes.Compare(x, b.([]byte))
	}
	return 0
}

func class(v driver.Value) int {
	switch v.(type) {
	case nil:
		return 0
	case int64, float64:
		return 1
	case string:
		return 2
	default:
		return 3
	}
}

// realWithInt compares exactly: not every int64 is a float64.
func realWithInt(r float64, i int64) int {
	switch {
	case r < -(1 << 63):
		return -1
	case r >= 1<<63:
		return 1
	}
	whole := int64(r)
	if n := cmp.Compare(whole, i); n != 0 {
		return n
	}
	return cmp.Compare(r, float64(whole))
}

// render shows values with their names.
func render(names []string, row []driver.Value) string {
	var b strings.Builder
	b.WriteByte('(')
	for i, v := range row {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(names[i] + "=")
		switch v := v.(type) {
		case nil:
			b.WriteString("NULL")
		case string:
			fmt.Fprintf(&b, "%q", v)
		case []byte:
			fmt.Fprintf(&b, "x'%x'", v)
		case time.Time:
			b.WriteString(v.Format(time.RFC3339Nano))
		default:
			fmt.Fprint(&b, v)
		}
	}
	text := b.String() + ")"
	if len(text) > maxRowText {
		text = strings.ToValidUTF8(text[:maxRowText], "") + "…"
	}
	return text
}
