package serverless

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/leat-go/leat/eventstore"
)

// MinInputWait and MaxInputWait bound the waits, in wall time, between attempts
// to release inputs that the store did not take. There is no bound to their
// number: the inputs are tried again until the store takes them, or the Run or
// Drain ends.
const (
	MinInputWait = 100 * time.Millisecond
	MaxInputWait = 5 * time.Second
)

// Inputs is the state of a source as data.
type Inputs struct {
	// Attempts is how often in a row its inputs were released and the store did
	// not take them all, Error why the last attempt failed, Since when the first
	// did, and NextAttempt when the next is due, both in wall time. All are zero
	// while the store takes them.
	Attempts    int
	Error       string
	Since       time.Time
	NextAttempt time.Time
}

// source is a Source, and what holds it up.
type source struct {
	Source
	mu   sync.Mutex // guards held
	held Inputs
}

func (s *source) note(held Inputs) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = held
}

func (s *source) now() Inputs {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}

// releaseInputs has the source release what is due until then. Inputs that the
// store did not take are released again, and nothing else is begun meanwhile:
// the clock of a Drain stands still, and no timer gets before them. A store that
// has stopped is waited for as keeper.await does.
func (h *Host) releaseInputs(ctx context.Context, src *source, until time.Time, patient bool) error {
	defer src.note(Inputs{})
	held, said := Inputs{Since: time.Now()}, false
	for {
		err := src.Release(ctx, until)
		switch {
		case err == nil:
			if said {
				h.logger.Info("the store takes inputs again", "after", time.Since(held.Since).Round(time.Millisecond), "attempts", held.Attempts)
			}
			return nil
		case ctx.Err() != nil, !h.keeper.passing(err):
			return fmt.Errorf("release inputs due until %s: %w", until.Format(time.RFC3339Nano), err)
		}
		held.Attempts++
		held.Error = errorText(err)
		held.NextAttempt = time.Now().Add(backoff(held.Attempts, MinInputWait, MaxInputWait))
		src.note(held)
		if h.keeper.stopped() { // which the store has said
			if err := h.keeper.await(ctx, patient); err != nil {
				return err
			}
		} else if !said {
			said = true
			h.logger.LogAttrs(ctx, slog.LevelWarn, "the store does not take inputs: they are tried again", slog.String("error", held.Error))
		}
		if sleepUntil(ctx, held.NextAttempt) != nil {
			return &MoreWorkError{Reason: "the store did not take inputs, and there was no more time to try again", Err: err}
		}
	}
}

// passing tells whether err is that of a store that may take the same appends
// later, with the ids they had.
func (k *keeper) passing(err error) bool {
	return k.stopped() || errors.Is(err, eventstore.ErrOutcomeUnknown) || errors.Is(err, eventstore.ErrBusy)
}
