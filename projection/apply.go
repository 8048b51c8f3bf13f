package projection

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sort"
	"time"
	"unicode/utf8"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/sqlite"
)

const (
	// maxErrorText is how much of an error's text a file keeps, in bytes.
	maxErrorText = 4096
	// waryPages is how many pages are applied with savepoints from the start
	// after one in which an event was set aside.
	waryPages = 16
	// longestRun is how many events share a savepoint at most.
	longestRun = 64
)

// failure is an event that could not be applied, by its index in the page.
type failure struct {
	index int
	err   error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// apply applies a page, in one transaction where nothing fails. Where an event
// does, the page is undone and applied again with savepoints, so that the good
// events before it are committed and it is judged alone; and so are the next
// pages from the start, since where one event fails others do.
func (v *view) apply(ctx context.Context, p bus.Page) error {
	if v.stale {
		if err := v.load(ctx); err != nil {
			return err
		}
	}
	if err := v.checkPage(ctx, p); err != nil {
		return err
	}
	if p.Through.Position <= v.through.Position {
		return nil
	}
	first := sort.Search(len(p.Events), func(i int) bool { return p.Events[i].Position > v.through.Position })
	events := p.Events[first:]
	if len(events) == 0 {
		v.through = p.Through
		if v.through.Position-v.saved.Position >= lazyCheckpoint {
			return v.saveScanned(ctx)
		}
		return nil
	}
	if v.wary > 0 {
		v.wary--
		return v.carefully(ctx, events, p.Through)
	}
	err := v.write(ctx, func(s *step) error { return s.all(ctx, events, p.Through) })
	if err == nil {
		return nil
	}
	var failed *failure
	if !errors.As(err, &failed) && !refusedCommit(err) {
		return err
	}
	return v.carefully(ctx, events, p.Through)
}

// checkPage refuses a page that would leave a gap or is of another log. A page
// may reach into another epoch of the log: then it and the checkpoint must both
// lie on it.
func (v *view) checkPage(ctx context.Context, p bus.Page) error {
	switch {
	case p.After > v.through.Position:
		return &bus.BlockedError{Position: v.through.Position, Err: fmt.Errorf("projection %s: a page after position %d was delivered, the checkpoint is at %d: what lies between would be skipped", v.def.name, p.After, v.through.Position)}
	case v.through.Position == 0, p.Through.Position <= v.through.Position, p.Through.Epoch == v.through.Epoch:
		return nil
	}
	for _, a := range []eventstore.Anchor{v.through, p.Through} {
		err := eventstore.CheckCheckpoint(ctx, v.log, a, v.def.name, rewoundRemedy)
		if errors.Is(err, eventstore.ErrRewound) {
			err = &bus.BlockedError{Position: v.through.Position, Err: fmt.Errorf("projection %s: a page of epoch %s was delivered, the checkpoint is of epoch %s: %w", v.def.name, p.Through.Epoch, v.through.Epoch, err)}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// refusedCommit tells whether a deferred constraint refused the COMMIT. The
// transaction was rolled back.
func refusedCommit(err error) bool {
	_, commit := errors.AsType[*sqlite.CommitError](err)
	return commit && sqlite.IsConstraint(err)
}

// all applies events without savepoints; the first that fails ends it.
func (s *step) all(ctx context.Context, events []eventstore.Recorded, through eventstore.Anchor) error {
	for i := range events {
		e := &events[i]
		if s.waiting(e) {
			if err := s.park(e, attempt{}); err != nil {
				return err
			}
			continue
		}
		if err := s.handle(ctx, e); err != nil {
			if err := s.excuse(ctx, err); err != nil {
				return err
			}
			return &failure{index: i, err: err}
		}
	}
	if err := s.remember(attempt{}); err != nil {
		return err
	}
	return s.save(through)
}

// excuse returns an error where what failed is not the event's fault: a
// shutdown, or the machine.
func (s *step) excuse(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if s.user.fatal != nil || infrastructure(err) {
		return s.v.wrap(err)
	}
	return nil
}

// handle calls the event's handler and recovers its panic.
func (s *step) handle(ctx context.Context, e *eventstore.Recorded) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(s.v.discarded) > 0 {
		if d, out := s.v.discarded[e.Position]; out {
			return s.keepDiscarded(e, d)
		}
	}
	h := s.v.def.handlers[e.Type]
	if h == nil {
		return nil
	}
	defer func() {
		if r := recover(); r != nil {
			err = errors.Join(bus.Recovered(r), s.user.finish())
		}
	}()
	if err := h.apply(ctx, s.user, e, s.v.ahead.take(e.Position)); err != nil {
		return errors.Join(err, s.user.finish())
	}
	return s.user.finish()
}

// carefully applies events with savepoints. Where a commit is refused,
// the events are halved until the one that is to blame is alone.
func (v *view) carefully(ctx context.Context, events []eventstore.Recorded, through eventstore.Anchor) error {
	for n := len(events); len(events) > 0; {
		end := through
		if n < len(events) {
			var err error
			if end, err = v.log.Anchor(ctx, events[n-1].Position); err != nil {
				return fmt.Errorf("projection %s: %w", v.def.name, err)
			}
		}
		stop, err := v.stepwise(ctx, events[:n], end)
		if err == nil && stop != nil {
			return stop
		}
		failed, fatal := errors.AsType[*failure](err)
		switch {
		case err == nil:
			events = events[n:]
			n = len(events)
		case fatal && failed.index > 0: // it ended the transaction: first what was good before it
			n = failed.index
		case refusedCommit(err) && n > 1:
			n = (n + 1) / 2
		case fatal || refusedCommit(err):
			if stop, err := v.condemn(ctx, events, through, err); err != nil || stop != nil {
				return errors.Join(err, stop)
			}
			events = events[1:]
			n = len(events)
		default:
			return err
		}
	}
	return nil
}

// stepwise is one transaction with savepoints. It returns, as stop, the
// RetryError or BlockedError of the event that ends it, after committing what
// came before, and, as err, why nothing was committed: a failure where an
// event ended the transaction.
//
// A savepoint costs about a third of a small handler, so events share one: the
// longer nothing fails the more of them. Where one of them fails, those before
// it are applied a second time.
func (v *view) stepwise(ctx context.Context, events []eventstore.Recorded, through eventstore.Anchor) (stop, err error) {
	err = v.write(ctx, func(s *step) error {
		failed := &failure{index: len(events)} // the next that is known to fail
		for i := 0; i < len(events); {
			if i < failed.index {
				n := min(1+v.run, failed.index-i)
				fault, err := s.together(ctx, i, events[i:i+n])
				switch {
				case err != nil:
					return err
				case fault != nil: // those before it, if any, are undone as well
					failed = fault
				default:
					i += n
					v.run = min(v.run+1, longestRun)
				}
				continue
			}
			var err error
			if stop, err = s.judge(ctx, &events[i], failed.err); err != nil {
				return err
			}
			if stop != nil {
				return s.saveBefore(ctx, events[:i])
			}
			i++
			v.run, failed = v.run/3, &failure{index: len(events)}
		}
		if s.attempt.position <= through.Position {
			if err := s.remember(attempt{}); err != nil {
				return err
			}
		}
		return s.save(through)
	})
	return stop, err
}

// together applies events, the first of which is first in the page, under one
// savepoint, and puts aside those that wait. Where one fails, all are undone,
// and it returns which and why; as err, a failure that ended the transaction.
func (s *step) together(ctx context.Context, first int, events []eventstore.Recorded) (*failure, error) {
	at, waiting := 0, 0
	var fault error
	undone := s.tx.Savepoint(func() error {
		for at = range events {
			if s.waiting(&events[at]) {
				waiting++
			} else if fault = s.handle(ctx, &events[at]); fault != nil {
				return fault
			}
		}
		return nil
	})
	if fault == nil && undone != nil {
		return nil, s.v.wrap(undone)
	}
	if fault != nil {
		if err := s.excuse(ctx, fault); err != nil {
			return nil, err
		}
		failed := &failure{index: first + at, err: fault}
		if s.tx.Ended() {
			return nil, failed
		}
		return failed, nil
	}
	for i := 0; waiting > 0; i++ {
		if s.waiting(&events[i]) {
			waiting--
			if err := s.park(&events[i], attempt{}); err != nil {
				return nil, err
			}
		}
	}
	return nil, nil
}

// saveBefore moves the checkpoint to the last of the events that were applied
// before one that stops.
func (s *step) saveBefore(ctx context.Context, applied []eventstore.Recorded) error {
	if len(applied) == 0 {
		return nil
	}
	to, err := s.v.log.Anchor(ctx, applied[len(applied)-1].Position)
	if err != nil {
		s.logged = true
		return fmt.Errorf("projection %s: %w", s.v.def.name, err)
	}
	return s.save(to)
}

// condemn judges the first of the events, whose effects are undone because it
// ended the transaction or its commit was refused, in a transaction of its own.
func (v *view) condemn(ctx context.Context, events []eventstore.Recorded, through eventstore.Anchor, cause error) (stop, err error) {
	if failed, ok := errors.AsType[*failure](cause); ok {
		cause = failed.err
	}
	e := &events[0]
	if len(events) > 1 {
		if through, err = v.log.Anchor(ctx, e.Position); err != nil {
			return nil, fmt.Errorf("projection %s: %w", v.def.name, err)
		}
	}
	err = v.write(ctx, func(s *step) (err error) {
		if stop, err = s.judge(ctx, e, cause); err != nil || stop != nil {
			return err
		}
		return s.save(through)
	})
	return stop, err
}

// judge counts the attempt and says what becomes of the event: it returns the
// error to stop with, or nil once the event is set aside.
func (s *step) judge(ctx context.Context, e *eventstore.Recorded, cause error) (stop, err error) {
	v := s.v
	reason := v.def.eventError(e, cause)
	a := s.attempt
	if a.position != e.Position {
		a = attempt{position: e.Position, since: time.Now()}
	}
	a.attempts++
	a.err = shorten(cause.Error())
	policy, already, err := v.verdict(ctx, e.Position)
	if err != nil {
		return nil, err
	}
	if !already && !v.once && !v.def.exhausted(a.attempts, a.since) {
		return &bus.RetryError{After: backoff(a.attempts), Attempt: a.attempts, Position: e.Position, Err: reason}, s.remember(a)
	}
	switch policy {
	case Park:
		err = s.park(e, a)
	case Skip:
		err = s.bury(e, a)
	default:
		return &bus.BlockedError{Position: e.Position, Err: reason}, s.remember(a)
	}
	if s.set++; s.set == 1 {
		s.notes = []slog.Attr{slog.String("policy", policy.String()), slog.Int64("first", e.Position), slog.String("stream", e.Stream), slog.String("error", a.err)}
	}
	return nil, errors.Join(err, s.remember(attempt{}))
}

// backoff returns how long to wait after the attempt: up to twice as long each
// time, and at least half of that.
func backoff(attempt int) time.Duration {
	most := MaxBackoff
	if shift := attempt - 1; shift < 16 {
		most = min(most, FirstBackoff<<shift)
	}
	return most/2 + rand.N(most/2)
}

func shorten(s string) string {
	if len(s) <= maxErrorText {
		return s
	}
	s = s[:maxErrorText]
	for len(s) > 0 && !utf8.ValidString(s[max(0, len(s)-utf8.UTFMax):]) {
		s = s[:len(s)-1]
	}
	return s + "…"
}
