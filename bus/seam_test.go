package bus_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
)

// Marten 1629 and others, commanded/eventstore PR 327: nothing is skipped or
// repeated where catching up meets following, and where a consumer falls out
// of the buffer that all share, whoever appends, fails, stops and starts
// meanwhile.
func TestNothingIsSkippedAtTheSeam(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for round := range 12 {
		t.Run(fmt.Sprint(round), func(t *testing.T) { testSeam(t, rand.New(rand.NewPCG(seed, uint64(round)))) })
	}
}

func testSeam(t *testing.T, rnd *rand.Rand) {
	const appenders, total = 4, 3000
	var store eventstore.Store = memory.New(nil)
	if rnd.IntN(6) == 0 {
		store = openSQLite(t)
	}
	for i := range rnd.IntN(300) {
		appendTo(t, store, fmt.Sprintf("old-%d", i%5), event(i))
	}
	filters := []eventstore.Filter{
		{}, {}, {Types: []string{"type_1"}}, {Categories: []string{"rare"}},
		{Streams: []string{"busy-1", "busy-3"}}, {Types: []string{"never"}},
	}
	var consumers []*collector
	for i, f := range filters {
		c := newCollector(t, fmt.Sprintf("c%d", i))
		c.filter, c.size = f, 1+rnd.IntN(600)
		if i%2 == 1 {
			c.of, c.index = 3, rnd.IntN(3)
		}
		c.apply = moody(c, store, rnd.Uint64())
		consumers = append(consumers, c)
	}

	var appending sync.WaitGroup
	for a := range appenders {
		rnd := rand.New(rand.NewPCG(rnd.Uint64(), 0))
		appending.Go(func() { appendBusy(t, store, rnd, fmt.Sprintf("busy-%d", a), total/appenders) })
	}
	options := &bus.RouterOptions{BufferEvents: 1 + rnd.IntN(700), BufferBytes: 1 << (8 + rnd.IntN(10)),
		MinBackoff: time.Microsecond, MaxBackoff: 10 * time.Microsecond}
	for range 5 { // stops and starts while it goes on
		r := newRouter(t, store, options)
		stop := run(t, r)
		for _, i := range rnd.Perm(len(consumers)) {
			require.NoError(t, r.Add(consumers[i]))
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rnd.IntN(3000))*time.Microsecond)
		_ = r.Settle(ctx, total) // a while
		cancel()
		stop()
	}
	appending.Wait()
	head, err := store.Head(context.Background())
	require.NoError(t, err)
	r := newRouter(t, store, options)
	for _, c := range consumers {
		require.NoError(t, r.Add(c))
	}
	run(t, r)
	for i, c := range consumers {
		wait(t, func() bool { return r.Status()[i].Checkpoint == head }, func() { settle(t, r, head) })
		require.Equal(t, c.want(store, head), c.positions(), c.name)
		require.Equal(t, head, c.at.Position)
		require.NoError(t, eventstore.CheckAnchor(context.Background(), store, c.at))
	}
}

// appendBusy appends so many events or some more, most of them to stream.
func appendBusy(t *testing.T, store eventstore.Store, rnd *rand.Rand, stream string, total int) {
	for i := 0; i < total; {
		events, to := make([]eventstore.EventData, 1+rnd.IntN(40)), stream
		if rnd.IntN(50) == 0 {
			to = "rare-1"
		}
		for j := range events {
			events[j] = event(i + j)
		}
		appendTo(t, store, to, events...)
		i += len(events)
		if rnd.IntN(5) == 0 {
			runtime.Gosched()
		}
	}
}

// moody returns an apply that is slow, fails, or commits a part of the page.
func moody(c *collector, log eventstore.LogReader, seed uint64) func(context.Context, bus.Page) error {
	rnd := rand.New(rand.NewPCG(seed, 1))
	return func(ctx context.Context, p bus.Page) error {
		switch rnd.IntN(12) {
		case 0:
			for range rnd.IntN(200) {
				runtime.Gosched()
			}
		case 1:
			return errors.New("disk on fire")
		case 2:
			n := rnd.IntN(len(p.Events) + 1)
			if n == 0 {
				return nil
			}
			at, err := log.Anchor(context.WithoutCancel(ctx), p.Events[n-1].Position)
			if err != nil {
				return err
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			c.keep(p.Events[:n], at)
			return &bus.RetryError{After: time.Microsecond, Attempt: 1, Position: at.Position + 1, Err: errors.New("the next")}
		}
		return nil
	}
}

// The tail of a router is a log reader like any other: whatever was read
// before, a page is the filtered log from after through its anchor.
func TestTailReadsWhatTheLogHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		store := memory.New(nil)
		tail := bus.NewTail(store, rapid.IntRange(1, 600).Draw(t, "events"), rapid.IntRange(1, 20_000).Draw(t, "bytes"))
		head := int64(0)
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				n := rapid.IntRange(1, 400).Draw(t, "n")
				events := make([]eventstore.EventData, n)
				for i := range events {
					events[i] = event(i)
				}
				commit, err := store.Append(ctx, eventstore.Batch{Writes: []eventstore.Write{{
					Stream: rapid.SampledFrom([]string{"a-1", "a-2", "b-1"}).Draw(t, "stream"), Events: events}}})
				require.NoError(t, err)
				head = commit.Last
			},
			"read": func(t *rapid.T) {
				after := head - min(head, rapid.Int64Range(0, 900).Draw(t, "back"))
				limit := rapid.IntRange(1, 600).Draw(t, "limit")
				filter := rapid.SampledFrom([]eventstore.Filter{{}, {Types: []string{"type_1"}}, {Streams: []string{"a-2"}}, {Types: []string{"never"}}}).Draw(t, "filter")
				page, err := tail.ReadLog(ctx, after, limit, filter)
				require.NoError(t, err)
				require.LessOrEqual(t, len(page.Events), limit)
				if after < head {
					require.Greater(t, page.Through.Position, after)
				}
				require.NoError(t, eventstore.CheckAnchor(ctx, store, page.Through))
				var want []eventstore.Recorded
				for e, err := range eventstore.Log(ctx, store, after, filter) {
					require.NoError(t, err)
					if e.Position <= page.Through.Position {
						want = append(want, e)
					}
				}
				require.Equal(t, want, page.Events)
			},
		})
	})
}
