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
