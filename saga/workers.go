package saga

import (
	"errors"
	"sync"
)

// workers are goroutines that carry out commands, one after the other each. A
// router begins a goroutine for every message, and a command runs deep: its
// stack would grow anew each time, which was a twentieth of what a busy engine
// costs. They are begun as they are needed, up to a limit, and end with stop.
// It is safe for concurrent use.
type workers struct {
	limit int
	jobs  chan func()
	ended chan struct{}

	mu      sync.Mutex // guards running
	running int
}

func newWorkers(limit int) *workers {
	return &workers{limit: limit, jobs: make(chan func()), ended: make(chan struct{})}
}

// stop ends the workers, each after what it is doing. It does not wait. What is
// given to them later is done by who gives it.
func (w *workers) stop() { close(w.ended) }

// errAbandoned: what carries out a command left its goroutine.
var errAbandoned = errors.New("saga: the command's handler ended its goroutine")

// do has fn run by a worker and returns its error.
func (w *workers) do(fn func() error) (err error) {
	err = errAbandoned
	done := make(chan struct{})
	job := func() {
		defer close(done)
		err = fn()
	}
	select {
	case w.jobs <- job:
	default:
		if w.begin(job) {
			break
		}
		select {
		case w.jobs <- job:
		case <-w.ended:
			job()
		}
	}
	<-done
	return err
}

// begin has a new worker begin with the job, unless there are enough.
func (w *workers) begin(job func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.ended:
		return false
	default:
	}
	if w.running == w.limit {
		return false
	}
	w.running++
	go w.work(job)
	return true
}

func (w *workers) work(job func()) {
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.running--
	}()
	for {
		job()
		select {
		case job = <-w.jobs:
		case <-w.ended:
			return
		}
	}
}
