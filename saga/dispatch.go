package saga

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
)

// delivery is a command on its way through a router.
type delivery struct {
	cmd    *command
	result *result // set by the Dispatcher
}

type deliveryKey struct{}

// Outbox returns the outbox as a Subscriber, for bus.Router.AddHandler: each
// message is one command (bus.CommandFromMessage). Commands of one instance
// come one after the other, the next after the one before is acknowledged and,
// unless it was done, its outcome recorded; those of different instances side
// by side, Options.Workers at most. One subscription at a time.
//
// A handler that is not the Dispatcher's says done by Ack and failed by Nack,
// and has no way to say rejected. Close does nothing: the end of the
// subscription's context ends it, and Engine.Close.
func (e *Engine) Outbox() message.Subscriber { return subscriber{e.outbox} }

// Dispatcher returns the handler for the outbox's messages: it carries out the
// command by dispatch, usually bus.Commands.Dispatch. Without an error the
// command is done. A bus.Rejection is given to the instance as an input. Any
// other error has the command tried again after a growing wait in wall time,
// until Options.CommandAttempts or CommandAge have the instance parked. An
// error under a context that has ended is a shutdown and does not count.
func (e *Engine) Dispatcher(dispatch func(context.Context, bus.Command) (eventstore.Commit, error)) message.NoPublishHandlerFunc {
	return func(msg *message.Message) error {
		d, _ := msg.Context().Value(deliveryKey{}).(*delivery)
		if d == nil {
			return &eventstore.InvalidError{Field: "message", Value: msg.UUID, Reason: "is not from a saga outbox"}
		}
		cmd, err := bus.CommandFromMessage(msg)
		if err == nil {
			err = carryOut(msg.Context(), cmd, dispatch)
		}
		d.result = conclude(msg.Context(), d.cmd, err)
		if d.result.outcome == outcomeRejected {
			return nil
		}
		return err
	}
}

func carryOut(ctx context.Context, cmd bus.Command, dispatch func(context.Context, bus.Command) (eventstore.Commit, error)) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{value: v, stack: debug.Stack()}
		}
	}()
	_, err = dispatch(ctx, cmd)
	return err
}

// conclude classifies the error of a dispatch.
func conclude(ctx context.Context, c *command, err error) *result {
	r := &result{cmd: c}
	rejected, refused := bus.RejectionOf(err)
	switch {
	case err == nil:
		r.outcome = outcomeDone
	case refused:
		r.outcome, r.code, r.reason = outcomeRejected, rejected.RejectionCode(), rejected.Error()
	case ctx.Err() != nil:
		r.outcome = outcomeStopped
	case errors.Is(err, eventstore.ErrClosed):
		r.outcome, r.reason, r.until = outcomeStopped, err.Error(), time.Now().Add(closedPause).UnixNano()
	default:
		r.outcome, r.reason = outcomeFailed, err.Error()
	}
	return r
}

type subscriber struct{ o *outbox }

// subscription is one Subscribe.
type subscription struct {
	ctx   context.Context
	ended chan struct{}
	acks  sync.WaitGroup
}

// Subscribe implements message.Subscriber. The topic means nothing. It waits
// for the end of a subscription whose context is done, and returns
// ErrSubscribed where there is one that is not, and ErrClosed.
func (s subscriber) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	o := s.o
	sub := &subscription{ctx: ctx, ended: make(chan struct{})}
	for {
		o.mu.Lock()
		before := o.sub
		if before == nil {
			o.sub = sub
			break
		}
		o.mu.Unlock()
		if before.ctx.Err() == nil {
			return nil, ErrSubscribed
		}
		select {
		case <-before.ended:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	defer o.mu.Unlock()
	select {
	case <-o.e.closing:
		o.sub = nil
		return nil, ErrClosed
	default:
	}
	out := make(chan *message.Message)
	o.e.wg.Go(func() { o.serve(sub, out) })
	return out, nil
}

// Close implements message.Subscriber.
func (subscriber) Close() error { return nil }

// serve delivers commands until the subscription ends, then waits for those in
// flight and records what became of them.
func (o *outbox) serve(sub *subscription, out chan *message.Message) {
	ctx, stop := o.e.untilClosed(sub.ctx)
	defer stop()
	helping, done := context.WithCancel(context.Background())
	var helpers sync.WaitGroup
	helpers.Go(func() { o.record(helping) })
	helpers.Go(func() { o.e.retry(ctx) })
	if o.e.opts.Ordered {
		o.deliverOrdered(ctx, sub, out)
	} else {
		o.deliver(ctx, sub, out)
	}
	close(out)
	sub.acks.Wait()
	done()
	helpers.Wait()
	if err := o.flush(false); err != nil && !errors.Is(err, ErrClosed) {
		o.e.opts.Logger.Warn("outcomes of commands are not recorded: those commands are repeated", "err", err)
	}
	o.mu.Lock()
	o.sub = nil
	o.mu.Unlock()
	close(sub.ended)
}

// untilClosed returns a context that ends with ctx or when the engine closes.
func (e *Engine) untilClosed(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	e.wg.Go(func() {
		select {
		case <-e.closing:
			cancel()
		case <-ctx.Done():
		}
	})
	return ctx, cancel
}

// deliver sends whatever is ready, Options.Workers at a time.
func (o *outbox) deliver(ctx context.Context, sub *subscription, out chan<- *message.Message) {
	for {
		c := o.next(o.e.opts.Workers)
		if c == nil {
			select {
			case <-o.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		if r := o.send(ctx, sub, out, c, func(r *result) { o.ended(r) }); r != nil {
			o.ended(r)
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// send sends the command and has then called with its result, once. Where it
// could not be sent it returns the result.
func (o *outbox) send(ctx context.Context, sub *subscription, out chan<- *message.Message, c *command, then func(*result)) *result {
	cmd, err := o.payload(ctx, c)
	if errors.Is(err, errGone) {
		return &result{cmd: c, outcome: outcomeDone}
	}
	if err != nil {
		return conclude(ctx, c, err)
	}
	d := &delivery{cmd: c}
	msg := bus.CommandMessage(cmd)
	msgCtx, cancel := context.WithCancel(context.WithValue(sub.ctx, deliveryKey{}, d))
	msg.SetContext(msgCtx)
	select {
	case out <- msg:
	case <-ctx.Done():
		cancel()
		return &result{cmd: c, outcome: outcomeStopped}
	}
	sub.acks.Go(func() {
		defer cancel()
		var r *result
		select {
		case <-msg.Acked():
			if r = d.result; r == nil {
				r = &result{cmd: c, outcome: outcomeDone}
			}
		case <-msg.Nacked():
			if r = d.result; r == nil {
				r = conclude(msgCtx, c, errors.New("the handler refused the message"))
			}
		case <-o.e.closing:
			r = &result{cmd: c, outcome: outcomeStopped}
		}
		r.data = string(cmd.Data)
		then(r)
	})
	return nil
}

// deliverOrdered sends commands while a Settle waits, one at a time: those of
// the least (clock, chain), by (saga, key, sequence). Then, and after every
// outcome but done, the log is applied up to its head and outcomes recorded,
// events before rejections. So what leaves next depends on the inputs alone,
// not on when anything happened, nor on a crash between: a command that was
// done leaves again and is a duplicate, and one that was rejected is decided
// again before anything else could change.
func (o *outbox) deliverOrdered(ctx context.Context, sub *subscription, out chan<- *message.Message) {
	for failures := 0; ctx.Err() == nil; {
		if !o.settling() {
			select {
			case <-o.wake:
			case <-ctx.Done():
			}
			continue
		}
		if err := o.e.catchUp(ctx); err != nil {
			failures++
			o.e.warn(ctx, "sagas cannot prepare the next commands", err)
			pause(ctx, o.e.opts.backoff(failures))
			continue
		}
		failures = 0
		var within group
		done := true
		for done && ctx.Err() == nil {
			c := o.nextOrdered(&within)
			if c == nil {
				break
			}
			done = o.one(ctx, sub, out, c)
		}
		if within == (group{}) {
			o.releaseIdle()
		}
	}
}

// releaseIdle lets the Settle calls go where nothing can leave.
func (o *outbox) releaseIdle() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.ready) == 0 {
		o.release()
	}
}

// one sends a command and waits for its result. It tells whether that is done.
func (o *outbox) one(ctx context.Context, sub *subscription, out chan<- *message.Message, c *command) bool {
	ended := make(chan *result, 1)
	if r := o.send(ctx, sub, out, c, func(r *result) { ended <- r }); r != nil {
		ended <- r
	}
	r := <-ended
	o.ended(r)
	return r.outcome == outcomeDone
}

func (o *outbox) settling() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.settlers > 0
}

// Settle waits until no command is in flight or ready, those backing off or
// parked excepted. With Options.Ordered it is what lets commands leave: call
// it when nothing outside is under way. It needs a subscription of the Outbox
// whose messages are handled, and returns ctx's error or ErrClosed.
func (e *Engine) Settle(ctx context.Context) error {
	o := e.outbox
	o.mu.Lock()
	if !e.opts.Ordered && o.idle() {
		o.mu.Unlock()
		return nil
	}
	o.settlers++
	settled := o.settled
	o.mu.Unlock()
	signal(o.wake)
	select {
	case <-settled:
		return nil
	case <-e.closing:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

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

func (e *Engine) warn(ctx context.Context, text string, err error) {
	if ctx.Err() == nil && !errors.Is(err, ErrClosed) {
		e.opts.Logger.Warn(text, "err", err)
	}
}

// pause waits d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
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

// dropUndo takes a rejected command out of the undo it belongs to, and drops
// the undo where no other command is left.
func (w *work) dropUndo(i *instance, sequence int64) error {
	stack, err := i.stack()
	if err != nil {
		return nil // the instance is parked for it when it is needed
	}
	for n := range stack {
		at := slices.Index(stack[n].Actions, sequence)
		if at < 0 {
			continue
		}
		stack[n].Actions = slices.Delete(stack[n].Actions, at, at+1)
		if len(stack[n].Actions) == 0 && !stack[n].Always {
			stack = slices.Delete(stack, n, n+1)
		}
		w.touch(i)
		return i.setStack(stack)
	}
	return nil
}

// failed records a failed attempt of a command: it is tried again or, at the
// limit, parked with its instance. A rejected undo is parked at once.
func (w *work) failed(r *result) error {
	c := r.cmd
	r.attempts, r.failedAt = c.attempts+1, c.failedAt
	if r.failedAt == 0 {
		r.failedAt = w.wall
	}
	o := &w.e.opts
	r.until, r.parked = w.wall+int64(o.backoff(r.attempts)), false
	if r.outcome == outcomeRejected || r.attempts >= o.CommandAttempts || w.wall-r.failedAt >= int64(o.CommandAge) {
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
			o.Logger.Warn("saga command backs off", "saga", c.saga, "key", c.key, "command", c.typ, "id", c.id, "attempt", r.attempts, "err", reason)
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
	return w.park(i, fmt.Sprintf("command %s (%s): %s", c.typ, c.id, reason))
}
