package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/uuid"
	"github.com/mattn/go-sqlite3"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/crash"
	"github.com/leat-go/leat/internal/disk"
	file "github.com/leat-go/leat/internal/sqlite"
)

const (
	insertMeta = `
		INSERT INTO meta (id, store_id, created_at)
		VALUES (1, ?, ?)`
	selectMeta = `
		SELECT store_id
		FROM meta
		WHERE id = 1`
	selectCreated = `
		SELECT created_at
		FROM meta
		WHERE id = 1`
	selectAnything = `
		SELECT EXISTS (SELECT 1 FROM events) OR EXISTS (SELECT 1 FROM batches) OR EXISTS (SELECT 1 FROM epochs)`
)

// identify reads which log this is. A new one gets its names first, and is on
// the disk with them when this returns, whatever the durability: the witness
// that comes next must find it there after a power cut.
func (s *Store) identify(ctx context.Context) error {
	found, err := s.loadIdentity(ctx)
	if err != nil {
		return err
	}
	if found {
		return s.errEpochs(ctx)
	}
	names := [2]string{}
	for i := range names {
		id, err := uuid.NewRandom()
		if err != nil {
			return fmt.Errorf("eventstore/sqlite: create: %w", err)
		}
		names[i] = id.String()
	}
	now := s.options.Clock.Now().UnixNano()
	err = s.db.Write(ctx, func(tx *file.Tx) error {
		anything := false
		if err := tx.QueryRow(selectAnything).Scan(&anything); err != nil {
			return err
		}
		if anything {
			return errNameless(s.db.Path())
		}
		if _, err := tx.Exec(insertMeta, names[0], now); err != nil {
			return err
		}
		_, err := tx.Exec(insertEpoch, 1, names[1], 0, 0, now, make([]byte, 32))
		return err
	})
	if errors.Is(err, eventstore.ErrCorrupt) {
		return err
	}
	if err != nil {
		return fileError(s.db.Path(), "create", err)
	}
	crash.At(crash.StoreIdentified)
	if s.options.Durability == Relaxed {
		err = s.settle(ctx)
	} else {
		err = disk.SyncPath(s.dir)
	}
	if err != nil {
		return err
	}
	if found, err = s.loadIdentity(ctx); err == nil && !found {
		err = errNameless(s.db.Path())
	}
	return err
}

// settle has all that was committed synced, in log.db, and its directory too.
func (s *Store) settle(ctx context.Context) error {
	var busy, frames, moved int
	if err := s.db.Writer().QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &frames, &moved); err != nil {
		return fileError(s.db.Path(), "settle", err)
	}
	if busy != 0 {
		return fmt.Errorf("eventstore/sqlite: settle %s: another program keeps the write-ahead log from being moved into it", s.db.Path())
	}
	return disk.SyncPath(s.dir)
}

// loadIdentity reads the names of the log, and tells whether it has some.
func (s *Store) loadIdentity(ctx context.Context) (found bool, err error) {
	err = s.read(ctx, "open", func(c *sqlite3.SQLiteConn) error {
		err := query(c, selectMeta, 1, func(r *row) error {
			s.id, found = r.text(0), true
			return nil
		})
		if err != nil || !found {
			return err
		}
		s.epochs, err = loadEpochs(c, s.db.Path())
		return err
	})
	return found, err
}

// witnessed tells whether the log in dir has a witness.
func witnessed(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, witnessName))
	return !errors.Is(err, os.ErrNotExist)
}

func (s *Store) errBegun() error {
	return fmt.Errorf("%w: the creation of %s was cut short: open it once as its owner", ErrNotStore, s.path(logName))
}

// unnamed says why a log has no name: its creation was cut short before it had
// anything, or the name is lost.
func (s *Store) unnamed(ctx context.Context) error {
	anything := true
	if !witnessed(s.dir) {
		err := s.read(ctx, "open", func(c *sqlite3.SQLiteConn) error {
			return query(c, selectAnything, 1, func(r *row) error {
				anything = r.int(0) != 0
				return nil
			})
		})
		if err != nil {
			return err
		}
	}
	if anything {
		return errNameless(s.db.Path())
	}
	return s.errBegun()
}

func errNameless(path string) error {
	return &eventstore.CorruptError{Where: path, Reason: "it does not say which log it is: restore it from a backup"}
}
