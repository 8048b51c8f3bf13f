package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// ErrNewer: the file was written by a newer program.
var ErrNewer = errors.New("sqlite: newer format")

// ErrForeign: the file is a database of another program or another purpose.
var ErrForeign = errors.New("sqlite: not this program's file")

// Migrate brings the file to the last of the migrations in dir, whose names
// are NNNN_name.sql, numbered from 0001 without holes. Each runs once, with
// its number, in one transaction. The application id marks what the file is
// for. It returns ErrNewer where the file has seen more migrations than there
// are, and ErrForeign where it is another program's.
func (db *DB) Migrate(ctx context.Context, applicationID int32, dir fs.FS) error {
	names, err := fs.Glob(dir, "*.sql") // sorted
	if err != nil {
		return fmt.Errorf("sqlite: migrate: %w", err)
	}
	for i, name := range names {
		number, _, _ := strings.Cut(name, "_")
		if n, err := strconv.Atoi(number); err != nil || n != i+1 {
			return fmt.Errorf("sqlite: migration %s: want number %04d", name, i+1)
		}
	}
	done, err := db.Check(ctx, applicationID, len(names))
	if err != nil {
		return err
	}
	for i := done; i < len(names); i++ {
		script, err := fs.ReadFile(dir, names[i])
		if err != nil {
			return fmt.Errorf("sqlite: migrate: %w", err)
		}
		err = db.Write(ctx, func(tx *Tx) error {
			_, err := tx.Exec(fmt.Sprintf("%s;\nPRAGMA application_id = %d;\nPRAGMA user_version = %d;", script, applicationID, i+1))
			return err
		})
		if err != nil {
			return fmt.Errorf("sqlite: migrate %s: %s: %w", db.path, names[i], err)
		}
	}
	return nil
}

// Check returns how many migrations the file has seen, known being how many
// this program has. Errors are those of Migrate.
func (db *DB) Check(ctx context.Context, applicationID int32, known int) (int, error) {
	var app int32
	var version, tables int
	err := db.read.QueryRowContext(ctx, `
		SELECT (SELECT application_id FROM pragma_application_id),
		       (SELECT user_version FROM pragma_user_version),
		       (SELECT COUNT(*) FROM sqlite_schema)`).Scan(&app, &version, &tables)
	if err != nil {
		return 0, wrapOpen(db.path, err)
	}
	switch {
	case app != applicationID && (app != 0 || version != 0 || tables != 0):
		return 0, fmt.Errorf("%w: %s has application id %#x, want %#x", ErrForeign, db.path, app, applicationID)
	case version > known:
		return 0, fmt.Errorf("%w: %s has format %d, this program knows %d at most: use the newer program", ErrNewer, db.path, version, known)
	}
	return version, nil
}
