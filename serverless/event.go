package serverless

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/crash"
	"github.com/leat-go/leat/internal/sqlite"
	"github.com/leat-go/leat/saga"
)

// lazyCheckpoint is how many positions without an event of its own a function
// passes before it saves how far it has scanned. After a crash it scans at
// most so many again.
const lazyCheckpoint = 10_000

// eventFunction is what OnEvent registered, and its parked streams.
type eventFunction struct {
	name  string
	typ   string
	opts  eventOptions
	call  func(ctx context.Context, e eventstore.Recorded) error
	parts []*partition // once open

	mu     sync.Mutex // guards parked
	parked map[string]bool
}

func (f *eventFunction) isParked(stream string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.parked[stream]
}

func (f *eventFunction) setParked(stream string, parked bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if parked {
		f.parked[stream] = true
	} else {
		delete(f.parked, stream)
	}
}

// open enrolls the function and makes its partitions.
func (f *eventFunction) open(ctx context.Context, h *Host) error {
	start := eventstore.Anchor{}
	if !f.opts.fromStart {
		head, err := h.store.Head(ctx)
		if err == nil && head > 0 {
			start, err = h.store.Anchor(ctx, head)
		}
		if err != nil {
			return fmt.Errorf("serverless: function %q: %w", f.name, err)
		}
	}
	isNew, err := h.ledger.enroll(ctx, f.name, f.opts.concurrency, start)
	if err != nil {
		return err
	}
	if isNew && start.Position > 0 {
		h.logger.Info("a new event function on a log with history is given later events only; see FromStart", "function", f.name, "after", start.Position)
	}
	if f.parked, err = h.ledger.parkedStreams(ctx, f.name); err != nil {
		return err
	}
	f.parts = nil
	for i := range f.opts.concurrency {
		p := &partition{
			host: h, fn: f, index: i,
			name: partitionName(f.name, i, f.opts.concurrency),
			turn: make(chan struct{}, 1),
		}
		f.parts = append(f.parts, p)
	}
	return nil
}

// partition is the consumer that calls an event function for a part of the
// streams, one event at a time.
type partition struct {
	host  *Host
	fn    *eventFunction
	name  string
	index int

	// turn is held by whoever calls the function for this partition: the
	// router, or a retry of a dead letter. A channel, so that a function may
	// wait for time while others wait for their turn. It guards what follows.
	turn    chan struct{}
	loaded  bool
	saved   eventstore.Anchor // in the ledger
	at      eventstore.Anchor // scanned and applied; may be ahead of saved
	failing attempt
}

func (p *partition) take(ctx context.Context) (func(), error) {
	select {
	case p.turn <- struct{}{}:
		return func() { <-p.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Name implements bus.Consumer.
func (p *partition) Name() string { return p.name }

// Filter implements bus.Consumer.
func (p *partition) Filter() eventstore.Filter { return eventstore.Filter{Types: []string{p.fn.typ}} }

// PageSize implements bus.PageSizer: what has effects outside takes one event
// at a time.
func (p *partition) PageSize() int { return 1 }

// Partition implements bus.Partitioned.
func (p *partition) Partition() (index, of int) { return p.index, p.fn.opts.concurrency }

// Checkpoint implements bus.Consumer.
func (p *partition) Checkpoint(ctx context.Context) (eventstore.Anchor, error) {
	done, err := p.take(ctx)
	if err != nil {
		return eventstore.Anchor{}, err
	}
	defer done()
	if err := p.load(ctx); err != nil {
		return eventstore.Anchor{}, err
	}
	return p.at, nil
}

func (p *partition) load(ctx context.Context) error {
	if p.loaded {
		return nil
	}
	var err error
	if p.saved, err = p.host.ledger.Load(ctx, p.name); err != nil {
		return err
	}
	if p.failing, err = p.host.ledger.failing(ctx, p.name); err != nil {
		return err
	}
	p.at, p.loaded = p.saved, true
	return nil
}

// Apply implements bus.Consumer.
func (p *partition) Apply(ctx context.Context, page bus.Page) error {
	done, err := p.take(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := p.load(ctx); err != nil {
		return err
	}
	for i, e := range page.Events {
		if e.Position <= p.at.Position {
			continue
		}
		through := page.Through
		if i < len(page.Events)-1 {
			if through, err = p.host.store.Anchor(ctx, e.Position); err != nil {
				return err
			}
		}
		if err := p.one(ctx, e, through); err != nil {
			return err
		}
		p.host.figures.delivered.Add(1)
	}
	if page.Through.Position > p.at.Position {
		p.at = page.Through
		if p.at.Position-p.saved.Position >= lazyCheckpoint {
			return p.commit(ctx, p.at, nil)
		}
	}
	return nil
}

// one calls the function with the event, or has it wait, and commits the
// checkpoint with what became of it.
func (p *partition) one(ctx context.Context, e eventstore.Recorded, through eventstore.Anchor) error {
	if p.fn.isParked(e.Stream) {
		return p.commit(ctx, through, func(tx *sqlite.Tx) error {
			err := insertWaiting(tx, p.fn.name, e)
			crash.At(crash.LetterWaits)
			return err
		})
	}
	a := p.failing
	if a.Position != e.Position {
		a = attempt{Position: e.Position}
	} else if left := time.Until(time.Unix(0, a.NextAt)); left > 0 {
		return &bus.RetryError{After: left, Attempt: a.Attempts, Position: e.Position, Err: errors.New(a.Error)}
	}
	err := p.fn.invoke(ctx, e)
	if err == nil {
		crash.At(crash.FunctionCalled)
		// What was done is recorded even when the shutdown has begun.
		return p.commit(context.WithoutCancel(ctx), through, nil)
	}
	if ctx.Err() != nil {
		return ctx.Err() // a shutdown, never a failure
	}
	if p.host.keeper.infrastructure(err) {
		return err // not the function's
	}
	return p.fail(ctx, e, through, a, err)
}

// fail counts the attempt and retries, or does what the policy says.
func (p *partition) fail(ctx context.Context, e eventstore.Recorded, through eventstore.Anchor, a attempt, cause error) error {
	crash.At(crash.FunctionFailed)
	now := time.Now()
	a.Attempts++
	if a.FirstAt == 0 {
		a.FirstAt = now.UnixNano()
	}
	a.Error = errorText(cause)
	retry := p.fn.opts.retry
	last := errors.Is(cause, errUndecodable) || a.Attempts >= retry.Attempts || now.Sub(time.Unix(0, a.FirstAt)) >= retry.MaxAge
	if last && p.fn.opts.policy != Block {
		state := stateSkipped
		if p.fn.opts.policy == Park {
			state = stateParked
		}
		err := p.commit(ctx, through, func(tx *sqlite.Tx) error {
			err := insertLetter(tx, p.fn.name, state, e, a, now.UnixNano())
			crash.At(crash.LetterWritten)
			return err
		})
		if err != nil {
			return err
		}
		p.fn.setParked(e.Stream, state == stateParked)
		bus.LogPanic(p.host.logger, cause).Error("event function gave an event up", "function", p.fn.name, "policy", state,
			"position", e.Position, "stream", e.Stream, "event_id", e.ID, "attempts", a.Attempts, "error", cause)
		return nil
	}
	wait := retry.wait(a.Attempts)
	if last {
		wait = 0 // once it is resumed, or the host starts again
	}
	a.NextAt = now.Add(wait).UnixNano()
	if err := p.host.ledger.failed(ctx, p.name, a); err != nil {
		p.loaded = false
		return err
	}
	crash.At(crash.FunctionCounted)
	p.failing = a
	if last {
		return &bus.BlockedError{Position: e.Position, Err: fmt.Errorf("function %q, attempt %d: %w", p.fn.name, a.Attempts, cause)}
	}
	return &bus.RetryError{After: wait, Attempt: a.Attempts, Position: e.Position, Err: cause}
}

// commit moves the checkpoint to where it is applied, with what effect writes,
// and forgets the attempts of the event before.
func (p *partition) commit(ctx context.Context, to eventstore.Anchor, effect func(*sqlite.Tx) error) error {
	err := p.host.ledger.write(ctx, "commit "+p.name, func(tx *sqlite.Tx) error {
		if err := moveCheckpoint(tx, p.name, p.saved, to); err != nil {
			return err
		}
		if p.failing.Position != 0 {
			if err := clearAttempt(tx, p.name); err != nil {
				return err
			}
		}
		crash.At(crash.FunctionMoved)
		if effect != nil {
			return effect(tx)
		}
		return nil
	})
	if err != nil {
		p.loaded = false // it may be stored after all: look again
		return err
	}
	crash.At(crash.FunctionCommitted)
	p.saved, p.at, p.failing = to, to, attempt{}
	return nil
}

// flush saves how far the partition has scanned, where that was put off.
func (p *partition) flush(ctx context.Context) error {
	done, err := p.take(ctx)
	if err != nil {
		return err
	}
	defer done()
	if !p.loaded || p.at == p.saved || p.failing.Position != 0 {
		return nil
	}
	return p.commit(ctx, p.at, nil)
}

// errUndecodable marks an event that no repetition will make readable.
var errUndecodable = errors.New("serverless: the function cannot read the event")

// invoke calls the function once, within its time, and turns a panic into an
// error.
func (f *eventFunction) invoke(ctx context.Context, e eventstore.Recorded) (err error) {
	meta, err := e.Meta.Decode()
	if err != nil {
		return fmt.Errorf("%w: %w", errUndecodable, err)
	}
	caused := eventstore.Metadata{eventstore.CausationID: e.ID.String(), eventstore.CorrelationID: e.ID.String()}
	for _, key := range []string{eventstore.CorrelationID, eventstore.TraceParent, eventstore.TraceState, saga.HopsKey} {
		if v := meta[key]; v != "" {
			caused[key] = v
		}
	}
	ctx = withMinPosition(eventstore.WithMetadata(ctx, caused), e.Position)
	if f.opts.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, f.opts.timeout, fmt.Errorf("function %q took longer than %v", f.name, f.opts.timeout))
		defer cancel()
	}
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("serverless: function %q: %w", f.name, bus.Recovered(v))
		}
	}()
	if err := f.call(ctx, e); err != nil {
		return fmt.Errorf("serverless: function %q: %w", f.name, err)
	}
	return nil
}

// wait returns how long to wait after so many attempts: at random up to a
// bound that doubles (full jitter), so that many that failed together do not
// come back together.
func (r RetryPolicy) wait(attempts int) time.Duration {
	bound := r.Longest
	if shift := attempts - 1; shift < 32 {
		bound = min(bound, r.First<<shift)
	}
	return rand.N(bound) + 1
}
