package serverless

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/leat-go/leat/internal/crash"
)

// Source is the outside world: inputs that come by the host's clock. In
// virtual time (Drain with a *clock.Virtual) it is asked whenever everything is
// settled; with Run it is asked again whenever the log has grown or an input
// is due, so that its inputs may depend on what happened. Settled are, unless
// Options.Ordered, the sagas and event functions: a read model may be behind,
// and is read with the position that is wanted of it.
//
// What it releases must be idempotent (a command id from the input's identity,
// say): after a crash the host asks again, and the source finds in the log, or
// by the duplicate commit, what was taken already. So it does where Release
// fails with the store's ErrOutcomeUnknown or ErrBusy, or because the store has
// stopped: no input is lost because of a full disk, say. Any other error of a
// source ends the Run or Drain. A source is called from one goroutine at a time.
type Source interface {
	// Next returns when the next input is due; false where there is none for
	// now. An input that is overdue is due now.
	Next(ctx context.Context) (at time.Time, ok bool, err error)
	// Release issues every input due at or before until, and returns when all
	// are acknowledged. Where it returns an error, wrapped so that errors.Is
	// finds the store's, those that were not acknowledged stay due: it is called
	// again, until the store takes them. With Options.Ordered it issues them
	// through Host.Do, with this ctx, one after the other.
	Release(ctx context.Context, until time.Time) error
}

// Grouping is a Source whose inputs may be released together though they are
// due at different instants, so that their commits are grouped. The clock is
// then advanced to the last of them first: no timer that one of them arms may
// be due sooner than that.
type Grouping interface {
	Source
	// Together returns the instant of the last input that may be released with
	// the next one: before the instant given, where it is not zero, which is
	// that of the next timer.
	Together(ctx context.Context, before time.Time) (time.Time, error)
}

// gatherFor is how long a page waits to fill at most, in virtual time: whoever
// waits for what is in it asks for it before.
const gatherFor = 50 * time.Millisecond

// gather returns how long consumers are kept waiting for larger pages. In real
// time they are not; nor in an order that must not depend on how they are.
func (h *Host) gather() time.Duration {
	if h.virtual == nil || h.opts.Ordered {
		return 0
	}
	return gatherFor
}

// drainVirtual settles, moves the clock to what comes next, and so on until
// nothing is left. What acts holds the clock; read models are waited for at the
// end. With Options.Ordered everything holds it, so that who reads a model
// without a position reads the same each time.
func (s *session) drainVirtual(ctx context.Context, limit time.Time) error {
	clk := s.host.virtual
	holds := whatActs
	if s.host.opts.Ordered {
		holds = everything
	}
	for of := holds; ; {
		if err := s.settlePatiently(ctx, of); err != nil {
			return err
		}
		due, pending, err := s.nextTimer(ctx)
		if err != nil {
			return err
		}
		if pending && !due.After(clk.Now()) {
			if err := s.fireAt(ctx, due); err != nil {
				return err
			}
			continue
		}
		input, src, err := s.nextInput(ctx)
		if err != nil {
			return err
		}
		next := due
		if src != nil && (!pending || input.Before(due)) {
			next = input
		}
		s.host.figures.setNext(next, pending || src != nil)
		switch {
		case !pending && src == nil, !limit.IsZero() && next.After(limit):
			if of == everything {
				return nil
			}
			of = everything // and look again: a source may read a model
			continue
		case src != nil && (!pending || input.Before(due)):
			err = s.release(ctx, src, input, before(due, pending, limit))
		default:
			clk.Advance(due)
			crash.At(crash.ClockAdvanced)
			s.host.figures.instants.Add(1)
			err = s.fireAt(ctx, due)
		}
		if err != nil {
			return err
		}
		of = holds
	}
}

// before returns the instant that inputs released together must precede; zero
// for none.
func before(due time.Time, pending bool, limit time.Time) time.Time {
	if !limit.IsZero() && (!pending || limit.Before(due)) {
		return limit.Add(1)
	}
	if pending {
		return due
	}
	return time.Time{}
}

// settlePatiently settles, and waits, in wall time, for what backs off: the
// clock stands still meanwhile.
func (s *session) settlePatiently(ctx context.Context, of scope) error {
	for {
		held, err := s.settle(ctx, of)
		if err != nil || held.err == nil {
			return err
		}
		if s.host.keeper.stopped() {
			if err := s.host.keeper.await(ctx, false); err != nil {
				return err
			}
		}
		if err := sleepUntil(ctx, held.until); err != nil {
			return &MoreWorkError{Reason: "something backs off, and there was no more time to wait for it", Err: held.err}
		}
	}
}

// leastWait bounds how often something that backs off is looked at.
const leastWait = time.Millisecond

func sleepUntil(ctx context.Context, at time.Time) error {
	timer := time.NewTimer(max(time.Until(at), leastWait))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// nextInput returns the earliest outside input and its source; a nil source
// where there is none.
func (s *session) nextInput(ctx context.Context) (at time.Time, from *source, err error) {
	for _, src := range s.host.sources {
		t, ok, err := src.Next(ctx)
		if err != nil {
			return time.Time{}, nil, fmt.Errorf("serverless: source: %w", err)
		}
		if ok && (from == nil || t.Before(at)) {
			at, from = t, src
		}
	}
	return at, from, nil
}

// release advances the clock to the input, or to the last of those that may go
// with it, and releases what is due.
func (s *session) release(ctx context.Context, src *source, until, before time.Time) error {
	if g, ok := src.Source.(Grouping); ok {
		last, err := g.Together(ctx, before)
		if err != nil {
			return fmt.Errorf("serverless: source: %w", err)
		}
		if last.After(until) && (before.IsZero() || last.Before(before)) {
			until = last
		}
	}
	h := s.host
	h.virtual.Advance(until)
	until = h.virtual.Now() // an overdue input is due now
	h.figures.instants.Add(1)
	if h.opts.Ordered {
		ctx = withRelease(ctx, s)
	}
	for _, src := range h.sources {
		at, ok, err := src.Next(ctx)
		if err != nil {
			return fmt.Errorf("serverless: source: %w", err)
		}
		if !ok || at.After(until) {
			continue
		}
		err = h.releaseInputs(ctx, src, until, false)
		if err != nil && !errors.Is(err, ErrStopped) && !errors.Is(err, ErrMoreWork) {
			err = fmt.Errorf("serverless: %w", err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

type releaseKey struct{}

// withRelease marks the context of an ordered release; nil takes the mark away.
func withRelease(ctx context.Context, s *session) context.Context {
	if s == nil && releaseOf(ctx) == nil {
		return ctx
	}
	return context.WithValue(ctx, releaseKey{}, s)
}

func releaseOf(ctx context.Context) *session {
	s, _ := ctx.Value(releaseKey{}).(*session)
	return s
}

// keepFollowing follows a source, also after the store had stopped.
func (h *Host) keepFollowing(ctx context.Context, src *source) error {
	for {
		err := h.follow(ctx, src)
		if again, stopped := h.keeper.excused(ctx, err, true); !again || stopped != nil {
			return err
		}
	}
}

// follow releases a source's inputs by a clock that moves by itself.
func (h *Host) follow(ctx context.Context, src *source) error {
	for {
		head, err := h.store.Head(ctx)
		if err != nil {
			return err
		}
		at, ok, err := src.Next(ctx)
		if err != nil {
			return fmt.Errorf("source: %w", err)
		}
		if now := h.clock.Now(); ok && !at.After(now) {
			if err := h.releaseInputs(ctx, src, now, true); err != nil {
				return err
			}
			continue
		}
		if err := h.await(ctx, head, at, ok); err != nil {
			return err
		}
	}
}

// await returns when the log has grown past head, or it is time.
func (h *Host) await(ctx context.Context, head int64, at time.Time, timed bool) error {
	waiting, stop := context.WithCancel(ctx)
	defer stop()
	grown := make(chan error, 1)
	go func() {
		_, err := h.store.Wait(waiting, head)
		grown <- err
		stop()
	}()
	if timed {
		_ = h.clock.WaitUntil(waiting, at) // its one error is waiting's end
		stop()
	}
	err := <-grown
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil && waiting.Err() == nil {
		return err
	}
	return nil
}
