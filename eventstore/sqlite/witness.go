package sqlite

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
// It is there from before the first append, so that a log without one has lost
// it, unless it is empty. It is written beside the appends, at most once in
// WitnessEvery and once at the end, and not at all while nothing is appended.
// It must never be ahead of what is on the disk; with relaxed durability it is
// therefore moved at the end only, after a checkpoint.
type witness struct {
	store *Store
	dirty chan struct{} // holds one when the tip has moved
	quit  chan struct{}
	done  chan struct{}
	// said is what the file says, nil where there is none; of Open, then of the
	// goroutine, then of close.
	said *testimony
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
// A log without a witness is a new one where it is empty, else it has lost it.
func (w *witness) compare(ctx context.Context) (err error) {
	if w.said, err = readTestimony(w.path()); err != nil {
		return err
	}
	if w.said == nil {
		empty, err := w.store.isEmpty(ctx)
		if empty || err != nil {
			return err
		}
		// Beside an owner it may have come about meanwhile, with the events.
		if w.said, err = readTestimony(w.path()); err != nil {
			return err
		}
		if w.said == nil {
			return w.corrupt("it is missing, so that nobody knows whether the log is whole: have Verify look at a copy of the directory, and continue from that by Restore with AcceptLoss")
		}
	}
	if err := w.said.belongsTo(w.store.id, w.store.Epoch()); err != nil {
		return w.corrupt("%v: bring together what belongs together", err)
	}
	return w.store.compareTo(ctx, *w.said)
}

// readTestimony returns what the file says, nil where there is none, and
// ErrCorrupt where it cannot be read.
func readTestimony(path string) (*testimony, error) {
	data, err := readSmall(path, witnessMost)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, nil
	case errors.Is(err, eventstore.ErrCorrupt):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("eventstore/sqlite: witness: %w", err)
	}
	t, err := parseTestimony(data)
	if err != nil {
		return nil, &eventstore.CorruptError{Where: path, Reason: fmt.Sprintf("it cannot be read (%v): have Verify look at a copy of the directory, and continue from that by Restore with AcceptLoss", err)}
	}
	return &t, nil
}

// decodeStrictly reads one value of JSON, with no field that v has not and
// nothing behind it. As encoding/json does, it takes a field that is missing for
// an empty one, and the last of two of a name.
func decodeStrictly(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something stands behind it")
	}
	return nil
}

// parseTestimony reads what a witness file holds.
func parseTestimony(data []byte) (t testimony, err error) {
	if err := decodeStrictly(data, &t); err != nil {
		return testimony{}, err
	}
	if t.Format != witnessFormat {
		return testimony{}, fmt.Errorf("its format is %d, this program knows %d", t.Format, witnessFormat)
	}
	for _, end := range []struct {
		what, hash string
		number     int64
	}{{"position", t.Hash, t.Position}, {"batch", t.BatchHash, t.Batch}} {
		hash, err := hex.DecodeString(end.hash)
		zero := [32]byte{}
		if err != nil || len(hash) != len(zero) || end.number < 0 || (end.number == 0) != bytes.Equal(hash, zero[:]) {
			return testimony{}, fmt.Errorf("%s %d does not go with the hash %q", end.what, end.number, end.hash)
		}
	}
	return t, nil
}

// belongsTo returns an error unless it is of this store and epoch. The epoch
// is the one that was current when it was written, not that of its position: a
// log that does not know of a restore has been put back to before it.
func (t testimony) belongsTo(store, epoch string) error {
	if t.Store == store && t.Epoch == epoch {
		return nil
	}
	return fmt.Errorf("it belongs to another log (store %s, epoch %s; log.db is store %s, epoch %s)", t.Store, t.Epoch, store, epoch)
}

const selectEmpty = `
	SELECT NOT EXISTS (SELECT 1 FROM events) AND NOT EXISTS (SELECT 1 FROM batches)`

// isEmpty tells whether the log holds no event and no batch ID.
func (s *Store) isEmpty(ctx context.Context) (empty bool, err error) {
	err = s.read(ctx, "look for events", func(c *sqlite3.SQLiteConn) error {
		return query(c, selectEmpty, 1, func(r *row) error {
			empty = r.int(0) == 1
			return nil
		})
	})
	return empty, err
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

// testify returns what a witness of this end of the log says.
func (s *Store) testify(t tip) testimony {
	return testimony{
		Format: witnessFormat, Store: s.id, Epoch: s.Epoch(),
		Position: t.position, Hash: hex.EncodeToString(t.hash[:]), Batch: t.batch, BatchHash: hex.EncodeToString(t.batchHash[:]),
	}
}

// write replaces the file, unless it says the same already.
func (w *witness) write() error {
	t := w.store.testify(*w.store.tip.Load())
	if w.said != nil && *w.said == t {
		return nil
	}
	if err := t.keep(w.path()); err != nil {
		return err
	}
	w.said = &t
	return nil
}

// keep makes it the content of the file at path.
func (t testimony) keep(path string) error {
	data, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("witness: %w", err)
	}
	err = disk.ReplaceIn(path, append(data, '\n'), disk.Steps{
		Written: func() error { crash.At(crash.WitnessWritten); return nil },
		Renamed: func() error { crash.At(crash.WitnessRenamed); return nil },
	})
	if err != nil {
		return fmt.Errorf("witness: %w", err)
	}
	return nil
}
