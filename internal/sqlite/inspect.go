package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"

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
}

// Inspect looks at the file at path, which a process may have open, and
// changes neither it nor what is beside it, but for SQLite's own index of an
// open WAL. It returns what is wrong with it as SQLite can tell: another program's
// file, a schema that the migrations do not make, what integrity_check finds.
// Unless that is the end of it, fn is then given one consistent state of the
// file, more than once where the file changes meanwhile; its errors are
// Inspect's, but that of a damaged page or row is a problem.
//
// An error means that it could not look: ErrNewer, fs.ErrNotExist (also for a
// file whose creation was cut short), ctx's error and what the operating system
// refuses.
func Inspect(ctx context.Context, path string, of Format, fn func(*sql.Tx) error) (problems []string, err error) {
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

func inspect(ctx context.Context, path string, of Format, immutable bool, fn func(*sql.Tx) error) (problems []string, err error) {
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
		return []string{"it holds none of its tables"}, nil
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
	if err == nil {
		err = fn(tx)
	}
	switch {
	case err == nil:
		return problems, nil
	case len(problems) > 0 && ctx.Err() == nil && (!IsIO(err) || IsUnreadable(err)):
		return append(problems, err.Error()), nil // of a row that is not what it should be
	default:
		return problem(problems, fmt.Errorf("sqlite: inspect %s: %w", path, err))
	}
}

// problem makes a problem of an error that says that the file is damaged. It
// names no path: what was looked at may be a copy.
func problem(problems []string, err error) ([]string, error) {
	var schema *SchemaError
	var own sqlite3.Error
	switch {
	case errors.As(err, &schema):
		return append(problems, schema.Object+" "+schema.Problem), nil
	case errors.Is(err, disk.ErrNotPlain):
		return append(problems, "it is a link, or no regular file, or has a second name"), nil
	case IsNotDatabase(err):
		return append(problems, "it is no SQLite database"), nil
	case errors.Is(err, ErrForeign):
		return append(problems, "it is another program's database, or another file of this one"), nil
	case IsUnreadable(err) && errors.As(err, &own):
		return append(problems, own.Error()), nil
	}
	return problems, err
}

func integrity(ctx context.Context, tx *sql.Tx) (problems []string, err error) {
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
			problems = append(problems, line)
		}
	}
	return problems, rows.Err()
}

// Pairs runs a query that returns, of two columns of text, where something is
// wrong and what, and gives fn the first MaxProblems rows.
func Pairs(ctx context.Context, tx *sql.Tx, query string, fn func(place, reason string)) (err error) {
	rows, err := tx.QueryContext(ctx, fmt.Sprintf("SELECT * FROM (%s) LIMIT %d", query, MaxProblems))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var place, reason string
		if err := rows.Scan(&place, &reason); err != nil {
			return err
		}
		fn(place, reason)
	}
	return rows.Err()
}
