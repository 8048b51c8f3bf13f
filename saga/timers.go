package saga

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/crash"
)

// FireDue fires every timer that is due by the engine's clock, in the order of
// (due, saga, instance, name), and returns how many. Without Options.Ordered
// those of one instant fire by pages of FirePage, in no particular order, each
// sorted: what the first ones send is on its way while others fire. Before a timer fires, every event up to
// the log's head is applied: what it is about may have happened. Timers of
// parked and failing instances do not fire. It is for a clock.Virtual, after
// each Advance; RunTimers does it for clocks that run.
func (e *Engine) FireDue(ctx context.Context) (int, error) {
	fired := 0
	for {
		n, more, err := e.fire(ctx)
		fired += n
		if err != nil || !more {
			return fired, err
		}
	}
}

// dueTimer is a timer that is due.
type dueTimer struct {
	timer
	timerKey
	of *instance
}

// fire fires up to FirePage timers in one transaction and tells whether there
// may be more.
func (e *Engine) fire(ctx context.Context) (fired int, more bool, err error) {
	due, ok, err := e.NextDue(ctx)
	if err != nil || !ok || due.After(e.clock.Now()) {
		return 0, false, err
	}
	if err := e.lock(ctx); err != nil {
		return 0, false, err
	}
	defer e.unlock()
	if err := e.advance(ctx); err != nil {
		return 0, false, err
	}
	err = e.transact(ctx, func(w *work) error {
		if err := w.results(true); err != nil {
			return err
		}
		if err := w.catchUp(ctx); err != nil {
			return err
		}
		var list []*dueTimer
		var err error
		if list, more, err = w.due(); err != nil {
			return err
		}
		fired = 0
		for _, t := range list {
			ok, err := w.fire(t)
			if err != nil {
				return err
			}
			if ok {
				fired++
			}
		}
		for _, t := range w.timers { // what was set for now is due as well
			more = more || t != nil && t.due <= w.now
		}
		return nil
	})
	if err != nil {
		return 0, false, err
	}
	return fired, more, nil
}

// due returns timers that are due, in the order in which they fire: FirePage
// or, with Options.Ordered, of one instant all. It tells whether there may be
// more.
func (w *work) due() (list []*dueTimer, more bool, err error) {
	list, err = w.dueUntil(w.now, FirePage)
	if err != nil {
		return nil, false, err
	}
	if more = len(list) == FirePage; more && w.e.opts.Ordered {
		// Those of the last instant may not all be here.
		last := list[FirePage-1].due
		if list[0].due == last {
			list, err = w.dueUntil(last, -1)
		} else {
			list = slices.DeleteFunc(list, func(t *dueTimer) bool { return t.due == last })
		}
		if err != nil {
			return nil, false, err
		}
	}
	for _, t := range list {
		if t.of, err = w.load(t.instance); err != nil {
			return nil, false, err
		}
		w.known[t.timerKey] = &t.timer
	}
	slices.SortFunc(list, func(a, b *dueTimer) int {
		return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(w.e.names[a.of.saga], w.e.names[b.of.saga]),
			cmp.Compare(a.of.key, b.of.key), cmp.Compare(a.name, b.name))
	})
	return list, more, nil
}

func (w *work) dueUntil(until int64, limit int) (list []*dueTimer, err error) {
	rows, err := w.tx.Query(`
		SELECT instance, name, due, ref, root, hops
		FROM timer
		WHERE held = 0 AND due <= ?
		ORDER BY due
		LIMIT ?`, until, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		t := &dueTimer{}
		if err := rows.Scan(&t.instance, &t.name, &t.due, &t.ref, &t.root, &t.hops); err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, rows.Err()
}

// fire gives the instance its timer, unless an event cancelled or moved it.
func (w *work) fire(t *dueTimer) (bool, error) {
	i := t.of
	now, err := w.timer(i, t.name)
	if err != nil || now == nil || now.ref != t.ref || i.status.finished() || i.undoing || i.blocking() {
		return false, err
	}
	err = w.deliver(i, &input{
		kind: kindTimer, name: t.name, ref: t.ref, root: t.root, hops: t.hops, at: t.due, timerRef: t.ref,
	})
	crash.At(crash.SagaFired)
	return true, err
}

// catchUp applies the log up to the head that is read now.
func (w *work) catchUp(ctx context.Context) error {
	head, err := w.e.log.Head(ctx)
	if err != nil {
		return fmt.Errorf("read head: %w", err)
	}
	at := w.e.checkpoint.Load().Position
	if w.through.Position > at {
		at = w.through.Position
	}
	for at < head {
		page, err := w.e.log.ReadLog(ctx, at, readPage, w.e.Filter())
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		if page.Through.Position <= at {
			return fmt.Errorf("read log: %w", &eventstore.CorruptError{Where: fmt.Sprintf("position %d", at), Reason: fmt.Sprintf("the log ends before its head %d", head)})
		}
		at = page.Through.Position
		if err := w.page(page.Events, page.Through); err != nil {
			return err
		}
	}
	return nil
}

// advance applies all but the last pages of a long backlog, a transaction each.
func (e *Engine) advance(ctx context.Context) error {
	for {
		head, err := e.log.Head(ctx)
		if err != nil {
			return fmt.Errorf("saga: read head: %w", err)
		}
		at := e.checkpoint.Load().Position
		if head-at <= readPage {
			return nil
		}
		page, err := e.log.ReadLog(ctx, at, readPage, e.Filter())
		if err != nil {
			return fmt.Errorf("saga: read log: %w", err)
		}
		if page.Through.Position <= at {
			return nil // catchUp says so
		}
		if len(page.Events) == 0 {
			e.see(page.Through)
			continue
		}
		if err := e.transact(ctx, func(w *work) error { return w.page(page.Events, page.Through) }); err != nil {
			return err
		}
	}
}

// catchUp applies the log up to its head, then records all results. It makes
// no transaction where there is nothing to do.
func (e *Engine) catchUp(ctx context.Context) error {
	if err := e.lock(ctx); err != nil {
		return err
	}
	defer e.unlock()
	if err := e.advance(ctx); err != nil {
		return err
	}
	head, err := e.log.Head(ctx)
	if err != nil {
		return fmt.Errorf("saga: read head: %w", err)
	}
	results, _ := e.outbox.unrecorded()
	if results == 0 && head <= e.checkpoint.Load().Position {
		return nil
	}
	return e.transact(ctx, func(w *work) error {
		if err := w.catchUp(ctx); err != nil {
			return err
		}
		return w.results(false)
	})
}

// NextDue returns when the next timer is due, and whether there is one; those
// of parked and failing instances do not count. It costs next to nothing.
func (e *Engine) NextDue(ctx context.Context) (time.Time, bool, error) {
	e.mu.Lock()
	due, known := e.nextDue, e.dueKnown
	e.mu.Unlock()
	if !known {
		// Under the gate, so that what is read is what the last transaction left.
		if err := e.lock(ctx); err != nil {
			return time.Time{}, false, err
		}
		defer e.unlock()
		err := e.db.Reader().QueryRowContext(ctx, `
			SELECT COALESCE(MIN(due), 0)
			FROM timer
			WHERE held = 0`).Scan(&due)
		if err != nil {
			return time.Time{}, false, fmt.Errorf("saga: next timer: %w", err)
		}
		e.mu.Lock()
		e.nextDue, e.dueKnown = due, true
		e.mu.Unlock()
	}
	if due == 0 {
		return time.Time{}, false, nil
	}
	return time.Unix(0, due).UTC(), true, nil
}

// RunTimers fires timers as they become due by the engine's clock, until ctx
// ends, and returns nil; or ErrClosed. It sleeps until the next is due, or one
// that is due earlier is set. Errors are logged, and tried again after a
// growing wait.
func (e *Engine) RunTimers(ctx context.Context) error {
	for failures := 0; ; {
		err := e.runTimers(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrClosed):
			return err
		case err != nil:
			failures++
			e.warn(ctx, "timers cannot fire yet", err)
			pause(ctx, e.opts.backoff(failures))
		default:
			failures = 0
		}
	}
}

// runTimers waits for the next timer and fires what is due.
func (e *Engine) runTimers(ctx context.Context) error {
	due, ok, err := e.NextDue(ctx)
	if err != nil {
		return err
	}
	if !ok {
		select {
		case <-e.timerWake:
			return nil
		case <-e.closing:
			return ErrClosed
		case <-ctx.Done():
			return nil
		}
	}
	if due.After(e.clock.Now()) {
		waiting, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			defer cancel()
			select {
			case <-e.timerWake:
			case <-e.closing:
			case <-waiting.Done():
			}
		}()
		if e.clock.WaitUntil(waiting, due) != nil {
			return nil // an earlier one, or the end
		}
	}
	_, err = e.FireDue(ctx)
	return err
}

type timer struct {
	due  int64
	ref  string
	root int64
	hops int
}
