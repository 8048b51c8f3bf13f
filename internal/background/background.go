// Package background runs long work so that it does not slow down what others
// wait for.
package background

import "runtime"

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
