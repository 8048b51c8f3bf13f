package saga

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/leat-go/leat/eventstore"
)

// MaxInstances is how many instances one call of Instances returns.
const MaxInstances = 1000

// Instance is an instance as the file has it.
type Instance struct {
	// ID grows in the order of creation.
	ID   int64
	Saga string
	// Key names it to Show, Retry and the others: the key that its first event
	// had or, of a stream, OfStream of its name.
	Key string
	// Stream is empty of an instance. Else it is the name of a stream that is
	// parked: nobody was given its events from the one named in Reason on.
	Stream string
	Status Status
	// State is the state's JSON, of version StateVersion.
	State        json.RawMessage
	StateVersion int
	// Cursor is the highest position of an event that it was given. A stream that
	// was parked and goes on gives it events below.
	Cursor int64
	// Undo names what Compensate would undo, the last pushed last.
	Undo []string
	// Reason says why it is parked, backs off, failed or compensates.
	Reason string
	// Attempts counts the failed attempts of what waits first; NextAttempt is
	// the wall time of the next, zero unless it backs off.
	Attempts    int
	NextAttempt time.Time
	// Waiting is how many inputs wait, Pending how many commands.
	Waiting, Pending int
	// Created, Updated and Completed are the engine's clock; Completed is zero
	// until it is finished.
	Created, Updated, Completed time.Time
}

// Query selects instances. The zero value selects all.
type Query struct {
	// Saga and Status select by equality unless empty.
	Saga   string
	Status Status
	// Open selects those that are not finished.
	Open bool
	// CreatedBefore and UpdatedBefore select by age, by the engine's clock: those
	// that began before, and those that nothing has happened to since. Default to
	// no limit.
	CreatedBefore, UpdatedBefore time.Time
	// Stuck, above 0, selects those that do not go on by themselves: where
	// something has failed (the instance is parked or backs off, or one of its
	// commands does), and those that are not finished, wait for no timer and have
	// seen nothing happen for this long by the engine's clock. The latter may
	// rightly wait for an event.
	Stuck time.Duration
	// After is the ID of the last instance of the page before.
	After int64
	// Limit is 1 to MaxInstances. Defaults to MaxInstances.
	Limit int
}

const viewColumns = `i.id, s.name, i.key, i.stray, i.status, i.state, i.state_version, i.cursor, i.undo, i.reason, i.attempts, i.next_attempt,
	i.created, i.updated, i.completed,
	(SELECT COUNT(*) FROM waiting w WHERE w.instance = i.id),
	(SELECT COUNT(*) FROM outbox o WHERE o.instance = i.id)`

func scanView(row interface{ Scan(...any) error }) (Instance, error) {
	var i Instance
	var state, undos string
	var next, created, updated, completed int64
	var stray bool
	err := row.Scan(&i.ID, &i.Saga, &i.Key, &stray, &i.Status, &state, &i.StateVersion, &i.Cursor, &undos, &i.Reason, &i.Attempts, &next,
		&created, &updated, &completed, &i.Waiting, &i.Pending)
	if err != nil {
		return i, err
	}
	if stray {
		i.Key, i.Stream = OfStream(i.Key), i.Key
	}
	i.State = json.RawMessage(state)
	stack, err := (&instance{undos: undos}).stack()
	if err != nil {
		i.Undo = []string{err.Error()}
	}
	for _, u := range stack {
		i.Undo = append(i.Undo, u.Name)
	}
	i.NextAttempt, i.Created, i.Updated, i.Completed = instant(next), instant(created), instant(updated), instant(completed)
	return i, nil
}

func instant(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// where returns what is selected as conditions on i.
func (q Query) where(now time.Time) (text string, args []any) {
	and := func(condition string, values ...any) {
		text += " AND " + condition
		args = append(args, values...)
	}
	if q.Saga != "" {
		and("s.name = ?", q.Saga)
	}
	switch {
	case q.Status == Parked:
		and("i.status = 'parked'") // spelled out, for its index
	case q.Status != "":
		and("i.status = ?", string(q.Status))
	}
	if q.Open {
		and(openInstance)
	}
	if !q.CreatedBefore.IsZero() {
		and("i.created < ?", q.CreatedBefore.UnixNano())
	}
	if !q.UpdatedBefore.IsZero() {
		and("i.updated < ?", q.UpdatedBefore.UnixNano())
	}
	if q.Stuck > 0 {
		and(`(i.status = 'parked' OR i.next_attempt > 0
			OR EXISTS (SELECT 1 FROM outbox o WHERE o.instance = i.id AND (o.parked = 1 OR o.next_attempt > 0))
			OR `+openInstance+` AND i.updated < ? AND i.timers = '')`, now.Add(-q.Stuck).UnixNano())
	}
	return text, args
}

// Instances returns a page of instances, in the order of their ids. By Status
// Parked it looks at those alone; by another, by age or for what is stuck it
// looks at every row.
func (e *Engine) Instances(ctx context.Context, q Query) (list []Instance, err error) {
	if q.Limit == 0 {
		q.Limit = MaxInstances
	}
	if q.Stuck < 0 {
		return nil, &eventstore.InvalidError{Field: "stuck", Value: q.Stuck.String(), Reason: "must not be negative"}
	}
	if q.Status != "" && !slices.Contains(statuses, q.Status) {
		return nil, &eventstore.InvalidError{Field: "status", Value: string(q.Status), Reason: fmt.Sprintf("there are %v", statuses)}
	}
	if q.Limit < 1 || q.Limit > MaxInstances {
		return nil, &eventstore.InvalidError{Field: "limit", Value: fmt.Sprint(q.Limit), Reason: fmt.Sprintf("must be 1 to %d", MaxInstances)}
	}
	query := `
		SELECT ` + viewColumns + `
		FROM instance i
		JOIN saga s ON s.id = i.saga
		WHERE i.id > ? AND NOT (i.stray = 1 AND i.status <> 'parked')`
	where, args := q.where(e.clock.Now())
	args = append([]any{q.After}, args...)
	err = each(ctx, e.db.Reader(), func(rows *sql.Rows) error {
		i, err := scanView(rows)
		list = append(list, i)
		return err
	}, query+where+" ORDER BY i.id LIMIT ?", append(args, q.Limit)...)
	if err != nil {
		return nil, fmt.Errorf("saga: instances: %w", err)
	}
	return list, nil
}

const instanceOfKey = `
	SELECT ` + viewColumns + `
	FROM saga s
	JOIN instance i ON i.id = COALESCE(
		(SELECT n.id FROM instance n WHERE n.saga = s.id AND n.key = ?2 AND n.stray = ?3),
		(SELECT a.instance FROM alias a WHERE ?3 = 0 AND a.saga = s.id AND a.key = ?2))
	WHERE s.name = ?1`

// Instance returns the instance with the key, which may be an alias, or the
// stream that OfStream names. It returns ErrNotFound where there is none.
func (e *Engine) Instance(ctx context.Context, saga, key string) (Instance, error) {
	name, isStream := strings.CutPrefix(key, streamMark)
	i, err := scanView(e.db.Reader().QueryRowContext(ctx, instanceOfKey, saga, name, isStream))
	if errors.Is(err, sql.ErrNoRows) {
		return i, fmt.Errorf("%w: saga %q %s", ErrNotFound, saga, spelled(key))
	}
	if err != nil {
		return i, fmt.Errorf("saga: instance: %w", err)
	}
	return i, nil
}

// Entry is a line of an instance's journal: an input and what the instance did
// about it.
type Entry struct {
	// Sequence counts from 1 within the instance.
	Sequence int64
	// Kind is event, timer, rejection, admin or undo.
	Kind string
	// Ref identifies the input: an event's position, a rejected command's id,
	// a timer's reference.
	Ref string
	// Name is the event's or command's type, the timer's name, the admin
	// action.
	Name string
	// Effects are what the step did: send:TYPE, timer:NAME, cancel:NAME,
	// undo:NAME, alias:KEY, complete, fail, compensate. Of an admin action
	// they are the reason given.
	Effects string
	// Version is the state version of the code that ran.
	Version int
	// At is the engine's clock.
	At time.Time
	// Due is when a timer that fired was due.
	Due time.Time
	// Code and Reason are those of a rejection.
	Code, Reason string
	// Who asked for an admin action.
	Who string
}

// History returns the journal, whole, of what Instance returns for the key, and
// ErrNotFound where that does.
func (e *Engine) History(ctx context.Context, saga, key string) (list []Entry, err error) {
	i, err := e.Instance(ctx, saga, key)
	if err != nil {
		return nil, err
	}
	err = each(ctx, e.db.Reader(), func(rows *sql.Rows) error {
		var en Entry
		var at int64
		var text string
		if err := rows.Scan(&en.Sequence, &en.Kind, &en.Ref, &en.Name, &en.Effects, &en.Version, &at, &text); err != nil {
			return err
		}
		in, err := readEntryInput(text)
		en.At, en.Due, en.Code, en.Reason, en.Who = instant(at), instant(in.Due), in.Code, in.Reason, in.Who
		list = append(list, en)
		return err
	}, `
		`+entriesOf+`
		SELECT sequence, kind, ref, name, effects, version, at, input
		FROM journal
		WHERE id IN (SELECT id FROM entries)
		ORDER BY id`, i.ID)
	if err != nil {
		return nil, fmt.Errorf("saga: history: %w", err)
	}
	return list, nil
}

// entriesOf follows the chain of an instance's entries, the last one first.
const entriesOf = `
	WITH RECURSIVE entries (id, prev) AS (
		SELECT j.id, j.prev
		FROM instance i
		JOIN journal j ON j.id = i.journal_last
		WHERE i.id = ?
		UNION ALL
		SELECT j.id, j.prev
		FROM entries e
		JOIN journal j ON j.id = e.prev
	)`

// PendingCommand is a command that is not known to be done.
type PendingCommand struct {
	Saga, Key string
	// Sequence counts the commands of the instance.
	Sequence int64
	// ID becomes the batch ID of the append that the command causes.
	ID   string
	Type string
	Data json.RawMessage
	// Undo says that it undoes another.
	Undo bool
	// Parked says that it is not tried again; Reason says why.
	Parked      bool
	Attempts    int
	NextAttempt time.Time
	Reason      string
}

// Pending returns commands of the outbox that are not recorded as done, limit
// at most, instance by instance, those of one in their order. Commands may
// have been carried out already.
func (e *Engine) Pending(ctx context.Context, limit int) ([]PendingCommand, error) {
	return e.commandsOf(ctx, 0, limit)
}

const (
	selectCommands = `
		SELECT s.name, i.key, o.sequence, o.id, o.type, o.data, o.undo, o.parked, o.attempts, o.next_attempt, o.reason
		FROM outbox o
		JOIN instance i ON i.id = o.instance
		JOIN saga s ON s.id = i.saga`
	allCommands = selectCommands + `
		ORDER BY o.instance, o.sequence
		LIMIT ?`
	commandsOfOne = selectCommands + `
		WHERE o.instance = ?
		ORDER BY o.sequence
		LIMIT ?`
)

// commandsOf is Pending of one instance, or of all where that is 0.
func (e *Engine) commandsOf(ctx context.Context, instance int64, limit int) (list []PendingCommand, err error) {
	query, args := allCommands, []any{limit}
	if instance != 0 {
		query, args = commandsOfOne, []any{instance, limit}
	}
	err = each(ctx, e.db.Reader(), func(rows *sql.Rows) error {
		var c PendingCommand
		var data string
		var next int64
		err := rows.Scan(&c.Saga, &c.Key, &c.Sequence, &c.ID, &c.Type, &data, &c.Undo, &c.Parked, &c.Attempts, &next, &c.Reason)
		c.Data, c.NextAttempt = json.RawMessage(data), instant(next)
		list = append(list, c)
		return err
	}, query, args...)
	if err != nil {
		return nil, fmt.Errorf("saga: pending commands: %w", err)
	}
	return list, nil
}

// PendingTimer is a timer that is set.
type PendingTimer struct {
	Saga, Key, Name string
	// Due is by the engine's clock.
	Due time.Time
	// Held says that its instance is parked or failing.
	Held bool
}

// Timers returns pending timers, limit at most, the next due first.
func (e *Engine) Timers(ctx context.Context, limit int) ([]PendingTimer, error) {
	return e.timersOf(ctx, 0, limit)
}

const (
	allTimers = `
		SELECT s.name, i.key, t.name, t.due, t.held
		FROM timer t
		JOIN instance i ON i.id = t.instance
		JOIN saga s ON s.id = i.saga
		ORDER BY t.due, s.name, i.key, t.name
		LIMIT ?`
	timersOfOne = `
		SELECT s.name, i.key, t.name, t.due, t.held
		FROM instance i
		JOIN saga s ON s.id = i.saga
		CROSS JOIN json_each(iif(json_valid(i.timers), i.timers, '{}')) a
		CROSS JOIN timer t ON t.held IN (0, 1) AND t.due = a.value AND t.instance = i.id AND t.name = a.key
		WHERE i.id = ?
		ORDER BY t.due, t.name
		LIMIT ?`
)

// timersOf is Timers of one instance, or of all where that is 0.
func (e *Engine) timersOf(ctx context.Context, instance int64, limit int) (list []PendingTimer, err error) {
	query, args := allTimers, []any{limit}
	if instance != 0 {
		query, args = timersOfOne, []any{instance, limit}
	}
	err = each(ctx, e.db.Reader(), func(rows *sql.Rows) error {
		var t PendingTimer
		var due int64
		err := rows.Scan(&t.Saga, &t.Key, &t.Name, &due, &t.Held)
		t.Due = time.Unix(0, due).UTC()
		list = append(list, t)
		return err
	}, query, args...)
	if err != nil {
		return nil, fmt.Errorf("saga: timers: %w", err)
	}
	return list, nil
}
