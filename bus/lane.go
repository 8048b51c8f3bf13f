package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leat-go/leat/eventstore"
)

// lane delivers the log to one consumer.
type lane struct {
	router    *Router
	consumer  Consumer
	name      string
	filter    eventstore.Filter
	pageSize  int
	index, of int
	wake      chan struct{} // holds a token when the head has moved
	progress  progress
	failures  int       // of infrastructure, in a row; the lane's goroutine owns it
	ahead     *Page     // read while the page before was applied; likewise
	current   *delivery // in flight; written before its message is sent
}

func newLane(r *Router, c Consumer) (*lane, error) {
	l := &lane{router: r, consumer: c, name: c.Name(), filter: c.Filter(), pageSize: DefaultPageSize, of: 1, wake: make(chan struct{}, 1)}
	l.progress.begin()
	if err := eventstore.CheckName("consumer name", l.name); err != nil {
		return nil, err
	}
	if p, ok := c.(PageSizer); ok {
		l.pageSize = p.PageSize()
	}
	if err := eventstore.CheckPage(l.pageSize); err != nil {
		return nil, fmt.Errorf("consumer %q: %w", l.name, err)
	}
	if p, ok := c.(Partitioned); ok {
		l.index, l.of = p.Partition()
	}
	if l.of < 1 || l.index < 0 || l.index >= l.of {
		return nil, &eventstore.InvalidError{Field: "partition", Value: fmt.Sprintf("%d of %d", l.index, l.of), Reason: fmt.Sprintf("of consumer %q does not exist", l.name)}
	}
	return l, nil
}

func (l *lane) awake() {
	select {
	case l.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// deliverAll delivers until the follow context ends: it follows the log until
// something fails, waits as the failure demands, and follows again from the
// consumer's checkpoint.
func (l *lane) deliverAll(follow, work context.Context, out chan<- *message.Message) {
	for {
		err := l.follow(follow, work, out)
		if follow.Err() != nil {
			return // what failed, if anything, failed because of the stop
		}
		l.failed(err)
		if !l.progress.wait(follow) {
			return
		}
	}
}

// follow delivers from the consumer's checkpoint on until something fails.
func (l *lane) follow(follow, work context.Context, out chan<- *message.Message) error {
	from, err := l.consumer.Checkpoint(follow)
	if err != nil {
		return fmt.Errorf("load checkpoint: %w", err)
	}
	if err := eventstore.CheckCheckpoint(follow, l.router.log, from, l.name, ""); err != nil {
		return err
	}
	at := from.Position
	l.ahead = nil
	l.progress.start(at, l.router.head.Load())
	for {
		page, err := l.next(follow, at)
		if err != nil {
			return err
		}
		if len(page.Events) == 0 {
			err = l.applyEmpty(work, page)
		} else {
			err = l.deliver(follow, work, out, page)
		}
		if err != nil {
			return err
		}
		at, l.failures = page.Through.Position, 0
		l.progress.reach(at)
	}
}

// next waits for the log to go on after a position, and for the page to fill
// where the router gathers, and returns it.
func (l *lane) next(ctx context.Context, after int64) (Page, error) {
	if page := l.ahead; page != nil {
		l.ahead = nil
		return *page, ctx.Err()
	}
	var due <-chan time.Time // when it has been let fill for long enough
	for {
		head := l.router.head.Load()
		if head-after >= DefaultPageSize {
			l.progress.demand(head)
		}
		if head > after && (l.router.opts.Gather == 0 || l.progress.demands(after)) {
			page, err := l.read(ctx, after)
			if err != nil {
				return Page{}, fmt.Errorf("read log: %w", err)
			}
			if page.Through.Position > after {
				return page, nil
			}
		}
		if head > after && due == nil && l.router.opts.Gather > 0 {
			timer := time.NewTimer(l.router.opts.Gather)
			defer timer.Stop()
			due = timer.C
		}
		select {
		case <-l.wake:
		case <-due:
			l.progress.demand(head)
		case <-ctx.Done():
			return Page{}, ctx.Err()
		}
	}
}

// read reads the page after a position, empty where the log ends there.
func (l *lane) read(ctx context.Context, after int64) (Page, error) {
	read, err := l.router.tail.ReadLog(ctx, after, l.pageSize, l.filter)
	if err != nil {
		return Page{}, err
	}
	return Page{After: after, Events: inPartition(read.Events, l.index, l.of), Through: read.Through}, nil
}

// readAhead reads the page after a position, and has it prepared, while the one
// before is applied, which ends when ended is closed. It does so in a backlog
// alone: at the end of the log a page that is read later holds more. An error
// is for next to meet again.
func (l *lane) readAhead(ctx context.Context, after int64, ended <-chan struct{}) *Page {
	head := l.router.head.Load()
	if l.pageSize == 1 || head-after < DefaultPageSize {
		return nil
	}
	l.progress.demand(head)
	page, err := l.read(ctx, after)
	if err != nil || page.Through.Position == after {
		return nil
	}
	if p, ok := l.consumer.(Preparer); ok && len(page.Events) > 0 {
		page.Prepared = p.Prepare(page, ended)
	}
	return &page
}

// deliver sends the page through Watermill and waits until the handler ended,
// however long that takes. Meanwhile it reads the next.
func (l *lane) deliver(follow, work context.Context, out chan<- *message.Message, page Page) error {
	d := &delivery{page: page, end: make(chan struct{})}
	l.current = d
	select {
	case out <- newMessage(work, l.name, d, l.pageSize == 1):
	case <-follow.Done():
		return follow.Err()
	}
	l.ahead = l.readAhead(follow, page.Through.Position, d.end)
	<-d.end
	return d.err
}

// handle is the innermost handler.
func (l *lane) handle(msg *message.Message) error {
	d := l.current
	d.applied, d.err = false, nil // a middleware can call again
	err := l.consumer.Apply(msg.Context(), d.page)
	d.applied, d.err = true, err
	return err
}

// errNotApplied: a middleware took a page for handled that it did not pass on.
var errNotApplied = errors.New("bus: a middleware ended the page without the consumer")

// concludes is the outermost middleware: it ends the delivery with what the
// consumer said, whatever other middleware made of it.
func concludes(h message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		d := deliveryOf(msg)
		if d == nil || d.end == nil {
			return h(msg)
		}
		defer close(d.end)
		out, err := h(msg)
		switch {
		case d.applied:
		case err != nil: // a panic, or a middleware that refused
			d.err = err
		default:
			d.err = errNotApplied
		}
		if d.err != nil {
			return out, &reportedError{d.err}
		}
		return out, err
	}
}

// applyEmpty tells the consumer how far the log was scanned. It spares the way
// through Watermill: nothing happened.
func (l *lane) applyEmpty(work context.Context, page Page) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = Recovered(v)
		}
	}()
	return l.consumer.Apply(work, page)
}

// failed sets the state that the failure demands, and says so.
func (l *lane) failed(err error) {
	log := LogPanic(l.router.opts.Logger, err).With("consumer", l.name)
	if blocked, ok := errors.AsType[*BlockedError](err); ok {
		l.progress.block(blocked.Position, err)
		log.Error("consumer blocked: delivery stops until it is resumed, others go on", "position", blocked.Position, "err", blocked.Err)
		return
	}
	if errors.Is(err, eventstore.ErrRewound) || errors.Is(err, eventstore.ErrCorrupt) {
		var position int64
		if rewound, ok := errors.AsType[*eventstore.RewoundError](err); ok {
			position = rewound.Checkpoint.Position
		}
		l.progress.block(position, err)
		log.Error("consumer blocked: delivery stops until it is resumed, others go on", "err", err)
		return
	}
	var position int64
	var attempt int
	var wait time.Duration
	if retry, ok := errors.AsType[*RetryError](err); ok {
		position, attempt, wait, err = retry.Position, retry.Attempt, retry.After, retry.Err
	} else {
		l.failures++
		attempt, wait = l.failures, backoff(l.failures, l.router.opts.MinBackoff, l.router.opts.MaxBackoff)
	}
	l.progress.backOff(position, attempt, wait, err)
	log.Warn("consumer backs off", "position", position, "attempt", attempt, "next", wait, "err", err)
}
