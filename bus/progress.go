package bus

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/leat-go/leat/eventstore"
)

// progress is where a lane stands, and how others wait for it. Its signals are
// channels that exist only while somebody waits, so a lane that nobody waits
// for pays a mutex for each page.
type progress struct {
	mu          sync.Mutex // guards all
	state       State
	scanned     int64 // -1 before the checkpoint is known
	target      int64 // the head found at the start: there the lane has caught up
	position    int64
	attempt     int
	err         error
	nextAttempt time.Time

	resume  chan struct{} // holds a token once a failing lane was resumed
	changed chan struct{} // closed for those in await; nil where there are none
	awaited int64         // the lowest position that one of them waits for

	demanded int64 // the highest position that somebody has asked for
}

func (p *progress) begin() {
	p.state, p.scanned, p.resume = StateCatchingUp, -1, make(chan struct{}, 1)
}

// start begins to follow from a position.
func (p *progress) start(at, head int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = head
	p.moved(at)
}

// reach moves on to a position.
func (p *progress) reach(at int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.attempt = 0
	p.moved(at)
}

// moved sets the position. mu is held.
func (p *progress) moved(at int64) {
	p.scanned, p.position, p.err = at, 0, nil
	p.state = StateCatchingUp
	if at >= p.target {
		p.state = StateRunning
	}
	if p.changed != nil && at >= p.awaited {
		p.signal()
	}
}

// signal wakes those who wait. mu is held.
func (p *progress) signal() {
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

func (p *progress) block(position int64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state, p.position, p.err = StateBlocked, position, err
	p.attempt++
	p.failing()
}

func (p *progress) backOff(position int64, attempt int, wait time.Duration, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state, p.position, p.attempt, p.err = StateBackingOff, position, attempt, err
	p.nextAttempt = time.Now().Add(wait)
	p.failing()
}

// failing wakes those who wait for the lane, and forgets a Resume of the
// failure before. mu is held.
func (p *progress) failing() {
	select {
	case <-p.resume:
	default:
	}
	p.signal()
}

// wait waits as long as the failure demands. It returns false where ctx ended.
func (p *progress) wait(ctx context.Context) bool {
	p.mu.Lock()
	state, until := p.state, p.nextAttempt
	p.mu.Unlock()
	var due <-chan time.Time
	if state == StateBackingOff {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-p.resume:
	case <-due:
	case <-ctx.Done():
		return false
	}
	return ctx.Err() == nil
}

// resumeNow ends a wait. It does nothing where there is none. From here on the
// lane is waited for again.
func (p *progress) resumeNow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != StateBlocked && p.state != StateBackingOff {
		return
	}
	p.state, p.position, p.err = StateCatchingUp, 0, nil
	select {
	case p.resume <- struct{}{}:
	default: // resumed already
	}
}

// demand asks for everything up to a position. It tells whether that is new.
func (p *progress) demand(position int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.demanded >= position {
		return false
	}
	p.demanded = position
	return true
}

// demands tells whether somebody has asked for what comes after a position.
func (p *progress) demands(after int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.demanded > after
}

// settled tells whether there is nothing to wait for before the position. If
// there is, it returns what is closed when it may have changed.
func (p *progress) settled(position int64) (bool, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.scanned >= position || p.state == StateBlocked || p.state == StateBackingOff {
		return true, nil
	}
	if p.changed == nil {
		p.changed, p.awaited = make(chan struct{}), position
	}
	p.awaited = min(p.awaited, position)
	return false, p.changed
}

func (p *progress) status(name string, head int64) ConsumerStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := ConsumerStatus{
		Name: name, State: p.state, Checkpoint: max(p.scanned, 0), Head: max(head, p.scanned),
		Position: p.position, Attempt: p.attempt, Err: p.err,
	}
	if p.state == StateBackingOff {
		s.NextAttempt = p.nextAttempt
	}
	return s
}

// Status returns the state of every consumer, in the order they were added.
func (r *Router) Status() []ConsumerStatus {
	lanes := *r.lanes.Load()
	status := make([]ConsumerStatus, len(lanes))
	for i, l := range lanes {
		status[i] = l.progress.status(l.name, r.head.Load())
	}
	return status
}

// LagTime returns how long the first event that a consumer has not scanned has
// waited, by the clock of now, which is that of the log's times; 0 where there
// is none. It reads one event of the log.
func (r *Router) LagTime(ctx context.Context, s ConsumerStatus, now time.Time) (time.Duration, error) {
	if s.Lag() == 0 {
		return 0, nil
	}
	page, err := r.log.ReadLog(ctx, max(s.Checkpoint, 0), 1, eventstore.Filter{})
	if err != nil {
		return 0, fmt.Errorf("bus: lag of %q: %w", s.Name, err)
	}
	if len(page.Events) == 0 {
		return 0, nil
	}
	return max(now.Sub(page.Events[0].RecordedAt()), 0), nil
}

// Resume has a blocked consumer, or one that is backing off, tried again at
// once, and Settle waits for it again. It does nothing to one that is neither. It returns ErrUnknownConsumer
// where there is none of this name.
func (r *Router) Resume(name string) error {
	for _, l := range *r.lanes.Load() {
		if l.name == name {
			l.progress.resumeNow()
			return nil
		}
	}
	return fmt.Errorf("%w: %q", ErrUnknownConsumer, name)
}

// Demand has the consumer of this name, where there is one, given the log
// through the position without waiting for more (see RouterOptions.Gather). It
// does not wait for that.
func (r *Router) Demand(name string, position int64) {
	for _, l := range *r.lanes.Load() {
		if l.name == name {
			l.demand(position)
		}
	}
}

func (l *lane) demand(position int64) {
	if l.router.opts.Gather > 0 && l.progress.demand(position) {
		l.awake()
	}
}

// Settle waits until each consumer, or each of these names where some are
// given, has scanned, and applied, the log through the position, or is blocked
// or backing off: Status tells which. It costs a mutex for each consumer that
// has, and neither polls nor reads. Before Run it waits for Run. It returns
// ctx's error, or ErrStopped where the router has stopped before.
func (r *Router) Settle(ctx context.Context, position int64, names ...string) error {
	for {
		waited := false
		for _, l := range *r.lanes.Load() {
			if len(names) > 0 && !slices.Contains(names, l.name) {
				continue
			}
			l.demand(position)
			ok, changed := l.progress.settled(position)
			for ; !ok; ok, changed = l.progress.settled(position) {
				waited = true
				select {
				case <-changed:
				case <-ctx.Done():
					return ctx.Err()
				case <-r.stopped:
					return ErrStopped
				}
			}
		}
		if !waited { // all at one glance
			return nil
		}
	}
}
