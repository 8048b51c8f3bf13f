package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/leat-go/leat/internal/crash"
)

// ErrNewer: the file was written by a newer program.
var ErrNewer = errors.New("sqlite: newer format")

// ErrForeign: the file is a database of another program or another purpose.
var ErrForeign = errors.New("sqlite: not this program's file")

// Migrate brings the file to the last of the migrations in dir, whose names
// are NNNN_name.sql, numbered from 0001 without holes. Each runs once, with
// its number, in one transaction. The application id marks what the file is
// for. It returns ErrNewer where the file has seen more migrations than there
// are, ErrForeign where it is another program's, and ErrSchema where its schema
// is not what its migrations made; then it has changed nothing.
func (db *DB) Migrate(ctx context.Context, applicationID int32, dir fs.FS) error {
	_, err := db.migrate(ctx, applicationID, dir, false)
	return err
}

// MigrateOwnTables is Migrate for a file that holds tables of others as well.
// See CheckOwnTables.
func (db *DB) MigrateOwnTables(ctx context.Context, applicationID int32, dir fs.FS) error {
	_, err := db.migrate(ctx, applicationID, dir, true)
	return err
}

func (db *DB) migrate(ctx context.Context, applicationID int32, dir fs.FS, shared bool) (migrated bool, err error) {
	scripts, err := readScripts(dir)
	if err != nil {
		return false, err
	}
	done, err := db.Check(ctx, applicationID, len(scripts))
	if err != nil {
		return false, err
	}
	if err := db.compareSchema(ctx, scripts, done, shared); err != nil {
		return false, err
	}
	for i := done; i < len(scripts); i++ {
		err = db.Write(ctx, func(tx *Tx) error {
			_, err := tx.Exec(fmt.Sprintf("%s;\nPRAGMA application_id = %d;\nPRAGMA user_version = %d;", scripts[i], applicationID, i+1))
			return err
		})
		if err != nil {
			return false, fmt.Errorf("sqlite: migrate %s: migration %d: %w", db.path, i+1, err)
		}
		crash.At(crash.FileMigrated)
	}
	if done == len(scripts) {
		return false, nil
	}
	return true, db.compareSchema(ctx, scripts, len(scripts), shared)
}

// migrationNames returns the names of the migrations in dir, in order.
func migrationNames(dir fs.FS) ([]string, error) {
	names, err := fs.Glob(dir, "*.sql") // sorted
	if err != nil {
		return nil, fmt.Errorf("sqlite: migrate: %w", err)
	}
	for i, name := range names {
		number, _, _ := strings.Cut(name, "_")
		if n, err := strconv.Atoi(number); err != nil || n != i+1 {
			return nil, fmt.Errorf("sqlite: migration %s: want number %04d", name, i+1)
		}
	}
	return names, nil
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
