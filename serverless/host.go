package serverless

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/disk"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/saga"
)

// Names of the router that are the framework's own.
const (
	sagasName  = saga.Name
	outboxName = "outbox"
)

// Options of New. A nil *Options means the defaults.
type Options struct {
	// Dir is the directory of the host's files. Defaults to the store's own,
	// where it has a method Dir() string.
	Dir string
	// Clock is what timers go by. Defaults to clock.System(). Give the store
	// the same. With a *clock.Virtual, Drain moves the time. A clock with a
	// method Advance(time.Time) is advanced by Open to where the store left off.
	Clock clock.Clock
	// Logger defaults to slog.Default().
	Logger *slog.Logger
	// Workers is how many commands of sagas are in flight at once. Defaults to
	// the saga engine's.
	Workers int
	// Ordered dispatches the commands of sagas one at a time, in an order that
	// depends on nothing but the log and the inputs, each after sagas and event
	// functions have seen what the one before did, so that equal inputs give
	// equal logs. It needs a *clock.Virtual.
	Ordered bool
	// Middleware wraps every handler of the router.
	Middleware []message.HandlerMiddleware
	// Grace is how long functions keep their context once the host stops.
	// Defaults to bus.DefaultGrace.
	Grace time.Duration
}

type hostState int

const (
	stateNew hostState = iota
	stateOpen
	stateClosed
)

// Host owns functions, projections and sagas over one store, and runs them.
// Register everything, then Run, Drain or Invoke. Registering is not safe for
// concurrent use; everything else is.
//
// The host owns its files, not the store: the caller closes the store after
// the host. Files are closed only after the last handler has returned, the
// read models first, then what is primary: sagas, then functions.
type Host struct {
	store   eventstore.Store
	opts    Options
	clock   clock.Clock
	virtual *clock.Virtual // the clock, where it is virtual
	logger  *slog.Logger

	// What was registered, in order. Not changed once open.
	functions map[string]*function
	commands  *bus.Commands
	events    []*eventFunction
	models    []*Model
	sagas     []*saga.Definition
	sources   []*source
	names     map[string]string // to what they name
	problems  []error

	// What Open opened.
	dir    string
	ledger *ledger
	engine *saga.Engine // nil without sagas

	keeper  *keeper // nil where the store cannot be opened again
	figures figures
	opening chan struct{} // held by the Open or Close at work
	ending  chan struct{} // closed when the host begins to close
	calls   sync.WaitGroup

	mu      sync.Mutex // guards what follows, and calls against Close
	state   hostState
	session *session // the Run or Drain at work
}

// New returns a host over the store, which opens nothing before Open, Run,
// Drain or Invoke.
func New(store eventstore.Store, opts *Options) *Host {
	h := &Host{
		store:     store,
		functions: map[string]*function{},
		commands:  bus.NewCommands(),
		names:     map[string]string{},
		opening:   make(chan struct{}, 1),
		ending:    make(chan struct{}),
	}
	if opts != nil {
		h.opts = *opts
	}
	h.clock, h.logger = h.opts.Clock, h.opts.Logger
	if h.clock == nil {
		h.clock = clock.System()
	}
	if h.logger == nil {
		h.logger = slog.Default()
	}
	h.virtual, _ = h.clock.(*clock.Virtual)
	h.keeper = newKeeper(store, h.logger)
	return h
}

// Open checks everything that was registered and opens the host's files. It
// returns a RegistrationError with all that is wrong before any file is
// created or touched. Run, Drain and Invoke call it; opening an open host does
// nothing, and one that could not be opened may be opened again.
func (h *Host) Open(ctx context.Context) error {
	if done, err := h.opened(); done {
		return err
	}
	select {
	case h.opening <- struct{}{}:
		defer func() { <-h.opening }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if done, err := h.opened(); done {
		return err
	}
	if err := h.check(); err != nil {
		return err
	}
	if err := h.openFiles(ctx); err != nil {
		return errors.Join(err, h.closeFiles())
	}
	if err := h.resumeClock(ctx); err != nil {
		return errors.Join(err, h.closeFiles())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state = stateOpen
	return nil
}

func (h *Host) opened() (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch h.state {
	case stateOpen:
		return true, nil
	case stateClosed:
		return true, ErrClosed
	}
	return false, nil
}

// check lists all that is wrong with what was registered.
func (h *Host) check() error {
	problems := append([]error(nil), h.problems...)
	h.dir = h.opts.Dir
	if h.dir == "" {
		if d, ok := h.store.(interface{ Dir() string }); ok {
			h.dir = d.Dir()
		} else {
			problems = append(problems, fmt.Errorf("options: the store has no directory: give Options.Dir"))
		}
	}
	if h.opts.Workers < 0 || h.opts.Grace < 0 {
		problems = append(problems, fmt.Errorf("options: Workers %d and Grace %v must not be negative", h.opts.Workers, h.opts.Grace))
	}
	if h.opts.Ordered && h.virtual == nil {
		problems = append(problems, fmt.Errorf("options: Ordered needs a *clock.Virtual: in real time the order is the world's"))
	}
	problems = append(problems, h.unhandled()...)
	if len(problems) > 0 {
		return &RegistrationError{Problems: problems}
	}
	return nil
}

func (h *Host) openFiles(ctx context.Context) error {
	if _, err := disk.EnsureDir(h.dir); err != nil {
		return fmt.Errorf("serverless: %w", err)
	}
	// The sagas first: they may refuse to start, with what they have pending.
	err := h.openSagas(ctx)
	if err != nil {
		return err
	}
	if h.ledger, err = openLedger(ctx, h.dir, h.logger); err != nil {
		return err
	}
	for _, m := range h.models {
		p, err := projection.Open(ctx, h.dir, h.store, m.def, &projection.Options{Logger: h.logger})
		if err != nil {
			return fmt.Errorf("serverless: %w", err)
		}
		m.open.Store(p)
	}
	for _, f := range h.events {
		if err := f.open(ctx, h); err != nil {
			return err
		}
	}
	return nil
}

// resumeClock has a clock that can be advanced go on from where the store left
// off: a killed run continues at the same instant.
func (h *Host) resumeClock(ctx context.Context) error {
	c, ok := h.clock.(interface{ Advance(time.Time) })
	if !ok {
		return nil
	}
	head, err := h.store.Head(ctx)
	if err != nil {
		return fmt.Errorf("serverless: %w", err)
	}
	if head > 0 {
		page, err := h.store.ReadLog(ctx, head-1, 1, eventstore.Filter{})
		if err != nil {
			return fmt.Errorf("serverless: %w", err)
		}
		if len(page.Events) > 0 {
			c.Advance(page.Events[0].RecordedAt())
		}
	}
	if h.engine != nil {
		last, err := h.engine.LastTime(ctx)
		if err != nil {
			return fmt.Errorf("serverless: %w", err)
		}
		c.Advance(last)
	}
	return nil
}

// enter begins a call that Close waits for.
func (h *Host) enter() (leave func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch h.state {
	case stateNew:
		return nil, ErrNotOpen
	case stateClosed:
		return nil, ErrClosed
	}
	h.calls.Add(1)
	return h.calls.Done, nil
}

// Close stops a Run or Drain, waits for it and for all calls, and closes the
// host's files. It is idempotent, and must not be called from a function.
func (h *Host) Close() error {
	h.mu.Lock()
	s := h.session
	h.mu.Unlock()
	if s != nil {
		s.cancel(ErrClosed)
		<-s.done
	}
	return h.close()
}

func (h *Host) close() error {
	h.opening <- struct{}{}
	defer func() { <-h.opening }()
	h.mu.Lock()
	if h.state == stateClosed {
		h.mu.Unlock()
		return nil
	}
	wasOpen := h.state == stateOpen
	h.state = stateClosed
	h.mu.Unlock()
	close(h.ending)
	if !wasOpen {
		return nil
	}
	h.calls.Wait()
	return h.closeFiles()
}

// closeFiles closes what is open.
func (h *Host) closeFiles() error {
	var errs []error
	for _, m := range h.models {
		if p := m.open.Swap(nil); p != nil {
			errs = append(errs, p.Close())
		}
	}
	if h.engine != nil {
		errs = append(errs, h.engine.Close())
		h.engine = nil
	}
	if h.ledger != nil {
		for _, f := range h.events {
			for _, p := range f.parts {
				errs = append(errs, p.flush(context.Background()))
			}
		}
		errs = append(errs, h.ledger.close())
		h.ledger = nil
	}
	return errors.Join(errs...)
}
