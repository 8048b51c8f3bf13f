package projection

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/crash"
	"github.com/leat-go/leat/internal/sqlite"
)

// step is one transaction on a view and what memory learns when it commits.
type step struct {
	v    *view
	tx   *sqlite.Tx
	user *Tx

	saved   eventstore.Anchor
	parked  map[string]int // by how much the count of a stream changes
	dead    int
	attempt attempt
	notes   []slog.Attr // what was parked and skipped, for the log
	set     int         // events set aside for good or for later
	logged  bool        // what failed is the log, not the file
}

// write runs fn in a transaction and, once it is committed, tells memory.
func (v *view) write(ctx context.Context, fn func(s *step) error) error {
	s := &step{v: v, saved: v.saved, attempt: v.attempt}
	err := v.db.Write(ctx, func(tx *sqlite.Tx) error {
		s.tx, s.user = tx, &Tx{tx: tx}
		return fn(s)
	})
	var unknown *sqlite.CommitError
	if errors.As(err, &unknown) && !sqlite.IsConstraint(err) {
		v.stale = true
	}
	if err != nil && !s.logged {
		err = damage(v.def.name, v.db.Path(), err)
	}
	if err != nil {
		return err
	}
	crash.At(crash.ViewCommitted)
	v.saved, v.attempt = s.saved, s.attempt
	v.dead += s.dead
	if s.set > 0 {
		v.wary = waryPages
	}
	for stream, n := range s.parked {
		if v.parked[stream] += n; v.parked[stream] <= 0 {
			delete(v.parked, stream)
		}
	}
	if v.saved.Position > v.through.Position {
		v.through = v.saved
	}
	if s.set > 0 && v.logger != nil {
		v.logger.LogAttrs(ctx, slog.LevelWarn, "projection set events aside",
			append([]slog.Attr{slog.String("projection", v.def.name), slog.Int("events", s.set)}, s.notes...)...)
	}
	return nil
}

// save moves the checkpoint, by compare-and-swap.
func (s *step) save(to eventstore.Anchor) error {
	crash.At(crash.ViewApplied)
	from := s.saved
	res, err := s.tx.Exec(`
		UPDATE leat_checkpoint
		SET epoch = ?, position = ?, hash = ?
		WHERE id = 1 AND epoch = ? AND position = ? AND hash = ?`,
		to.Epoch, to.Position, to.Hash[:], from.Epoch, from.Position, from.Hash[:])
	if err != nil {
		return s.v.wrap(err)
	}
	if n, err := res.RowsAffected(); err != nil {
		return s.v.wrap(err)
	} else if n == 1 {
		s.saved = to
		crash.At(crash.ViewBeforeCommit)
		return nil
	}
	found := &bus.CheckpointMovedError{Consumer: s.v.def.name, Expected: from.Position}
	if err := s.tx.QueryRow(`SELECT position FROM leat_checkpoint`).Scan(&found.Actual); err != nil {
		return s.v.wrap(err)
	}
	return found
}

// waiting tells whether the event has to wait for a parked one of its stream.
func (s *step) waiting(e *eventstore.Recorded) bool {
	if len(s.v.parked) == 0 && len(s.parked) == 0 {
		return false
	}
	if _, out := s.v.discarded[e.Position]; out {
		return false
	}
	return s.v.parked[e.Stream]+s.parked[e.Stream] > 0
}

// park puts an event aside. One that was not tried has the zero attempt.
func (s *step) park(e *eventstore.Recorded, a attempt) error {
	since := a.since
	if a.attempts == 0 {
		since = time.Now()
	}
	_, err := s.tx.Exec(`
		INSERT INTO leat_parked (position, stream, type, attempts, since, error)
		VALUES (?, ?, ?, ?, ?, ?)`,
		e.Position, e.Stream, e.Type, a.attempts, since.UnixNano(), a.err)
	if err != nil {
		return s.v.wrap(err)
	}
	if s.parked == nil {
		s.parked = map[string]int{}
	}
	s.parked[e.Stream]++
	return nil
}

// bury makes an event a dead letter.
func (s *step) bury(e *eventstore.Recorded, a attempt) error {
	_, err := s.tx.Exec(`
		INSERT INTO leat_dead_letter (position, stream, version, type, attempts, at, error)
		VALUES (?, ?, ?, ?, ?, ?, ?)`,
		e.Position, e.Stream, e.Version, e.Type, a.attempts, time.Now().UnixNano(), a.err)
	if err != nil {
		return s.v.wrap(err)
	}
	s.dead++
	return nil
}

// remember keeps the attempt in the file; the zero attempt forgets it.
func (s *step) remember(a attempt) error {
	if a == s.attempt {
		return nil
	}
	var err error
	if a.attempts == 0 {
		_, err = s.tx.Exec(`DELETE FROM leat_attempt`)
	} else {
		_, err = s.tx.Exec(`
			INSERT OR REPLACE INTO leat_attempt (id, position, attempts, since, error)
			VALUES (1, ?, ?, ?, ?)`, a.position, a.attempts, a.since.UnixNano(), a.err)
	}
	if err != nil {
		return s.v.wrap(err)
	}
	s.attempt = a
	return nil
}
