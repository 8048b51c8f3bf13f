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
	h, err := readHeader(ctx, db.read)
	if err != nil {
		return 0, wrapOpen(db.path, err)
	}
	return h.Version, h.Check(db.path, applicationID, known)
}
