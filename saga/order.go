package saga

import (
	"cmp"
	"container/heap"
	"context"
	"slices"

	"github.com/ThreeDotsLabs/watermill/message"
)

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

// group is what commands that leave without a step between have in common.
type group struct {
	at   int64
	hops int
}

// nextOrdered takes the first command that can leave, for Ordered; nil where
// there is none, or it belongs to a later group.
func (o *outbox) nextOrdered(within *group) *command {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.ready) == 0 {
		return nil
	}
	c := o.ready[0].commands[0]
	if g := (group{c.at, c.hops}); *within != (group{}) && *within != g {
		return nil
	} else {
		*within = g
	}
	l := heap.Pop((*byOrder)(&o.ready)).(*lane)
	l.queued, l.busy = false, true
	o.inFlight++
	return c
}

// byOrder is a heap of lanes by the order of their first commands, those of one
// lane being in sequence: a total order that depends on nothing but the inputs.
type byOrder []*lane

func (h byOrder) Len() int { return len(h) }
func (h byOrder) Less(a, b int) bool {
	x, y := h[a].commands[0], h[b].commands[0]
	return cmp.Or(cmp.Compare(x.at, y.at), cmp.Compare(x.hops, y.hops), cmp.Compare(x.saga, y.saga), cmp.Compare(x.key, y.key)) < 0
}
func (h byOrder) Swap(a, b int) { h[a], h[b] = h[b], h[a] }
func (h *byOrder) Push(l any)   { *h = append(*h, l.(*lane)) }
func (h *byOrder) Pop() any {
	last := len(*h) - 1
	l := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return l
}

// retract takes the lane out of ready. mu is held.
func (o *outbox) retract(l *lane) {
	if !l.queued {
		return
	}
	l.queued = false
	n := slices.Index(o.ready, l)
	if o.e.opts.Ordered {
		heap.Remove((*byOrder)(&o.ready), n)
		return
	}
	o.ready = slices.Delete(o.ready, n, n+1)
}
