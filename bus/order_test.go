package bus_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/experiment"
)

const (
	orderWriters = 16
	orderStreams = 100
	// orderBatch is how many events a batch has at most.
	orderBatch = 40
)

// fnvPrime is that of FNV-1a.
const fnvPrime = 0x100000001b3

// errAllSeen ends a tailer that has seen everything.
var errAllSeen = errors.New("all seen")

// tailer sees the log go by and counts what is out of order.
type tailer struct {
	name       string
	n          int64 // events to see
	last       int64
	gaps       int
	repeats    int
	inversions int
	versions   map[string]int64
	digest     uint64 // of everything in the order it was seen
}

func newTailer(name string, n int64) *tailer {
	return &tailer{name: name, n: n, versions: map[string]int64{}}
}

func (f *tailer) see(e *eventstore.Recorded) error {
	switch {
	case e.Position == f.last:
		f.repeats++
	case e.Position < f.last:
		f.inversions++
	case e.Position > f.last+1:
		f.gaps++
	}
	switch v := f.versions[e.Stream]; {
	case e.Version <= v:
		f.repeats++
	case e.Version > v+1:
		f.gaps++
	}
	f.last, f.versions[e.Stream] = e.Position, e.Version
	for _, b := range e.Data {
		f.digest = (f.digest ^ uint64(b)) * fnvPrime
	}
	f.digest = (f.digest ^ uint64(e.Position) ^ uint64(e.Version)<<32) * fnvPrime
	if f.last >= f.n {
		return errAllSeen
	}
	return nil
}

func (f *tailer) seeAll(events []eventstore.Recorded) error {
	for i := range events {
		if err := f.see(&events[i]); err != nil {
			return err
		}
	}
	return nil
}

// byPages follows with ReadLog and Wait.
func (f *tailer) byPages(ctx context.Context, log eventstore.LogReader, rnd *rand.Rand) error {
	for {
		if _, err := log.Wait(ctx, f.last); err != nil {
			return err
		}
		page, err := log.ReadLog(ctx, f.last, 1+rnd.IntN(1000), eventstore.Filter{})
		if err != nil {
			return err
		}
		if err := f.seeAll(page.Events); err != nil {
			return err
		}
		if page.Through.Position != f.last {
			return fmt.Errorf("a page through %d ends at %d", page.Through.Position, f.last)
		}
	}
}

// byIterator follows with iterators, each to the head it finds, after it fell
// behind by some pages or none.
func (f *tailer) byIterator(ctx context.Context, log eventstore.LogReader, rnd *rand.Rand) error {
	for {
		if _, err := log.Wait(ctx, min(f.n-1, f.last+rnd.Int64N(2000))); err != nil {
			return err
		}
		for e, err := range eventstore.Log(ctx, log, f.last, eventstore.Filter{}) {
			if err != nil {
				return err
			}
			if err := f.see(&e); err != nil {
				return err
			}
		}
	}
}

// bySubscriber follows as a Watermill subscriber.
func (f *tailer) bySubscriber(ctx context.Context, sub *bus.Subscriber) error {
	messages, err := sub.Subscribe(ctx, "all")
	if err != nil {
		return err
	}
	for msg := range messages {
		page, ok := bus.PageFrom(msg)
		if !ok {
			return errors.New("a message without a page")
		}
		err := f.seeAll(page.Events)
		msg.Ack()
		if err != nil {
			return err
		}
	}
	return errors.New("the channel was closed")
}

// byRouter follows as a consumer of a router.
func (f *tailer) byRouter(ctx context.Context, log eventstore.LogReader, size int) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	r, err := bus.NewRouter(log, &bus.RouterOptions{Logger: quiet})
	if err != nil {
		return err
	}
	var result error
	err = r.Add(&following{name: f.name, size: size, apply: func(p bus.Page) error {
		if result = f.seeAll(p.Events); result != nil {
			stop()
		}
		return nil
	}})
	if err != nil {
		return err
	}
	if err := r.Run(ctx); err != nil {
		return err
	}
	return result
}

// following is a consumer without a place of its own to keep its checkpoint.
type following struct {
	name  string
	size  int
	apply func(bus.Page) error
	at    eventstore.Anchor
}

func (c *following) Name() string                                          { return c.name }
func (c *following) PageSize() int                                         { return c.size }
func (c *following) Filter() eventstore.Filter                             { return eventstore.Filter{} }
func (c *following) Checkpoint(context.Context) (eventstore.Anchor, error) { return c.at, nil }
func (c *following) Apply(_ context.Context, p bus.Page) error {
	c.at = p.Through
	return c.apply(p)
}

// TestExperimentOrder: whoever follows the log, however, sees every event
// once, in the order of the log.
func TestExperimentOrder(t *testing.T) {
	e := experiment.Start(t, "order: 16 writers, 8 tailers", "1,000,000 events: 0 gaps, 0 repeats, 0 inversions")
	n := int64(e.N(8000, 1_000_000))
	dir := experiment.Dir(t)
	store, err := sqlite.Open(t.Context(), dir, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	beside, err := sqlite.OpenReadOnly(t.Context(), dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, beside.Close()) }()
	checkpoints := bus.NewMemoryCheckpoints()
	paged := newSubscriber(t, store, checkpoints, bus.SubscriberOptions{Group: "paged", Filter: everything, PageSize: 200})
	single := newSubscriber(t, store, checkpoints, bus.SubscriberOptions{Group: "single", Filter: everything})

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var tailers []*tailer
	var following, writing sync.WaitGroup
	follow := func(name string, by func(f *tailer) error) {
		f := newTailer(name, n)
		tailers = append(tailers, f)
		following.Go(func() {
			if err := by(f); !errors.Is(err, errAllSeen) {
				t.Errorf("%s at %d: %v", f.name, f.last, err)
				cancel()
			}
		})
	}
	follow("pages", func(f *tailer) error { return f.byPages(ctx, store, e.Rand(-1)) })
	follow("iterator", func(f *tailer) error { return f.byIterator(ctx, store, e.Rand(-3)) })
	follow("subscriber", func(f *tailer) error { return f.bySubscriber(ctx, paged) })
	follow("subscriber of single events", func(f *tailer) error { return f.bySubscriber(ctx, single) })
	follow("consumer", func(f *tailer) error { return f.byRouter(ctx, store, bus.DefaultPageSize) })
	follow("another consumer", func(f *tailer) error { return f.byRouter(ctx, store, 37) })
	follow("pages beside the owner", func(f *tailer) error { return f.byPages(ctx, beside, e.Rand(-2)) })
	follow("iterator beside the owner", func(f *tailer) error { return f.byIterator(ctx, beside, e.Rand(-4)) })
	var left atomic.Int64
	left.Store(n)
	for w := range orderWriters {
		writing.Go(func() { writeOrder(t, ctx, store, e.Rand(w), w, &left) })
	}
	writing.Wait()
	following.Wait()

	gaps, repeats, inversions := 0, 0, 0
	for _, f := range tailers {
		gaps, repeats, inversions = gaps+f.gaps, repeats+f.repeats, inversions+f.inversions
	}
	e.Figure("events", n)
	e.Figure("gaps", gaps)
	e.Figure("repeats", repeats)
	e.Figure("inversions", inversions)
	require.Zero(t, gaps+repeats+inversions)
	for _, f := range tailers {
		require.Equal(t, n, f.last, f.name)
		require.Equal(t, tailers[0].digest, f.digest, "%s saw other events than %s", f.name, tailers[0].name)
	}
}

// writeOrder appends batches to random streams until nothing is left.
func writeOrder(t *testing.T, ctx context.Context, store eventstore.Appender, rnd *rand.Rand, writer int, left *atomic.Int64) {
	for i := 0; ; {
		size := int64(1 + rnd.IntN(orderBatch))
		before := left.Add(-size) + size
		if before <= 0 {
			return
		}
		var b eventstore.Batch
		for j := range int(min(size, before)) {
			if j%8 == 0 {
				b.Writes = append(b.Writes, eventstore.Write{Stream: fmt.Sprintf("s-%d-%d", (rnd.IntN(orderStreams)/8)*8+j/8, writer%4)})
			}
			w := &b.Writes[len(b.Writes)-1]
			w.Events = append(w.Events, eventstore.EventData{Type: "t", Data: fmt.Appendf(nil, "%d %d", writer, i)})
			i++
		}
		if _, err := store.Append(ctx, b); err != nil {
			t.Errorf("writer %d: %v", writer, err)
			return
		}
	}
}
