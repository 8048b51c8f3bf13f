package saga

import (
	"context"
	"fmt"
	"strconv"

	"github.com/leat-go/leat/bus"
)

// Retry has a parked instance, or one that backs off, go on: the command or
// input that failed is tried again at once, then what waits behind it. The
// action is journaled with who
// asked for it and why. It returns ErrNotFound, and ErrState
// where nothing has failed.
func (e *Engine) Retry(ctx context.Context, saga, key string, by By) error {
	return e.act(ctx, saga, key, "retry", by, func(w *work, i *instance) error {
		n, err := w.unpark(i)
		if err != nil {
			return err
		}
		if i.status.finished() {
			if n == 0 {
				return fmt.Errorf("%w: it is %s, and none of its commands is parked", ErrState, i.status)
			}
			return nil
		}
		if n == 0 && !i.blocking() {
			return fmt.Errorf("%w: nothing has failed", ErrState)
		}
		i.attempts, i.failedAt = 0, 0
		return w.resume(i)
	})
}

// Skip has a parked instance, or one that backs off, go on without what
// failed: the parked command where there is one, else the first input that
// waits. The action is journaled with who asked
// for it and why. Errors are those of Retry.
func (e *Engine) Skip(ctx context.Context, saga, key string, by By) error {
	return e.act(ctx, saga, key, "skip", by, func(w *work, i *instance) error {
		n, err := w.withdraw(i, true)
		if err != nil {
			return err
		}
		if i.status.finished() {
			if n == 0 {
				return fmt.Errorf("%w: it is %s, and none of its commands is parked", ErrState, i.status)
			}
			return nil
		}
		if n == 0 && !i.blocking() {
			return fmt.Errorf("%w: nothing has failed", ErrState)
		}
		if n == 0 {
			list, err := w.waitingOf(i)
			if err != nil {
				return err
			}
			if len(list) > 0 {
				if err := w.unwait(i, list[0].sequence); err != nil {
					return err
				}
			}
		}
		i.attempts, i.failedAt = 0, 0
		return w.resume(i)
	})
}

// Cancel has an instance that is not finished compensate. What waits for it is
// dropped, and so is a parked command. The action is journaled with the
// reason. It returns ErrNotFound, and ErrState where the instance is finished
// or stands for a stream.
func (e *Engine) Cancel(ctx context.Context, saga, key string, by By) error {
	return e.act(ctx, saga, key, "cancel", by, func(w *work, i *instance) error {
		if i.status.finished() || i.stray {
			return fmt.Errorf("%w: it is %s", ErrState, i.status)
		}
		if _, err := w.withdraw(i, true); err != nil {
			return err
		}
		if err := w.dropWaiting(i); err != nil {
			return err
		}
		i.nextAttempt, i.attempts, i.failedAt = 0, 0, 0
		w.compensate(i, by.Why, i.cursor, 1, w.now)
		return w.unwind(i)
	})
}

// Complete ends an instance that is not finished, as it is: its timers, its
// undos, what waits for it and its commands that are not in flight are
// dropped. The action is journaled with who asked
// for it and why. Errors are those of
// Cancel. For a stream it drops the events that cannot be read.
func (e *Engine) Complete(ctx context.Context, saga, key string, by By) error {
	return e.act(ctx, saga, key, "complete", by, func(w *work, i *instance) error {
		if i.status.finished() {
			return fmt.Errorf("%w: it is %s", ErrState, i.status)
		}
		if _, err := w.withdraw(i, false); err != nil {
			return err
		}
		if err := w.dropWaiting(i); err != nil {
			return err
		}
		if i.stray {
			w.unstray(i)
		}
		return w.finish(i, Completed, by.Why)
	})
}

// Resolve says what became of a command, where an operator knows it: done, or
// refused with the rejection. It must be the first of its instance that is not
// done, and not in flight. The action is journaled with who
// asked for it and why. It returns
// ErrNotFound, and ErrState where it is not that command's turn.
func (e *Engine) Resolve(ctx context.Context, saga, key, commandID string, rejected bus.Rejection, by By) error {
	var r *result
	err := e.act(ctx, saga, key, "resolve", by, func(w *work, i *instance) error {
		c, err := e.outbox.reserve(i.id, commandID)
		if err != nil {
			return err
		}
		r = &result{cmd: c, outcome: outcomeDone}
		if rejected != nil {
			r.outcome, r.code, r.reason = outcomeRejected, rejected.RejectionCode(), brief(rejected.Error())
		}
		cmd, err := e.outbox.payload(ctx, c)
		if err != nil {
			return err
		}
		r.data = string(cmd.Data)
		if err := w.result(r); err != nil {
			return err
		}
		if c.parked && i.status == Parked {
			return w.resume(i)
		}
		return nil
	})
	if r != nil {
		e.outbox.resolved(r, err == nil)
	}
	return err
}

// reserve keeps the command from leaving.
func (o *outbox) reserve(instance int64, id string) (*command, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.lanes[instance]
	switch {
	case l == nil || len(l.commands) == 0 || l.commands[0].id != id:
		return nil, fmt.Errorf("%w: the command %s is not the next of its instance", ErrState, id)
	case l.busy:
		return nil, fmt.Errorf("%w: the command %s is in flight", ErrState, id)
	}
	o.retract(l)
	l.busy = true
	return l.commands[0], nil
}

// resolved takes over a result that did not come from a dispatch.
func (o *outbox) resolved(r *result, committed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if committed {
		o.recorded(r)
	} else if l := o.lanes[r.cmd.instance]; l != nil {
		l.busy = false
		o.offer(l)
	}
	o.check()
}

// act carries out an operator's action on an instance, or on the row of a
// stream whose name is the key.
func (e *Engine) act(ctx context.Context, saga, key, action string, by By, fn func(*work, *instance) error) error {
	if err := by.check(); err != nil {
		return fmt.Errorf("saga: %s: %w", action, err)
	}
	by.Why = brief(by.Why)
	if err := e.lock(ctx); err != nil {
		return err
	}
	defer e.unlock()
	var id int64
	err := e.transact(ctx, func(w *work) error {
		// What is known of commands comes first.
		if err := w.results(e.opts.Ordered); err != nil {
			return err
		}
		i, err := w.named(saga, key)
		if err != nil {
			return err
		}
		id = i.id
		ref := kindAdmin + ":" + strconv.FormatInt(i.journal+1, 10)
		if err := w.noteAdmin(i, ref, action, by); err != nil {
			return err
		}
		return fn(w, i)
	})
	if err != nil {
		e.outbox.withdrawn(id, nil) // what was held back for the action may leave
	}
	return err
}

// named returns the instance with the key, else the row of the stream of that
// name.
func (w *work) named(saga, key string) (*instance, error) {
	for _, b := range w.e.bindings {
		if b.name != saga {
			continue
		}
		i, err := w.find(b, key)
		if err == nil && i == nil {
			i, err = w.findStray(b, key)
		}
		if err != nil || i != nil {
			return i, err
		}
	}
	return nil, fmt.Errorf("%w: saga %q key %q", ErrNotFound, saga, key)
}

func (w *work) dropWaiting(i *instance) error {
	_, err := w.tx.Exec(`
		DELETE FROM waiting
		WHERE instance = ?`, i.id)
	return err
}

// unpark has the instance's failed commands tried again, and returns how many.
func (w *work) unpark(i *instance) (int64, error) {
	result, err := w.tx.Exec(`
		UPDATE outbox
		SET parked = 0, attempts = 0, failed_at = 0, next_attempt = 0
		WHERE instance = ? AND (parked = 1 OR next_attempt > 0)`, i.id)
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	w.after = append(w.after, func() { w.e.outbox.unpark(i.id) })
	return n, err
}

// withdraw removes commands of the instance that are not in flight, or only
// the one that is parked or backs off, and returns how many.
func (w *work) withdraw(i *instance, failed bool) (int, error) {
	cmds := w.e.outbox.withdrawable(i.id, failed)
	for _, c := range cmds {
		if _, err := w.remove(c); err != nil {
			return 0, err
		}
		if err := w.note(i, kindAdmin, c.id, c.typ, "command withdrawn"); err != nil {
			return 0, err
		}
		w.pending[i.id]--
	}
	w.after = append(w.after, func() { w.e.outbox.withdrawn(i.id, cmds) })
	return len(cmds), nil
}

// unpark offers the instance's commands again.
func (o *outbox) unpark(instance int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.lanes[instance]
	if l == nil || l.busy || len(l.commands) == 0 {
		return
	}
	l.parked = false
	l.commands[0].attempts, l.commands[0].failedAt = 0, 0
	o.setUntil(l, 0, "")
	o.offer(l)
}

// withdrawable returns the commands of the instance that are not in flight, or
// only the one that failed.
func (o *outbox) withdrawable(instance int64, failed bool) []*command {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.lanes[instance]
	switch {
	case l == nil || len(l.commands) == 0:
		return nil
	case failed && (l.parked || l.until != 0) && !l.busy:
		return []*command{l.commands[0]}
	case failed:
		return nil
	case l.busy:
		return append([]*command(nil), l.commands[1:]...)
	}
	o.retract(l) // so that it does not leave before the transaction commits
	return append([]*command(nil), l.commands...)
}

// withdrawn forgets commands that are no longer in the file.
func (o *outbox) withdrawn(instance int64, cmds []*command) {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.lanes[instance]
	if l == nil {
		return
	}
	for _, c := range cmds {
		for n, mine := range l.commands {
			if mine != c {
				continue
			}
			if n == 0 {
				o.pop(l, c)
			} else {
				if c.ready {
					o.buffered--
				}
				l.commands = append(l.commands[:n:n], l.commands[n+1:]...)
			}
			l.rows--
			break
		}
	}
	o.offer(l)
	o.tidy(l)
	o.check()
}
