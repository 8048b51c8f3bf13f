package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"

	"github.com/mattn/go-sqlite3"

	"github.com/leat-go/leat/internal/disk"
)

// Header is what a file says it is.
type Header struct {
	// ApplicationID marks what the file is for; 0 for a new file.
	ApplicationID int32
	// Version is the number of migrations the file has seen.
	Version int
	// Tables is the number of tables, indexes and triggers.
	Tables int
}

func readHeader(ctx context.Context, db *sql.DB) (h Header, err error) {
	err = db.QueryRowContext(ctx, `
		SELECT (SELECT application_id FROM pragma_application_id),
		       (SELECT user_version FROM pragma_user_version),
		       (SELECT COUNT(*) FROM sqlite_schema)`).Scan(&h.ApplicationID, &h.Version, &h.Tables)
	return h, err
}

// Check returns ErrForeign or ErrNewer, with an explanation that names path,
// unless a program that knows this many migrations may use the file.
func (h Header) Check(path string, applicationID int32, known int) error {
	switch {
	case h.ApplicationID != applicationID && h != Header{}, h.Version < 0:
		return fmt.Errorf("%w: %s has application id %#x and format %d, want id %#x", ErrForeign, path, h.ApplicationID, h.Version, applicationID)
	case h.Version > known:
		return fmt.Errorf("%w: %s has format %d, this program knows %d at most: use the newer program", ErrNewer, path, h.Version, known)
	}
	return nil
}

// VacuumInto writes a compact copy of the file, as of now, to path, which must
// not exist, and syncs it. It runs on a connection that is open already, so
// that it copies what this process sees even where another program has taken
// the WAL away.
func (db *DB) VacuumInto(ctx context.Context, path string) (err error) {
	conn, err := db.read.Conn(ctx)
	if err != nil {
		return fmt.Errorf("sqlite: copy %s: %w", db.path, err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("sqlite: copy %s: %s exists already: name a new file", db.path, path)
	}
	err = conn.Raw(func(c any) (err error) {
		// VACUUM attaches the copy, and writes.
		sc := c.(*sqlite3.SQLiteConn)
		sc.SetLimit(sqlite3.SQLITE_LIMIT_ATTACHED, 1)
		defer sc.SetLimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
		if _, err := sc.Exec("PRAGMA query_only = OFF", nil); err != nil {
			return err
		}
		_, err = sc.ExecContext(ctx, "VACUUM INTO ?", []driver.NamedValue{{Ordinal: 1, Value: path}})
		_, restore := sc.Exec("PRAGMA query_only = ON", nil)
		return errors.Join(err, restore)
	})
	if err != nil {
		return fmt.Errorf("sqlite: copy %s: %w", db.path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return fmt.Errorf("sqlite: copy %s: %w", db.path, err)
	}
	return disk.SyncPath(path)
}
