// Package clock tells the time to everything that waits for it: by the
// system's clock, by one that runs faster, or by one that moves only when told.
//
// Nothing waits for time while it holds a lock, and nothing in Leat reads the
// time but through a Clock, except backoff after infrastructure errors, which
// is always wall time.
package clock

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Clock tells and awaits time. It is safe for concurrent use.
type Clock interface {
	// Now returns the present instant.
	Now() time.Time
	// WaitUntil returns nil once Now is t or later, or ctx's error.
	WaitUntil(ctx context.Context, t time.Time) error
}

// System returns the system's clock.
func System() Clock { return systemClock{} }

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) WaitUntil(ctx context.Context, t time.Time) error {
	return sleep(ctx, time.Until(t), nil)
}

// sleep returns after d, or once interrupted is closed, or ctx's error.
func sleep(ctx context.Context, d time.Duration, interrupted <-chan struct{}) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-interrupted:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Scaled is a clock that runs at a multiple of the system's clock.
type Scaled struct {
	factor float64

	mu     sync.Mutex // guards origin, start and moved
	origin time.Time  // of the system's clock, monotonic
	start  time.Time
	moved  chan struct{} // closed by the next Advance
}

// NewScaled returns a clock that shows start now and runs factor times as fast
// as the system's clock. It panics where factor is not above 0.
func NewScaled(start time.Time, factor float64) *Scaled {
	if !(factor > 0) {
		panic(fmt.Sprintf("clock: a factor of %v: a scaled clock runs forward", factor))
	}
	return &Scaled{origin: time.Now(), start: start, factor: factor, moved: make(chan struct{})}
}

// Now returns the scaled instant.
func (s *Scaled) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now()
}

func (s *Scaled) now() time.Time {
	return s.start.Add(time.Duration(float64(time.Since(s.origin)) * s.factor))
}

// Advance has the clock show t and run on from there. It does nothing where t
// is not after Now: the clock never goes back.
func (s *Scaled) Advance(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !t.After(s.now()) {
		return
	}
	s.origin, s.start = time.Now(), t
	close(s.moved)
	s.moved = make(chan struct{})
}

// WaitUntil implements Clock.
func (s *Scaled) WaitUntil(ctx context.Context, t time.Time) error {
	for {
		s.mu.Lock()
		left, moved := t.Sub(s.now()), s.moved
		s.mu.Unlock()
		if left <= 0 {
			return ctx.Err()
		}
		// Rounded up, so that the loop does not spin through the last nanosecond.
		if err := sleep(ctx, time.Duration(float64(left)/s.factor)+1, moved); err != nil {
			return err
		}
	}
}

// Virtual is a clock that stands still until it is advanced.
type Virtual struct {
	mu    sync.Mutex // guards now and moved
	now   time.Time
	moved chan struct{} // closed by the next Advance
}

// NewVirtual returns a clock that shows start.
func NewVirtual(start time.Time) *Virtual {
	return &Virtual{now: start, moved: make(chan struct{})}
}

// Now returns the instant last advanced to.
func (v *Virtual) Now() time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.now
}

// Advance moves the clock to t. It does nothing where t is not after Now: the
// clock never goes back.
func (v *Virtual) Advance(t time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !t.After(v.now) {
		return
	}
	v.now = t
	close(v.moved)
	v.moved = make(chan struct{})
}

// WaitUntil implements Clock: it returns when Advance has reached t.
func (v *Virtual) WaitUntil(ctx context.Context, t time.Time) error {
	for {
		v.mu.Lock()
		reached, moved := !v.now.Before(t), v.moved
		v.mu.Unlock()
		if reached {
			return ctx.Err()
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
