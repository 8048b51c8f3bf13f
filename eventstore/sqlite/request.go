package sqlite

import (
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/leat-go/leat/eventstore"
)

// A request is queued, then taken by the writer or withdrawn by its caller.
const (
	queued int32 = iota
	taken
	withdrawn
)

// request is one append, or one snapshot, on its way through the writer.
type request struct {
	batch    eventstore.Batch
	content  [32]byte    // of a batch with an ID
	ids      []uuid.UUID // of the events; zero where the writer gives one
	explicit bool        // the caller gave an event id
	meta     [][]byte    // of the events, encoded
	snapshot *eventstore.Snapshot
	bytes    int // of the payloads

	state atomic.Int32
	done  chan struct{} // closed when commit and err are final

	// commit and err belong to who has the writer's turn until done is closed. Before the
	// group's outcome is known they are what is to be answered if it is stored.
	commit eventstore.Commit
	err    error
}

// newRequest does in the caller's goroutine what the writer need not do.
func newRequest(b eventstore.Batch) *request {
	r := &request{batch: b, done: make(chan struct{})}
	if b.ID != "" {
		r.content = b.ContentHash()
	}
	n := 0
	for _, w := range b.Writes {
		n += len(w.Events)
	}
	r.ids = make([]uuid.UUID, 0, n)
	r.meta = make([][]byte, 0, n)
	for _, w := range b.Writes {
		for _, e := range w.Events {
			id := e.ID
			switch {
			case id != uuid.Nil:
				r.explicit = true
			case b.ID != "":
				id = eventstore.DeriveID(b.ID, len(r.ids))
			}
			meta := e.Metadata.Encode()
			r.ids = append(r.ids, id)
			r.meta = append(r.meta, meta)
			r.bytes += len(e.Data) + len(meta)
		}
	}
	return r
}
