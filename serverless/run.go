package serverless

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
)

// session is one Run or Drain: a router, and what it carries to.
type session struct {
	host   *Host
	router *bus.Router
	stuck  stuckTimer
	acting []string   // names of the consumers that issue commands
	steady []*watched // event functions, which an ordered dispatch waits for

	cancel     context.CancelCauseFunc // asks for the end
	stopRouter context.CancelFunc
	ended      chan struct{} // closed when the router has ended
	err        error         // of the router; set before ended is closed
	kept       chan struct{} // closed when the keeper of the store has ended
	done       chan struct{} // closed when the session is over
}

// errRouterEnded is the cause of a session's context whose router has ended by
// itself.
var errRouterEnded = errors.New("the router ended")

// begin starts the router. The session's context ends when ctx does, or the
// host is closed; the router itself lives until end. Its pages wait this long to
// fill.
func (h *Host) begin(ctx context.Context, gather time.Duration) (*session, context.Context, error) {
	if err := h.Open(ctx); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	s := &session{host: h, cancel: cancel, ended: make(chan struct{}), kept: make(chan struct{}), done: make(chan struct{})}
	if err := s.wire(gather); err != nil {
		cancel(nil)
		return nil, nil, fmt.Errorf("serverless: %w", err)
	}
	if err := h.occupy(s); err != nil {
		cancel(nil)
		return nil, nil, err
	}
	if err := s.start(ctx); err != nil {
		cancel(nil)
		h.over(s)
		return nil, nil, err
	}
	go func() {
		defer close(s.kept)
		if h.keeper != nil {
			h.keeper.run(ctx, s.hurry)
		}
	}()
	return s, ctx, nil
}

// hurry has every consumer that backs off tried again at once: the store that
// they failed on goes on.
func (s *session) hurry() {
	for _, st := range s.router.Status() {
		if st.State == bus.StateBackingOff {
			_ = s.router.Resume(st.Name) // it is in the router: it has just said so
		}
	}
}

// occupy makes the session the host's one.
func (h *Host) occupy(s *session) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.state == stateClosed:
		return ErrClosed
	case h.session != nil:
		return ErrRunning
	}
	h.session = s
	return nil
}

// over ends the session for those who wait for it.
func (h *Host) over(s *session) {
	h.mu.Lock()
	h.session = nil
	h.mu.Unlock()
	close(s.done)
}

// start starts the router.
func (s *session) start(ctx context.Context) error {
	// The router outlives ctx until end stops it, so that whoever drives the
	// session chooses the moment.
	live, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stopRouter = stop
	go func() {
		s.err = s.router.Run(live)
		close(s.ended)
		s.cancel(errRouterEnded) // nobody waits for what it would have carried
	}()
	select {
	case <-s.router.Running():
		return nil
	case <-s.ended:
		stop()
		return fmt.Errorf("serverless: %w", s.err)
	}
}

// wire adds every consumer, and the outbox, to a new router.
func (s *session) wire(gather time.Duration) (err error) {
	h := s.host
	s.router, err = bus.NewRouter(h.store, &bus.RouterOptions{Logger: h.logger, Middleware: h.opts.Middleware, Grace: h.opts.Grace, Gather: gather})
	if err != nil {
		return err
	}
	for _, m := range h.models {
		p, err := m.get()
		if err != nil {
			return err
		}
		if err := s.router.Add(&watched{Consumer: p, figures: &h.figures}); err != nil {
			return err
		}
	}
	for _, f := range h.events {
		for _, p := range f.parts {
			w := &watched{Consumer: p}
			s.steady = append(s.steady, w)
			s.acting = append(s.acting, w.Name())
			if err := s.router.Add(w); err != nil {
				return err
			}
		}
	}
	if h.engine == nil {
		return nil
	}
	if err := s.router.Add(&watched{Consumer: h.engine, figures: &h.figures}); err != nil {
		return err
	}
	s.acting = append(s.acting, h.engine.Name())
	return s.router.AddHandler(outboxName, outboxName, h.engine.Outbox(), h.engine.Dispatcher(s.dispatch))
}

// end stops the router and waits for its last handler.
func (s *session) end() error {
	s.stopRouter()
	<-s.ended
	s.cancel(nil)
	<-s.kept
	return s.err
}

// dispatch carries out a command of a saga. A function that chooses from a read
// model finds at least what caused the command in it.
func (s *session) dispatch(ctx context.Context, cmd bus.Command) (eventstore.Commit, error) {
	h := s.host
	seen, err := s.cause(ctx)
	if err != nil {
		return eventstore.Commit{}, err
	}
	commit, err := h.carryOut(withMinPosition(ctx, seen), cmd)
	h.figures.dispatched(err)
	if err == nil && h.opts.Ordered {
		err = s.steadied(ctx)
	}
	return commit, err
}

// cause returns a position that whatever caused the command stands at or below:
// what the sagas have seen, or, where equal inputs must give equal answers, the
// head.
func (s *session) cause(ctx context.Context) (int64, error) {
	if s.host.opts.Ordered {
		return s.host.store.Head(ctx)
	}
	at, err := s.host.engine.Checkpoint(ctx)
	return at.Position, err
}

// steadied waits until the event functions have seen the whole log, so that
// what they append stands in the same place of it each time. Sagas need no such
// wait: their engine chooses what leaves together before any of it does.
func (s *session) steadied(ctx context.Context) error {
	for len(s.steady) > 0 {
		head, err := s.host.store.Head(ctx)
		if err != nil {
			return err
		}
		for _, w := range s.steady {
			if err := w.settle(ctx, head); err != nil {
				return err
			}
		}
		again, err := s.host.store.Head(ctx)
		if err != nil || again == head {
			return err
		}
	}
	return nil
}

// Run runs everything until ctx ends, then stops gracefully: events and
// commands in flight are finished, no new ones are begun, nothing is counted
// as failed because of the stop. It returns after the last handler has
// returned and the host is closed: nil where ctx ended it.
//
// Timers fire by the host's clock. Sources, if there are any, are asked for
// inputs by the same clock. A function or projection that blocks stops alone,
// and says so in Status and the log. So does a store that stops because its
// disk fails: it is opened again as soon as that works (see
// eventstore.Reopener), and everything goes on. A host with Options.Ordered cannot run:
// its commands leave while a Drain settles.
func (h *Host) Run(ctx context.Context) (err error) {
	if h.opts.Ordered {
		return errors.New("serverless: Run with Options.Ordered: order is for virtual time, where Drain moves the clock")
	}
	s, ctx, err := h.begin(ctx, 0)
	if err != nil {
		return err
	}
	defer func() {
		h.over(s)
		err = errors.Join(err, h.close())
	}()
	work, stop := context.WithCancel(ctx)
	defer stop()
	drivers := []func(context.Context) error{}
	if h.engine != nil {
		drivers = append(drivers, h.engine.RunTimers)
	}
	for _, src := range h.sources {
		drivers = append(drivers, func(ctx context.Context) error { return h.keepFollowing(ctx, src) })
	}
	results := make(chan error, len(drivers))
	for _, run := range drivers {
		go func() { results <- run(work) }()
	}
	var errs []error
	running := len(drivers)
	note := func(err error) {
		running--
		if err != nil && ctx.Err() == nil {
			errs = append(errs, fmt.Errorf("serverless: %w", err))
			s.cancel(err)
		}
	}
	for ctx.Err() == nil {
		select {
		case err := <-results:
			note(err)
		case <-ctx.Done():
		}
	}
	stop()
	for running > 0 {
		note(<-results)
	}
	if err := s.end(); err != nil {
		errs = append(errs, fmt.Errorf("serverless: %w", err))
	}
	return errors.Join(errs...)
}

// Resume has a blocked consumer, by its name in Status, tried again. It
// returns bus.ErrUnknownConsumer where the host runs none of this name, and
// ErrNotRunning where it neither runs nor drains.
func (h *Host) Resume(name string) error {
	h.mu.Lock()
	s := h.session
	h.mu.Unlock()
	if s == nil {
		return ErrNotRunning
	}
	return s.router.Resume(name)
}
