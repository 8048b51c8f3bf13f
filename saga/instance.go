package saga

import (
	"database/sql"
	"fmt"
)

// Status says where an instance stands.
type Status string

const (
	// Running: it waits for inputs.
	Running Status = "running"
	// Compensating: its undos are carried out.
	Compensating Status = "compensating"
	// Completed, Compensated and Failed: it is finished, and its key taken.
	Completed   Status = "completed"
	Compensated Status = "compensated"
	Failed      Status = "failed"
	// Parked: it waits for Retry, Skip, Cancel or Complete, and its inputs
	// with it.
	Parked Status = "parked"
)

// statuses are all there are.
var statuses = []Status{Running, Compensating, Completed, Compensated, Failed, Parked}

func (s Status) finished() bool { return s == Completed || s == Compensated || s == Failed }

// instance is a row of the table, as a work changes it.
type instance struct {
	id           int64
	saga         int64
	b            *binding // nil where the saga is not registered
	key          string
	stray        bool
	status       Status
	undoing      bool // it compensates, or will once it is no longer parked
	state        string
	stateVersion int
	version      int64
	cursor       int64 // the last event taken in, be it to wait
	sequence     int64 // of the outbox, as used
	journal      int64 // entries, as used
	journalLast  int64 // the id of the last one
	waited       int64 // as used
	undos        string
	undoRoot     int64 // of the next undo, as those of a command
	undoHops     int
	undoAt       int64
	correlation  string
	reason       string
	attempts     int
	failedAt     int64
	nextAttempt  int64
	created      int64
	updated      int64
	completed    int64

	loaded  bool    // it is in the file
	dirty   bool    // it differs from the file
	counted Status  // as the counts have it; empty for a new one
	backing bool    // as the counts have it: it backs off
	blocked bool    // as the file's timers have it: held
	wiped   bool    // its timers are all gone
	rare    rare    // as the file has it
	armed   []armed // its timers, as the file has them
}

// blocking tells whether inputs have to wait.
func (i *instance) blocking() bool { return i.status == Parked || i.nextAttempt != 0 }

const instanceColumns = `id, saga, key, stray, status, undoing, state, state_version, version, cursor, sequence, journal, journal_last, waited,
	undo, undo_root, undo_hops, undo_at, correlation, reason, attempts, failed_at, next_attempt, created, updated, completed, timers`

func scanInstance(row interface{ Scan(...any) error }) (*instance, error) {
	i, timers := &instance{}, ""
	err := row.Scan(&i.id, &i.saga, &i.key, &i.stray, &i.status, &i.undoing, &i.state, &i.stateVersion, &i.version, &i.cursor, &i.sequence,
		&i.journal, &i.journalLast, &i.waited, &i.undos, &i.undoRoot, &i.undoHops, &i.undoAt, &i.correlation, &i.reason, &i.attempts, &i.failedAt, &i.nextAttempt, &i.created, &i.updated, &i.completed, &timers)
	if err != nil {
		return nil, err
	}
	if i.armed, err = readArmed(timers); err != nil {
		return nil, fmt.Errorf("instance %d, %q: %w", i.id, i.key, err)
	}
	i.asSaved()
	return i, nil
}

// asSaved notes that the instance is as the file has it.
func (i *instance) asSaved() {
	i.loaded, i.dirty, i.wiped = true, false, false
	i.counted, i.backing, i.blocked = i.status, i.nextAttempt != 0, i.blocking()
	i.rare = i.rarely()
}

// rare are the columns that most steps leave alone.
type rare struct {
	status                 Status
	undoing                bool
	stateVersion, undoHops int
	undos, reason          string
	undoRoot, undoAt       int64
	attempts               int
	failedAt, nextAttempt  int64
	waited, completed      int64
}

func (i *instance) rarely() rare {
	return rare{status: i.status, undoing: i.undoing, stateVersion: i.stateVersion, undoHops: i.undoHops, undos: i.undos, reason: i.reason,
		undoRoot: i.undoRoot, undoAt: i.undoAt, attempts: i.attempts, failedAt: i.failedAt, nextAttempt: i.nextAttempt,
		waited: i.waited, completed: i.completed}
}

// save writes the row, by compare-and-swap on its version.
func (w *work) save(i *instance) error {
	timers, err := i.armedText()
	if err != nil {
		return err
	}
	if !i.loaded {
		i.version = 1
		_, err := w.tx.Exec(`
			INSERT INTO instance (`+instanceColumns+`, swept)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)`,
			i.id, i.saga, i.key, i.stray, string(i.status), i.undoing, i.state, i.stateVersion, i.version, i.cursor, i.sequence, i.journal, i.journalLast, i.waited,
			i.undos, i.undoRoot, i.undoHops, i.undoAt, i.correlation, i.reason, i.attempts, i.failedAt, i.nextAttempt, i.created, i.updated, i.completed, timers)
		return err
	}
	var result sql.Result
	if i.rare == i.rarely() {
		result, err = w.tx.Exec(`
			UPDATE instance
			SET version = version + 1, state = ?, cursor = ?, sequence = ?, journal = ?, journal_last = ?, updated = ?, timers = ?
			WHERE id = ? AND version = ?`, i.state, i.cursor, i.sequence, i.journal, i.journalLast, i.updated, timers, i.id, i.version)
	} else {
		result, err = w.tx.Exec(`
			UPDATE instance
			SET version = version + 1, state = ?, cursor = ?, sequence = ?, journal = ?, journal_last = ?, updated = ?, timers = ?,
				status = ?, undoing = ?, state_version = ?, waited = ?, undo = ?, undo_root = ?, undo_hops = ?, undo_at = ?,
				reason = ?, attempts = ?, failed_at = ?, next_attempt = ?, completed = ?
			WHERE id = ? AND version = ?`, i.state, i.cursor, i.sequence, i.journal, i.journalLast, i.updated, timers,
			string(i.status), i.undoing, i.stateVersion, i.waited, i.undos, i.undoRoot, i.undoHops, i.undoAt,
			i.reason, i.attempts, i.failedAt, i.nextAttempt, i.completed, i.id, i.version)
	}
	if err != nil {
		return err
	}
	i.version++
	return moved(result, 1, "instance")
}

// moved returns ErrMoved unless the statement changed as many rows as it must.
func moved(result sql.Result, want int64, what string) error {
	n, err := result.RowsAffected()
	if err != nil {
		return err
	}
	if n != want {
		return fmt.Errorf("%w: %s", ErrMoved, what)
	}
	return nil
}
