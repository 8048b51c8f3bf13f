package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

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

// Probe reads the header of the file at path and changes nothing: no lock is
// taken, no WAL is made or looked at. What was committed but not yet moved out
// of the WAL is not seen, so that a new file can look empty. It goes through
// SQLite, because opening and closing the file by other means would drop the
// locks that this process holds on it.
func Probe(ctx context.Context, path string) (_ Header, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return Header{}, fmt.Errorf("sqlite: open %s: %w", path, err)
	}
	if err := prepare(path, true); err != nil {
		return Header{}, err
	}
	db := sql.OpenDB(probeConnector(path))
	defer func() { err = errors.Join(err, db.Close()) }()
	h, err := readHeader(ctx, db)
	if err != nil {
		return Header{}, wrapOpen(path, err)
	}
	return h, nil
}

type probeConnector string

func (c probeConnector) Driver() driver.Driver { return &sqlite3.SQLiteDriver{} }

func (c probeConnector) Connect(context.Context) (driver.Conn, error) {
	q := url.Values{"mode": {"ro"}, "immutable": {"1"}, "_query_only": {"1"}}
	u := url.URL{Scheme: "file", Path: string(c), RawQuery: q.Encode()}
	return (&sqlite3.SQLiteDriver{}).Open(u.String())
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
	case h.ApplicationID != applicationID && h != Header{}:
		return fmt.Errorf("%w: %s has application id %#x, want %#x", ErrForeign, path, h.ApplicationID, applicationID)
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
