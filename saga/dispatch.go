package saga

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/crash"
)

// delivery is a command on its way through a router.
type delivery struct {
	cmd     *command
	unused  bool // this is the first time that the id leaves
	workers *workers
	result  *result // set by the Dispatcher
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
// until Options.CommandAttempts or CommandAge have the instance parked;
// eventstore.ErrCorrupt parks it at once. An error under a context that has ended is a shutdown and does not count, nor
// does that of a store that takes no appends (eventstore.ErrOutcomeUnknown,
// ErrBusy, ErrClosed).
func (e *Engine) Dispatcher(dispatch func(context.Context, bus.Command) (eventstore.Commit, error)) message.NoPublishHandlerFunc {
	return func(msg *message.Message) error {
		d, _ := msg.Context().Value(deliveryKey{}).(*delivery)
		if d == nil {
			return &eventstore.InvalidError{Field: "message", Value: msg.UUID, Reason: "is not from a saga outbox"}
		}
		cmd, err := bus.CommandFromMessage(msg)
		if err == nil {
			cmd.Unused = d.unused
			crash.At(crash.SagaSending)
			err = d.workers.do(func() error { return carryOut(msg.Context(), cmd, dispatch) })
		}
		d.result = conclude(msg.Context(), d.cmd, err)
		switch d.result.outcome {
		case outcomeDone:
			crash.At(crash.SagaCarriedOut)
		case outcomeRejected:
			crash.At(crash.SagaRejected)
			return nil
		}
		return err
	}
}

func carryOut(ctx context.Context, cmd bus.Command, dispatch func(context.Context, bus.Command) (eventstore.Commit, error)) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = bus.Recovered(v)
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
		r.outcome, r.code, r.reason = outcomeRejected, rejected.RejectionCode(), brief(rejected.Error())
	case ctx.Err() != nil:
		r.outcome = outcomeStopped
	case errors.Is(err, eventstore.ErrClosed), errors.Is(err, eventstore.ErrBusy), errors.Is(err, eventstore.ErrOutcomeUnknown):
		// The store's fault: it takes nothing, or does not know what it took.
		r.outcome, r.reason, r.until = outcomeStopped, brief(err.Error()), time.Now().Add(closedPause).UnixNano()
	default:
		// A damaged log is not mended by reading it again.
		r.outcome, r.reason, r.err, r.final = outcomeFailed, brief(err.Error()), err, errors.Is(err, eventstore.ErrCorrupt)
	}
	return r
}

type subscriber struct{ o *outbox }

// subscription is one Subscribe.
type subscription struct {
	ctx     context.Context
	ended   chan struct{}
	acks    sync.WaitGroup
	workers *workers
}

// Subscribe implements message.Subscriber. The topic means nothing. It waits
// for the end of a subscription whose context is done, and returns
// ErrSubscribed where there is one that is not, and ErrClosed.
func (s subscriber) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	o := s.o
	sub := &subscription{ctx: ctx, ended: make(chan struct{}), workers: newWorkers(o.e.opts.Workers)}
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
	sub.workers.stop()
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
	d := &delivery{cmd: c, unused: c.unused, workers: sub.workers}
	c.unused = false
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
