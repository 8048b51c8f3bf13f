package background_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/internal/background"
)

func TestAProcessorStaysFreeOfTurns(t *testing.T) {
	for procs, most := range map[int]int32{1: 1, 2: 1, 4: 3} {
		before := runtime.GOMAXPROCS(procs)
		var running, seen atomic.Int32
		var all sync.WaitGroup
		full := make(chan struct{}) // closed when as many run as may
		for range 8 {
			all.Go(func() {
				err := background.Turn(t.Context(), func() error {
					now := running.Add(1)
					defer running.Add(-1)
					for {
						old := seen.Load()
						if now <= old || seen.CompareAndSwap(old, now) {
							break
						}
					}
					if now == most {
						select {
						case <-full:
						default:
							close(full)
						}
					}
					<-full
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		runtime.GOMAXPROCS(before)
		require.Equal(t, most, seen.Load(), "of %d processors", procs)
	}
}

func TestATurnEndsWithItsErrorAndAWaitWithItsContext(t *testing.T) {
	before := runtime.GOMAXPROCS(2)
	defer runtime.GOMAXPROCS(before)
	failure := errors.New("the work failed")
	require.Same(t, failure, background.Turn(t.Context(), func() error {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, background.Turn(ctx, func() error {
			t.Error("a turn while another has the only one")
			return nil
		}), context.Canceled)
		return failure
	}))
	require.NoError(t, background.Turn(t.Context(), func() error { return nil }), "it was given back")
}
