//go:build linux && cgo

package diskfault_test

import (
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/leat-go/leat/internal/faultvfs"
)

// TestMain has every file of the process opened through the VFS.
func TestMain(m *testing.M) {
	if memory != "" { // the copies of a verification
		if err := os.Setenv("TMPDIR", memory); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	if _, err := faultvfs.Register(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// memory is where images are written: the disk does not matter for them.
var memory = func() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}()

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// inject puts a fault in force until the test ends, or it is removed.
func inject(t testing.TB, f faultvfs.Fault) *faultvfs.Injected {
	t.Helper()
	i, err := faultvfs.Inject(f)
	require.NoError(t, err)
	t.Cleanup(i.Remove)
	return i
}

// each runs the cases 0 to n-1, some at once, and returns the error of the
// first that failed; those after it may not be run.
func each(n int, fn func(i int) error) error {
	var wg sync.WaitGroup
	var next atomic.Int64
	var once sync.Once
	var failure error
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := fn(i); err != nil {
					once.Do(func() { failure = fmt.Errorf("case %d: %w", i, err) })
					next.Store(int64(n))
					return
				}
			}
		})
	}
	wg.Wait()
	return failure
}
