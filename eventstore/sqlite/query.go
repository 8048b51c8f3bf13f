package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"

	"github.com/mattn/go-sqlite3"
)

// stmt is a statement that stays prepared for the life of its connection. It
// is not safe for concurrent use.
type stmt struct {
	s    *sqlite3.SQLiteStmt
	args []driver.NamedValue
}

func prepare(c *sqlite3.SQLiteConn, query string) (*stmt, error) {
	s, err := c.Prepare(query)
	if err != nil {
		return nil, err
	}
	return &stmt{s: s.(*sqlite3.SQLiteStmt)}, nil
}

// exec runs the statement. It never sees a request's context: a cancelled
// statement would end the transaction silently.
func (s *stmt) exec(args ...driver.Value) error {
	s.args = s.args[:0]
	for i, a := range args {
		s.args = append(s.args, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	_, err := s.s.ExecContext(context.Background(), s.args)
	return err
}

// row is one row of a query, valid until the next is read. Its methods never
// panic: a damaged file can hold anything.
type row struct {
	values []driver.Value
	err    error
}

func (r *row) null(i int) bool { return r.values[i] == nil }

func (r *row) int(i int) int64 {
	n, ok := r.values[i].(int64)
	if !ok {
		r.unexpected(i)
	}
	return n
}

func (r *row) text(i int) string {
	s, ok := r.values[i].(string)
	if !ok {
		r.unexpected(i)
	}
	return s
}

// blob returns bytes that the caller owns.
func (r *row) blob(i int) []byte {
	b, ok := r.values[i].([]byte)
	if !ok {
		r.unexpected(i)
	}
	return b
}

func (r *row) hash(i int) (h [32]byte) {
	if copy(h[:], r.blob(i)) != len(h) {
		r.unexpected(i)
	}
	return h
}

func (r *row) unexpected(i int) {
	if r.err == nil {
		r.err = &unexpectedError{column: i + 1, value: r.values[i]}
	}
}

// unexpectedError: a row holds what no program writes there: it is damaged.
type unexpectedError struct {
	column int
	value  any
}

func (e *unexpectedError) Error() string {
	return fmt.Sprintf("column %d holds an unexpected %T", e.column, e.value)
}

// query runs a query with the connection's statement cache and hands each row
// of so many columns to fn, which must not use the connection.
func query(c *sqlite3.SQLiteConn, text string, columns int, fn func(*row) error, args ...driver.Value) (err error) {
	return longQuery(context.Background(), c, text, columns, fn, args...)
}

// longQuery is query for one that may take long before it returns a row: the
// end of ctx ends it. It is for connections that only read.
func longQuery(ctx context.Context, c *sqlite3.SQLiteConn, text string, columns int, fn func(*row) error, args ...driver.Value) (err error) {
	named := make([]driver.NamedValue, len(args))
	for i, a := range args {
		named[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
	}
	// Prepare, with a context or without, does not look into the cache.
	rows, err := c.QueryContext(ctx, text, named)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	r := row{values: make([]driver.Value, columns)}
	for {
		switch err := rows.Next(r.values); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := fn(&r); err != nil {
			return err
		}
		if r.err != nil {
			return r.err
		}
	}
}

// raw runs fn with the driver's connection.
func raw(conn *sql.Conn, fn func(*sqlite3.SQLiteConn) error) error {
	return conn.Raw(func(c any) error { return fn(c.(*sqlite3.SQLiteConn)) })
}
