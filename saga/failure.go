package saga

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/leat-go/leat/bus"
)

// resumePage is how many waiting inputs are read at once.
const resumePage = 100

// backoff returns the wait before attempt+1, spread evenly over the upper half
// of its range, so that what failed together is not tried together.
func (o *Options) backoff(attempt int) time.Duration {
	d := o.MaxBackoff
	if shift := attempt - 1; shift < 32 && o.MinBackoff<<shift < d && o.MinBackoff<<shift > 0 {
		d = o.MinBackoff << shift
	}
	return d/2 + rand.N(d/2+1)
}

// fail counts a failed attempt: the instance backs off or, at the limit, is
// parked. Others go on.
func (w *work) fail(i *instance, in *input, cause error) error {
	i.attempts++
	if i.failedAt == 0 {
		i.failedAt = w.wall
	}
	w.touch(i)
	_, hopeless := errors.AsType[*permanentError](cause)
	reason := brief(fmt.Sprintf("%s %s (%s): %v", in.kind, in.name, in.ref, cause))
	attempts := i.b.attempts
	if w.e.opts.Attempts != 0 {
		attempts = w.e.opts.Attempts
	}
	if hopeless || i.attempts >= attempts || w.wall-i.failedAt >= int64(i.b.age) {
		return w.parkFor(i, reason, cause)
	}
	i.reason = reason
	i.nextAttempt = w.wall + int64(w.e.opts.backoff(i.attempts))
	saga, key, attempt := i.b.name, i.key, i.attempts
	w.after = append(w.after, func() {
		signal(w.e.retryWake)
		bus.LogPanic(w.e.opts.Logger, cause).Warn("saga instance backs off", "saga", saga, "key", key, "attempt", attempt, "err", cause)
	})
	return nil
}

// park sets the instance aside until an operator acts.
func (w *work) park(i *instance, reason string) error { return w.parkFor(i, reason, nil) }

// parkFor is park for an error, whose stack is logged where it is a panic's.
func (w *work) parkFor(i *instance, reason string, cause error) error {
	reason = brief(reason)
	i.status, i.reason, i.nextAttempt = Parked, reason, 0
	w.touch(i)
	text, kind := "saga instance parked: it waits for Retry, Skip, Cancel or Complete, others go on", "key"
	if i.stray {
		text, kind = "stream parked for a saga: it waits for Retry, Skip or Complete, others go on", "stream"
	}
	saga, name := w.e.names[i.saga], i.key
	w.after = append(w.after, func() {
		bus.LogPanic(w.e.opts.Logger, cause).Error(text, "saga", saga, kind, name, "reason", reason)
	})
	return nil
}

// waitingTimer and rejection are what a waiting row holds beside a position.
type waitingTimer struct {
	Name string `json:"name"`
	Ref  string `json:"ref"`
	Due  int64  `json:"due"`
	Root int64  `json:"root"`
	Hops int    `json:"hops"`
}

// wait keeps an input for a parked or failing instance.
func (w *work) wait(i *instance, in *input) error {
	data := ""
	var value any
	switch in.kind {
	case kindTimer:
		value = waitingTimer{Name: in.name, Ref: in.timerRef, Due: in.at, Root: in.root, Hops: in.hops}
	case kindRejection:
		value = in.rejection
	}
	if value != nil {
		raw, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("encode waiting input: %w", err)
		}
		data = string(raw)
	}
	return w.keep(i, in.kind, in.position, data)
}

func (w *work) keep(i *instance, kind string, position int64, data string) error {
	i.waited++
	w.touch(i)
	_, err := w.tx.Exec(`
		INSERT INTO waiting (instance, sequence, kind, position, data)
		VALUES (?, ?, ?, ?, ?)`, i.id, i.waited, kind, position, data)
	return err
}

type waiting struct {
	sequence, position int64
	kind, data         string
}

func (w *work) waitingOf(i *instance) (list []waiting, err error) {
	rows, err := w.tx.Query(`
		SELECT sequence, kind, position, data
		FROM waiting
		WHERE instance = ?
		ORDER BY sequence
		LIMIT ?`, i.id, resumePage)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var r waiting
		if err := rows.Scan(&r.sequence, &r.kind, &r.position, &r.data); err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, rows.Err()
}

// unwait drops a waiting input.
func (w *work) unwait(i *instance, sequence int64) error {
	_, err := w.tx.Exec(`
		DELETE FROM waiting
		WHERE instance = ? AND sequence = ?`, i.id, sequence)
	return err
}

// resume gives the instance what waits for it, in order, until something fails
// or nothing is left.
func (w *work) resume(i *instance) error {
	w.touch(i)
	if i.blocking() {
		i.reason = "" // it said why
	}
	i.nextAttempt = 0
	if i.status == Parked {
		i.status = Running
		if i.undoing {
			i.status = Compensating
		}
	}
	for {
		list, err := w.waitingOf(i)
		if err != nil {
			return err
		}
		for _, r := range list {
			if ok, err := w.again(i, r); err != nil || !ok {
				return err
			}
			if i.status.finished() && !i.stray {
				return nil // nothing waits any more
			}
			if err := w.unwait(i, r.sequence); err != nil {
				return err
			}
			i.attempts, i.failedAt = 0, 0
		}
		if len(list) == 0 {
			break
		}
	}
	i.attempts, i.failedAt = 0, 0
	if i.stray {
		w.unstray(i)
		return w.finish(i, Completed, "")
	}
	return w.unwind(i)
}

// again gives the instance a waiting input. It returns false where that
// failed.
func (w *work) again(i *instance, r waiting) (bool, error) {
	switch r.kind {
	case kindEvent:
		ev, err := w.read(r.position)
		if err != nil {
			return false, err
		}
		return w.eventAgain(i, &eventInput{Recorded: ev})
	case kindTimer:
		var t waitingTimer
		if err := json.Unmarshal([]byte(r.data), &t); err != nil {
			return false, fmt.Errorf("decode waiting timer: %w", err)
		}
		return w.attempt(i, &input{kind: kindTimer, name: t.Name, ref: t.Ref, root: t.Root, hops: t.Hops, at: t.Due, timerRef: t.Ref})
	default:
		var rej rejection
		if err := json.Unmarshal([]byte(r.data), &rej); err != nil {
			return false, fmt.Errorf("decode waiting rejection: %w", err)
		}
		return w.attempt(i, w.rejected(rej))
	}
}

func (w *work) eventAgain(i *instance, ev *eventInput) (bool, error) {
	if i.b.events[ev.Type] == nil {
		return true, w.note(i, kindEvent, strconv.FormatInt(ev.Position, 10), ev.Type, "passed over: the saga no longer handles it")
	}
	r, err := i.b.route(ev)
	if err != nil {
		return false, w.park(i, fmt.Sprintf("event %s (%d): %v", ev.Type, ev.Position, err))
	}
	if i.stray {
		ev.released = true
		return true, w.give(i.b, ev, r)
	}
	return w.attempt(i, r.input(ev))
}

// rejected returns a rejection as an input.
func (w *work) rejected(r rejection) *input {
	return &input{kind: kindRejection, name: r.Type, ref: r.ID, root: r.Root, hops: r.Hops, at: w.now, rejection: r}
}

// strand sets an event aside that cannot be read, and with it whatever follows
// in its stream: nobody knows for which instance it is. A row that is parked
// stands for the stream. err is nil for an event that follows.
func (w *work) strand(b *binding, ev *eventInput, err error) error {
	i, findErr := w.findStray(b, ev.Stream)
	if findErr != nil {
		return findErr
	}
	if i == nil {
		i = w.create(b, ev.Stream, true, "")
	}
	if ev.Position <= i.cursor {
		return nil
	}
	w.touch(i)
	i.cursor = ev.Position
	if i.status != Parked {
		w.strayed = true
		w.e.strays[strayKey{b.id, ev.Stream}] = i.id
		i.completed = 0
		if err := w.park(i, fmt.Sprintf("event %s at position %d of stream %q: %v", ev.Type, ev.Position, ev.Stream, err)); err != nil {
			return err
		}
	}
	return w.keep(i, kindEvent, ev.Position, "")
}

func (w *work) unstray(i *instance) {
	w.strayed = true
	delete(w.e.strays, strayKey{i.saga, i.key})
}
