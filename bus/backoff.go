package bus

import (
	"context"
	"math/rand/v2"
	"time"
)

// Waits after infrastructure errors, in wall time: the first is about
// MinBackoff, each next about twice as long, up to MaxBackoff.
const (
	MinBackoff = 50 * time.Millisecond
	MaxBackoff = 30 * time.Second
)

// backoff returns the wait before attempt+1, spread evenly over the upper half
// of its range, so that what failed together is not tried together.
func backoff(attempt int, least, most time.Duration) time.Duration {
	d := most
	if shift := attempt - 1; shift < 32 && least<<shift < most && least<<shift > 0 {
		d = least << shift
	}
	return d/2 + rand.N(d/2+1)
}

// pause waits d. It returns false where ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
