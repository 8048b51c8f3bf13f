package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"

	"github.com/leat-go/leat/eventstore"
)

// DefaultGrace is how long a stopping router leaves handlers their context.
const DefaultGrace = 10 * time.Second

var (
	// ErrStopped: the router was stopped. It is also the cause of the context
	// of a handler that outlived the grace.
	ErrStopped = errors.New("bus: router stopped")
	// ErrUnknownConsumer: the router has no consumer of this name.
	ErrUnknownConsumer = errors.New("bus: unknown consumer")
)

// RouterOptions adjust a Router.
type RouterOptions struct {
	// Logger says what the router does. Defaults to slog.Default().
	Logger *slog.Logger
	// Middleware wraps every handler, the first outermost, inside of Watermill's
	// Recoverer and CorrelationID. It is not called for pages without events.
	// What it makes of an error does not decide: a page counts as applied where
	// Apply returned nil, and only there.
	Middleware []message.HandlerMiddleware
	// Grace is how long handlers keep their context once the router stops.
	// Defaults to DefaultGrace.
	Grace time.Duration
	// MinBackoff and MaxBackoff bound the wait after an infrastructure error.
	// Default to the constants.
	MinBackoff, MaxBackoff time.Duration
	// Gather is how long a lane lets a page fill before it delivers what there
	// is: fewer, larger pages are fewer transactions. It delivers at once where
	// the log has grown by a default page, or somebody asks (Settle, Demand).
	// Defaults to 0: everything is delivered as soon as it is in the log.
	Gather time.Duration
	// BufferEvents and BufferBytes bound the end of the log that consumers
	// share. Default to the constants.
	BufferEvents, BufferBytes int
}

func (o *RouterOptions) withDefaults() (RouterOptions, error) {
	var d RouterOptions
	if o != nil {
		d = *o
	}
	if d.Logger == nil {
		d.Logger = slog.Default()
	}
	setDefault(&d.Grace, DefaultGrace)
	setDefault(&d.MinBackoff, MinBackoff)
	setDefault(&d.MaxBackoff, max(MaxBackoff, d.MinBackoff))
	setDefault(&d.BufferEvents, BufferEvents)
	setDefault(&d.BufferBytes, BufferBytes)
	if d.Grace < 0 || d.Gather < 0 || d.MinBackoff < 0 || d.MaxBackoff < d.MinBackoff || d.BufferEvents < 1 || d.BufferBytes < 1 {
		return d, &eventstore.InvalidError{Field: "router options", Value: fmt.Sprintf("grace %v, gather %v, backoff %v to %v, buffer %d events and %d bytes",
			d.Grace, d.Gather, d.MinBackoff, d.MaxBackoff, d.BufferEvents, d.BufferBytes), Reason: "must be positive and in order"}
	}
	return d, nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Router delivers the log to consumers, and messages of other subscribers to
// handlers, through Watermill's Router. It is safe for concurrent use.
//
// Each consumer has a lane: one goroutine that reads a page, sends it through
// Watermill as a message, waits until the handler has ended, and only then
// sends the next. So order and backpressure are the lane's; Watermill brings
// the middleware. In a backlog of DefaultPageSize or more it reads one page
// ahead while it waits. A lane decides by what Apply returned, never by Ack, so that
// no middleware can make a page count that was not applied.
//
// Watermill's Router.Close cancels the messages in flight and may return
// before their handlers. The Router never calls it: it ends the lanes, each
// after its page, and Watermill's Router ends by itself when they have.
type Router struct {
	log     eventstore.LogReader
	tail    *tail
	opts    RouterOptions
	inner   *message.Router
	running chan struct{} // closed once handlers run
	stopped chan struct{} // closed once the last handler has ended
	lanes   atomic.Pointer[[]*lane]
	head    atomic.Int64 // the last position the router knows of
	ending  atomic.Bool  // the router is to stop; set before any context ends
	run     atomic.Pointer[session]
	alive   chan struct{} // closed when no handler can be added any more

	mu    sync.Mutex // guards what follows, and the adding of handlers
	names map[string]struct{}
	err   error // what Run returns
}

// session is one Run.
type session struct {
	follow context.Context // ends when the router is to stop
	work   context.Context // of handlers: ends a grace later
	stop   func()
}

// NewRouter returns a router over the log. It does nothing before Run.
func NewRouter(log eventstore.LogReader, opts *RouterOptions) (*Router, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	inner, err := message.NewRouter(message.RouterConfig{
		// Watermill closes itself once all its handlers have ended, and waits
		// this long for those that have not.
		CloseTimeout: math.MaxInt64,
	}, NewLogger(o.Logger))
	if err != nil {
		return nil, fmt.Errorf("make router: %w", err)
	}
	inner.AddMiddleware(concludes, middleware.CorrelationID, middleware.Recoverer)
	inner.AddMiddleware(o.Middleware...)
	r := &Router{
		log:     log,
		tail:    newTail(log, o.BufferEvents, o.BufferBytes),
		opts:    o,
		inner:   inner,
		running: make(chan struct{}),
		stopped: make(chan struct{}),
		alive:   make(chan struct{}),
		names:   map[string]struct{}{},
	}
	r.lanes.Store(&[]*lane{})
	// A handler without messages, so that Watermill's Router lives until the
	// router stops, however few there are.
	inner.AddConsumerHandler(lifeline, lifeline, lifelineSubscriber{r.alive}, func(*message.Message) error { return nil })
	return r, nil
}

// Add adds a consumer, before Run or while running. It returns
// ErrDuplicateName where the name is taken, eventstore.ErrInvalid for an
// illegal name, page size or partition, and ErrStopped once the router stops.
func (r *Router) Add(c Consumer) error {
	l, err := newLane(r, c)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.claim(l.name); err != nil {
		return err
	}
	lanes := append(append([]*lane{}, *r.lanes.Load()...), l)
	r.lanes.Store(&lanes)
	r.inner.AddConsumerHandler(l.name, l.name, laneSubscriber{l}, l.handle)
	return r.startAdded()
}

// AddHandler adds a handler for the messages of another subscriber, before Run
// or while running. Its messages' contexts outlive the end of the subscription
// by the grace. Whoever made the subscriber closes it, after Run has returned.
// Errors are those of Add. A subscription that fails ends Run with its error.
func (r *Router) AddHandler(name, topic string, sub message.Subscriber, h message.NoPublishHandlerFunc) error {
	if err := eventstore.CheckName("handler name", name); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.claim(name); err != nil {
		return err
	}
	r.inner.AddConsumerHandler(name, topic, outsideSubscriber{r, sub}, r.outlive(h))
	return r.startAdded()
}

// claim takes the name. mu is held.
func (r *Router) claim(name string) error {
	if r.ending.Load() {
		return ErrStopped
	}
	if _, ok := r.names[name]; ok || name == lifeline {
		return fmt.Errorf("%w: %q is in the router", ErrDuplicateName, name)
	}
	r.names[name] = struct{}{}
	return nil
}

// startAdded starts the handlers added while running. mu is held.
func (r *Router) startAdded() error {
	s := r.run.Load()
	if s == nil {
		return nil
	}
	if err := r.inner.RunHandlers(s.follow); err != nil {
		return fmt.Errorf("start handler: %w", err)
	}
	return nil
}

// Running is closed once Run has started the handlers.
func (r *Router) Running() <-chan struct{} { return r.running }

// Run delivers until ctx ends, and returns nil once the last handler has
// ended. Then pages and messages in flight are finished and no new ones
// delivered; handlers keep their contexts for RouterOptions.Grace, and are
// waited for even longer. A router runs once. An error means that it could not
// start, or that a subscription given to AddHandler failed.
func (r *Router) Run(ctx context.Context) error {
	work, cancelWork := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancelWork(nil)
	follow, cancelFollow := context.WithCancel(work)
	defer cancelFollow()
	s := &session{follow: follow, work: work}
	s.stop = sync.OnceFunc(func() {
		r.ending.Store(true)
		cancelFollow()
		r.mu.Lock() // whoever is adding a handler has then done so
		defer r.mu.Unlock()
		close(r.alive)
	})
	ended := make(chan error, 1)
	if err := r.start(ctx, s, ended); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, s.stop)()
	var watching sync.WaitGroup
	watching.Go(func() { r.watch(follow) })
	watching.Go(func() { r.limitGrace(follow, cancelWork) })

	err := <-ended
	s.stop()
	close(r.stopped)
	watching.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.err, err)
}

// start starts the handlers added so far.
func (r *Router) start(ctx context.Context, s *session, ended chan error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.run.Load() != nil {
		return fmt.Errorf("%w: a router runs once", ErrStopped)
	}
	head, err := r.log.Head(ctx)
	if err != nil {
		return fmt.Errorf("start router: %w", err)
	}
	r.head.Store(head)
	r.run.Store(s)
	go func() { ended <- r.inner.Run(s.follow) }()
	select {
	case <-r.inner.Running():
	case err := <-ended:
		return fmt.Errorf("start router: %w", err)
	}
	close(r.running)
	return nil
}

// limitGrace cancels the handlers' context a grace after the stop.
func (r *Router) limitGrace(follow context.Context, cancelWork context.CancelCauseFunc) {
	<-follow.Done()
	timer := time.NewTimer(r.opts.Grace)
	defer timer.Stop()
	select {
	case <-r.stopped:
	case <-timer.C:
		r.opts.Logger.Warn("handlers outlive the grace: their contexts are cancelled, the router waits for them to return", "grace", r.opts.Grace)
		cancelWork(ErrStopped)
	}
}

// watch learns of commits and wakes the lanes.
func (r *Router) watch(ctx context.Context) {
	for failures := 0; ctx.Err() == nil; {
		head, err := r.log.Wait(ctx, r.head.Load())
		if err == nil {
			failures = 0
			r.head.Store(head)
			for _, l := range *r.lanes.Load() {
				l.awake()
			}
			continue
		}
		if ctx.Err() != nil {
			return
		}
		failures++
		wait := backoff(failures, r.opts.MinBackoff, r.opts.MaxBackoff)
		r.opts.Logger.Warn("wait for commits", "err", err, "next", wait)
		if !pause(ctx, wait) {
			return
		}
	}
}

// fail stops the router with an error. Its caller may hold mu.
func (r *Router) fail(err error) {
	go func() {
		r.mu.Lock()
		r.err = errors.Join(r.err, err)
		r.mu.Unlock()
		r.run.Load().stop()
	}()
}
