package saga

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/leat-go/leat/bus"
)

// The actions of an operator are on the instance with a key, which may be an
// alias, or on a stream that is parked: that is named by OfStream, as
// Instance.Key has it. Each is journaled with who asked for it and why.

// OfStream returns what names a stream that is parked (see Instance.Stream)
// where a key names an instance. It is no key that an instance can have.
func OfStream(stream string) string { return streamMark + stream }

// streamMark has a control character, which eventstore.CheckName takes in no
// key.
const streamMark = "stream\t"

// spelled returns the key, or what OfStream has made of a stream, for people.
func spelled(key string) string {
	if stream, ok := strings.CutPrefix(key, streamMark); ok {
		return fmt.Sprintf("stream %q", stream)
	}
	return fmt.Sprintf("key %q", key)
}

// Retry has a parked instance, or one that backs off, go on: the command or
// input that failed is tried again at once, then what waits behind it. A stream
// gives what it held back. It returns ErrNotFound, and ErrState where nothing
// has failed. Without an error it was tried: whether it has failed again is in
// the instance's Status, Attempts and Reason, of a command some time later.
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

// Skip has a parked instance, or one that backs off, go on without what failed:
// the parked command where there is one, else the first input that waits, be it
// a timer, else a command that backs off. The journal has what was passed over
// and why it failed. Errors are those of Retry.
func (e *Engine) Skip(ctx context.Context, saga, key string, by By) error {
	return e.act(ctx, saga, key, "skip", by, func(w *work, i *instance) error {
		which := commandParked
		if !i.blocking() {
			which = commandFailed
		}
		n, err := w.withdraw(i, which)
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
			if err := w.skipInput(i); err != nil {
				return err
			}
		}
		i.attempts, i.failedAt = 0, 0
		return w.resume(i)
	})
}

// skipInput drops the first input that waits, and with it the timer that it is.
func (w *work) skipInput(i *instance) error {
	list, err := w.waitingOf(i)
	if err != nil || len(list) == 0 {
		return err
	}
	if list[0].kind == kindTimer {
		var t waitingTimer
		if err := json.Unmarshal([]byte(list[0].data), &t); err != nil {
			return fmt.Errorf("decode waiting timer: %w", err)
		}
		set, err := w.timer(i, t.Name)
		if err != nil {
			return err
		}
		if set != nil && set.ref == t.Ref {
			w.timers[timerKey{i.id, t.Name}] = nil
		}
	}
	// The reason has the input and why it failed; who asked is in the entry before.
	ref := ""
	if list[0].kind == kindEvent {
		ref = strconv.FormatInt(list[0].position, 10)
	}
	if err := w.note(i, kindAdmin, ref, list[0].kind, "passed over: "+i.reason); err != nil {
		return err
	}
	return w.unwait(i, list[0].sequence)
}

// Cancel has an instance that is not finished compensate. What waits for it is
// dropped, and so is a command that is parked or backs off; the undo of that
// runs all the same, since it may have taken effect. It returns ErrNotFound,
// and ErrState where the instance is finished or where it is a stream.
func (e *Engine) Cancel(ctx context.Context, saga, key string, by By) error {
	return e.act(ctx, saga, key, "cancel", by, func(w *work, i *instance) error {
		if i.status.finished() || i.stray {
			return fmt.Errorf("%w: it is %s", ErrState, i.status)
		}
		if _, err := w.withdraw(i, commandFailed); err != nil {
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
// undos, what waits for it and its commands that are not in flight are dropped.
// Of a stream it drops all events that wait, and those that follow are given
// again. It returns ErrNotFound, and ErrState where the instance is finished.
func (e *Engine) Complete(ctx context.Context, saga, key string, by By) error {
	return e.act(ctx, saga, key, "complete", by, func(w *work, i *instance) error {
		if i.status.finished() {
			return fmt.Errorf("%w: it is %s", ErrState, i.status)
		}
		if _, err := w.withdraw(i, commandIdle); err != nil {
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
// done, and not in flight. It returns ErrNotFound, and ErrState where it is not
// that command's turn.
func (e *Engine) Resolve(ctx context.Context, saga, key, commandID string, rejected bus.Rejection, by By) error {
	var r *result
	err := e.act(ctx, saga, key, "resolve", by, func(w *work, i *instance) error {
		c, parked, err := e.outbox.reserve(i.id, commandID)
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
		if parked && i.status == Parked {
			return w.resume(i)
		}
		return nil
	})
	if r != nil {
		e.outbox.resolved(r, err == nil)
	}
	return err
}

// reserve keeps the command from leaving, and tells whether it was parked.
func (o *outbox) reserve(instance int64, id string) (c *command, parked bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.lanes[instance]
	switch {
	case l == nil || len(l.commands) == 0 || l.commands[0].id != id:
		return nil, false, fmt.Errorf("%w: the command %s is not the next of its instance", ErrState, id)
	case l.busy:
		return nil, false, fmt.Errorf("%w: the command %s is in flight", ErrState, id)
	}
	o.retract(l)
	l.busy = true
	return l.commands[0], l.parked, nil
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

// act carries out an operator's action on an instance or a stream.
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

// named returns the instance with the key, or the row of a stream.
func (w *work) named(saga, key string) (i *instance, err error) {
	stream, isStream := strings.CutPrefix(key, streamMark)
	for _, b := range w.e.bindings {
		switch {
		case b.name != saga:
			continue
		case isStream:
			i, err = w.findStray(b, stream)
		default:
			i, err = w.find(b, key)
		}
		if err != nil || i != nil {
			return i, err
		}
	}
	return nil, fmt.Errorf("%w: saga %q %s", ErrNotFound, saga, spelled(key))
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

// withdrawal says which commands of an instance are meant.
type withdrawal uint8

const (
	commandParked withdrawal = iota // the one that is parked
	commandFailed                   // the one that is parked or backs off
	commandIdle                     // all that are not in flight
)

// withdraw removes commands of the instance and returns how many.
func (w *work) withdraw(i *instance, which withdrawal) (int, error) {
	cmds := w.e.outbox.withdrawable(i.id, which)
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

// withdrawable returns such commands of the instance, which do not leave before
// withdrawn.
func (o *outbox) withdrawable(instance int64, which withdrawal) []*command {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.lanes[instance]
	switch {
	case l == nil || len(l.commands) == 0:
		return nil
	case which == commandIdle && l.busy:
		l.held = true
		return slices.Clone(l.commands[1:])
	case which == commandIdle:
		o.retract(l)
		l.held = true
		return slices.Clone(l.commands)
	case !l.busy && (l.parked || which == commandFailed && l.until != 0):
		l.held = true
		return slices.Clone(l.commands[:1])
	}
	return nil
}

// withdrawn forgets commands that are no longer in the file, none where nothing
// was committed.
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
	l.held = false
	o.offer(l)
	o.tidy(l)
	o.check()
}
