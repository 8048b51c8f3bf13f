package serverless

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/crash"
	"github.com/leat-go/leat/internal/sqlite"
)

// States of a dead letter.
const (
	stateParked    = "parked"
	stateSkipped   = "skipped"
	stateDiscarded = "discarded"
)

// DeadLetter is an event that a function gave up.
type DeadLetter struct {
	// Function is the name of the event function.
	Function string
	// Position, Stream, EventID and Type are the event's own: a retry gives
	// the function the same event again.
	Position int64
	Stream   string
	EventID  uuid.UUID
	Type     string
	// Parked says that later events of the stream wait for this one; Waiting
	// is how many.
	Parked  bool
	Waiting int
	// Attempts is how often the function was called with it; 0 for an event
	// whose predecessor was released, and that was not tried yet.
	Attempts int
	// FirstAt and LastAt are the wall times of the first and last failure.
	FirstAt, LastAt time.Time
	// Error is the text of the last failure.
	Error string
	// Reason is why it was discarded, empty for one that was not; then LastAt is
	// when.
	Reason string
}

// deadLetters lists dead letters, or those that were discarded.
func (l *ledger) deadLetters(ctx context.Context, function string, after int64, limit int, discarded bool) (_ []DeadLetter, err error) {
	rows, err := l.db.Reader().QueryContext(ctx, `
		SELECT d.function, d.position, d.stream, d.event_id, d.type, d.state, d.attempts, d.first_at, d.last_at, d.error, d.reason,
		       CASE d.state WHEN 'parked' THEN
		           (SELECT COUNT(*) FROM waiting w WHERE w.function = d.function AND w.stream = d.stream)
		       ELSE 0 END
		FROM dead_letter d
		WHERE (d.state = 'discarded') = ?4 AND (?1 = '' OR d.function = ?1) AND d.position > ?2
		ORDER BY d.position, d.function
		LIMIT ?3`, function, after, limit, discarded)
	if err != nil {
		return nil, fmt.Errorf("serverless: list dead letters: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var letters []DeadLetter
	for rows.Next() {
		var d DeadLetter
		var state, id string
		var first, last int64
		if err := rows.Scan(&d.Function, &d.Position, &d.Stream, &id, &d.Type, &state, &d.Attempts, &first, &last, &d.Error, &d.Reason, &d.Waiting); err != nil {
			return nil, fmt.Errorf("serverless: list dead letters: %w", err)
		}
		if d.EventID, err = uuid.Parse(id); err != nil {
			return nil, fmt.Errorf("serverless: list dead letters: %w", err)
		}
		d.Parked = state == stateParked
		d.FirstAt, d.LastAt = time.Unix(0, first).UTC(), time.Unix(0, last).UTC()
		letters = append(letters, d)
	}
	return letters, rows.Err()
}

// countDeadLetters returns how many there are, by function.
func (l *ledger) countDeadLetters(ctx context.Context) (_ map[string]int, err error) {
	rows, err := l.db.Reader().QueryContext(ctx, `
		SELECT function, COUNT(*)
		FROM dead_letter
		WHERE state <> 'discarded'
		GROUP BY function`)
	if err != nil {
		return nil, fmt.Errorf("serverless: count dead letters: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	counts := map[string]int{}
	for rows.Next() {
		var name string
		var n int
		if err := rows.Scan(&name, &n); err != nil {
			return nil, fmt.Errorf("serverless: count dead letters: %w", err)
		}
		counts[name] = n
	}
	return counts, rows.Err()
}

// parkedStreams returns the streams of a function that wait.
func (l *ledger) parkedStreams(ctx context.Context, function string) (_ map[string]bool, err error) {
	rows, err := l.db.Reader().QueryContext(ctx, `
		SELECT stream
		FROM dead_letter
		WHERE function = ? AND state = 'parked'`, function)
	if err != nil {
		return nil, fmt.Errorf("serverless: load parked streams of %q: %w", function, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	streams := map[string]bool{}
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, fmt.Errorf("serverless: load parked streams of %q: %w", function, err)
		}
		streams[s] = true
	}
	return streams, rows.Err()
}

// letter returns one dead letter, and its state.
func (l *ledger) letter(ctx context.Context, function string, position int64) (DeadLetter, string, error) {
	d := DeadLetter{Function: function, Position: position}
	var state string
	err := l.db.Reader().QueryRowContext(ctx, `
		SELECT stream, state, attempts
		FROM dead_letter
		WHERE function = ? AND position = ?`, function, position).Scan(&d.Stream, &state, &d.Attempts)
	switch {
	case errors.Is(err, sql.ErrNoRows) || err == nil && state == stateDiscarded:
		return d, "", fmt.Errorf("%w: function %q has none at position %d", ErrNoDeadLetter, function, position)
	case err != nil:
		return d, "", fmt.Errorf("serverless: load dead letter: %w", err)
	}
	return d, state, nil
}

func insertLetter(tx *sqlite.Tx, function, state string, e eventstore.Recorded, a attempt, now int64) error {
	_, err := tx.Exec(`
		INSERT INTO dead_letter (function, position, stream, event_id, type, state, attempts, first_at, last_at, error)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (function, position) DO UPDATE
		SET state = excluded.state, attempts = excluded.attempts, last_at = excluded.last_at, error = excluded.error, reason = ''`,
		function, e.Position, e.Stream, e.ID.String(), e.Type, state, a.Attempts, a.FirstAt, now, a.Error)
	return err
}

func insertWaiting(tx *sqlite.Tx, function string, e eventstore.Recorded) error {
	_, err := tx.Exec(`
		INSERT INTO waiting (function, stream, position, event_id, type)
		SELECT ?1, ?2, ?3, ?4, ?5
		WHERE NOT EXISTS (SELECT 1 FROM dead_letter WHERE function = ?1 AND position = ?3)
		ON CONFLICT (function, stream, position) DO NOTHING`,
		function, e.Stream, e.Position, e.ID.String(), e.Type)
	return err
}

// failedAgain records that a retry of a dead letter failed.
func (l *ledger) failedAgain(ctx context.Context, d DeadLetter, cause error) error {
	return l.write(ctx, "record attempt", func(tx *sqlite.Tx) error {
		_, err := tx.Exec(`
			UPDATE dead_letter
			SET attempts = attempts + 1, last_at = ?, error = ?
			WHERE function = ? AND position = ?`,
			time.Now().UnixNano(), errorText(cause), d.Function, d.Position)
		return err
	})
}

// settleLetter removes a dead letter, or keeps it as discarded where there is
// a reason, and makes the first event that waits behind it, if any, the parked
// one of its stream. It returns that event's position, 0 for none.
func (l *ledger) settleLetter(ctx context.Context, d DeadLetter, reason string) (next int64, err error) {
	err = l.write(ctx, "settle dead letter", func(tx *sqlite.Tx) error {
		var err error
		if reason == "" {
			_, err = tx.Exec(`DELETE FROM dead_letter WHERE function = ? AND position = ?`, d.Function, d.Position)
		} else {
			_, err = tx.Exec(`
				UPDATE dead_letter
				SET state = 'discarded', reason = ?, last_at = ?
				WHERE function = ? AND position = ?`, reason, time.Now().UnixNano(), d.Function, d.Position)
		}
		crash.At(crash.LetterSettled)
		if err != nil || !d.Parked {
			return err
		}
		next, err = promote(tx, d.Function, d.Stream)
		return err
	})
	return next, err
}

func promote(tx *sqlite.Tx, function, stream string) (int64, error) {
	var position int64
	err := tx.QueryRow(`
		SELECT position
		FROM waiting
		WHERE function = ? AND stream = ?
		ORDER BY position
		LIMIT 1`, function, stream).Scan(&position)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	now := time.Now().UnixNano()
	_, err = tx.Exec(`
		INSERT INTO dead_letter (function, position, stream, event_id, type, state, attempts, first_at, last_at, error)
		SELECT function, position, stream, event_id, type, 'parked', 0, ?, ?, 'not tried yet: the event it waited for was released'
		FROM waiting
		WHERE function = ? AND position = ? AND stream = ?`, now, now, function, position, stream)
	if err != nil {
		return 0, err
	}
	_, err = tx.Exec(`DELETE FROM waiting WHERE function = ? AND stream = ? AND position = ?`, function, stream, position)
	return position, err
}
