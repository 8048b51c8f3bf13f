package serverless

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/leat-go/leat/bus"
)

// Budget bounds a Drain.
type Budget struct {
	// Time is how long, in wall time, it works at most. Defaults to no bound
	// but the context's.
	Time time.Duration
	// Until is how far the virtual clock is moved at most: what is due later
	// stays. Defaults to no bound. It has no meaning for other clocks.
	Until time.Time
}

// Report says what a Drain did.
type Report struct {
	// Head is the last position of the log.
	Head int64
	// Appended is how many positions the log has grown by.
	Appended int64
	// Progress holds the Drain's own figures.
	Progress
	// Elapsed is how long it took, in wall time.
	Elapsed time.Duration
}

// errBudget is the cause of a context that the budget ended.
var errBudget = errors.New("the budget is spent")

// Drain works until everything is done, and returns what it did. Done means:
// every consumer has scanned the log to its head, no command of a saga is in
// flight or ready, no timer is due, and the head has not moved meanwhile. With
// a *clock.Virtual, time is then moved to the next timer or outside input, and
// so on until nothing is left to come (see Budget.Until).
//
// It returns nil when all is done; ErrMoreWork when the budget or ctx ended
// it, or something backs off after a failure (in virtual time that is waited
// for, in wall time, and holds the clock); ErrBlocked when a consumer is
// blocked; ErrStopped when the store has stopped and could not be opened again
// in the time there was; any other error when it failed. See ExitCode. Killed or ended
// anywhere, it can be repeated. The host stays open; one Drain or Run at a
// time.
func (h *Host) Drain(ctx context.Context, b Budget) (_ Report, err error) {
	began, before := time.Now(), h.Progress()
	if b.Time > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, b.Time, errBudget)
		defer cancel()
	}
	start, err := h.headOnceOpen(ctx) // before anything runs that appends
	var s *session
	var work context.Context
	if err == nil {
		s, work, err = h.begin(ctx, h.gather())
	}
	if err != nil {
		if errors.Is(context.Cause(ctx), errBudget) {
			err = moreWork(ctx, err)
		}
		return Report{}, err
	}
	ctx = work
	defer h.over(s)
	err = s.drain(ctx, b.Until)
	if err != nil && ctx.Err() != nil && !errors.Is(err, ErrBlocked) && !errors.Is(err, ErrStopped) {
		err = moreWork(ctx, err)
	}
	if ended := s.end(); ended != nil {
		err = errors.Join(ended, err)
	}
	report := Report{Progress: h.Progress().since(before), Elapsed: time.Since(began)}
	head, headErr := h.store.Head(context.WithoutCancel(ctx))
	report.Head, report.Appended = head, head-start
	return report, errors.Join(err, headErr)
}

func (h *Host) headOnceOpen(ctx context.Context) (int64, error) {
	if err := h.Open(ctx); err != nil {
		return 0, err
	}
	return h.store.Head(ctx)
}

// drain drains, and again where the store had stopped meanwhile, once it goes
// on.
func (s *session) drain(ctx context.Context, until time.Time) (err error) {
	for {
		if s.host.virtual != nil {
			err = s.drainVirtual(ctx, until)
		} else {
			err = s.drainNow(ctx)
		}
		again, stopped := s.host.keeper.excused(ctx, err, false)
		if stopped != nil {
			return stopped
		}
		if !again {
			return err
		}
	}
}

// moreWork explains an error that came after the end of ctx.
func moreWork(ctx context.Context, err error) error {
	if errors.Is(err, ErrMoreWork) {
		return err
	}
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, errRouterEnded):
		return err // the session's end says why
	case errors.Is(cause, errBudget):
		return &MoreWorkError{Reason: errBudget.Error()}
	case errors.Is(cause, ErrClosed):
		return errors.Join(&MoreWorkError{Reason: "the host was closed"}, ErrClosed)
	}
	return &MoreWorkError{Reason: "it was interrupted", Err: cause}
}

func (p Progress) since(before Progress) Progress {
	p.Delivered -= before.Delivered
	p.Commands -= before.Commands
	p.Rejected -= before.Rejected
	p.Timers -= before.Timers
	p.Instants -= before.Instants
	return p
}

// drainNow drains by a clock that moves by itself.
func (s *session) drainNow(ctx context.Context) error {
	for {
		held, err := s.settle(ctx, everything)
		if err != nil {
			return err
		}
		if held.err != nil && s.host.keeper.lately() {
			if err := sleepUntil(ctx, held.until); err != nil {
				return err
			}
			continue
		}
		if held.err != nil {
			return &MoreWorkError{Reason: fmt.Sprintf("something backs off, until %s", held.until.Format(time.RFC3339)), Err: held.err}
		}
		fired, err := s.fireDue(ctx)
		if err != nil {
			return err
		}
		if fired == 0 {
			return s.noteNext(ctx)
		}
	}
}

// holdup is the failure of something that backs off, and the wall time at which
// the first of all that do is tried again.
type holdup struct {
	err   error
	until time.Time
}

func (w *holdup) note(until time.Time, err error) {
	if w.err == nil || until.Before(w.until) {
		w.err, w.until = err, until
	}
}

// scope is whom a settle waits for.
type scope int

const (
	// everything is every consumer.
	everything scope = iota
	// whatActs are sagas and event functions, which issue commands. Read models
	// only look on: they may follow, in larger pages.
	whatActs
)

// settle waits until every consumer of the scope has scanned to the head, no
// command is in flight or ready, and the head has not moved meanwhile. Where
// something backs off it waits for all else, and says so. It returns a
// BlockedError where a consumer is blocked, in scope or not.
//
// The waits leave out what backs off, and that may have been tried again since:
// so nothing counts as settled but what a look behind the waits finds settled.
func (s *session) settle(ctx context.Context, of scope) (holdup, error) {
	for {
		head, err := s.host.store.Head(ctx)
		if err != nil {
			return holdup{}, err
		}
		if of == everything {
			err = s.router.Settle(ctx, head)
		} else if len(s.acting) > 0 {
			err = s.router.Settle(ctx, head, s.acting...)
		}
		if err != nil {
			return holdup{}, err
		}
		if s.host.engine != nil {
			if err := s.host.engine.Settle(ctx); err != nil {
				return holdup{}, err
			}
		}
		held, settled, err := s.look(ctx, head, of)
		if err != nil {
			return holdup{}, err
		}
		again, err := s.host.store.Head(ctx)
		if err != nil {
			return holdup{}, err
		}
		if settled && again == head {
			return held, nil
		}
	}
}

// look tells whether everything of the scope has reached the head, and what
// backs off.
func (s *session) look(ctx context.Context, head int64, of scope) (held holdup, settled bool, err error) {
	var blocked []Consumer
	settled = true
	for _, st := range s.router.Status() {
		switch {
		case st.State == bus.StateBlocked:
			blocked = append(blocked, consumerOf(st))
		case st.State == bus.StateBackingOff:
			held.note(st.NextAttempt, fmt.Errorf("%s: %w", st.Name, st.Err))
		case st.Checkpoint < head && (of == everything || slices.Contains(s.acting, st.Name)):
			settled = false
		}
	}
	if len(blocked) > 0 {
		return holdup{}, false, &BlockedError{Consumers: blocked}
	}
	if s.host.engine == nil {
		return held, settled, nil
	}
	st, err := s.host.engine.Stats(ctx)
	if err != nil {
		return holdup{}, false, err
	}
	if !st.NextAttempt.IsZero() {
		held.note(st.NextAttempt, fmt.Errorf("%s: %s", sagasName, st.Failure))
	}
	return held, settled && st.Commands.Ready == 0 && st.Commands.InFlight == 0, nil
}

// noteNext keeps when something is due next, for the report.
func (s *session) noteNext(ctx context.Context) error {
	at, ok, err := s.nextTimer(ctx)
	if err != nil {
		return err
	}
	s.host.figures.setNext(at, ok)
	return nil
}
