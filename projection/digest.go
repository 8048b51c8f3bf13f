package projection

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/leat-go/leat/internal/sqlite"
)

// comparison is what two files have in common.
type comparison struct {
	first, second string // digests
	differences   []Difference
}

// table is a user's table: its columns, and those that order its rows.
type table struct {
	name    string
	columns []string
	order   []string // the primary key, or else every column
}

// compare digests every row of every user table of both files. The digest of a
// table does not depend on the order of its rows, nor on a rowid that is not a
// column; only where digests differ are both read in order, to name the first
// rows that do. Nobody writes either file meanwhile.
func compare(ctx context.Context, first, second *sqlite.DB) (comparison, error) {
	var c comparison
	a, err := digest(ctx, first)
	if err != nil {
		return c, err
	}
	b, err := digest(ctx, second)
	if err != nil {
		return c, err
	}
	c.first, c.second = a.sum, b.sum
	if a.sum == b.sum {
		return c, nil
	}
	for i := range max(len(a.tables), len(b.tables)) { // they are in the order of their names
		switch {
		case i >= len(a.tables) || i >= len(b.tables) || a.tables[i].describe() != b.tables[i].describe():
			c.differences = append(c.differences, differentTables(a.tables[i:], b.tables[i:]))
			return c, nil
		case a.sums[i] != b.sums[i] && len(c.differences) < MaxDifferences:
			some, err := differences(ctx, first, second, a.tables[i], MaxDifferences-len(c.differences))
			if err != nil {
				return c, err
			}
			c.differences = append(c.differences, some...)
		}
	}
	if len(c.differences) == 0 {
		return c, errors.New("digests differ and no table does")
	}
	return c, nil
}

// digested is a file's digest and what it is made of.
type digested struct {
	tables []table
	sums   [][40]byte // number of rows, and the sum of their hashes
	sum    string
}

func digest(ctx context.Context, db *sqlite.DB) (d digested, err error) {
	if d.tables, err = userTables(ctx, db); err != nil {
		return d, err
	}
	whole := sha256.New()
	for _, t := range d.tables {
		sum, err := digestTable(ctx, db, t)
		if err != nil {
			return d, fmt.Errorf("table %s: %w", t.name, err)
		}
		d.sums = append(d.sums, sum)
		fmt.Fprintf(whole, "%s\n%x\n", t.describe(), sum) // a hash never returns an error
	}
	d.sum = hex.EncodeToString(whole.Sum(nil))
	return d, nil
}

func (t table) describe() string { return quote(t.name) + "(" + quoted(t.columns) + ")" }

// digestTable returns the number of rows and the sum of their SHA-256, each
// taken as four 64-bit numbers.
func digestTable(ctx context.Context, db *sqlite.DB, t table) (sum [40]byte, err error) {
	var count uint64
	var words [4]uint64
	err = scan(ctx, db, "SELECT "+values(t.columns)+" FROM "+quote(t.name), len(t.columns), func(row []driver.Value, encoded []byte) error {
		count++
		h := sha256.Sum256(encoded)
		for i := range words {
			words[i] += binary.BigEndian.Uint64(h[8*i:])
		}
		return nil
	})
	binary.BigEndian.PutUint64(sum[:], count)
	for i, w := range words {
		binary.BigEndian.PutUint64(sum[8+8*i:], w)
	}
	return sum, err
}

// userTables returns the tables of the schema by name: neither the framework's
// nor SQLite's, and no virtual ones with what they keep.
func userTables(ctx context.Context, db *sqlite.DB) (_ []table, err error) {
	names, err := column(ctx, db, `
		SELECT name
		FROM pragma_table_list
		WHERE schema = 'main' AND type = 'table'
		  AND name NOT LIKE 'leat\_%' ESCAPE '\' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'
		ORDER BY name`)
	if err != nil {
		return nil, err
	}
	var tables []table
	for _, name := range names {
		t := table{name: name}
		if t.columns, err = column(ctx, db, `SELECT name FROM pragma_table_xinfo(?) WHERE hidden <> 1 ORDER BY cid`, name); err != nil {
			return nil, err
		}
		if t.order, err = column(ctx, db, `SELECT name FROM pragma_table_xinfo(?) WHERE pk > 0 ORDER BY pk`, name); err != nil {
			return nil, err
		}
		if len(t.order) == 0 {
			t.order = t.columns
		}
		tables = append(tables, t)
	}
	return tables, nil
}

func column(ctx context.Context, db *sqlite.DB, query string, args ...any) (all []string, err error) {
	rows, err := db.Reader().QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	err = scanAll(rows, func(rows *sql.Rows) error {
		var s string
		err := rows.Scan(&s)
		all = append(all, s)
		return err
	})
	return all, err
}

// scan hands out the rows of a query with their encoding, both good until the
// function returns.
func scan(ctx context.Context, db *sqlite.DB, query string, columns int, fn func(row []driver.Value, encoded []byte) error) (err error) {
	c, err := openCursor(ctx, db, query, columns)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	for {
		ok, err := c.next()
		if err != nil || !ok {
			return err
		}
		if err := fn(c.row, c.encoded); err != nil {
			return err
		}
	}
}

// cursor reads driver rows, without a conversion that depends on how a column
// is declared.
type cursor struct {
	ctx     context.Context
	conn    *sql.Conn
	rows    driver.Rows
	row     []driver.Value
	encoded []byte
}

func openCursor(ctx context.Context, db *sqlite.DB, query string, columns int) (*cursor, error) {
	conn, err := db.Reader().Conn(ctx)
	if err != nil {
		return nil, err
	}
	c := &cursor{ctx: ctx, conn: conn, row: make([]driver.Value, columns)}
	err = conn.Raw(func(dc any) (err error) {
		c.rows, err = dc.(driver.QueryerContext).QueryContext(ctx, query, nil)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return c, nil
}

func (c *cursor) next() (bool, error) {
	err := c.rows.Next(c.row)
	if errors.Is(err, io.EOF) {
		return false, c.ctx.Err()
	}
	if err != nil {
		return false, err
	}
	c.encoded = c.encoded[:0]
	for _, v := range c.row {
		if c.encoded, err = appendValue(c.encoded, v); err != nil {
			return false, err
		}
	}
	return true, nil
}

func (c *cursor) close() error { return errors.Join(c.rows.Close(), c.conn.Close()) }

// appendValue appends a value with its type, so that 1, 1.0, '1' and x'31' are
// four different ones.
func appendValue(b []byte, v driver.Value) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(b, 'n'), nil
	case int64:
		return binary.BigEndian.AppendUint64(append(b, 'i'), uint64(v)), nil
	case float64:
		return binary.BigEndian.AppendUint64(append(b, 'r'), math.Float64bits(v)), nil
	case string:
		return append(binary.BigEndian.AppendUint64(append(b, 't'), uint64(len(v))), v...), nil
	case []byte:
		return append(binary.BigEndian.AppendUint64(append(b, 'b'), uint64(len(v))), v...), nil
	default:
		return nil, fmt.Errorf("a value of type %T", v)
	}
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func quoted(names []string) string {
	all := make([]string, len(names))
	for i, n := range names {
		all[i] = quote(n)
	}
	return strings.Join(all, ", ")
}

// values lists columns as expressions: the driver then returns what is stored,
// whatever type the column was declared with.
func values(names []string) string {
	all := make([]string, len(names))
	for i, n := range names {
		all[i] = "+" + quote(n)
	}
	return strings.Join(all, ", ")
}
