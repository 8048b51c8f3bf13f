package eventstore

import (
	"context"
	"errors"
	"fmt"
)

// Appender remembers.
type Appender interface {
	// Append stores the batch, all or nothing, durably, at consecutive
	// positions, and returns where. It checks every expectation and guard and
	// reports all that fail in one ConflictError.
	//
	// A batch whose ID was stored before with the same content is not stored
	// again: the first commit is returned with Duplicate set, whatever the
	// expectations say now. With other content it is ErrIDReused.
	//
	// Errors: ErrInvalid, ErrConflict, ErrIDReused, ErrBusy, ErrClosed,
	// ErrCorrupt and ctx.Err() mean that nothing was stored and never will be;
	// ErrOutcomeUnknown means that it may have been. An append whose ctx ends
	// is withdrawn while it is queued and waited for once it is taken.
	//
	// Append keeps nothing of the batch. It is safe for concurrent use.
	Append(ctx context.Context, b Batch) (Commit, error)
	// Committed tells whether a batch with this ID was stored, and the commit
	// it made (with Duplicate set).
	Committed(ctx context.Context, id string) (Commit, bool, error)
}

// StreamReader reads one stream.
type StreamReader interface {
	// ReadStream returns the events of a stream from version from (1 or more)
	// on, in order, limit at most (1 to MaxPage). A stream that does not exist
	// has no events. A stored stream is never read with holes.
	ReadStream(ctx context.Context, stream string, from int64, limit int) ([]Recorded, error)
}

// LogReader reads and follows the log.
type LogReader interface {
	// ReadLog returns events after position after that the filter matches, in
	// order, limit at most (1 to MaxPage), and how far the log was scanned for
	// them. It scans a bounded number of events a call (MaxScan), so a page can
	// be empty and still advance; the log is read to its end when
	// Through.Position equals after, or reaches a head read before.
	ReadLog(ctx context.Context, after int64, limit int, f Filter) (Page, error)
	// Head returns the last position, 0 for an empty log.
	Head(ctx context.Context) (int64, error)
	// Wait returns the head as soon as it is past after, or ctx's error. An
	// append that was acknowledged has woken its waiters.
	Wait(ctx context.Context, after int64) (int64, error)
	// Anchor returns the place of a position on this log: the zero Anchor for
	// 0, else its chain hash and the epoch in which it was written, which stay
	// what they are however far the log grows and however often it is restored
	// at or after that position. It returns ErrRewound for a position past the
	// head. Page.Through is made by the same rule.
	Anchor(ctx context.Context, position int64) (Anchor, error)
}

// Store is a log with its three sides.
type Store interface {
	Appender
	StreamReader
	LogReader
}

// Batch is one atomic request.
type Batch struct {
	// ID makes the batch idempotent, for ever. Optional; at most MaxName bytes.
	ID string
	// Writes go to different streams, in the order of their positions. They
	// may be empty only where ID is set: such a batch records its ID.
	Writes []Write
	// Guards are expectations on streams that the batch does not write.
	Guards []Guard
}

// Write appends events to one stream.
type Write struct {
	Stream string
	// Expect is what must hold of the stream. Defaults to Any.
	Expect Expectation
	// Events are one or more.
	Events []EventData
}

// Guard is an expectation on a stream that the batch does not write.
type Guard struct {
	Stream string
	Expect Expectation
}

// Commit says where a batch was stored.
type Commit struct {
	// ID is the batch's ID.
	ID string
	// First and Last are the positions of its first and last event. For a
	// batch without events Last is the head it was stored after and First is
	// Last + 1.
	First, Last int64
	// Streams are the writes' streams, in the order of the batch.
	Streams []StreamCommit
	// Time is when it was recorded, in Unix nanoseconds UTC.
	Time int64
	// Duplicate says that an earlier append of the same ID stored it.
	Duplicate bool
}

// Events returns how many events the batch stored.
func (c Commit) Events() int { return int(c.Last - c.First + 1) }

// StreamCommit says which versions of a stream a batch stored.
type StreamCommit struct {
	Stream      string
	First, Last int64
}

// Page is a piece of the log.
type Page struct {
	// Events match the filter, in position order.
	Events []Recorded
	// Through is how far the log was scanned: no event at or below it that
	// matches the filter is missing from Events. It is the anchor to save as a
	// checkpoint once Events are applied.
	Through Anchor
}

// Anchor is a place on one particular log: what a checkpoint holds. The zero
// value is the start of any log.
type Anchor struct {
	// Epoch names the lifetime of the log in which the event at Position was
	// written: a restored log begins another one after what it was restored
	// with. So an anchor from before that place stays an anchor of the restored
	// log, and one from after it never is, however far either has grown.
	Epoch string
	// Position is the last position applied.
	Position int64
	// Hash is the log's chain hash at Position, so that a rewound log is
	// noticed however far it has grown since.
	Hash [32]byte
}

// CheckAnchor returns ErrRewound, as a RewoundError, unless a lies on the log:
// unless the log's own anchor of that position is equal to it.
func CheckAnchor(ctx context.Context, log LogReader, a Anchor) error {
	return CheckCheckpoint(ctx, log, a, "", "")
}

// CheckCheckpoint is CheckAnchor for the checkpoint of a consumer, whose name
// and what to do about it the error says.
func CheckCheckpoint(ctx context.Context, log LogReader, a Anchor, consumer, remedy string) error {
	if a.Position == 0 {
		return nil
	}
	now, err := log.Anchor(ctx, a.Position)
	if err == nil && now == a {
		return nil
	}
	if err != nil && !errors.Is(err, ErrRewound) {
		return fmt.Errorf("check anchor: %w", err)
	}
	rewound := &RewoundError{Consumer: consumer, Checkpoint: a, Remedy: remedy}
	if rewound.Head, err = log.Head(ctx); err != nil {
		return fmt.Errorf("check anchor: %w", err)
	}
	if l, ok := log.(Epochs); ok {
		rewound.Restored = firstUnseen(l.Epochs(), a)
	}
	return rewound
}

// firstUnseen returns the restore that took the log away from where a is: the
// one after the epoch of a, where a is past it.
func firstUnseen(epochs []Epoch, a Anchor) Epoch {
	for i := 1; i < len(epochs); i++ {
		if e := epochs[i]; epochs[i-1].Name == a.Epoch && a.Position > e.After {
			return e
		}
	}
	return Epoch{}
}

// Expectation is what an append demands of a stream.
type Expectation struct {
	kind    expectationKind
	version int64
}

type expectationKind uint8

const (
	expectAny expectationKind = iota
	expectNoStream
	expectExists
	expectExactly
)

// Any demands nothing. It is the zero value.
func Any() Expectation { return Expectation{} }

// NoStream demands that the stream has no events.
func NoStream() Expectation { return Expectation{kind: expectNoStream} }

// Exists demands that the stream has an event.
func Exists() Expectation { return Expectation{kind: expectExists} }

// Exactly demands that the stream is at this version. Exactly(0) is NoStream;
// a negative version is refused by Append with ErrInvalid.
func Exactly(version int64) Expectation {
	if version == 0 {
		return NoStream()
	}
	return Expectation{kind: expectExactly, version: version}
}

// Holds tells whether a stream at this version (0: no stream) meets e.
func (e Expectation) Holds(version int64) bool {
	switch e.kind {
	case expectNoStream:
		return version == 0
	case expectExists:
		return version > 0
	case expectExactly:
		return version == e.version
	default:
		return true
	}
}

func (e Expectation) String() string {
	switch e.kind {
	case expectNoStream:
		return "no stream"
	case expectExists:
		return "an existing stream"
	case expectExactly:
		return fmt.Sprintf("version %d", e.version)
	default:
		return "anything"
	}
}
