package bus

import (
	"context"
	"slices"
	"sort"
	"sync"

	"github.com/leat-go/leat/eventstore"
)

// Bounds of the tail that a router shares between its consumers.
const (
	// BufferEvents is how many events it holds.
	BufferEvents = 8192
	// BufferBytes is how many bytes of data and metadata they have together.
	BufferBytes = 16 << 20
	// chunkEvents is how many are read at once: a default page, which a consumer
	// of everything that is in it is then given as it is.
	chunkEvents = DefaultPageSize
	// takeChunks is how many chunks one page looks through.
	takeChunks = 1024
)

// tail is a log reader that reads the end of the log once for all consumers
// and filters it for each in memory. It holds the last chunks read, which are
// contiguous:
//
//	log     1 ········ from ▒▒▒▒▒▒▒▒▒▒▒▒▒▒ through ···· head
//	                   └ chunk ┴ chunk ┴ chunk ┘
//
// A consumer inside the buffer is served from it. One that stands at through
// has the next chunk read. One that is behind from reads the log itself,
// filtered there, until it has caught up. One that is ahead of through (the log
// let it skip a long stretch without matches) begins the buffer anew where it
// stands; those left behind read the log. Nothing depends on who comes first:
// a page is always the filtered log from after to its Through, which the log's
// stable prefix makes the same whenever it is read.
//
// A page ends at a chunk's end, whose anchor is known, unless the events of a
// single chunk are too many for it; then the log is asked for the anchor.
type tail struct {
	log    eventstore.LogReader
	events int // at most, in the buffer
	bytes  int // at most, in the buffer

	fetching sync.Mutex // held by the one that reads the next chunk

	mu       sync.Mutex // guards what follows
	begun    bool
	from     int64
	through  int64
	chunks   []*chunk
	inEvents int
	inBytes  int
}

// chunk is immutable.
type chunk struct {
	events  []eventstore.Recorded
	through eventstore.Anchor
	after   int64
	bytes   int
}

// all tells whether the filter matches all of its events.
func (c *chunk) all(f eventstore.Filter) bool {
	if f.All() {
		return true
	}
	for i := range c.events {
		if e := &c.events[i]; !f.Match(e.Stream, e.Type) {
			return false
		}
	}
	return true
}

func newTail(log eventstore.LogReader, events, bytes int) *tail {
	return &tail{log: log, events: events, bytes: bytes}
}

// ReadLog is eventstore.LogReader's.
func (t *tail) ReadLog(ctx context.Context, after int64, limit int, f eventstore.Filter) (eventstore.Page, error) {
	for {
		chunks, behind := t.take(after)
		if behind {
			return t.log.ReadLog(ctx, after, limit, f)
		}
		if len(chunks) > 0 {
			return t.collect(ctx, chunks, after, limit, f)
		}
		if end, err := t.fetch(ctx, after); err != nil || end.Position == after {
			return eventstore.Page{Through: end}, err
		}
	}
}

// take returns the chunks that hold what comes after a position: none at the
// end of the buffer. It tells whether the position is behind the buffer.
func (t *tail) take(after int64) (chunks []*chunk, behind bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.begun || after > t.through {
		t.begun, t.from, t.through = true, after, after
		t.chunks, t.inEvents, t.inBytes = nil, 0, 0
	}
	if after < t.from {
		return nil, true
	}
	i := sort.Search(len(t.chunks), func(i int) bool { return t.chunks[i].through.Position > after })
	return append(chunks, t.chunks[i:min(len(t.chunks), i+takeChunks)]...), false
}

// fetch reads the chunk after a position, unless somebody else has, and
// returns its end.
func (t *tail) fetch(ctx context.Context, after int64) (eventstore.Anchor, error) {
	t.fetching.Lock()
	defer t.fetching.Unlock()
	if t.moved(after) {
		return eventstore.Anchor{Position: -1}, nil
	}
	page, err := t.log.ReadLog(ctx, after, chunkEvents, eventstore.Filter{})
	if err != nil || page.Through.Position == after {
		return page.Through, err
	}
	c := &chunk{events: page.Events, through: page.Through, after: after}
	for _, e := range page.Events {
		c.bytes += len(e.Data) + len(e.Meta)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.through == after { // it can have begun anew, further on
		t.push(c)
	}
	return page.Through, nil
}

// moved tells whether the buffer no longer ends at the position.
func (t *tail) moved(after int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.through != after
}

// push appends the chunk and drops the oldest ones past the bounds. It keeps
// the last, however large. mu is held.
func (t *tail) push(c *chunk) {
	t.chunks = append(t.chunks, c)
	t.through = c.through.Position
	t.inEvents += len(c.events)
	t.inBytes += c.bytes
	for len(t.chunks) > 1 && (t.inEvents > t.events || t.inBytes > t.bytes) {
		oldest := t.chunks[0]
		t.inEvents -= len(oldest.events)
		t.inBytes -= oldest.bytes
		t.from = oldest.through.Position
		t.chunks[0] = nil // so that it can be collected
		t.chunks = t.chunks[1:]
	}
}

// collect filters contiguous chunks, of which the first holds the position
// that comes after after.
func (t *tail) collect(ctx context.Context, chunks []*chunk, after int64, limit int, f eventstore.Filter) (eventstore.Page, error) {
	var page eventstore.Page
	first := chunks[0]
	if len(chunks) == 1 && first.after == after && len(first.events) <= limit && first.all(f) {
		return eventstore.Page{Events: slices.Clip(first.events), Through: first.through}, nil
	}
	if f.All() {
		page.Events = make([]eventstore.Recorded, 0, min(limit, (len(chunks)+1)*len(first.events)))
	}
	for _, c := range chunks {
		before := len(page.Events)
		for _, e := range c.events {
			if e.Position <= after || !f.Match(e.Stream, e.Type) {
				continue
			}
			if len(page.Events) < limit {
				page.Events = append(page.Events, e)
				continue
			}
			if before > 0 { // end where the chunk before does
				page.Events = page.Events[:before]
				return page, nil
			}
			var err error
			page.Through, err = t.log.Anchor(ctx, page.Events[limit-1].Position)
			return page, err
		}
		page.Through = c.through
	}
	return page, nil
}
