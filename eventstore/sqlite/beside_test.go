package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/experiment"
)

const (
	besideAppenders = 8
	besideStreams   = 5
)

// noisy appends until the log holds n events: whole and repeated batches,
// refused ones, ones that are cancelled, ones that find the disk full.
type noisy struct {
	*sqlite.Store
	t                               *testing.T
	n                               int64
	refused, cancelled, full, again atomic.Int64
}

func (w *noisy) append(rnd *rand.Rand, appender int) {
	var last eventstore.Batch
	for i := 0; ; i++ {
		head, err := w.Head(context.Background())
		if err != nil {
			w.t.Error(err)
		}
		if head >= w.n || err != nil {
			return
		}
		b := w.batch(rnd, fmt.Sprintf("%d-%d", appender, i))
		if rnd.IntN(20) == 0 && last.ID != "" {
			b = last
		}
		ctx, cancel := context.Background(), func() {}
		if rnd.IntN(10) == 0 {
			ctx, cancel = context.WithTimeout(ctx, rand.N(time.Millisecond))
		}
		c, err := w.Append(ctx, b)
		switch {
		case err == nil:
			last = b
			if c.Duplicate {
				w.again.Add(1)
			}
		case errors.Is(err, eventstore.ErrConflict):
			w.refused.Add(1)
		case errors.Is(err, sqlite.ErrDiskFull):
			w.full.Add(1)
		case ctx.Err() != nil && errors.Is(err, ctx.Err()):
			w.cancelled.Add(1)
		default:
			w.t.Errorf("append: %v", err)
		}
		cancel()
	}
}

func (w *noisy) batch(rnd *rand.Rand, id string) eventstore.Batch {
	b := eventstore.Batch{ID: id}
	for _, stream := range rnd.Perm(besideStreams)[:1+rnd.IntN(2)] {
		wr := eventstore.Write{Stream: fmt.Sprintf("ride-%d", stream)}
		for range 1 + rnd.IntN(4) {
			wr.Events = append(wr.Events, event("asked", strings.Repeat("x", rnd.IntN(300))))
		}
		b.Writes = append(b.Writes, wr)
	}
	if rnd.IntN(5) == 0 {
		b.Writes[0].Expect = eventstore.NoStream() // once, then it is refused
	}
	return b
}

// fill makes the disk full now and then, until ctx ends.
func (w *noisy) fill(ctx context.Context, rnd *rand.Rand) {
	for ctx.Err() == nil {
		for _, more := range []int{rnd.IntN(3), -1} {
			if err := w.LimitPages(more); err != nil {
				w.t.Errorf("limit the pages: %v", err)
				return
			}
			pause := time.NewTimer(rand.N(4 * time.Millisecond)) // the writer's time is real
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
			pause.Stop()
		}
	}
	if err := w.LimitPages(-1); err != nil {
		w.t.Errorf("limit the pages no more: %v", err)
	}
}

// sum is all there is to an event.
func sum(e *eventstore.Recorded) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %s %d %s %s %d %d %s %d ", e.Position, e.Stream, e.Version, e.ID, e.Type, e.SchemaVersion, e.Time, e.BatchID, len(e.Data))
	h.Write(e.Data)
	h.Write(e.Meta)
	return h.Sum64()
}

// watching is a reader that remembers all it has seen.
type watching struct {
	log interface {
		eventstore.LogReader
		eventstore.StreamReader
	}
	*rand.Rand
	sums    []uint64 // by position
	streams []string
	changed int // reads that did not agree with what was seen before
	first   string
}

func (r *watching) blame(format string, args ...any) {
	if r.changed++; r.changed == 1 {
		r.first = fmt.Sprintf(format, args...)
	}
}

// look compares an event with what was seen in its place.
func (r *watching) look(e *eventstore.Recorded) {
	switch at := int(e.Position); {
	case at == len(r.sums)+1:
		r.sums, r.streams = append(r.sums, sum(e)), append(r.streams, e.Stream)
	case at > len(r.sums):
		r.blame("after position %d came %d", len(r.sums), at)
	case r.sums[at-1] != sum(e):
		r.blame("position %d is another event now", at)
	}
}

// watch reads, and reads again, until the log holds n events and all are seen.
func (r *watching) watch(ctx context.Context, n int64) error {
	for int64(len(r.sums)) < n {
		if err := r.read(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (r *watching) read(ctx context.Context) error {
	seen := int64(len(r.sums))
	switch r.IntN(4) {
	case 0: // what was seen before, to where it ends
		after := r.Int64N(seen + 1)
		page, err := r.log.ReadLog(ctx, after, 1+r.IntN(200), eventstore.Filter{})
		if err != nil {
			return err
		}
		for i := range page.Events {
			if page.Events[i].Position != after+int64(i)+1 {
				r.blame("a page after %d has position %d as event %d", after, page.Events[i].Position, i+1)
			}
			if page.Events[i].Position <= seen {
				r.look(&page.Events[i])
			}
		}
	case 1: // one stream of it
		return r.readFiltered(ctx, r.Int64N(seen+1), fmt.Sprintf("ride-%d", r.IntN(besideStreams)))
	case 2: // a stream
		events, err := r.log.ReadStream(ctx, fmt.Sprintf("ride-%d", r.IntN(besideStreams)), 1+r.Int64N(1+seen/besideStreams), 100)
		if err != nil {
			return err
		}
		for i := range events {
			if i > 0 && events[i].Version != events[i-1].Version+1 {
				r.blame("after version %d of a stream came %d", events[i-1].Version, events[i].Version)
			}
			if events[i].Position <= seen {
				r.look(&events[i])
			}
		}
	default: // what is new
		if _, err := r.log.Wait(ctx, seen); err != nil {
			return err
		}
		page, err := r.log.ReadLog(ctx, seen, 500, eventstore.Filter{})
		if err != nil {
			return err
		}
		for i := range page.Events {
			r.look(&page.Events[i])
		}
	}
	return nil
}

// readFiltered demands of a filtered page exactly what is known to match.
func (r *watching) readFiltered(ctx context.Context, after int64, stream string) error {
	page, err := r.log.ReadLog(ctx, after, 200, eventstore.Filter{Streams: []string{stream}})
	if err != nil {
		return err
	}
	want := 0
	known := min(page.Through.Position, int64(len(r.sums)))
	for at := after; at < known; at++ {
		if r.streams[at] == stream {
			want++
		}
	}
	got := 0
	for i := range page.Events {
		if page.Events[i].Position <= known {
			r.look(&page.Events[i])
			got++
		}
	}
	if got != want {
		r.blame("from %d to %d stream %s has %d events, and had %d", after, known, stream, got, want)
	}
	return nil
}

// TestExperimentReadsBesideWrites: what was seen stays as it is, and nothing
// comes before it, whatever is refused meanwhile.
func TestExperimentReadsBesideWrites(t *testing.T) {
	e := experiment.Start(t, "reads beside writes, refusals and a full disk", "any event seen at a position never changes; none appears below it")
	n := int64(e.N(3000, 150_000))
	dir := experiment.Dir(t)
	w := &noisy{Store: open(t, dir, nil), t: t, n: n}
	beside, err := sqlite.OpenReadOnly(t.Context(), dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, beside.Close()) }()
	readers := []*watching{{log: w}, {log: w}, {log: w}, {log: beside}}
	var appending, reading sync.WaitGroup
	full, stop := context.WithCancel(t.Context())
	filling := make(chan struct{})
	go func() { w.fill(full, e.Rand(-1)); close(filling) }()
	for a := range besideAppenders {
		appending.Go(func() { w.append(e.Rand(a), a) })
	}
	for i, r := range readers {
		r.Rand = e.Rand(100 + i)
		reading.Go(func() {
			if err := r.watch(t.Context(), n); err != nil {
				t.Errorf("reader %d: %v", i, err)
			}
		})
	}
	appending.Wait()
	stop()
	<-filling
	reading.Wait()
	require.False(t, t.Failed())
	for i, r := range readers {
		require.Zero(t, r.changed, "reader %d: %s", i, r.first)
		require.True(t, slices.Equal(readers[0].sums[:n], r.sums[:n]), "reader %d saw other events than the first", i)
	}
	e.Figure("events", n)
	e.Asserted("events that changed or appeared late")
	e.Figure("refused", w.refused.Load())
	e.Figure("cancelled", w.cancelled.Load())
	e.Figure("refused by the full disk", w.full.Load())
	e.Figure("repeated", w.again.Load())
	for _, some := range []*atomic.Int64{&w.refused, &w.cancelled, &w.full, &w.again} {
		require.Positive(t, some.Load())
	}
	sound(t, w.Store)
}
