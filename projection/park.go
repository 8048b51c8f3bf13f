package projection

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/leat-go/leat/eventstore"
)

// Bounds of what is listed and released at once.
const (
	// MaxListed is how many parked streams, dead letters or discarded events are
	// listed at once, the first by position.
	MaxListed = 1000
	// releasePage is how many parked events are applied in one transaction.
	releasePage = 500
)

// ParkedStream is a stream whose events wait.
type ParkedStream struct {
	Stream string
	// Position and Type are of the event that failed, the first that waits.
	Position int64
	Type     string
	// Events is how many wait, the failed one included.
	Events int
	// Attempts is how often the failed one was tried, Since when it first
	// failed, Err why.
	Attempts int
	Since    time.Time
	Err      string
}

// DeadLetter is an event that was given up.
type DeadLetter struct {
	Position int64
	Stream   string
	// StreamVersion is the event's place in its stream.
	StreamVersion int64
	Type          string
	Attempts      int
	// At is when it was given up.
	At  time.Time
	Err string
}

// Parked lists the parked streams of the live file, MaxListed at most, by the
// position that failed first: those after a position, 0 or that of the last one
// listed.
func (p *Projection) Parked(ctx context.Context, after int64) (all []ParkedStream, err error) {
	err = p.Read(ctx, 0, func(r *Reader) error {
		return each(r, `
			SELECT p.stream, p.position, p.type, g.events, p.attempts, p.since, p.error
			FROM (SELECT stream, MIN(position) AS first, COUNT(*) AS events
			      FROM leat_parked
			      GROUP BY stream) AS g
			JOIN leat_parked AS p ON p.position = g.first
			WHERE p.position > ?
			ORDER BY p.position
			LIMIT ?`, func(rows *sql.Rows) error {
			var s ParkedStream
			var since int64
			err := rows.Scan(&s.Stream, &s.Position, &s.Type, &s.Events, &s.Attempts, &since, &s.Err)
			s.Since = time.Unix(0, since).UTC()
			all = append(all, s)
			return err
		}, after, MaxListed)
	})
	return all, err
}

// DeadLetters lists the dead letters of the live file after a position, MaxListed
// at most, by position. Status has their number.
func (p *Projection) DeadLetters(ctx context.Context, after int64) (all []DeadLetter, err error) {
	err = p.Read(ctx, 0, func(r *Reader) error {
		return each(r, `
			SELECT position, stream, version, type, attempts, at, error
			FROM leat_dead_letter
			WHERE position > ?
			ORDER BY position
			LIMIT ?`, func(rows *sql.Rows) error {
			var d DeadLetter
			var at int64
			err := rows.Scan(&d.Position, &d.Stream, &d.StreamVersion, &d.Type, &d.Attempts, &at, &d.Err)
			d.At = time.Unix(0, at).UTC()
			all = append(all, d)
			return err
		}, after, MaxListed)
	})
	return all, err
}

func each(r *Reader, query string, fn func(*sql.Rows) error, args ...any) error {
	rows, err := r.Query(query, args...)
	if err != nil {
		return err
	}
	return scanAll(rows, fn)
}

// scanAll calls fn with each row and closes them.
func scanAll(rows *sql.Rows, fn func(*sql.Rows) error) (err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := fn(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Release applies the parked events of a stream, in order, each exactly once,
// and returns how many. What arrives meanwhile in the stream waits behind
// them. It stops, with an EventError, at an event that fails again, which
// stays parked with everything after it; it is not retried. It returns
// ErrBuilding while a new file is built. A stream that is not parked has
// nothing to release.
func (p *Projection) Release(ctx context.Context, stream string) (int, error) {
	released := 0
	for {
		n, more, err := p.releasePage(ctx, stream)
		released += n
		if err != nil || !more {
			return released, err
		}
	}
}

// releasePage releases some events and tells whether there may be more. The
// gate is free between pages, so that a long release does not hold up others.
func (p *Projection) releasePage(ctx context.Context, stream string) (n int, more bool, err error) {
	if err := p.lock(ctx); err != nil {
		return 0, false, err
	}
	defer p.unlock()
	v, err := p.settled(ctx, fmt.Sprintf("release %q", stream))
	if err != nil {
		return 0, false, err
	}
	defer p.publish()
	if v.parked[stream] == 0 {
		return 0, false, nil
	}
	events, err := v.readParked(ctx, stream)
	if err != nil {
		return 0, false, err
	}
	var failed error
	err = v.write(ctx, func(s *step) error {
		n, failed = 0, nil
		for i := range events {
			if failed, err = s.reapply(ctx, &events[i], wasParked); err != nil || failed != nil {
				return err
			}
			n++
		}
		return nil
	})
	if _, ended := errors.AsType[*failure](err); ended || refusedCommit(err) {
		return v.releaseEach(ctx, events)
	}
	if err != nil {
		return 0, false, err
	}
	return n, failed == nil, failed
}

// releaseEach handles a page that could not be committed: one event ended the
// transaction, or a deferred constraint refused the commit. Each event is
// released in a transaction of its own; the first that fails ends it.
func (v *view) releaseEach(ctx context.Context, events []eventstore.Recorded) (n int, more bool, err error) {
	for i := range events {
		failed, err := v.reapplyAlone(ctx, &events[i], wasParked)
		if err != nil || failed != nil {
			return n, false, errors.Join(err, failed)
		}
		n++
	}
	return n, true, nil
}

// unpark forgets that an event waited.
func (s *step) unpark(e *eventstore.Recorded) error {
	if _, err := s.count(`DELETE FROM leat_parked WHERE position = ?`, e.Position); err != nil {
		return err
	}
	if s.parked == nil {
		s.parked = map[string]int{}
	}
	s.parked[e.Stream]--
	return nil
}

// parkedAgain counts a failed release.
func (s *step) parkedAgain(e *eventstore.Recorded, cause error) (failed, err error) {
	_, err = s.tx.Exec(`
		UPDATE leat_parked
		SET attempts = attempts + 1, error = ?
		WHERE position = ?`, shorten(cause.Error()), e.Position)
	if err != nil {
		return nil, s.v.wrap(err)
	}
	return s.v.def.eventError(e, cause), nil
}

// readParked reads the next parked events of a stream from the log.
func (v *view) readParked(ctx context.Context, stream string) (_ []eventstore.Recorded, err error) {
	positions, err := v.parkedPositions(ctx, stream)
	if err != nil || len(positions) == 0 {
		return nil, err
	}
	events := make([]eventstore.Recorded, 0, len(positions))
	last := positions[len(positions)-1]
	for at := positions[0] - 1; at < last; {
		page, err := v.log.ReadLog(ctx, at, releasePage, eventstore.Filter{Streams: []string{stream}})
		if err != nil {
			return nil, fmt.Errorf("projection %s: read the log: %w", v.def.name, err)
		}
		if page.Through.Position <= at {
			break
		}
		at = page.Through.Position
		for _, e := range page.Events {
			if len(events) < len(positions) && e.Position == positions[len(events)] {
				events = append(events, e)
			}
		}
	}
	if len(events) < len(positions) {
		return nil, fmt.Errorf("projection %s: %w: the log has no event of stream %q at position %d, which is parked", v.def.name, eventstore.ErrRewound, stream, positions[len(events)])
	}
	return events, nil
}

func (v *view) parkedPositions(ctx context.Context, stream string) (all []int64, err error) {
	rows, err := v.db.Reader().QueryContext(ctx, `
		SELECT position
		FROM leat_parked
		WHERE stream = ?
		ORDER BY position
		LIMIT ?`, stream, releasePage)
	if err != nil {
		return nil, v.wrap(err)
	}
	err = scanAll(rows, func(rows *sql.Rows) error {
		var at int64
		err := rows.Scan(&at)
		all = append(all, at)
		return err
	})
	if err != nil {
		return nil, v.wrap(err)
	}
	return all, nil
}
