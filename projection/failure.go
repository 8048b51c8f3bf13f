package projection

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/sqlite"
)

// MaxReason is the length of the reason of a discard, in bytes.
const MaxReason = 1000

// FailureState says what became of an event that failed.
type FailureState string

// States of a Failure.
const (
	// Failing: nothing after it is applied until it succeeds, is given up by the
	// policy, or is discarded. Where the projection is blocked, that is the event.
	Failing FailureState = "failing"
	// Parked: its stream waits for Release; the event is the first that waits.
	Parked FailureState = "parked"
	// Waiting: an event before it in its stream is parked.
	Waiting FailureState = "waiting"
	// Dead: it was given up, by the policy Skip.
	Dead FailureState = "dead letter"
	// Discarded: somebody gave it up for good.
	Discarded FailureState = "discarded"
)

// Failure is an event that is not in the read model, and why.
type Failure struct {
	State FailureState
	// Event is the recorded event itself.
	Event eventstore.Recorded
	// Attempts is how often it was tried, Err why it failed the last time: 0 and
	// empty for one that waits.
	Attempts int
	Err      string
	// At is when it first failed, began to wait, was given up or discarded.
	At time.Time
	// Reason is why it was discarded.
	Reason string
}

// Discard is an event that was given up for good.
type Discard struct {
	DeadLetter
	// Reason is what whoever discarded it said; At is when.
	Reason string
}

// Failure returns what is known of the event at a position that fails, is
// parked, waits, is a dead letter or was discarded, and the event itself, from
// the log. It returns ErrNoFailure where the event is none of these, and
// ErrBuilding where it fails in a higher version that is built: its handler is to
// be mended.
func (p *Projection) Failure(ctx context.Context, position int64) (f Failure, err error) {
	err = p.Read(ctx, 0, func(r *Reader) error { f, err = readFailure(r.QueryRow, position); return err })
	if errors.Is(err, ErrNoFailure) {
		err = p.failsInBuild(position, err)
	}
	if err != nil {
		return Failure{}, fmt.Errorf("projection %s: position %d: %w", p.def.name, position, err)
	}
	f.Event, err = eventstore.EventAt(ctx, p.log, position)
	if err != nil {
		return Failure{}, fmt.Errorf("projection %s: read the log: %w", p.def.name, err)
	}
	return f, nil
}

// failsInBuild returns an error that says so where a version that is built
// cannot take the event, else err.
func (p *Projection) failsInBuild(position int64, err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next == nil || p.shown.attempt.position != position {
		return err
	}
	return fmt.Errorf("%w: version %d cannot take it: mend its handler", ErrBuilding, p.def.version)
}

// readFailure reads all of a failure but its event.
func readFailure(row func(query string, args ...any) *sql.Row, position int64) (f Failure, err error) {
	var at int64
	err = row(`
		SELECT 'discarded' AS state, stream, attempts, error, at, reason FROM leat_discarded WHERE position = ?1
		UNION ALL
		SELECT 'dead letter', stream, attempts, error, at, '' FROM leat_dead_letter WHERE position = ?1
		UNION ALL
		SELECT CASE (SELECT MIN(position) FROM leat_parked AS o WHERE o.stream = p.stream) WHEN position THEN 'parked' ELSE 'waiting' END,
		       stream, attempts, error, since, ''
		FROM leat_parked AS p
		WHERE position = ?1
		UNION ALL
		SELECT 'failing', '', attempts, error, since, '' FROM leat_attempt WHERE position = ?1`, position).Scan(&f.State, &f.Event.Stream, &f.Attempts, &f.Err, &at, &f.Reason)
	if errors.Is(err, sql.ErrNoRows) {
		return f, ErrNoFailure
	}
	f.At = time.Unix(0, at).UTC()
	return f, err
}

// Discards lists what was discarded after a position, MaxListed at most, by
// position.
func (p *Projection) Discards(ctx context.Context, after int64) (all []Discard, err error) {
	err = p.Read(ctx, 0, func(r *Reader) error {
		return each(r, `
			SELECT position, stream, version, type, attempts, at, error, reason
			FROM leat_discarded
			WHERE position > ?
			ORDER BY position
			LIMIT ?`, func(rows *sql.Rows) error {
			var d Discard
			var at int64
			err := rows.Scan(&d.Position, &d.Stream, &d.StreamVersion, &d.Type, &d.Attempts, &at, &d.Err, &d.Reason)
			d.At = time.Unix(0, at).UTC()
			all = append(all, d)
			return err
		}, after, MaxListed)
	})
	return all, err
}

// Retry applies an event that was set aside, now: its payload is decoded anew,
// upcast where its schema is an older one. A dead letter, or an event that was
// discarded, is applied after events that came later, for which its handler
// must be made; a rebuild has it in its place. Of a parked event it is the
// Release of its stream, which keeps the order.
//
// It returns an EventError where the event fails again, which stays what it
// was, with one attempt more; ErrNoFailure where there is nothing to retry,
// where the event waits for one before it, or where it is the failing one, which
// is tried again by itself, or after the router's Resume; and ErrBuilding while a
// new file is built.
func (p *Projection) Retry(ctx context.Context, position int64) error {
	f, err := p.Failure(ctx, position)
	switch {
	case err != nil:
		return err
	case f.State == Waiting:
		return p.behind(position, f.Event.Stream)
	case f.State == Failing:
		return fmt.Errorf("%w: projection %s: the event at position %d is tried again by itself, or after Resume where it blocks", ErrNoFailure, p.def.name, position)
	case f.State == Parked:
		_, err := p.Release(ctx, f.Event.Stream)
		return err
	}
	return p.settle(ctx, position, f.State, func(v *view, _ Failure) error {
		failed, err := v.reapplyAlone(ctx, &f.Event, wasGivenUp)
		return errors.Join(err, failed)
	})
}

func (p *Projection) behind(position int64, stream string) error {
	return fmt.Errorf("%w: projection %s: the event at position %d waits for one before it in the stream %q, which is parked: see to that first", ErrNoFailure, p.def.name, position, stream)
}

// Discard gives an event that fails, is parked or a dead letter up for good, with
// a reason (1 to MaxReason bytes) that is kept: see Discards. A rebuild and a
// higher version do not apply it either; Retry does. Of a parked stream, what
// waited behind the event is applied then, as by Release, whose errors it
// returns. The failing event is passed over: a router that it has blocked goes on
// after Resume, or at the next start. Otherwise the errors are those of Retry.
func (p *Projection) Discard(ctx context.Context, position int64, reason string) error {
	if reason = strings.TrimSpace(reason); reason == "" || len(reason) > MaxReason {
		return fmt.Errorf("projection %s: discard at position %d: say why, in 1 to %d bytes", p.def.name, position, MaxReason)
	}
	f, err := p.Failure(ctx, position)
	switch {
	case err != nil:
		return err
	case f.State == Waiting:
		return p.behind(position, f.Event.Stream)
	case f.State == Discarded:
		return fmt.Errorf("%w: projection %s: the event at position %d was discarded before: %s", ErrNoFailure, p.def.name, position, f.Reason)
	}
	err = p.settle(ctx, position, f.State, func(v *view, now Failure) error {
		d := discarded{now.Attempts, time.Now(), now.Err, reason}
		if now.State == Failing {
			return p.passOver(ctx, v, position, d)
		}
		return v.write(ctx, func(s *step) error { return s.giveUp(&f.Event, now.State, d) })
	})
	if err == nil && f.State == Parked {
		_, err = p.Release(ctx, f.Event.Stream)
	}
	return err
}

// passOver moves the view past the event that fails, which is discarded.
func (p *Projection) passOver(ctx context.Context, v *view, position int64, d discarded) error {
	to, err := p.log.Anchor(ctx, position)
	if err != nil {
		return fmt.Errorf("projection %s: read the log: %w", p.def.name, err)
	}
	v.discarded = map[int64]discarded{position: d}
	defer func() { v.discarded = nil }()
	for v.through.Position < position {
		if _, err := p.pull(ctx, p.log, v, p.pageSize, to); err != nil {
			return err
		}
	}
	p.note(nil)
	return nil
}

// settle calls fn with the live view, held, where the event is still what it
// was.
func (p *Projection) settle(ctx context.Context, position int64, was FailureState, fn func(v *view, now Failure) error) error {
	if err := p.lock(ctx); err != nil {
		return err
	}
	defer p.unlock()
	v, err := p.settled(ctx, "settle")
	if err != nil {
		return err
	}
	defer p.publish()
	now, err := readFailure(v.db.Reader().QueryRow, position)
	if err == nil && now.State != was { // somebody was faster
		err = fmt.Errorf("%w: it was %s, and is %s now", ErrNoFailure, was, now.State)
	}
	if err != nil {
		return fmt.Errorf("projection %s: position %d: %w", p.def.name, position, err)
	}
	return fn(v, now)
}

// settled returns the live view where no new file is built. The caller holds
// the gate.
func (p *Projection) settled(ctx context.Context, what string) (*view, error) {
	p.mu.Lock()
	building := p.build != nil
	p.mu.Unlock()
	if building {
		return nil, fmt.Errorf("%w: %s: %s when the build has ended", ErrBuilding, p.def.name, what)
	}
	v := p.live.view
	if v.stale {
		return v, v.load(ctx)
	}
	return v, nil
}

// forget removes an event from the dead letters and from what was discarded.
func (s *step) forget(e *eventstore.Recorded) error {
	n, err := s.count(`DELETE FROM leat_dead_letter WHERE position = ?`, e.Position)
	if err == nil {
		s.dead -= n
		_, err = s.count(`DELETE FROM leat_discarded WHERE position = ?`, e.Position)
	}
	return err
}

// count runs a statement and returns how many rows it changed.
func (s *step) count(query string, args ...any) (int, error) {
	res, err := s.tx.Exec(query, args...)
	if err != nil {
		return 0, s.v.wrap(err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return 0, s.v.wrap(err)
	}
	return int(n), nil
}

// deadAgain counts a failed retry.
func (s *step) deadAgain(e *eventstore.Recorded, cause error) (failed, err error) {
	text := shorten(cause.Error())
	if _, err := s.count(`UPDATE leat_dead_letter SET attempts = attempts + 1, error = ? WHERE position = ?`, text, e.Position); err != nil {
		return nil, err
	}
	if _, err := s.count(`UPDATE leat_discarded SET attempts = attempts + 1, error = ? WHERE position = ?`, text, e.Position); err != nil {
		return nil, err
	}
	return s.v.def.eventError(e, cause), nil
}

// discarded is what is kept of a discarded event beside the event.
type discarded struct {
	attempts int
	at       time.Time
	err      string
	reason   string
}

// giveUp makes a parked event or a dead letter a discarded one.
func (s *step) giveUp(e *eventstore.Recorded, from FailureState, d discarded) error {
	if from == Dead {
		if err := s.forget(e); err != nil {
			return err
		}
	} else if err := s.unpark(e); err != nil {
		return err
	}
	return s.keepDiscarded(e, d)
}

func (s *step) keepDiscarded(e *eventstore.Recorded, d discarded) error {
	_, err := s.tx.Exec(`
		INSERT INTO leat_discarded (position, stream, version, type, attempts, at, error, reason)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		e.Position, e.Stream, e.Version, e.Type, d.attempts, d.at.UnixNano(), d.err, d.reason)
	if err != nil {
		return s.v.wrap(err)
	}
	return nil
}

// discards reads what was discarded in a file, which may be of a format that
// knows none.
func discards(ctx context.Context, db *sqlite.DB) (_ map[int64]discarded, err error) {
	var known bool
	if err := db.Reader().QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'leat_discarded')`).Scan(&known); err != nil || !known {
		return nil, err
	}
	rows, err := db.Reader().QueryContext(ctx, `SELECT position, attempts, at, error, reason FROM leat_discarded`)
	if err != nil {
		return nil, err
	}
	all := map[int64]discarded{}
	err = scanAll(rows, func(rows *sql.Rows) error {
		var position, at int64
		var d discarded
		err := rows.Scan(&position, &d.attempts, &at, &d.err, &d.reason)
		d.at = time.Unix(0, at)
		all[position] = d
		return err
	})
	return all, err
}
