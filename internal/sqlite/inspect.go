package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/mattn/go-sqlite3"

	"github.com/leat-go/leat/internal/disk"
)

// Limits of Inspect.
const (
	// MaxProblems is how many problems SQLite's own check reports of a file.
	MaxProblems = 100
	// looks is how often a file that changes while it is looked at is looked
	// at again before it is read as one that changes.
	looks = 3
)

// Format says what a file is for.
type Format struct {
	// ApplicationID marks it.
	ApplicationID int32
	// Migrations make its schema.
	Migrations fs.FS
	// Shared says that it holds tables of others as well.
	Shared bool
	// Accept is what else OpenFormat is to find out, where it is not nil and
	// there is nothing to migrate, before anything is moved out of the WAL that
	// was there. It only reads. The file is refused with its error.
	Accept func(context.Context, *DB) error
	// Relations are queries for Inspect. Each returns, of two columns of text,
	// where something in the file is wrong, and what.
	Relations []string
	// Later are further ones, by the number of the migration that they need. A
	// file that has not seen it, because nobody has opened it since, is spared
	// them.
	Later map[int][]string
}

// Problem is what is wrong in a file.
type Problem struct {
	Place  string // in the file; empty for the file as a whole
	Reason string
}

// Inspect looks at the file at path, which a process may have open, and
// changes neither it nor what is beside it, but for SQLite's own index of an
// open WAL. It returns what is wrong with it as SQLite can tell: another program's
// file, a schema that the migrations do not make, what integrity_check finds,
// and what the relations do. Unless the first is the end of it, fn is given the
// same consistent state of the file, more than once where the file changes
// meanwhile; its errors are Inspect's, but that of a damaged page or row is a
// problem.
//
// An error means that it could not look: ErrNewer, fs.ErrNotExist (also for a
// file whose creation was cut short), ctx's error and what the operating system
// refuses.
func Inspect(ctx context.Context, path string, of Format, fn func(*sql.Tx) error) (problems []Problem, err error) {
	for range looks {
		before, closed, err := stat(path)
		if err != nil {
			return nil, err
		}
		if !closed {
			break
		}
		problems, err = inspect(ctx, path, of, true, fn)
		after, closed, unread := stat(path)
		if unread == nil && closed && same(before, after) {
			return problems, err
		}
	}
	return inspect(ctx, path, of, false, fn)
}

// stat returns what is known of the file and whether it has no WAL: then all
// that was committed is in it, and nobody changes it without making one first.
func stat(path string) (info os.FileInfo, closed bool, err error) {
	if info, err = os.Lstat(path); err != nil {
		return nil, false, fmt.Errorf("sqlite: inspect: %w", err)
	}
	for _, suffix := range []string{"-wal", "-journal"} {
		if _, err := os.Lstat(path + suffix); !errors.Is(err, os.ErrNotExist) {
			return info, false, err
		}
	}
	return info, true, nil
}

func same(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

func inspect(ctx context.Context, path string, of Format, immutable bool, fn func(*sql.Tx) error) (problems []Problem, err error) {
	db, err := Open(ctx, path, Options{ReadOnly: true, Immutable: immutable, Readers: 1})
	if err != nil {
		return problem(nil, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	names, err := migrationNames(of.Migrations)
	if err != nil {
		return nil, err
	}
	h, err := readHeader(ctx, db.read)
	if err == nil && h == (Header{}) {
		return nil, fmt.Errorf("sqlite: inspect: %s is empty: %w", path, fs.ErrNotExist) // its creation was cut short
	}
	if err == nil {
		err = h.Check(path, of.ApplicationID, len(names))
	}
	if err != nil {
		return problem(nil, err)
	}
	if err := db.checkSchema(ctx, of.Migrations, of.Shared); err != nil {
		return problem(nil, err)
	}
	if h.Version == 0 {
		return []Problem{{Reason: "it holds none of its tables"}}, nil
	}
	tx, err := db.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return problem(nil, fmt.Errorf("sqlite: inspect %s: %w", path, err))
	}
	defer func() {
		if undo := tx.Rollback(); undo != nil && !errors.Is(undo, sql.ErrTxDone) {
			err = errors.Join(err, undo)
		}
	}()
	problems, err = integrity(ctx, tx)
	damaged := len(problems) > 0
	if err == nil {
		err = fn(tx)
	}
	for _, text := range of.relations(h.Version) {
		if err == nil {
			problems, err = relation(ctx, tx, text, problems)
		}
	}
	switch {
	case err == nil:
		return problems, nil
	case damaged && ctx.Err() == nil && (!IsIO(err) || IsUnreadable(err)):
		return append(problems, Problem{Reason: err.Error()}), nil // of a row that is not what it should be
	default:
		return problem(problems, fmt.Errorf("sqlite: inspect %s: %w", path, err))
	}
}

// relations returns those of a file that has seen this many migrations.
func (f Format) relations(version int) []string {
	all := slices.Clone(f.Relations)
	for _, n := range slices.Sorted(maps.Keys(f.Later)) {
		if n <= version {
			all = append(all, f.Later[n]...)
		}
	}
	return all
}

// problem makes a problem of an error that says that the file is damaged. It
// names no path: what was looked at may be a copy.
func problem(problems []Problem, err error) ([]Problem, error) {
	whole := func(reason string) ([]Problem, error) { return append(problems, Problem{Reason: reason}), nil }
	var schema *SchemaError
	var own sqlite3.Error
	switch {
	case errors.As(err, &schema):
		return whole(schema.Object + " " + schema.Problem)
	case errors.Is(err, disk.ErrNotPlain):
		return whole("it is a link, or no regular file, or has a second name")
	case IsNotDatabase(err):
		return whole("it is no SQLite database")
	case errors.Is(err, ErrForeign):
		return whole("it is another program's database, or another file of this one")
	case IsUnreadable(err) && errors.As(err, &own):
		return whole(own.Error())
	}
	return problems, err
}

func integrity(ctx context.Context, tx *sql.Tx) (problems []Problem, err error) {
	rows, err := tx.QueryContext(ctx, fmt.Sprintf("PRAGMA integrity_check(%d)", MaxProblems))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return problems, err
		}
		if line != "ok" {
			problems = append(problems, Problem{Reason: line})
		}
	}
	return problems, rows.Err()
}

// relation appends the first MaxProblems rows of a query to the problems.
func relation(ctx context.Context, tx *sql.Tx, query string, problems []Problem) (_ []Problem, err error) {
	rows, err := tx.QueryContext(ctx, fmt.Sprintf("SELECT * FROM (%s) LIMIT %d", query, MaxProblems))
	if err != nil {
		return problems, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var p Problem
		if err := rows.Scan(&p.Place, &p.Reason); err != nil {
			return problems, err
		}
		problems = append(problems, p)
	}
	return problems, rows.Err()
}
