package eventstore

import "context"

// Snapshot is the folded state of a stream at a version.
type Snapshot struct {
	Stream string
	// Fold names the fold that made the state: a snapshot of another is not
	// used.
	Fold string
	// Version is the stream's version that the state includes.
	Version int64
	// State is the encoded state.
	State []byte
}

// Snapshots is the capability of a store to keep snapshots, found by type
// assertion. A snapshot is a convenience: losing one loses nothing.
type Snapshots interface {
	// SaveSnapshot keeps the snapshot, one for each (stream, fold), unless a
	// later version is kept already.
	SaveSnapshot(ctx context.Context, s Snapshot) error
	// LoadSnapshot returns the snapshot of a stream by this fold, and whether
	// there is one.
	LoadSnapshot(ctx context.Context, stream, fold string) (Snapshot, bool, error)
}

// Finding is one thing about a store that is not as it was written. Verifying
// a store, or a file of it, is a capability of whoever owns the file.
type Finding struct {
	// File is the file's path in the store's directory.
	File string `json:"file"`
	// Place names the place in it: "position 7", "batch 3", a consumer; empty
	// for the file as a whole.
	Place string `json:"place,omitempty"`
	// Reason says what was found there.
	Reason string `json:"reason"`
	// Remedy says what to do about it.
	Remedy string `json:"remedy"`
}

func (f Finding) String() string {
	s := f.File
	if f.Place != "" {
		s += ": " + f.Place
	}
	return s + ": " + f.Reason + ": " + f.Remedy
}

// Epoch is a lifetime of a log: from its creation, or from a restore, to the
// next restore.
type Epoch struct {
	Name string
	// After is the position after which it began: 0 for the first, else where
	// the log was restored.
	After int64
	// Time is when it began, in Unix nanoseconds UTC.
	Time int64
}

// Epochs is the capability of a log to tell its epochs, found by type
// assertion. A log without it has one.
type Epochs interface {
	// Epochs returns all epochs in order, one at least; the last goes on. The
	// slice is the caller's.
	Epochs() []Epoch
}

// Reopener is the capability of a store to go on after it has stopped, found by
// type assertion. A store stops where its disk fails: what is appended then may
// or may not be stored, and nothing more is until it was opened again. It says
// in its log that it has stopped; that it goes on says whoever calls Reopen.
type Reopener interface {
	// Stopped returns a channel that is closed once the store has stopped;
	// already closed where it has. After a Reopen it is another.
	Stopped() <-chan struct{}
	// Err returns why the store has stopped, nil while it has not.
	Err() error
	// Reopen opens the store's files again, in place, and returns nil where
	// the store goes on. It never goes back behind what was acknowledged:
	// rather it returns ErrCorrupt. On a store that has not stopped it does
	// nothing. An error leaves the store stopped; it may be called again.
	Reopen(ctx context.Context) error
}
