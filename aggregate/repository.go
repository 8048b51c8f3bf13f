package aggregate

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"

	"github.com/leat-go/leat/eventstore"
)

// Limits of a repository.
const (
	// DefaultCache is the number of aggregates whose state is kept.
	DefaultCache = 10_000
	// DefaultAttempts is how often an update decides before it gives up.
	DefaultAttempts = 10
	// readPage is how many events of a stream are read at a time.
	readPage = 500
)

// Store is what a repository needs of a log. One that also has
// eventstore.Snapshots keeps snapshots.
type Store interface {
	eventstore.Appender
	eventstore.StreamReader
}

// Options of a repository.
type Options struct {
	// Cache is the number of aggregates whose folded state is kept in memory,
	// the least recently used dropped first; negative for none. Defaults to
	// DefaultCache.
	Cache int
	// SnapshotEvery saves a snapshot each time a stream has grown by this many
	// events, where the store has the capability. The state is kept as JSON,
	// and NewRepository panics where that would lose a part of it. Defaults to
	// 0: none.
	SnapshotEvery int
	// Attempts is how often an update decides on what the log holds while
	// others change the stream under it, before it returns the conflict. A
	// decision on what was in memory does not count. Defaults to
	// DefaultAttempts.
	Attempts int
	// Logger hears of snapshots that could not be saved or read, which cost
	// time and lose nothing. Defaults to slog.Default.
	Logger *slog.Logger
}

// Repository loads aggregates and appends their decisions. It is safe for
// concurrent use; updates of one aggregate through one repository follow each
// other.
type Repository[S any] struct {
	store     Store
	snapshots eventstore.Snapshots // nil for none
	def       *Definition[S]
	opts      Options
	cache     *cache[S]
}

// NewRepository returns a repository over the store. It panics, with a
// sentence, where store or definition is nil, or where there are to be
// snapshots and JSON cannot hold the whole of S.
func NewRepository[S any](store Store, def *Definition[S], opts *Options) *Repository[S] {
	if store == nil || def == nil {
		panic("aggregate: NewRepository needs a store and a definition")
	}
	r := &Repository[S]{store: store, def: def}
	if opts != nil {
		r.opts = *opts
	}
	if r.opts.Cache == 0 {
		r.opts.Cache = DefaultCache
	}
	if r.opts.Attempts < 1 {
		r.opts.Attempts = DefaultAttempts
	}
	if r.opts.Logger == nil {
		r.opts.Logger = slog.Default()
	}
	if r.opts.SnapshotEvery > 0 {
		if err := eventstore.CheckJSON(reflect.TypeFor[S]()); err != nil {
			panic(fmt.Sprintf("aggregate: snapshots of %q: %v", def.name, err))
		}
		r.snapshots, _ = store.(eventstore.Snapshots)
	}
	r.cache = newCache[S](r.opts.Cache)
	return r
}

// Update loads the aggregate, lets decide look at its state, and appends the
// events that decide returns, durably and only if nobody else changed the
// stream meanwhile; where somebody did, it decides again on the new state.
//
// decide may run several times, so it has no effects but its answer. It reads
// the state and does not change it; an aggregate without events has the zero
// state. Its error is returned as it is and nothing is stored; a refusal is a
// Rejection. decide must not update the same aggregate.
//
// Under eventstore.WithCommand the command is spent: its id is the batch ID, a
// command that was carried out before returns the first commit without
// deciding, and a decision without events records the id alone. Otherwise a
// decision without events stores nothing and returns the zero Commit. An error
// gives the command back, unless the outcome is unknown, so that a function
// may try another decision under it.
//
// Errors are those of eventstore.Appender.Append and of reading the stream.
func (r *Repository[S]) Update(ctx context.Context, id string, decide func(*S) (Events, error)) (eventstore.Commit, error) {
	return UpdateAll(ctx, r.Change(id, decide))
}

// Load returns the aggregate's state, which the caller owns, and its version:
// 0, and the zero state, where it has no events.
func (r *Repository[S]) Load(ctx context.Context, id string) (*S, int64, error) {
	state, version, err := r.load(ctx, r.def.Stream(id))
	if err != nil {
		return nil, 0, fmt.Errorf("load %s: %w", r.def.Stream(id), err)
	}
	return state, version, nil
}

// LoadAt returns the aggregate's state as it was at a version, or as it is
// where the stream is shorter.
func (r *Repository[S]) LoadAt(ctx context.Context, id string, version int64) (*S, error) {
	stream := r.def.Stream(id)
	state := new(S)
	for e, err := range eventstore.Stream(ctx, r.store, stream, 1) {
		if err == nil && e.Version > version {
			break
		}
		if err == nil {
			err = r.def.Fold(state, e)
		}
		if err != nil {
			return nil, fmt.Errorf("load %s at version %d: %w", stream, version, err)
		}
	}
	return state, nil
}

// load folds a stream anew: from its snapshot where there is one, else from its
// start.
func (r *Repository[S]) load(ctx context.Context, stream string) (*S, int64, error) {
	state, version := r.snapshot(ctx, stream)
	version, err := r.catchUp(ctx, stream, state, version)
	return state, version, err
}

// catchUp folds what the stream holds after version into the state and returns
// the version reached.
func (r *Repository[S]) catchUp(ctx context.Context, stream string, state *S, version int64) (int64, error) {
	for {
		events, err := r.store.ReadStream(ctx, stream, version+1, readPage)
		if err != nil {
			return 0, err
		}
		if err := r.def.Fold(state, events...); err != nil {
			return 0, err
		}
		version += int64(len(events))
		if len(events) < readPage {
			return version, nil
		}
	}
}
