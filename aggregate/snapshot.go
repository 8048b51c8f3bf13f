package aggregate

import (
	"context"
	"encoding/json"

	"github.com/leat-go/leat/eventstore"
)

// snapshot returns the state and version to fold from: those of the snapshot
// where there is one, else of the start.
func (r *Repository[S]) snapshot(ctx context.Context, stream string) (*S, int64) {
	if r.snapshots == nil {
		return new(S), 0
	}
	s, ok, err := r.snapshots.LoadSnapshot(ctx, stream, r.def.foldName())
	state := new(S)
	if err == nil && ok {
		err = json.Unmarshal(s.State, state)
	}
	if err != nil {
		r.opts.Logger.WarnContext(ctx, "aggregate: snapshot not read, folding the whole stream", "stream", stream, "error", err)
		return new(S), 0
	}
	if !ok {
		return state, 0
	}
	return state, s.Version
}

// saveSnapshot keeps the state where the stream has passed a multiple of
// SnapshotEvery between the two versions.
func (r *Repository[S]) saveSnapshot(ctx context.Context, stream string, state *S, before, after int64) {
	every := int64(r.opts.SnapshotEvery)
	if r.snapshots == nil || before/every == after/every {
		return
	}
	data, err := json.Marshal(state)
	if err == nil {
		err = r.snapshots.SaveSnapshot(ctx, eventstore.Snapshot{
			Stream: stream, Fold: r.def.foldName(), Version: after, State: data,
		})
	}
	if err != nil {
		r.opts.Logger.WarnContext(ctx, "aggregate: snapshot not saved", "stream", stream, "version", after, "error", err)
	}
}
