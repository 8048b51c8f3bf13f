package serverless

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/leat-go/leat/saga"
)

// openSagas opens the engine where there are sagas, or were: what those left
// undone must not be forgotten silently.
func (h *Host) openSagas(ctx context.Context) error {
	if len(h.sagas) == 0 {
		if _, err := os.Lstat(filepath.Join(h.dir, saga.FileName)); errors.Is(err, os.ErrNotExist) {
			return nil
		}
	}
	engine, err := saga.Open(ctx, h.dir, h.store, h.clock, h.sagas, &saga.Options{
		Workers: h.opts.Workers, Ordered: h.opts.Ordered, Handles: h.commands.Has, Logger: h.logger,
	})
	if err != nil {
		return fmt.Errorf("serverless: %w", err)
	}
	h.engine = engine
	return nil
}

// unhandled lists the commands that sagas are known to send and no function
// takes. Those that are pending in the file are the engine's matter.
func (h *Host) unhandled() (problems []error) {
	for _, d := range h.sagas {
		for _, name := range d.Commands() {
			if !h.commands.Has(name) {
				problems = append(problems, fmt.Errorf("saga %q: sends the command %q, which has no function", d.Name(), name))
			}
		}
	}
	return problems
}

// nextTimer returns when the next timer is due.
func (s *session) nextTimer(ctx context.Context) (time.Time, bool, error) {
	if s.host.engine == nil {
		return time.Time{}, false, nil
	}
	return s.host.engine.NextDue(ctx)
}

// fireDue fires the timers that are due.
func (s *session) fireDue(ctx context.Context) (int, error) {
	if s.host.engine == nil {
		return 0, nil
	}
	fired, err := s.host.engine.FireDue(ctx)
	s.host.figures.timers.Add(int64(fired))
	if err != nil {
		return fired, fmt.Errorf("serverless: fire timers: %w", err)
	}
	return fired, nil
}

// fireAt fires the timers due at an instant the clock has reached. An event may
// cancel them at the last moment; but a timer that stays due and does not fire
// would hold the clock for ever, and is an error.
func (s *session) fireAt(ctx context.Context, due time.Time) error {
	head, err := s.host.store.Head(ctx)
	if err != nil {
		return err
	}
	fired, err := s.fireDue(ctx)
	if err != nil || fired > 0 {
		s.stuck = stuckTimer{}
		return err
	}
	now := stuckTimer{due: due, head: head}
	if s.stuck == now {
		return fmt.Errorf("serverless: the timer due at %s does not fire, though nothing is under way: look at the instances of the sagas", due.Format(time.RFC3339Nano))
	}
	s.stuck = now
	return nil
}

// stuckTimer is a timer that was due and did not fire, and the head then.
type stuckTimer struct {
	due  time.Time
	head int64
}

// Sagas returns the engine of the open host's sagas, for an operator: their
// instances with state and history, and Retry, Skip, Cancel and Complete for
// those that are parked. It is the host's to run and to close. Errors:
// ErrNotOpen, ErrClosed, and ErrNoSagas where none is registered.
func (h *Host) Sagas() (*saga.Engine, error) {
	leave, err := h.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	if h.engine == nil {
		return nil, ErrNoSagas
	}
	return h.engine, nil
}
