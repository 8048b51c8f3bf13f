package sqlite

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/mattn/go-sqlite3"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/crash"
	"github.com/leat-go/leat/internal/disk"
)

// witness keeps the file that remembers a recent end of the log, so that a log
// which lost its end, for example by a damaged page of the write-ahead log, is
// refused and not silently continued.
//
// It is written beside the appends, at most once in WitnessEvery and once at
// the end, and not at all while nothing is appended. It must never be ahead of
// what is on the disk; with relaxed durability it is therefore written at the
// end only, after a checkpoint.
type witness struct {
	store   *Store
	dirty   chan struct{} // holds one when the tip has moved
	quit    chan struct{}
	done    chan struct{}
	written int64 // position and batch of the file; of the goroutine, then of close
	batch   int64
}

// testimony is what the file says.
type testimony struct {
	Format    int    `json:"format"`
	Store     string `json:"store"`
	Epoch     string `json:"epoch"`
	Position  int64  `json:"position"`
	Hash      string `json:"hash"`
	Batch     int64  `json:"batch"`
	BatchHash string `json:"batch_hash"`
}

const (
	witnessFormat = 1
	witnessMost   = 4096 // bytes; it has about 300
)

func newWitness(s *Store) *witness {
	return &witness{store: s, dirty: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{})}
}

func (w *witness) path() string { return w.store.path(witnessName) }

// compare returns ErrCorrupt where the log is not what the witness remembers.
func (w *witness) compare(ctx context.Context) error {
	data, err := readSmall(w.path(), witnessMost)
	if errors.Is(err, os.ErrNotExist) {
		return nil // a new store, or a restored one
	}
	if errors.Is(err, eventstore.ErrCorrupt) {
		return err
	}
	if err != nil {
		return fmt.Errorf("eventstore/sqlite: witness: %w", err)
	}
	var t testimony
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&t); err != nil || t.Format != witnessFormat {
		return w.corrupt("it cannot be read (%v): where the log is known to be good, as Verify of a copy tells, remove the witness", err)
	}
	if t.Store != w.store.id || t.Epoch != w.store.epoch {
		return w.corrupt("it belongs to another log (store %s, epoch %s; log.db is store %s, epoch %s): bring together what belongs together", t.Store, t.Epoch, w.store.id, w.store.epoch)
	}
	w.written, w.batch = t.Position, t.Batch
	return w.store.compareTo(ctx, t)
}

func (w *witness) corrupt(format string, args ...any) error {
	return &eventstore.CorruptError{Where: w.path(), Reason: fmt.Sprintf(format, args...)}
}

const (
	selectHash = `
		SELECT hash
		FROM events
		WHERE position = ?`
	selectBatchHash = `
		SELECT hash
		FROM batches
		WHERE number = ?`
)

// compareTo returns ErrCorrupt where the log does not hold what t remembers.
func (s *Store) compareTo(ctx context.Context, t testimony) error {
	return s.read(ctx, "compare with the witness", func(c *sqlite3.SQLiteConn) error {
		for _, v := range []struct {
			text, what, hash string
			number           int64
		}{
			{selectHash, "position", t.Hash, t.Position},
			{selectBatchHash, "batch", t.BatchHash, t.Batch},
		} {
			if v.number == 0 {
				continue
			}
			found := ""
			err := query(c, v.text, 1, func(r *row) error {
				h := r.hash(0)
				found = hex.EncodeToString(h[:])
				return nil
			}, v.number)
			if err != nil {
				return err
			}
			switch found {
			case v.hash:
			case "":
				return &eventstore.CorruptError{Where: s.db.Path(), Reason: fmt.Sprintf("the log ends before %s %d, which its witness remembers: acknowledged events are lost; restore it from a backup", v.what, v.number)}
			default:
				return &eventstore.CorruptError{Where: s.db.Path(), Reason: fmt.Sprintf("%s %d is not what its witness remembers: the log was changed; restore it from a backup", v.what, v.number)}
			}
		}
		return nil
	})
}

func readSmall(path string, most int64) ([]byte, error) {
	data, err := disk.ReadSmall(path, most)
	if errors.Is(err, disk.ErrNotPlain) {
		return nil, &eventstore.CorruptError{Where: path, Reason: fmt.Sprintf("it is not a file of at most %d bytes (%v)", most, err)}
	}
	return data, err
}

func (w *witness) start() { go w.run() }

// moved tells that the tip has moved. It does not block.
func (w *witness) moved() {
	select {
	case w.dirty <- struct{}{}:
	default:
	}
}

func (w *witness) run() {
	defer close(w.done)
	for {
		select {
		case <-w.dirty:
		case <-w.quit:
			return
		}
		if w.store.options.Durability == Full {
			if err := w.write(); err != nil {
				w.store.logger.Warn("the witness could not be written", "store", w.store.dir, "error", err)
			}
		}
		pause := time.NewTimer(WitnessEvery)
		select {
		case <-pause.C:
		case <-w.quit:
			pause.Stop()
			return
		}
	}
}

// close ends the goroutine and writes the last witness. The writer has ended
// and its connection is still open.
func (w *witness) close() error {
	close(w.quit)
	<-w.done
	if w.store.Err() != nil {
		return nil // what the log holds is not known
	}
	if w.store.options.Durability == Relaxed {
		synced := false
		err := raw(w.store.writer.conn, func(c *sqlite3.SQLiteConn) error {
			return query(c, "PRAGMA wal_checkpoint(PASSIVE)", 3, func(r *row) error {
				synced = r.int(1) == r.int(2) // all pages of the log were moved, and synced
				return nil
			})
		})
		if err != nil || !synced {
			return err
		}
	}
	return w.write()
}

// write replaces the file, unless it says the same already.
func (w *witness) write() error {
	t := w.store.tip.Load()
	if t.position == w.written && t.batch == w.batch {
		return nil
	}
	data, err := json.Marshal(testimony{
		Format: witnessFormat, Store: w.store.id, Epoch: w.store.epoch,
		Position: t.position, Hash: hex.EncodeToString(t.hash[:]), Batch: t.batch, BatchHash: hex.EncodeToString(t.batchHash[:]),
	})
	if err != nil {
		return fmt.Errorf("witness: %w", err)
	}
	err = disk.ReplaceIn(w.path(), append(data, '\n'), disk.Steps{
		Written: func() error { crash.At(crash.WitnessWritten); return nil },
		Renamed: func() error { crash.At(crash.WitnessRenamed); return nil },
	})
	if err != nil {
		return fmt.Errorf("witness: %w", err)
	}
	w.written, w.batch = t.position, t.batch
	return nil
}
