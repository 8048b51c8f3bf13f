package sqlite

import (
	"context"
	"fmt"
)

// settle makes durable what SQLite found in the write-ahead log when the file
// was opened.
//
// A process that dies between the writes of a commit and its sync leaves a
// commit behind that the next one finds, and takes for one: it answers that a
// batch is stored, or dispatches what a saga decided. Only the system's cache
// may hold it, and a power cut would take it away from under all that was done
// on top of it. Likewise after a sync that failed: the system then takes its
// pages for clean, and a later sync says yes to what is not on the disk.
//
// So everything is moved into the file, which writes it anew, and synced, before
// anybody acts on it. What a reader in another program keeps from being moved
// is synced at least, with the commit of a page that says what it said.
func (db *DB) settle(ctx context.Context) error {
	var busy, frames, moved int
	err := db.write.QueryRowContext(ctx, "PRAGMA wal_checkpoint(PASSIVE)").Scan(&busy, &frames, &moved)
	switch {
	case IsFull(err):
		return nil // the log is synced before anything is moved
	case err != nil:
		return fmt.Errorf("sqlite: settle %s: %w", db.path, err)
	case busy == 0 && moved == frames: // or both -1: there is no log
		return nil
	}
	err = db.Write(ctx, func(tx *Tx) error {
		var version int
		if err := tx.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
			return err
		}
		_, err := tx.Exec(fmt.Sprintf("PRAGMA user_version = %d", version))
		return err
	})
	if err != nil && !IsFull(err) {
		return fmt.Errorf("sqlite: settle %s: %w", db.path, err)
	}
	return nil
}
