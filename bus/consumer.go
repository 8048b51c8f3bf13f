package bus

import (
	"context"
	"fmt"
	"time"

	"github.com/leat-go/leat/eventstore"
)

// DefaultPageSize is the number of events of a page where a consumer does not
// say otherwise.
const DefaultPageSize = 500

// Consumer follows the log and keeps its own checkpoint, in one transaction
// with its effects. The Router calls Checkpoint and Apply, never both at once
// and each from one goroutine at a time.
//
// A consumer may also implement PageSizer, Partitioned and Preparer.
type Consumer interface {
	// Name identifies the consumer in its router, for ever.
	Name() string
	// Filter selects the events it is given. It is asked once, when the
	// consumer is added.
	Filter() eventstore.Filter
	// Checkpoint returns where delivery starts, and starts again after an
	// error of Apply. The router checks that it lies on the log.
	Checkpoint(ctx context.Context) (eventstore.Anchor, error)
	// Apply applies the page. Nil means that it is applied and committed
	// through p.Through. A page without events must cost little, and its
	// position may be saved lazily. Apply passes over events at or below its
	// own checkpoint.
	//
	// A BlockedError stops delivery to this consumer until Router.Resume. A
	// RetryError has the page delivered again after a wall time of the
	// consumer's choosing. Any other error has it delivered again after a
	// growing wait. Before each redelivery Checkpoint is asked anew, so a good
	// prefix that was committed is not delivered again.
	//
	// When the router stops, ctx lives on for RouterOptions.Grace, so that the
	// page can be finished; then it is cancelled. What Apply returns under a
	// cancelled ctx is a shutdown, never a failure, and must not be counted as
	// one.
	Apply(ctx context.Context, p Page) error
}

// PageSizer is a Consumer that chooses how many events a page holds at most.
type PageSizer interface {
	// PageSize is 1 to eventstore.MaxPage. With 1 the message that middleware
	// sees has the event's data as payload, its ID as UUID and its envelope as
	// metadata.
	PageSize() int
}

// Partitioned is a Consumer that takes a part of the streams. Each partition
// is a consumer of its own, with a name and a checkpoint of its own.
type Partitioned interface {
	// Partition returns which of how many partitions this one is, from 0. See
	// PartitionOf.
	Partition() (index, of int)
}

// Preparer is a Consumer that can do a part of a page's work before its turn.
type Preparer interface {
	// Prepare is called while Apply of the page before runs, by another
	// goroutine, so that a backlog is worked on by two. It has no effect but
	// what it returns, which the page then carries as Page.Prepared, and does
	// not panic. It returns soon after ended is closed: the page before has been
	// applied, and this one waits.
	//
	// Not every page is prepared, least of all one of a few events at the end of
	// the log; and one that was is dropped where the page before it fails.
	Prepare(p Page, ended <-chan struct{}) any
}

// BlockedError is returned by Apply to stop delivery to the consumer, loudly,
// until Router.Resume. Others go on.
type BlockedError struct {
	// Position is that of the event that could not be applied, 0 where it is
	// no particular one.
	Position int64
	Err      error
}

func (e *BlockedError) Error() string {
	if e.Position == 0 {
		return fmt.Sprintf("bus: consumer blocked: %v", e.Err)
	}
	return fmt.Sprintf("bus: consumer blocked at position %d: %v", e.Position, e.Err)
}

func (e *BlockedError) Unwrap() error { return e.Err }

// RetryError is returned by Apply to have the page delivered again after a
// wall time.
type RetryError struct {
	// After is the wall time to wait.
	After time.Duration
	// Attempt says how often the event was tried, from 1.
	Attempt int
	// Position is that of the event that could not be applied, 0 where it is
	// no particular one.
	Position int64
	Err      error
}

func (e *RetryError) Error() string {
	return fmt.Sprintf("bus: attempt %d at position %d, next in %v: %v", e.Attempt, e.Position, e.After, e.Err)
}

func (e *RetryError) Unwrap() error { return e.Err }

// State says what a consumer is doing.
type State string

const (
	// StateRunning: the consumer follows the end of the log.
	StateRunning State = "running"
	// StateCatchingUp: it has not yet reached the head it found when it
	// started or went on.
	StateCatchingUp State = "catching up"
	// StateBackingOff: it failed and waits, in wall time, to be tried again.
	StateBackingOff State = "backing off"
	// StateBlocked: it failed and waits for Router.Resume.
	StateBlocked State = "blocked"
)

// ConsumerStatus is the state of one consumer at an instant.
type ConsumerStatus struct {
	Name  string
	State State
	// Checkpoint is the position the consumer has scanned and applied through.
	Checkpoint int64
	// Head is the last position of the log that the router knows of.
	Head int64
	// Position is that of the event that failed, 0 where none did or it is no
	// particular one.
	Position int64
	// Attempt says how often delivery has failed in a row.
	Attempt int
	// Err is the failure, nil while running or catching up.
	Err error
	// NextAttempt is when a consumer that is backing off is tried again.
	NextAttempt time.Time
}

// Lag is how many positions the log is ahead of the consumer. See
// Router.LagTime for how long the first of them has waited.
func (s ConsumerStatus) Lag() int64 { return max(s.Head-s.Checkpoint, 0) }

// String returns the state in one line: "running", "catching up: 12 of 4711",
// "blocked at 4711: …".
func (s ConsumerStatus) String() string {
	switch {
	case s.Err != nil && s.Position > 0:
		return fmt.Sprintf("%s at %d: %v", s.State, s.Position, s.Err)
	case s.Err != nil:
		return fmt.Sprintf("%s: %v", s.State, s.Err)
	case s.State == StateCatchingUp:
		return fmt.Sprintf("%s: %d of %d", s.State, max(s.Checkpoint, 0), s.Head)
	default:
		return string(s.State)
	}
}
