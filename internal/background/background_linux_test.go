package background_test

import (
	"errors"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/internal/background"
)

// nice returns the priority of this thread. The system call counts 20 - nice.
func nice(t *testing.T) int {
	t.Helper()
	raw, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0)
	require.NoError(t, err)
	return 20 - raw
}

func TestOnlyTheThreadOfTheWorkIsLowered(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := nice(t)
	failure := errors.New("the work failed")
	during := 0
	require.Same(t, failure, background.Do(func() error {
		during = nice(t)
		return failure
	}))
	require.Equal(t, 19, during)
	require.Equal(t, before, nice(t))
	for range 50 { // a goroutine that got the lowered thread would say so
		got := make(chan int)
		go func() { got <- nice(t) }()
		require.Equal(t, before, <-got)
	}
}

func TestTheMainThreadIsNeverLowered(t *testing.T) {
	for range 200 {
		require.NoError(t, background.Do(func() error {
			require.NotEqual(t, syscall.Getpid(), syscall.Gettid())
			return nil
		}))
	}
	raw, err := syscall.Getpriority(syscall.PRIO_PROCESS, syscall.Getpid())
	require.NoError(t, err)
	require.Equal(t, nice(t), 20-raw)
}

func TestWorkThatEndsItsGoroutineEndsTheCallers(t *testing.T) {
	ended, reached := make(chan struct{}), false
	go func() {
		defer close(ended)
		_ = background.Do(func() error { runtime.Goexit(); return nil }) // it does not return
		reached = true
	}()
	<-ended
	require.False(t, reached)
}
