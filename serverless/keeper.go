package serverless

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/leat-go/leat/eventstore"
)

// MinReopen and MaxReopen bound the waits, in wall time, between attempts to
// open a store again that has stopped. The first is made at once.
const (
	MinReopen = 100 * time.Millisecond
	MaxReopen = 30 * time.Second
	// afterReopen is how long after a store has gone on a Drain takes what backs
	// off for a consequence of the stop, and waits for it.
	afterReopen = 30 * time.Second
)

// StoreStatus says whether the store takes appends.
type StoreStatus struct {
	// Stopped says that it does not, Cause why: appends are refused until it
	// could be opened again.
	Stopped bool
	Cause   string
	// Since is when the host noticed, in wall time, Attempts how often it has
	// tried to open the store again, Error why the last attempt failed, and
	// NextAttempt when the next is due. Zero while the host neither runs nor
	// drains: nobody tries.
	Since       time.Time
	Attempts    int
	Error       string
	NextAttempt time.Time
}

// keeper opens the store again after it has stopped, for as long as a session
// lasts. Consumers, timers and commands go on by themselves once it has: what
// failed meanwhile was no failure of theirs, and they are tried again.
type keeper struct {
	store  eventstore.Reopener
	logger *slog.Logger

	mu      sync.Mutex // guards what follows
	status  StoreStatus
	failed  error         // of the last attempt
	resumed time.Time     // when the store last went on
	changed chan struct{} // closed with the next attempt; nil while nobody waits
}

// newKeeper returns nil where the store cannot be opened again.
func newKeeper(store eventstore.Store, logger *slog.Logger) *keeper {
	r, ok := store.(eventstore.Reopener)
	if !ok {
		return nil
	}
	return &keeper{store: r, logger: logger}
}

// run keeps the store open until ctx ends. It calls resumed each time the store
// goes on.
func (k *keeper) run(ctx context.Context, resumed func()) {
	defer func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.status, k.failed = StoreStatus{}, nil // nobody tries any more
	}()
	for ctx.Err() == nil {
		select {
		case <-k.store.Stopped():
			if k.restore(ctx) {
				resumed()
			}
		case <-ctx.Done():
		}
	}
}

// restore tries to open the store again until it goes on, or ctx ends, and
// tells which. It logs that the store goes on, and no attempt; that it has
// stopped the store has said.
func (k *keeper) restore(ctx context.Context) bool {
	cause := k.store.Err()
	if cause == nil {
		k.wentOn() // somebody was faster
		return true
	}
	began := time.Now()
	k.note(StoreStatus{Stopped: true, Cause: errorText(cause), Since: began}, nil)
	for attempt := 1; ; attempt++ {
		err := k.store.Reopen(ctx)
		if err == nil {
			k.note(StoreStatus{}, nil)
			k.logger.Info("the store was opened again: appends go on", "after", time.Since(began).Round(time.Millisecond), "attempts", attempt)
			return true
		}
		wait := backoff(attempt, MinReopen, MaxReopen)
		k.note(StoreStatus{
			Stopped: true, Cause: errorText(cause), Since: began,
			Attempts: attempt, Error: errorText(err), NextAttempt: time.Now().Add(wait),
		}, err)
		if sleepUntil(ctx, time.Now().Add(wait)) != nil {
			return false
		}
	}
}

// backoff returns how long to wait after so many attempts: least at first, and
// up to twice as long each time until it is most, or at random down to half.
func backoff(attempts int, least, most time.Duration) time.Duration {
	if shift := attempts - 1; shift < 16 {
		most = min(most, least<<shift)
	}
	return most/2 + rand.N(most/2)
}

// wentOn remembers that the store goes on although this keeper did nothing.
func (k *keeper) wentOn() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.resumed = time.Now()
}

func (k *keeper) note(status StoreStatus, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.status.Stopped && !status.Stopped {
		k.resumed = time.Now()
	}
	k.status, k.failed = status, err
	if k.changed != nil {
		close(k.changed)
		k.changed = nil
	}
}

// now returns how the store is. A nil keeper's store never stops.
func (k *keeper) now() StoreStatus {
	if k == nil {
		return StoreStatus{}
	}
	cause := k.store.Err()
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case cause == nil:
		return StoreStatus{}
	case k.status.Stopped:
		return k.status
	}
	return StoreStatus{Stopped: true, Cause: errorText(cause)}
}

// stopped tells whether the store has stopped.
func (k *keeper) stopped() bool { return k != nil && k.store.Err() != nil }

// lately tells whether the store has gone on not long ago.
func (k *keeper) lately() bool {
	if k == nil {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.resumed.IsZero() && time.Since(k.resumed) < afterReopen
}

// look tells whether the store has stopped, or the keeper has yet to notice
// that it goes on; what is closed when that may have changed; and the error of
// the last attempt.
func (k *keeper) look() (stopped bool, changed <-chan struct{}, failed error) {
	stopped = k.store.Err() != nil
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.changed == nil {
		k.changed = make(chan struct{})
	}
	return stopped || k.status.Stopped, k.changed, k.failed
}

// await waits until the store goes on. It returns a StoppedError where ctx ends
// before, or, unless it is patient, where the log is not what was acknowledged:
// that does not mend itself.
func (k *keeper) await(ctx context.Context, patient bool) error {
	for {
		stopped, changed, failed := k.look()
		switch {
		case !stopped:
			return nil
		case !patient && errors.Is(failed, eventstore.ErrCorrupt):
			return &StoppedError{Err: failed}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if cause := k.store.Err(); cause != nil {
				return &StoppedError{Err: cause}
			}
			return ctx.Err()
		}
	}
}

// excused tells whether err may be the fault of a store that has stopped, or
// had until lately: then what failed is to be tried again. It waits until the
// store goes on, and returns why it does not.
func (k *keeper) excused(ctx context.Context, err error, patient bool) (again bool, stopped error) {
	if k == nil || err == nil {
		return false, nil
	}
	if stopped, _, _ := k.look(); stopped {
		return true, k.await(ctx, patient)
	}
	if !errors.Is(err, eventstore.ErrOutcomeUnknown) || !k.lately() {
		return false, nil
	}
	return sleepUntil(ctx, time.Now().Add(MinReopen)) == nil, nil
}

// infrastructure tells whether err is no fault of the function that returned
// it, but that of a store that takes no appends.
func (k *keeper) infrastructure(err error) bool {
	return k.stopped() || errors.Is(err, eventstore.ErrOutcomeUnknown) || errors.Is(err, eventstore.ErrBusy) || errors.Is(err, eventstore.ErrClosed)
}

// StoppedError says why the store takes no appends.
type StoppedError struct{ Err error }

func (e *StoppedError) Error() string { return fmt.Sprintf("%v: %v", ErrStopped, e.Err) }

func (e *StoppedError) Unwrap() []error { return []error{ErrStopped, e.Err} }
