package clock_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/clock"
)

func TestSystemWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.System()
		start := c.Now()
		require.NoError(t, c.WaitUntil(t.Context(), start.Add(time.Hour)))
		require.Equal(t, time.Hour, c.Now().Sub(start))
		require.NoError(t, c.WaitUntil(t.Context(), start), "an instant past needs no wait")
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	for name, c := range map[string]clock.Clock{
		"system":  clock.System(),
		"scaled":  clock.NewScaled(time.Unix(0, 0), 2),
		"virtual": clock.NewVirtual(time.Unix(0, 0)),
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			require.ErrorIs(t, c.WaitUntil(ctx, c.Now().Add(time.Hour)), context.Canceled)
			require.ErrorIs(t, c.WaitUntil(ctx, c.Now().Add(-time.Hour)), context.Canceled)
		})
	}
}

func TestScaledCanBeAdvancedAndWakesWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.NewScaled(time.Unix(0, 0), 60)
		began, waited := time.Now(), make(chan error)
		go func() { waited <- c.WaitUntil(context.Background(), time.Unix(7260, 0)) }()
		synctest.Wait()
		c.Advance(time.Unix(7200, 0))
		c.Advance(time.Unix(3600, 0)) // never back
		require.NoError(t, <-waited)
		require.Equal(t, time.Second, time.Since(began).Round(time.Millisecond), "a minute at 60 times, from where it was advanced to")
	})
}

func TestScaledRunsFaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Date(2019, 3, 1, 0, 0, 0, 0, time.UTC)
		wall := time.Now()
		c := clock.NewScaled(start, 60)
		require.NoError(t, c.WaitUntil(t.Context(), start.Add(time.Hour)))
		require.InDelta(t, time.Minute, time.Since(wall), float64(time.Microsecond))
		require.False(t, c.Now().Before(start.Add(time.Hour)), "never early")
	})
}

func TestScaledRefusesToStand(t *testing.T) {
	require.Panics(t, func() { clock.NewScaled(time.Unix(0, 0), 0) })
}

func TestVirtualMovesOnlyWhenTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Unix(1000, 0)
		c := clock.NewVirtual(start)
		done := make(chan error, 1)
		go func() { done <- c.WaitUntil(t.Context(), start.Add(time.Minute)) }()
		c.Advance(start.Add(59 * time.Second))
		synctest.Wait()
		require.Empty(t, done, "not yet reached")
		c.Advance(start)
		require.Equal(t, start.Add(59*time.Second), c.Now(), "never goes back")
		c.Advance(start.Add(time.Minute))
		require.NoError(t, <-done)
	})
}
