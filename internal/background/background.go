// Package background runs long work so that it does not slow down what others
// wait for.
package background

import (
	"context"
	"runtime"

	"golang.org/x/sync/semaphore"
)

// Do calls fn in a goroutine of its own, on a thread of low priority where the
// system has such a thing, waits for it and returns its error.
//
// Work that keeps a processor busy makes an append slow even where another
// processor is idle: an append sleeps until the disk has synced, and is then
// often woken on the processor where the work is, to wait for the rest of its
// time slice, 3 ms and more. A thread of low priority gives way at once. The
// lowered thread ends with fn: an ordinary user may not raise it again.
//
// The price: where every processor is busy with others, the work gets little of
// them, and so does what waits for it: a lock that fn holds, a collection of
// garbage that begins. So fn must not hold what appends need.
//
// What fn leaves to other goroutines runs at their priority. A panic of fn ends
// the program.
func Do(fn func() error) (err error) {
	done, returned := make(chan struct{}), false
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if onMain() { // it never ends, and tools show its priority as the program's
			defer runtime.UnlockOSThread()
			err = Do(fn)
		} else {
			lower() // and never unlocked: the thread ends with the goroutine
			err = fn()
		}
		returned = true
	}()
	<-done
	if !returned {
		runtime.Goexit() // as fn did
	}
	return err
}

// turns are shared by all calls of Turn in the process, since the processors
// are. A turn weighs its part of whole: how many there are may change with
// GOMAXPROCS.
var turns = semaphore.NewWeighted(whole)

const whole = 1 << 20

// Turn calls fn once a processor but one may be taken for it, or the only one,
// and returns its error; it returns that of ctx where that ends first. Work of
// Do that keeps a processor busy does it in turns, none of which waits for
// another: Go hands on a processor only when the thread there pauses, and as
// many threads of low priority as there are processors keep everybody else of
// the program from all of them. Those who wait get their turns in their order.
func Turn(ctx context.Context, fn func() error) error {
	weight := int64(whole / Turns())
	if err := turns.Acquire(ctx, weight); err != nil {
		return err
	}
	defer turns.Release(weight)
	return fn()
}

// Turns is how many of Turn may run at once: one less than there are
// processors, at least one.
func Turns() int { return max(1, runtime.GOMAXPROCS(0)-1) }
