package bus_test

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/experiment"
)

const (
	slowWriters   = 8
	slowConsumers = 3
	// slowPage is how many events a slow consumer takes at a time, and slowWait
	// how long it takes for them.
	slowPage = 10
	slowWait = 20 * time.Millisecond
	// slowData is the size of an event: the backlog is far larger than what
	// may be held of it.
	slowData = 1 << 10
	// slowBuffer is what the router may hold of the end of the log, slowMemory
	// what it may cost in all.
	slowBuffer = 512 << 10
	slowMemory = 2 << 20
	heapLooks  = 10
	// slowRatio is how much slower appends may be beside slow consumers.
	slowRatio = 1.2
)

// latencies appends from all writers at once and returns how long each took.
func latencies(t *testing.T, store eventstore.Appender, appends int) (all []time.Duration) {
	var mu sync.Mutex // guards all
	var wg sync.WaitGroup
	data := make([]byte, slowData)
	for range slowWriters {
		wg.Go(func() {
			mine := make([]time.Duration, 0, appends)
			for range appends {
				began := time.Now()
				_, err := store.Append(t.Context(), eventstore.Batch{Writes: []eventstore.Write{{Stream: "a", Events: []eventstore.EventData{{Type: "t", Data: data}}}}})
				if err != nil {
					t.Errorf("append: %v", err)
					return
				}
				mine = append(mine, time.Since(began))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, mine...)
		})
	}
	wg.Wait()
	return all
}

func percentile(all []time.Duration, percent int) time.Duration {
	slices.Sort(all)
	return all[(len(all)-1)*percent/100]
}

// heap returns how much memory is held: the least that is seen in some looks,
// since what others have in hand while it looks comes and goes.
func heap() uint64 {
	least := uint64(math.MaxUint64)
	for range heapLooks {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		least = min(least, m.HeapAlloc)
	}
	return least
}

// slow is a consumer that keeps positions only, and takes its time.
type slow struct {
	name      string
	wait      time.Duration
	at        eventstore.Anchor
	positions []int64
}

func (c *slow) Name() string                                          { return c.name }
func (c *slow) Filter() eventstore.Filter                             { return eventstore.Filter{} }
func (c *slow) PageSize() int                                         { return slowPage }
func (c *slow) Checkpoint(context.Context) (eventstore.Anchor, error) { return c.at, nil }
func (c *slow) Apply(_ context.Context, p bus.Page) error {
	time.Sleep(c.wait) // in real time: what it costs is measured
	for _, e := range p.Events {
		c.positions = append(c.positions, e.Position)
	}
	c.at = p.Through
	return nil
}

// catchUp has consumers go on through head, and returns how many events they
// have not, or not in their place.
func catchUp(t *testing.T, store eventstore.Store, consumers []*slow, head int64) (missed int) {
	r := newRouter(t, store, nil)
	for _, c := range consumers {
		require.NoError(t, r.Add(c))
	}
	stop := run(t, r)
	settle(t, r, head)
	stop()
	for _, c := range consumers {
		require.Len(t, c.positions, int(head), "each once")
		for i, p := range c.positions {
			if p != int64(i+1) {
				missed++
			}
		}
	}
	return missed
}

// TestExperimentSlowConsumer: who lags costs the others nothing, holds no
// memory, and misses nothing when it goes on.
func TestExperimentSlowConsumer(t *testing.T) {
	e := experiment.Start(t, "slow consumer", "append p99 < 1.2× of that without, memory bounded, resume misses 0")
	rounds, appends := e.N(2, 30), e.N(200, 400)
	store, err := sqlite.Open(t.Context(), t.TempDir(), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	var consumers []*slow
	for i := range slowConsumers {
		consumers = append(consumers, &slow{name: string(rune('a' + i)), wait: slowWait})
	}
	stuck := newSubscriber(t, store, bus.NewMemoryCheckpoints(), bus.SubscriberOptions{Group: "stuck", Filter: everything})
	messages, err := stuck.Subscribe(t.Context(), "all") // nobody takes what it has
	require.NoError(t, err)
	// Short rounds in turn: what else the machine does comes and goes.
	latencies(t, store, appends) // warm
	// Room for what is measured, so that it does not count as memory.
	without := make([]time.Duration, 0, rounds*slowWriters*appends)
	with := make([]time.Duration, 0, cap(without))
	before := heap()
	fast := &following{name: "fast", size: bus.DefaultPageSize, apply: func(bus.Page) error { return nil }}
	for round := range rounds {
		for turn := range 2 {
			beside := (round+turn)%2 == 1
			r := newRouter(t, store, &bus.RouterOptions{BufferBytes: slowBuffer}, fast)
			for _, c := range consumers {
				if beside {
					require.NoError(t, r.Add(c))
				}
			}
			stop := run(t, r)
			if beside {
				with = append(with, latencies(t, store, appends)...)
			} else {
				without = append(without, latencies(t, store, appends)...)
			}
			if beside && round == rounds-1 {
				grown := max(0, int64(heap())-int64(before))
				e.Figure("memory beside the backlog, KiB", grown>>10)
				require.Less(t, grown, int64(slowMemory))
			}
			stop()
		}
	}
	head, err := store.Head(t.Context())
	require.NoError(t, err)
	for _, c := range consumers {
		require.Less(t, c.at.Position, head, "a consumer that keeps up is not slow")
		c.wait = 0
	}
	ratio := float64(percentile(with, 99)) / float64(percentile(without, 99))
	e.Figure("appends", head)
	e.Figure("p99 without", percentile(without, 99))
	e.Figure("p99 with", percentile(with, 99))
	e.Figure("ratio", fmt.Sprintf("%.2f", ratio))
	missed := catchUp(t, store, consumers, head)
	for at := range head { // the one that was stuck goes on where it was
		msg := <-messages
		page, ok := bus.PageFrom(msg)
		if !ok || len(page.Events) != 1 || page.Events[0].Position != at+1 {
			missed++
		}
		msg.Ack()
	}
	e.Figure("missed after going on", missed)
	require.Zero(t, missed)
	if experiment.Long() {
		require.Less(t, ratio, slowRatio)
	}
}
