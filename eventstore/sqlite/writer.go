package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/mattn/go-sqlite3"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/crash"
	file "github.com/leat-go/leat/internal/sqlite"
)

// writer commits: in a goroutine of its own what is queued, and in the caller's
// an append that is alone.
type writer struct {
	store  *Store
	queue  chan *request
	reopen chan *reopening
	done   chan struct{} // closed when the goroutine has ended
	carry  *request      // its own: taken from the queue, left for the next group
	// waiting is how many requests are queued and not looked at yet.
	waiting atomic.Int32
	// alone is how many groups in a row were of one request with none behind it.
	alone atomic.Int32
	// turn is held, by a value in it, by whoever commits or opens the log again.
	// It guards what follows. Who waits for it gets it in order.
	turn chan struct{}

	// joined: others were waiting when the last group was about to be answered,
	// or nobody knows.
	joined   bool
	conn     *sql.Conn     // nil after a Reopen that failed
	patience time.Duration // of a Reopen with the reads under way

	// inject is called by tests' hand at the points of a transaction.
	inject func(point string, c *sqlite3.SQLiteConn) error

	statements statements
	chain      chain
	tip        tip
	streams    *cache[string, streamState]
	types      map[string]int64
	index      *streamIndex
	moveAt     int64 // events in the index, to move them into its table
}

// streamState is what the writer knows of a stream. No number: no stream.
type streamState struct {
	id, version int64
}

// close lets go of the connection. The goroutine has ended, or never began.
func (w *writer) close() error {
	err := w.statements.close()
	if w.conn != nil {
		err = errors.Join(err, w.conn.Close())
	}
	return err
}

// blankWriter returns a writer that knows nothing yet.
func (s *Store) blankWriter() *writer {
	return &writer{store: s, turn: make(chan struct{}, 1), patience: reopenPatience, streams: newCache[string, streamState](s.options.CachedStreams), types: map[string]int64{}, moveAt: int64(s.options.IndexEvents)}
}

// aloneAfter is after how many groups of one request appenders are taken to be
// one: with more, a shared sync is worth more than what two goroutines that wake
// each other cost.
const aloneAfter = 8

// run commits groups until the queue is closed and empty.
func (w *writer) run() {
	defer close(w.done)
	for {
		first := w.first()
		if first == nil {
			return
		}
		w.turn <- struct{}{}
		group, open := w.gather(first)
		if len(group) > 0 {
			w.process(group)
			w.tend()
		}
		switch {
		case len(group) != 1 || w.joined:
			w.alone.Store(0)
		case w.alone.Load() < aloneAfter:
			w.alone.Add(1)
		}
		<-w.turn
		if !open {
			return
		}
	}
}

// direct carries out a request at once, in its caller's goroutine, where
// appends have come one at a time and nobody is at work. It tells whether it did.
func (w *writer) direct(r *request) bool {
	if w.alone.Load() < aloneAfter {
		return false
	}
	select {
	case w.turn <- struct{}{}:
		defer func() { <-w.turn }()
	default:
		return false
	}
	if w.waiting.Load() > 0 || w.store.errClosed() != nil { // Close waits for the turn
		return false
	}
	returned := false
	defer func() {
		if !returned { // a panic, which the caller may recover
			w.store.stop(errAbandoned)
		}
	}()
	r.state.Store(taken)
	w.process([]*request{r})
	w.tend()
	returned = true
	return true
}

// errAbandoned: nobody knows what an append has done that did not return.
var errAbandoned = errors.New("an append ended in a panic: close the store and open it again")

// tend keeps the index of streams in memory and the write-ahead log short. What
// cannot be moved is safe where it is, but a disk that refuses that is not to be
// trusted with more.
func (w *writer) tend() {
	if w.store.Err() != nil {
		return
	}
	if err := w.move(); err != nil && !isPassing(err) {
		w.store.stop(w.store.translate("move the index of streams into it", err))
		return
	}
	if err := raw(w.conn, w.store.db.WAL().Tend); err != nil && !isPassing(err) {
		w.store.stop(w.store.translate("move the write-ahead log into it", err))
	}
}

// first waits for an append, and serves a Reopen. It returns nil once the queue
// is closed and empty.
func (w *writer) first() *request {
	if first := w.carry; first != nil {
		w.carry = nil
		if w.store.Err() != nil {
			select { // however many come to be refused
			case r := <-w.reopen:
				w.serve(r)
			default:
			}
		}
		return first
	}
	for {
		select {
		case first := <-w.queue:
			return first
		case r := <-w.reopen:
			w.serve(r)
		}
	}
}

// gather collects the appends that come with the first. It yields once, so
// that appenders that were just answered can join: that is worth half as much
// again with eight of them, and costs a lone one nothing.
func (w *writer) gather(first *request) (group []*request, open bool) {
	events, bytes := 0, 0
	take := func(r *request) bool {
		if len(group) > 0 && (events+len(r.ids) > w.store.options.GroupEvents || bytes+r.bytes > w.store.options.GroupBytes) {
			w.carry = r
			return false
		}
		w.waiting.Add(-1)
		if r.state.CompareAndSwap(queued, taken) {
			group = append(group, r)
			events += len(r.ids)
			bytes += r.bytes
		}
		return true
	}
	take(first)
	runtime.Gosched()
	for range cap(w.queue) {
		select {
		case r, open := <-w.queue:
			if !open {
				return group, false
			}
			if !take(r) {
				return group, true
			}
		default:
			return group, true
		}
	}
	return group, true
}

// process answers every request of the group. Whoever was refused because of
// a neighbour that was then not stored is tried again; each round answers at
// least one request.
func (w *writer) process(requests []*request) {
	for len(requests) > 0 {
		requests = w.attempt(requests)
	}
}

// outcome of a transaction.
type outcome int

const (
	undone  outcome = iota // nothing was stored
	stored                 // committed, or nothing to commit
	unknown                // COMMIT was issued and failed
)

func (w *writer) attempt(requests []*request) (again []*request) {
	w.joined = true
	if cause := w.store.Err(); cause != nil {
		w.refuse(requests, cause)
		return nil
	}
	if err := raw(w.conn, w.store.db.WAL().Admit); err != nil {
		return w.refuseAll(requests, err)
	}
	if err := w.boundIndex(); err != nil {
		return w.refuseAll(requests, err)
	}
	g, how, err := w.transact(requests, false)
	if how == undone && file.IsConstraint(err) {
		// An event id was used before: look at each before it is stored.
		g, how, err = w.transact(requests, true)
	}
	switch how {
	case stored:
		w.accept(g)
		crash.At(crash.LogPublished)
		w.joined = w.waiting.Load() > 0 // whoever is answered may be back at once
		answer(requests)
		return nil
	case unknown:
		return w.doubt(requests, err)
	}
	return w.refuseAll(requests, err)
}

// refuseAll answers after a transaction that stored nothing.
func (w *writer) refuseAll(requests []*request, err error) (again []*request) {
	refusal := notStored(w.store.path(logName), err)
	if !isPassing(err) {
		if !errors.Is(refusal, eventstore.ErrCorrupt) {
			refusal = fmt.Errorf("%w: %s", refusal, openAgain)
		}
		w.store.stop(refusal)
		w.refuse(requests, refusal)
		return nil
	}
	return settle(requests, func(*request) error { return refusal })
}

// openAgain says how a store that has stopped goes on.
const openAgain = "call Reopen once the cause is gone, or close the store and open it again"

// doubt answers after a COMMIT that failed.
func (w *writer) doubt(requests []*request, err error) (again []*request) {
	if file.IsFull(err) && w.unchanged() {
		// SQLite undid it and left no commit mark behind: what it had written
		// is overwritten by the next commit. It is still said to be unknown,
		// since only the file system knows what it kept.
		err = fmt.Errorf("%w during a commit to %s: free some space and append again: %w", ErrDiskFull, w.store.path(logName), err)
		return settle(requests, func(r *request) error {
			return &eventstore.OutcomeUnknownError{BatchID: r.batch.ID, Err: err}
		})
	}
	if !errors.Is(err, eventstore.ErrCorrupt) {
		err = fmt.Errorf("commit to %s: %w: %s, and repeat the append with its batch ID", w.store.path(logName), err, openAgain)
	}
	w.store.stop(err)
	w.refuse(requests, err)
	return nil
}

// settle gives those that were to be stored this error and returns the others,
// which a neighbour may have been the reason to refuse.
func settle(requests []*request, failure func(*request) error) (again []*request) {
	var failed []*request
	for _, r := range requests {
		if r.err == nil && !r.commit.Duplicate {
			r.commit, r.err = eventstore.Commit{}, failure(r)
			failed = append(failed, r)
		} else {
			r.commit, r.err = eventstore.Commit{}, nil
			again = append(again, r)
		}
	}
	answer(failed)
	return again
}

// refuse answers everything with an unknown outcome: the store has stopped,
// and an earlier append under the same batch ID may be stored.
func (w *writer) refuse(requests []*request, cause error) {
	for _, r := range requests {
		r.commit, r.err = eventstore.Commit{}, &eventstore.OutcomeUnknownError{BatchID: r.batch.ID, Err: cause}
	}
	answer(requests)
}

func answer(requests []*request) {
	for _, r := range requests {
		close(r.done)
	}
}

// accept makes what the group stored known.
func (w *writer) accept(g *group) {
	if !g.wrote {
		return
	}
	w.tip = g.tip
	for name, s := range g.streams {
		w.streams.put(name, s)
	}
	if err := w.index.add(g.events...); err != nil { // which follows said of them before they were stored
		w.store.stop(err)
	}
	for name, id := range g.types {
		w.types[name] = id
	}
	w.store.publish(g.tip)
}

// transact runs the requests in one transaction. It takes no context: see stmt.
func (w *writer) transact(requests []*request, careful bool) (g *group, how outcome, err error) {
	g = &group{w: w, tip: w.tip, careful: careful, streams: map[string]streamState{}, types: map[string]int64{}}
	err = raw(w.conn, func(c *sqlite3.SQLiteConn) error {
		how, err = g.run(c, requests)
		return err
	})
	return g, how, err
}

// unchanged tells whether the writer's connection is out of its transaction
// and still sees the tip as it was: no event and no batch ID more.
func (w *writer) unchanged() bool {
	position, batch, open := int64(0), int64(0), true
	err := raw(w.conn, func(c *sqlite3.SQLiteConn) error {
		open = !c.AutoCommit()
		err := query(c, selectHead, 1, func(r *row) error {
			position = r.int(0)
			return nil
		})
		if err != nil {
			return err
		}
		return query(c, selectLastBatch, 3, func(r *row) error {
			batch = r.int(0)
			return nil
		})
	})
	return err == nil && !open && position == w.tip.position && batch == w.tip.batch
}
