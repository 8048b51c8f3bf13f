package saga

import (
	"context"
	"fmt"
	"time"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/internal/crash"
)

// record records results: at once those with further effects, others when
// there are many, or no other transaction has taken them along.
func (o *outbox) record(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	armed := false
	for failures := 0; ; {
		late := false
		select {
		case <-ctx.Done():
			return
		case <-o.recordWake:
		case <-timer.C:
			late, armed = true, false
		}
		n, urgent := o.unrecorded()
		if n == 0 {
			continue
		}
		if o.e.opts.Ordered {
			urgent = false // a round's end records them, after the events
		}
		if !late && !urgent && n < maxResults {
			if !armed {
				timer.Reset(resultDelay)
				armed = true
			}
			continue
		}
		if err := o.flush(o.e.opts.Ordered); err != nil {
			failures++
			o.e.warn(ctx, "outcomes of commands cannot be recorded yet", err)
			pause(ctx, o.e.opts.backoff(failures))
			signal(o.recordWake)
			continue
		}
		failures = 0
	}
}

// flush records the results in a transaction of their own.
func (o *outbox) flush(quiet bool) error {
	if n, _ := o.unrecorded(); n == 0 {
		return nil
	}
	ctx := context.Background()
	if err := o.e.lock(ctx); err != nil {
		return err
	}
	defer o.e.unlock()
	return o.flushLocked(ctx, quiet)
}

// flushLocked is flush for a caller that holds the gate.
func (o *outbox) flushLocked(ctx context.Context, quiet bool) error {
	if n, _ := o.unrecorded(); n == 0 {
		return nil
	}
	if o.e.unsure {
		if err := o.e.reload(ctx); err != nil {
			return err
		}
	}
	return o.e.transact(ctx, func(w *work) error { return w.results(quiet) })
}

// results records what became of commands. Marking a command twice changes
// nothing, since the log knows it by its id.
func (w *work) results(quiet bool) error {
	taken := w.e.outbox.take(quiet)
	w.taken = append(w.taken, taken...)
	for _, r := range taken {
		if err := w.result(r); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) result(r *result) error {
	c := r.cmd
	if r.outcome == outcomeFailed || r.outcome == outcomeRejected && c.undo {
		return w.failed(r)
	}
	var err error
	if r.gone, err = w.remove(c); err != nil || r.gone {
		return err
	}
	crash.At(crash.SagaRemoved)
	w.pending[c.instance]--
	if r.outcome == outcomeDone && !w.e.outbox.undoing(c.instance) && !w.undoing(c.instance) {
		return nil
	}
	i, err := w.load(c.instance)
	if err != nil {
		return err
	}
	if r.outcome == outcomeRejected {
		rej := rejection{ID: c.id, Type: c.typ, Data: r.data, Code: r.code, Reason: r.reason, Root: c.root, Hops: c.hops}
		if err := w.dropUndo(i, c.sequence); err != nil {
			return err
		}
		if err := w.deliver(i, w.rejected(rej)); err != nil {
			return err
		}
	}
	return w.unwind(i)
}

func (w *work) undoing(instance int64) bool {
	i := w.instances[instance]
	return i != nil && i.undoing
}

// remove deletes the command's row. It tells whether it was gone already.
func (w *work) remove(c *command) (gone bool, err error) {
	result, err := w.tx.Exec(`
		DELETE FROM outbox
		WHERE instance = ? AND sequence = ?`, c.instance, c.sequence)
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n == 0, err
}

// failed records a failed attempt of a command: it is tried again or, at the
// limit, parked with its instance. A rejected undo, and a command that met a
// damaged log, is parked at once.
func (w *work) failed(r *result) error {
	c := r.cmd
	r.attempts, r.failedAt = c.attempts+1, c.failedAt
	if r.failedAt == 0 {
		r.failedAt = w.wall
	}
	o := &w.e.opts
	r.until, r.parked = w.wall+int64(o.backoff(r.attempts)), false
	if r.outcome == outcomeRejected || r.final || r.attempts >= o.CommandAttempts || w.wall-r.failedAt >= int64(o.CommandAge) {
		r.until, r.parked = 0, true
	}
	reason := r.reason
	if r.outcome == outcomeRejected {
		reason = fmt.Sprintf("undo rejected (%s): %s", r.code, r.reason)
	}
	result, err := w.tx.Exec(`
		UPDATE outbox
		SET parked = ?, attempts = ?, failed_at = ?, next_attempt = ?, reason = ?
		WHERE instance = ? AND sequence = ?`, r.parked, r.attempts, r.failedAt, r.until, reason, c.instance, c.sequence)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		r.until, r.parked = 0, false // an operator has withdrawn it
		return err
	}
	if !r.parked {
		w.after = append(w.after, func() {
			bus.LogPanic(o.Logger, r.err).Warn("saga command backs off", "saga", c.saga, "key", c.key, "command", c.typ, "id", c.id, "attempt", r.attempts, "err", reason)
		})
		return nil
	}
	i, err := w.load(c.instance)
	if err != nil {
		return err
	}
	if i.status.finished() {
		w.after = append(w.after, func() {
			o.Logger.Error("saga command parked: its instance is finished; it waits for Retry or Skip", "saga", c.saga, "key", c.key, "command", c.typ, "err", reason)
		})
		return nil
	}
	return w.parkFor(i, fmt.Sprintf("command %s (%s): %s", c.typ, c.id, reason), r.err)
}
