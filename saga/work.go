package saga

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/crash"
	"github.com/leat-go/leat/internal/sqlite"
)

// work is what one transaction changes. Instances and timers are read through
// it, changed in memory and written at the end, each once however many inputs
// changed it; the rest is written at once. Effects of a handler reach it only
// after the handler has returned nil, so a handler that fails leaves no trace
// and needs no savepoint. It is of no use after its transaction.
type work struct {
	e        *Engine
	tx       *sqlite.Tx
	read     func(position int64) (eventstore.Recorded, error)
	now      int64             // the clock, not before that of the last step
	wall     int64             // of attempts
	through  eventstore.Anchor // how far the log was seen; zero: no further
	position int64             // as handlers are told

	instances map[int64]*instance
	byKey     map[instanceKey]*instance // nil: there is none
	changed   []*instance               // that differ from the file
	timers    map[timerKey]*timer       // as changed; nil: gone
	known     map[timerKey]*timer       // as read
	wiped     []*instance               // whose timers are all gone
	commands  []*command                // that are new
	taken     []*result                 // from the outbox; given back unless committed
	pending   map[int64]int             // change of the number of commands, by instance
	entries   []entry                   // of the journal, to be written
	after     []func()                  // changes of what is in memory, for after the commit

	timerCount int   // change of the number of timers
	dueLost    bool  // the earliest timer may have gone
	dueNew     int64 // the earliest timer set; 0 for none
	strayed    bool  // the engine's strays were changed
}

type instanceKey struct {
	saga  int64
	key   string
	stray bool
}

type timerKey struct {
	instance int64
	name     string
}

// transact runs fn in a transaction and, once it is committed, has what is in
// memory follow. The caller holds the gate.
func (e *Engine) transact(ctx context.Context, fn func(*work) error) error {
	w := &work{
		e: e, now: max(e.clock.Now().UnixNano(), e.lastTime), wall: time.Now().UnixNano(), position: e.checkpoint.Load().Position,
		instances: map[int64]*instance{}, byKey: map[instanceKey]*instance{}, timers: map[timerKey]*timer{}, known: map[timerKey]*timer{}, pending: map[int64]int{},
	}
	w.read = func(position int64) (eventstore.Recorded, error) { return e.event(ctx, position) }
	nextID, nextEntry, sweep, swept := e.nextID, e.nextEntry, e.sweep, e.swept
	err := e.db.Write(ctx, func(tx *sqlite.Tx) error {
		w.tx = tx
		if err := w.own(); err != nil {
			return err
		}
		if w.sweepDue() {
			if err := w.sweep(); err != nil {
				return err
			}
		}
		if err := fn(w); err != nil {
			return err
		}
		if err := w.flush(); err != nil {
			return err
		}
		crash.At(crash.SagaBeforeCommit)
		return e.step("commit")
	})
	if err == nil {
		crash.At(crash.SagaAfterCommit)
		if err = e.step("committed"); err != nil {
			err = &sqlite.CommitError{Err: err}
		}
	}
	if err != nil {
		e.nextID, e.nextEntry, e.sweep, e.swept = nextID, nextEntry, sweep, swept
		if _, unsure := errors.AsType[*sqlite.CommitError](err); unsure || w.strayed {
			e.unsure = true
		}
		e.outbox.giveBack(w.taken)
		return fmt.Errorf("saga step: %w", err)
	}
	w.committed()
	return nil
}

// own returns ErrMoved where another engine has opened the file since.
func (w *work) own() error {
	var owner int64
	if err := w.tx.QueryRow(`
		SELECT owner
		FROM engine
		WHERE id = 1`).Scan(&owner); err != nil {
		return err
	}
	if owner != w.e.owner {
		return fmt.Errorf("%w: it was opened by another engine", ErrMoved)
	}
	return nil
}

// event reads an event of the log.
func (e *Engine) event(ctx context.Context, position int64) (eventstore.Recorded, error) {
	page, err := e.log.ReadLog(ctx, position-1, 1, eventstore.Filter{})
	if err != nil {
		return eventstore.Recorded{}, fmt.Errorf("read log: %w", err)
	}
	if len(page.Events) == 0 || page.Events[0].Position != position {
		return eventstore.Recorded{}, &eventstore.CorruptError{Where: fmt.Sprintf("position %d", position), Reason: "the event is not in the log"}
	}
	return page.Events[0], nil
}

// flush writes what was changed in memory, and how far the log was seen.
func (w *work) flush() error {
	if err := w.saveEntries(); err != nil {
		return err
	}
	if err := w.saveTimers(); err != nil {
		return err
	}
	for _, i := range w.changed {
		i.updated = w.now
		if err := w.save(i); err != nil {
			return err
		}
	}
	crash.At(crash.SagaStepped)
	return w.saveCheckpoint()
}

// saveCheckpoint moves the checkpoints of the sagas that are behind, by
// compare-and-swap, and keeps the clock.
func (w *work) saveCheckpoint() error {
	e := w.e
	if w.through == (eventstore.Anchor{}) { // nothing was read; what was passed over is saved along
		w.through = *e.checkpoint.Load()
	}
	behind := map[int64]int64{}
	for _, b := range e.bindings {
		if b.saved.Position < w.through.Position {
			behind[b.saved.Position]++
		}
	}
	for position, n := range behind {
		result, err := w.tx.Exec(`
			UPDATE saga
			SET epoch = ?, position = ?, hash = ?
			WHERE active = 1 AND position = ?`, w.through.Epoch, w.through.Position, w.through.Hash[:], position)
		if err != nil {
			return err
		}
		if err := moved(result, n, "checkpoint"); err != nil {
			return err
		}
	}
	if w.now == e.lastTime || len(w.changed) == 0 { // not a step
		return nil
	}
	_, err := w.tx.Exec(`
		UPDATE engine
		SET last_time = ?
		WHERE id = 1`, w.now)
	crash.At(crash.SagaClock)
	return err
}

// committed has what is in memory follow the transaction.
func (w *work) committed() {
	e := w.e
	e.see(w.through)
	for _, b := range e.bindings {
		if b.saved.Position < w.through.Position {
			b.saved = w.through
		}
	}
	if len(w.changed) > 0 {
		e.lastTime = w.now
	}
	e.mu.Lock()
	for _, i := range w.changed {
		e.count(i)
		i.asSaved()
		e.cache.keep(i)
	}
	e.timers += w.timerCount
	wake := w.dueLost
	switch {
	case w.dueLost:
		e.dueKnown = false
	case w.dueNew != 0 && e.dueKnown && (e.nextDue == 0 || w.dueNew < e.nextDue):
		e.nextDue = w.dueNew
		wake = true
	}
	e.mu.Unlock()
	for _, fn := range w.after {
		fn()
	}
	if wake || w.dueNew != 0 {
		signal(e.timerWake)
	}
	e.outbox.follow(w)
}

// signal leaves a token for whoever waits.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// touch says that the instance differs from the file.
func (w *work) touch(i *instance) {
	if !i.dirty {
		i.dirty = true
		w.changed = append(w.changed, i)
	}
}

// find returns the instance with the key, nil where there is none.
func (w *work) find(b *binding, key string) (*instance, error) {
	k := instanceKey{saga: b.id, key: key}
	if i, ok := w.byKey[k]; ok {
		return i, nil
	}
	if i := w.cached(w.e.cache.byKey(k)); i != nil {
		return i, nil
	}
	i, err := w.scan(w.tx.QueryRow(`
		SELECT `+instanceColumns+`
		FROM instance
		WHERE saga = ? AND key = ? AND stray = 0`, b.id, key))
	if err != nil {
		return nil, err
	}
	if i == nil && w.e.aliases[b.id] {
		var id int64
		err := w.tx.QueryRow(`
			SELECT instance
			FROM alias
			WHERE saga = ? AND key = ?`, b.id, key).Scan(&id)
		if err == nil {
			i, err = w.load(id)
		}
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, err
		}
	}
	w.byKey[k] = i
	return i, nil
}

// findStray returns the row of a stream with unreadable events.
func (w *work) findStray(b *binding, stream string) (*instance, error) {
	if i, ok := w.byKey[instanceKey{b.id, stream, true}]; ok {
		return i, nil
	}
	return w.scan(w.tx.QueryRow(`
		SELECT `+instanceColumns+`
		FROM instance
		WHERE saga = ? AND key = ? AND stray = 1`, b.id, stream))
}

// load returns the instance with the id.
func (w *work) load(id int64) (*instance, error) {
	if i, ok := w.instances[id]; ok {
		return i, nil
	}
	if i := w.cached(w.e.cache.byID(id)); i != nil {
		return i, nil
	}
	i, err := w.scan(w.tx.QueryRow(`
		SELECT `+instanceColumns+`
		FROM instance
		WHERE id = ?`, id))
	if err == nil && i == nil {
		err = fmt.Errorf("%w: row %d", ErrNotFound, id)
	}
	return i, err
}

// scan returns the row's instance, nil without a row. One that was loaded
// before is returned as it is.
func (w *work) scan(row *sqlite.Row) (*instance, error) {
	i, err := scanInstance(row)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if known, ok := w.instances[i.id]; ok {
		return known, nil
	}
	i.b = w.e.byID[i.saga]
	w.take(i)
	return i, nil
}

func (w *work) take(i *instance) {
	w.instances[i.id] = i
	w.byKey[i.unique()] = i
}

// cached takes an instance of the cache, nil where there is none.
func (w *work) cached(i *instance) *instance {
	if i == nil {
		return nil
	}
	if known, ok := w.instances[i.id]; ok {
		return known
	}
	i.b = w.e.byID[i.saga]
	w.take(i)
	return i
}

// create makes a new instance.
func (w *work) create(b *binding, key string, stray bool, correlation string) *instance {
	w.e.nextID++
	i := &instance{
		id: w.e.nextID, saga: b.id, b: b, key: key, stray: stray,
		status: Running, state: "{}", stateVersion: b.version, correlation: correlation, created: w.now,
	}
	w.take(i)
	w.touch(i)
	return i
}
