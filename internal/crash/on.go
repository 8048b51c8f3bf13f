//go:build leatcrash

package crash

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// wanted is the place to die at, and left how often it is to be passed first.
var wanted, left = func() (Point, *atomic.Int64) {
	var n atomic.Int64
	name, times, _ := strings.Cut(os.Getenv("LEAT_CRASH"), ":")
	if name == "" {
		return "", &n
	}
	count, err := strconv.ParseInt(times, 10, 64)
	if err != nil || count < 1 {
		panic(fmt.Sprintf("LEAT_CRASH=%q: want name:n", os.Getenv("LEAT_CRASH")))
	}
	n.Store(count)
	return Point(name), &n
}()

// At kills the process where it was asked to die here.
func At(p Point) {
	if p != wanted || left.Add(-1) != 0 {
		return
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
		panic(err)
	}
	select {} // until the signal arrives
}
