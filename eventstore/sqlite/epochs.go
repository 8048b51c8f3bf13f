package sqlite

import (
	"context"
	"database/sql/driver"
	"fmt"
	"sort"

	"github.com/google/uuid"
	"github.com/mattn/go-sqlite3"

	"github.com/leat-go/leat/eventstore"
	file "github.com/leat-go/leat/internal/sqlite"
)

// MaxEpochs is how many epochs a log may have: a new one for every restore.
const MaxEpochs = 10_000

// epoch is a lifetime of the log: from its creation, or a restore, to the next.
type epoch struct {
	number int64
	name   string
	// after and batch are the last position and the last batch with an ID that
	// it found.
	after, batch int64
	time         int64
	hash         [32]byte
}

// epochs are all of a log, in order. They change by a restore only, which
// makes another file, so that a store reads them once.
type epochs []epoch

// last returns the epoch that goes on.
func (e epochs) last() epoch { return e[len(e)-1] }

// at names the epoch in which a position, 1 or more, was written.
func (e epochs) at(position int64) string {
	return e[sort.Search(len(e), func(i int) bool { return e[i].after >= position })-1].name
}

const selectEpochs = `
	SELECT number, name, began_after, batch, began_at, hash
	FROM epochs
	ORDER BY number
	LIMIT ?`

// loadEpochs reads the epochs of the file at path. What they say of themselves
// is checked: the first has the whole log before it, and none begins before
// the one before.
func loadEpochs(c *sqlite3.SQLiteConn, path string) (epochs, error) {
	var all epochs
	corrupt := func(format string, args ...any) error {
		return &eventstore.CorruptError{Where: path, Reason: fmt.Sprintf(format, args...) + ": restore it from a backup"}
	}
	err := query(c, selectEpochs, 6, func(r *row) error {
		e := epoch{number: r.int(0), name: r.text(1), after: r.int(2), batch: r.int(3), time: r.int(4), hash: r.hash(5)}
		before := epoch{}
		if len(all) > 0 {
			before = all.last()
		}
		switch {
		case r.err != nil:
			return nil // told by query
		case e.number != before.number+1:
			return corrupt("the epoch before number %d is missing", e.number)
		case e.number == 1 && (e.after != 0 || e.batch != 0 || e.hash != [32]byte{}):
			return corrupt("the first epoch (%s) does not begin with the log", e.name)
		case e.after < before.after || e.batch < before.batch:
			return corrupt("epoch %d (%s) begins before the one before it", e.number, e.name)
		}
		all = append(all, e)
		return nil
	}, int64(MaxEpochs+1))
	switch {
	case err != nil:
		return nil, err
	case len(all) == 0:
		return nil, corrupt("it does not say which epoch it is in")
	case len(all) > MaxEpochs:
		return nil, corrupt("it has more than %d epochs", MaxEpochs)
	}
	return all, nil
}

// epoch returns the hash that binds e to the epoch before it, to the store and
// to the log that it found: these chain hashes of its last event and batch.
func (c *chain) epoch(store string, before, e epoch, event, batch [32]byte) [32]byte {
	b := append(c.buf[:0], epochForm...)
	b = appendString(b, store)
	for _, p := range []epoch{before, e} {
		b = appendNumber(b, p.number)
		b = appendString(b, p.name)
		b = appendNumber(b, p.after)
		b = appendNumber(b, p.batch)
		b = appendNumber(b, p.time)
	}
	b = append(b, before.hash[:]...)
	b = append(b, event[:]...)
	b = append(b, batch[:]...)
	c.buf = b
	return sum(b)
}

// checkEpochs tells of every epoch that the log does not bear out.
func (s *Store) checkEpochs(ctx context.Context, found func(where, reason string, args ...any) error) error {
	return s.read(ctx, "compare the epochs", func(c *sqlite3.SQLiteConn) error {
		var ch chain
		created := int64(0)
		if err := query(c, selectCreated, 1, func(r *row) error { created = r.int(0); return nil }); err != nil {
			return err
		}
		first := s.epochs[0]
		if first.time != created {
			if err := found("epoch 1", "it (%s) did not begin when the log was created", first.name); err != nil {
				return err
			}
		}
		for i, e := range s.epochs[1:] {
			event, batch, err := hashesAt(c, e.after, e.batch)
			if err != nil {
				return err
			}
			if ch.epoch(s.id, s.epochs[i], e, event, batch) == e.hash {
				continue
			}
			if err := found(fmt.Sprintf("epoch %d", e.number), "it (%s, after position %d) is not what was written, or the log before it is another: its hash does not follow", e.name, e.after); err != nil {
				return err
			}
		}
		return nil
	})
}

// errEpochs returns ErrCorrupt for the first epoch that the log does not bear
// out.
func (s *Store) errEpochs(ctx context.Context) error {
	return s.checkEpochs(ctx, func(where, reason string, args ...any) error {
		return &eventstore.CorruptError{Where: s.db.Path() + ", " + where, Reason: fmt.Sprintf(reason, args...) + ": restore it from a backup"}
	})
}

// hashesAt returns the chain hashes of an event and of a batch, zeros where
// there is none of that number.
func hashesAt(c *sqlite3.SQLiteConn, position, number int64) (event, batch [32]byte, err error) {
	for _, part := range []struct {
		text   string
		number int64
		to     *[32]byte
	}{{selectHash, position, &event}, {selectBatchHash, number, &batch}} {
		err := query(c, part.text, 1, func(r *row) error {
			*part.to = r.hash(0)
			return nil
		}, driver.Value(part.number))
		if err != nil {
			return event, batch, err
		}
	}
	return event, batch, nil
}

const insertEpoch = `
	INSERT INTO epochs (number, name, began_after, batch, began_at, hash)
	VALUES (?, ?, ?, ?, ?, ?)`

// beginEpoch begins another epoch at the end of the log, and returns it. What
// snapshots say nothing bears out, so none is taken over. The caller has the
// only connection that writes.
func beginEpoch(ctx context.Context, db *file.DB, store string, before epoch, end tip, now int64) (epoch, error) {
	if before.number >= MaxEpochs {
		return epoch{}, fmt.Errorf("eventstore/sqlite: %s has begun %d epochs, which is the most there can be", db.Path(), MaxEpochs)
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return epoch{}, fmt.Errorf("eventstore/sqlite: begin an epoch: %w", err)
	}
	e := epoch{number: before.number + 1, name: id.String(), after: end.position, batch: end.batch, time: now}
	e.hash = new(chain).epoch(store, before, e, end.hash, end.batchHash)
	err = db.Write(ctx, func(tx *file.Tx) error {
		if _, err := tx.Exec("DELETE FROM snapshots"); err != nil {
			return err
		}
		_, err := tx.Exec(insertEpoch, e.number, e.name, e.after, e.batch, e.time, e.hash[:])
		return err
	})
	if err != nil {
		return epoch{}, fileError(db.Path(), "begin an epoch", err)
	}
	return e, nil
}

// Epochs returns the log's epochs, in order: see eventstore.Epochs.
func (s *Store) Epochs() []eventstore.Epoch {
	all := make([]eventstore.Epoch, len(s.epochs))
	for i, e := range s.epochs {
		all[i] = eventstore.Epoch{Name: e.name, After: e.after, Time: e.time}
	}
	return all
}
