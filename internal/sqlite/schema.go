package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"

	"github.com/mattn/go-sqlite3"
)

// ErrSchema: a file's schema is not what this program's migrations make: it was
// changed by hand, or crafted. A trigger or a view in it would run inside the
// program's own statements. See SchemaError.
var ErrSchema = errors.New("sqlite: not the schema that this program makes")

// SchemaError says which object of a file's schema is not as it should be.
type SchemaError struct {
	// Path is the file's.
	Path string
	// Object is its kind and name: `trigger "t"`.
	Object string
	// Problem says what is wrong with it.
	Problem string
	// Remedy says what to do about it.
	Remedy string
}

func (e *SchemaError) Error() string {
	return fmt.Sprintf("%v: %s: %s %s: %s", ErrSchema, e.Path, e.Object, e.Problem, e.Remedy)
}

func (e *SchemaError) Unwrap() error { return ErrSchema }

// object is a row of sqlite_schema.
type object struct{ kind, name, table, sql string }

func (o object) String() string { return fmt.Sprintf("%s %q", o.kind, shorten(o.name)) }

// key is what SQLite tells objects apart by.
func (o object) key() string { return strings.ToLower(o.name) }

// CheckSchema returns ErrSchema unless the file's schema is exactly what as
// many of the migrations in dir make as the file says it has seen: no object
// more, none less, none other. It reads the schema only, whatever the file
// holds, and changes nothing.
func (db *DB) CheckSchema(ctx context.Context, dir fs.FS) error {
	return db.checkSchema(ctx, dir, false)
}

// CheckOwnTables is CheckSchema for a file that holds tables of others as well:
// the tables of the migrations must be as they make them, with no trigger or
// index on them that is not theirs. It does not look at others.
func (db *DB) CheckOwnTables(ctx context.Context, dir fs.FS) error {
	return db.checkSchema(ctx, dir, true)
}

func (db *DB) checkSchema(ctx context.Context, dir fs.FS, shared bool) error {
	scripts, err := readScripts(dir)
	if err != nil {
		return err
	}
	h, err := readHeader(ctx, db.read)
	if err != nil {
		return wrapOpen(db.path, err)
	}
	return db.compareSchema(ctx, scripts, h.Version, shared)
}

func (db *DB) compareSchema(ctx context.Context, scripts []string, version int, shared bool) (err error) {
	if version < 0 || version > len(scripts) { // Check has said so before
		return fmt.Errorf("%w: %s has format %d, this program knows %d at most: use the newer program", ErrNewer, db.path, version, len(scripts))
	}
	states, err := expectation(scripts)
	if err != nil {
		return err
	}
	want, tables := states[version], map[string]bool{}
	for _, o := range want {
		tables[strings.ToLower(o.table)] = true
	}
	refuse := func(o object, problem string) error {
		return &SchemaError{Path: db.path, Object: o.String(), Problem: problem, Remedy: remedy(shared)}
	}
	var encoding string
	if err := db.read.QueryRowContext(ctx, "PRAGMA encoding").Scan(&encoding); err != nil {
		return wrapOpen(db.path, err)
	}
	if encoding != "UTF-8" {
		return refuse(object{kind: "text encoding", name: encoding}, "is not UTF-8")
	}
	rows, err := db.read.QueryContext(ctx, selectSchema)
	if err != nil {
		return wrapOpen(db.path, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	seen, roots := map[string]bool{}, map[int64]bool{}
	for rows.Next() {
		var got object
		var root int64
		if err := rows.Scan(&got.kind, &got.name, &got.table, &got.sql, &root); err != nil {
			return wrapOpen(db.path, err)
		}
		expected, known := want[got.key()]
		switch {
		case shared && !known && !tables[strings.ToLower(got.table)]:
			continue
		case !known:
			return refuse(got, "is not this program's")
		case got != expected:
			return refuse(expected, "was changed")
		case seen[got.key()]:
			return refuse(expected, "is there twice")
		case root > 0 && roots[root]:
			return refuse(expected, "shares its pages with another")
		}
		seen[got.key()], roots[root] = true, true
	}
	if err := rows.Err(); err != nil {
		return wrapOpen(db.path, err)
	}
	for key, o := range want {
		if !seen[key] {
			return refuse(o, "is missing")
		}
	}
	return nil
}

// remedy says what to do about a file of ours, or of a read model.
func remedy(shared bool) string {
	if shared {
		return "remove the read model to have it built anew"
	}
	return "restore the file from a backup"
}

const selectSchema = `
	SELECT CAST(type AS TEXT), CAST(name AS TEXT), CAST(tbl_name AS TEXT), COALESCE(CAST(sql AS TEXT), ''), COALESCE(CAST(rootpage AS INTEGER), 0)
	FROM sqlite_schema`

// readScripts returns the migrations in dir, in order.
func readScripts(dir fs.FS) ([]string, error) {
	names, err := migrationNames(dir)
	if err != nil {
		return nil, err
	}
	scripts := make([]string, len(names))
	for i, name := range names {
		script, err := fs.ReadFile(dir, name)
		if err != nil {
			return nil, fmt.Errorf("sqlite: migrate: %w", err)
		}
		scripts[i] = string(script)
	}
	return scripts, nil
}

// states are the objects there are, by key, after 0, 1, 2, … migrations.
type states []map[string]object

// expectations remembers what migrations make, by the hash of their text: a
// memo of what is computed from it alone.
var expectations sync.Map // [sha256.Size]byte → func() (states, error)

// expectation returns what the scripts make of an empty file. It runs them in
// memory, once a program.
func expectation(scripts []string) (states, error) {
	h := sha256.New()
	for _, s := range scripts {
		_, _ = fmt.Fprintf(h, "%d:%s", len(s), s) // a hash takes everything
	}
	compute, _ := expectations.LoadOrStore([sha256.Size]byte(h.Sum(nil)), sync.OnceValues(func() (states, error) {
		return runInMemory(scripts)
	}))
	return compute.(func() (states, error))()
}

func runInMemory(scripts []string) (_ states, err error) {
	c, err := (&sqlite3.SQLiteDriver{}).Open(":memory:")
	if err != nil {
		return nil, fmt.Errorf("sqlite: expected schema: %w", err)
	}
	conn := c.(*sqlite3.SQLiteConn)
	defer func() { err = errors.Join(err, conn.Close()) }()
	all := states{{}}
	for i, script := range scripts {
		if _, err := conn.Exec(script, nil); err != nil {
			return nil, fmt.Errorf("sqlite: expected schema: migration %d: %w", i+1, err)
		}
		now, err := objects(conn)
		if err != nil {
			return nil, fmt.Errorf("sqlite: expected schema: %w", err)
		}
		all = append(all, now)
	}
	return all, nil
}

func objects(conn *sqlite3.SQLiteConn) (_ map[string]object, err error) {
	rows, err := conn.Query(selectSchema, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	found, row := map[string]object{}, make([]driver.Value, len(rows.Columns()))
	for {
		switch err := rows.Next(row); {
		case errors.Is(err, io.EOF):
			return found, nil
		case err != nil:
			return nil, err
		}
		var text [4]string
		for i := range text {
			switch v := row[i].(type) {
			case string:
				text[i] = v
			case []byte:
				text[i] = string(v)
			}
		}
		o := object{text[0], text[1], text[2], text[3]}
		found[o.key()] = o
	}
}

func shorten(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
