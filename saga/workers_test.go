package saga

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
)

func TestWorkersAreUsedAgainUpToTheirLimit(t *testing.T) {
	w := newWorkers(2)
	t.Cleanup(w.stop)
	no := errors.New("no")
	for range 100 {
		require.ErrorIs(t, w.do(func() error { return no }), no)
	}
	w.mu.Lock()
	require.LessOrEqual(t, w.running, 2)
	w.mu.Unlock()

	// A third waits for a place.
	var all sync.WaitGroup
	begun, end := make(chan int, 3), make(chan struct{})
	for n := range 2 {
		all.Go(func() {
			_ = w.do(func() error { begun <- n; <-end; return nil })
		})
	}
	<-begun
	<-begun
	require.False(t, w.begin(func() {}))
	all.Go(func() {
		_ = w.do(func() error { begun <- 2; return nil })
	})
	close(end)
	all.Wait()
	require.Equal(t, 2, <-begun)
}

func TestWorkersThatWereStoppedLeaveTheWorkToTheCaller(t *testing.T) {
	w := newWorkers(1)
	busy, end := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() { _ = w.do(func() error { close(busy); <-end; return nil }) })
	<-busy
	w.stop()
	called := false
	require.NoError(t, w.do(func() error { called = true; return nil }))
	require.True(t, called)
	close(end)
	all.Wait()
}

// A function that leaves its goroutine, as testing's FailNow does, has failed,
// and another command is carried out in its place.
func TestAHandlerThatEndsItsGoroutineHasFailed(t *testing.T) {
	w := newWorld(t, chatty(1))
	left := false
	w.on("remind", func(_ context.Context, cmd bus.Command) ([]eventstore.Event, error) {
		if !left {
			left = true
			runtime.Goexit()
		}
		return []eventstore.Event{did{cmd.ID}}, nil
	})
	w.emit("s", placed{"1"})
	for len(w.did()) < 1 {
		w.settle()
	}
	require.Len(t, w.sent, 2)
}
