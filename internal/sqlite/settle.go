package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/leat-go/leat/internal/disk"
)

// settleWait is how long settle waits for readers in other programs, in
// milliseconds.
const settleWait = 100

// settle makes durable what was in the file and its write-ahead log when it was
// opened, where it was left with one.
//
// A process that dies between the writes of a commit and its sync leaves a
// commit behind that the next one finds, and takes for one: it answers that a
// batch is stored, or dispatches what a saga decided. Only the system's cache
// may hold it, and a power cut would take it away from under all that was done
// on top of it. Likewise after a sync that failed: the system then takes its
// pages for clean, and a later sync says yes to what is not on the disk.
//
// So everything is moved into the file, which writes it anew, and synced, and
// then a page is committed that says what it said. That syncs a write-ahead log
// which has begun anew: what is left on the disk of the old one, perhaps
// without its last frames, would otherwise be put over the file again.
//
// Where a reader in another program keeps the log from beginning anew, that
// commit syncs it as it is: enough after a death, if not after a failed sync.
// Where there is no room, it was synced before the first page was moved. Where
// the log was removed, as the last to close the file does, the directory is
// synced, so that it stays removed.
func (db *DB) settle(ctx context.Context, left bool) (err error) {
	if !left {
		return disk.SyncPath(filepath.Dir(db.path))
	}
	conn, err := db.write.Conn(ctx)
	if err != nil {
		return fmt.Errorf("sqlite: settle %s: %w", db.path, err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	err = beginAnew(conn)
	if err == nil {
		err = touch(conn)
	}
	if err != nil && !IsFull(err) {
		return fmt.Errorf("sqlite: settle %s: %w", db.path, err)
	}
	return nil
}

// beginAnew moves the write-ahead log into the file and has it begin anew with
// the next commit, unless a reader keeps it. Neither this nor touch takes a
// context, which must not end a statement of a writer.
func beginAnew(conn *sql.Conn) (err error) {
	ctx := context.Background()
	if _, err := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d", settleWait)); err != nil {
		return err
	}
	defer func() {
		_, restore := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d", BusyTimeout.Milliseconds()))
		err = errors.Join(err, restore)
	}()
	var busy, frames, moved int
	return conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(RESTART)").Scan(&busy, &frames, &moved)
}

// touch commits the first page as it is.
func touch(conn *sql.Conn) error {
	ctx := context.Background()
	var version int
	if err := conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	_, err := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", version))
	return err
}
