package saga

import (
	"container/heap"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
)

// Limits of the outbox.
const (
	// bufferCommands is how many commands are kept in memory with their
	// payload; that of others is read when their turn comes.
	bufferCommands = 4096
	// maxResults is how many commands that are done wait to be recorded.
	maxResults = 512
	// resultDelay is how long, in wall time, they wait at most for another
	// transaction to be recorded with.
	resultDelay = 20 * time.Millisecond
	// closedPause is the wait after the store was found to take no appends.
	closedPause = time.Second
)

// command is a row of the outbox.
type command struct {
	instance, sequence int64
	saga, key, id, typ string
	data, meta         string
	root, at           int64
	hops               int
	undo               bool
	attempts           int
	failedAt           int64
	ready              bool // data and meta are here
	unused             bool // its id has not left yet, not even before a restart
}

// lane is the commands of one instance, of which the first is the next or is
// in flight.
type lane struct {
	instance int64
	commands []*command
	busy     bool   // the first is in flight, or its result has to be recorded first
	queued   bool   // it stands in ready
	held     bool   // an operator withdraws commands
	parked   bool   // the first is parked
	undoing  bool   // the instance compensates
	until    int64  // wall time before which the first is not tried again; 0
	failure  string // why not
	rows     int    // commands in the file
}

// outcome is how the dispatch of a command ended.
type outcome uint8

const (
	outcomeNone outcome = iota // nobody said
	outcomeDone
	outcomeRejected
	outcomeFailed
	outcomeStopped // because of a shutdown: it does not count
)

type result struct {
	cmd          *command
	outcome      outcome
	data         string // the command's
	code, reason string
	err          error // of a failed one
	final        bool  // it is not tried again
	// What a failed one was made, by the transaction.
	attempts int
	failedAt int64
	until    int64
	parked   bool
	gone     bool // its row was not there any more
}

// outbox is the outbox in memory: which commands are ready, in flight, done
// but not recorded. It changes with the file only after commits. Each command
// that is not done is here, with 300 to 400 bytes, payload apart: nothing bounds
// how many there are but the disk.
type outbox struct {
	e *Engine

	mu       sync.Mutex // guards what follows
	lanes    map[int64]*lane
	ready    []*lane // first in, first out
	inFlight int
	buffered int       // commands with payload
	results  []*result // to be recorded
	taken    int       // of those being recorded, the ones that have further effects
	backing  map[int64]*lane
	settlers int // Settle calls that wait
	settled  chan struct{}
	sub      *subscription

	wake       chan struct{} // something is ready, or a Settle came
	recordWake chan struct{}
}

func newOutbox(e *Engine) *outbox {
	return &outbox{e: e, lanes: map[int64]*lane{}, backing: map[int64]*lane{}, settled: make(chan struct{}), wake: make(chan struct{}, 1), recordWake: make(chan struct{}, 1)}
}

// rows returns how many commands of the instance the file has.
func (o *outbox) rows(instance int64) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if l := o.lanes[instance]; l != nil {
		return l.rows
	}
	return 0
}

// undoing tells whether the instance compensates.
func (o *outbox) undoing(instance int64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.lanes[instance]
	return l != nil && l.undoing
}

// urgent tells whether recording the result has further effects: it must not
// wait, and Settle waits for it. mu is held.
func (o *outbox) urgent(r *result) bool {
	l := o.lanes[r.cmd.instance]
	return r.outcome != outcomeDone || l != nil && l.undoing
}

// setUntil has the lane wait. mu is held.
func (o *outbox) setUntil(l *lane, until int64, failure string) {
	l.until, l.failure = until, failure
	if until == 0 {
		delete(o.backing, l.instance)
		return
	}
	o.backing[l.instance] = l
	signal(o.e.retryWake)
}

// offer queues the lane where its first command can leave. mu is held.
func (o *outbox) offer(l *lane) {
	if len(l.commands) == 0 || l.busy || l.queued || l.held || l.parked || l.until != 0 {
		return
	}
	l.queued = true
	if o.e.opts.Ordered {
		heap.Push((*byOrder)(&o.ready), l)
	} else {
		o.ready = append(o.ready, l)
	}
	signal(o.wake)
}

// add takes in a command that the file has. mu is held.
func (o *outbox) add(c *command) *lane {
	l := o.lanes[c.instance]
	if l == nil {
		l = &lane{instance: c.instance}
		o.lanes[c.instance] = l
	}
	if c.ready && o.buffered >= bufferCommands {
		c.data, c.meta, c.ready = "", "", false
	}
	if c.ready {
		o.buffered++
	}
	l.commands = append(l.commands, c)
	l.rows++
	return l
}

// follow takes over what a committed transaction changed.
func (o *outbox) follow(w *work) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range w.commands {
		o.offer(o.add(c))
	}
	for _, r := range w.taken {
		o.recorded(r)
	}
	o.taken = 0
	for _, i := range w.changed {
		if l := o.lanes[i.id]; l != nil {
			l.undoing = i.undoing
		}
	}
	if slices.ContainsFunc(o.results, o.urgent) {
		signal(o.recordWake) // the transaction made it so
	}
	o.check()
}

// recorded takes over a result that the file has. mu is held.
func (o *outbox) recorded(r *result) {
	l := o.lanes[r.cmd.instance]
	if l == nil {
		return
	}
	removed := r.outcome == outcomeDone || r.outcome == outcomeRejected && !r.cmd.undo
	if removed && !r.gone {
		l.rows--
	}
	if len(l.commands) > 0 && l.commands[0] == r.cmd {
		l.busy = false
		if removed {
			o.pop(l, r.cmd)
		} else {
			r.cmd.attempts, r.cmd.failedAt = r.attempts, r.failedAt
			l.parked = r.parked
			o.setUntil(l, r.until, r.reason)
		}
	}
	o.tidy(l)
	o.offer(l)
}

// pop removes the lane's first command. mu is held.
func (o *outbox) pop(l *lane, c *command) {
	if len(l.commands) == 0 || l.commands[0] != c {
		return
	}
	if c.ready {
		o.buffered--
	}
	l.commands[0] = nil
	l.commands = l.commands[1:]
	l.parked = false
	o.setUntil(l, 0, "")
}

// tidy forgets a lane without commands. mu is held.
func (o *outbox) tidy(l *lane) {
	if l.rows == 0 && !l.busy && !l.queued {
		delete(o.lanes, l.instance)
	}
}

// check tells the Settle calls where nothing is in flight or ready. mu is held.
func (o *outbox) check() {
	if o.e.opts.Ordered || o.settlers == 0 || !o.idle() {
		return
	}
	o.release()
}

// release lets the Settle calls go. mu is held.
func (o *outbox) release() {
	close(o.settled)
	o.settled = make(chan struct{})
	o.settlers = 0
}

func (o *outbox) idle() bool {
	return len(o.ready) == 0 && o.inFlight == 0 && o.taken == 0 && !slices.ContainsFunc(o.results, o.urgent)
}

// next takes the next command that can leave, nil where there is none.
func (o *outbox) next(limit int) *command {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.ready) == 0 || o.inFlight >= limit {
		return nil
	}
	l := o.ready[0]
	o.ready[0] = nil
	o.ready = o.ready[1:]
	l.queued, l.busy = false, true
	o.inFlight++
	return l.commands[0]
}

// ended takes in the result of a command that was in flight.
func (o *outbox) ended(r *result) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.inFlight--
	l := o.lanes[r.cmd.instance]
	if l != nil && (len(l.commands) == 0 || l.commands[0] != r.cmd) {
		l = nil // an operator withdrew it
	}
	switch {
	case r.outcome == outcomeStopped:
		if l != nil {
			l.busy = false
			o.setUntil(l, r.until, r.reason)
			o.offer(l)
			o.tidy(l)
		}
	case r.outcome == outcomeDone && l != nil:
		o.pop(l, r.cmd)
		l.busy = false
		o.offer(l)
		fallthrough
	default:
		o.results = append(o.results, r)
		signal(o.recordWake)
	}
	signal(o.wake) // a place is free
	o.check()
}

// take takes the results that are to be recorded: all, or only those that have
// no further effect.
func (o *outbox) take(quiet bool) []*result {
	o.mu.Lock()
	defer o.mu.Unlock()
	var taken, left []*result
	for _, r := range o.results {
		switch urgent := o.urgent(r); {
		case urgent && quiet:
			left = append(left, r)
			continue
		case urgent:
			o.taken++
		}
		taken = append(taken, r)
	}
	o.results = left
	return taken
}

// giveBack returns results whose transaction was not committed.
func (o *outbox) giveBack(taken []*result) {
	if len(taken) == 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.taken = 0
	o.results = append(taken, o.results...)
	signal(o.recordWake)
}

// unrecorded returns how many results are to be recorded, and whether one of
// them has further effects.
func (o *outbox) unrecorded() (n int, urgent bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.results), slices.ContainsFunc(o.results, o.urgent)
}

// retryAt returns the wall time of the first lane that is tried again, 0 for
// none, and why it waits.
func (o *outbox) retryAt() (first int64, failure string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, l := range o.backing {
		if first == 0 || l.until < first {
			first, failure = l.until, l.failure
		}
	}
	return first, failure
}

// retryDue offers the lanes whose wait is over.
func (o *outbox) retryDue(now int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, l := range o.backing {
		if l.until <= now {
			o.setUntil(l, 0, l.failure)
			o.offer(l)
		}
	}
}

// payload makes the command ready to leave.
func (o *outbox) payload(ctx context.Context, c *command) (bus.Command, error) {
	data, meta := c.data, c.meta
	if !c.ready {
		err := o.e.db.Reader().QueryRowContext(ctx, `
			SELECT data, metadata
			FROM outbox
			WHERE instance = ? AND sequence = ?`, c.instance, c.sequence).Scan(&data, &meta)
		if errors.Is(err, sql.ErrNoRows) {
			return bus.Command{}, errGone
		}
		if err != nil {
			return bus.Command{}, fmt.Errorf("saga: read outbox: %w", err)
		}
	}
	m, err := eventstore.RawMetadata(meta).Decode()
	if err != nil {
		return bus.Command{}, err
	}
	return bus.Command{ID: c.id, Type: c.typ, Data: []byte(data), Metadata: m}, nil
}

// errGone: an operator has withdrawn the command.
var errGone = errors.New("saga: the command was withdrawn")
