package bus_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
	"github.com/leat-go/leat/eventstore/sqlite"
)

// Bugs of peers in what reads and carries a log: docs/peers.md lists them all.

// hooked is a log in which something happens right after a page was read.
type hooked struct {
	eventstore.LogReader
	after func()
}

func (l *hooked) ReadLog(ctx context.Context, after int64, limit int, f eventstore.Filter) (eventstore.Page, error) {
	p, err := l.LogReader.ReadLog(ctx, after, limit, f)
	l.after()
	return p, err
}

// soon settles, and fails where that takes too long.
func soon(t *testing.T, r *bus.Router, position int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	require.NoError(t, r.Settle(ctx, position))
}

// There: events that became visible between the reading of a page and the
// recording of its progress were passed over by the progress.
// Here: a lane that went on from the head, not from where its page ends.
func TestMarten4952_WhatIsCommittedBesideAPageIsInTheNext(t *testing.T) {
	const total = 60
	store := memory.New(nil)
	var mu sync.Mutex // guards n
	n := 0
	grow := func() {
		mu.Lock()
		defer mu.Unlock()
		if n < total {
			appendTo(t, store, fmt.Sprintf("s-%d", n%3), event(n))
			n++
		}
	}
	for range 12 {
		grow()
	}
	c, rare := newCollector(t, "c"), newCollector(t, "rare")
	c.size, rare.size = 5, 2
	rare.filter = eventstore.Filter{Types: []string{"type_1"}}
	c.apply = func(context.Context, bus.Page) error { grow(); return nil }
	rare.apply = func(context.Context, bus.Page) error { grow(); return nil }
	r := newRouter(t, &hooked{LogReader: store, after: grow}, &bus.RouterOptions{BufferEvents: 7}, c, rare)
	run(t, r)
	for head := int64(0); head < total; {
		var err error
		head, err = store.Head(t.Context())
		require.NoError(t, err)
		settle(t, r, head)
	}
	settle(t, r, total)
	require.Equal(t, c.want(store, total), c.positions())
	require.Equal(t, rare.want(store, total), rare.positions())
}

// There: a reader that stood on a hole in the numbers did not see the gap right
// above it, and a page that was not full carried it to the end of the log.
// Here: a consumer whose checkpoint is an event its filter passes over.
func TestMarten4964_AConsumerThatStandsOnAHoleMissesNothingAboveIt(t *testing.T) {
	store := memory.New(nil)
	rare := eventstore.EventData{Type: "rare"}
	for i := range 8 {
		appendTo(t, store, "noise", event(i))
	}
	c := newCollector(t, "c")
	c.filter = eventstore.Filter{Types: []string{"rare"}}
	var err error
	c.at, err = store.Anchor(t.Context(), 8)
	require.NoError(t, err)
	r := newRouter(t, store, &bus.RouterOptions{BufferEvents: 1}, c)
	run(t, r)
	settle(t, r, 8)
	appendTo(t, store, "noise", rare, event(1), event(2), event(3)) // 9 to 12: a page of one, through 12
	settle(t, r, 12)
	settle(t, r, appendTo(t, store, "noise", rare))
	require.Equal(t, []int64{9, 13}, c.positions())
	require.EqualValues(t, 13, c.at.Position)
}

// There: the daemon was told to stop at an error, but the batch queued behind
// the failing one was applied, and the failing one passed over.
// Here: a lane that went on with the next page of the buffer after an error.
func TestMarten1857_ThePageBehindAFailingOneWaits(t *testing.T) {
	synctest.Test(t, testPageBehindAFailingOne)
}

func testPageBehindAFailingOne(t *testing.T) {
	store := memory.New(nil)
	for i := range 50 {
		appendTo(t, store, "a", event(i))
	}
	var begun []int64
	healed := false
	c := newCollector(t, "c")
	c.size = 10
	c.apply = func(_ context.Context, p bus.Page) error {
		begun = append(begun, p.After)
		if p.After < 15 && p.Through.Position >= 15 && !healed {
			return &bus.BlockedError{Position: 15, Err: errors.New("stop all")}
		}
		return nil
	}
	r := newRouter(t, store, nil, c)
	stop := run(t, r)
	settle(t, r, 50)
	synctest.Wait()
	settle(t, r, appendTo(t, store, "a", event(50)))
	synctest.Wait()
	require.Equal(t, bus.StateBlocked, r.Status()[0].State)
	stop()
	require.Equal(t, []int64{0, 10}, begun)
	require.Equal(t, []int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, c.positions())

	healed = true
	r = newRouter(t, store, nil, c)
	stop = run(t, r)
	settle(t, r, 51)
	stop()
	require.Equal(t, c.want(store, 51), c.positions())
}

// There: an empty page read after a full one made the end of the log the
// checkpoint, though an event before it had not been delivered.
// Here: a full page that says it was scanned further than its last event.
func TestKurrentDB4970_AFullPageSaysNoMoreThanItHolds(t *testing.T) {
	store, cp := memory.New(nil), bus.NewMemoryCheckpoints()
	for i := range 10 { // type_1 at 2, 5 and 8
		appendTo(t, store, "a", event(i))
	}
	var through []int64
	c := newCollector(t, "c")
	c.filter, c.size = eventstore.Filter{Types: []string{"type_1"}}, 2
	c.apply = func(_ context.Context, p bus.Page) error {
		through = append(through, p.Through.Position)
		return nil
	}
	r := newRouter(t, store, nil, c)
	run(t, r)
	settle(t, r, 10)
	settle(t, r, appendTo(t, store, "a", event(1)))
	require.Equal(t, []int64{5, 10, 11}, through)
	require.Equal(t, []int64{2, 5, 8, 11}, c.positions())

	for _, want := range [][]int64{{2, 5}, {8, 11}} { // a process each
		sub := newSubscriber(t, store, cp, bus.SubscriberOptions{Group: "g", PageSize: 2,
			Filter: func(string) (eventstore.Filter, error) { return c.filter, nil }})
		messages, err := sub.Subscribe(t.Context(), "all")
		require.NoError(t, err)
		msg := <-messages
		page, _ := bus.PageFrom(msg)
		require.Equal(t, want, []int64{page.Events[0].Position, page.Events[1].Position})
		msg.Ack()
		require.NoError(t, sub.Close())
		at, err := cp.Load(t.Context(), "g/all")
		require.NoError(t, err)
		require.Equal(t, want[1], at.Position)
	}
}

// There: a client that went away in the midst of its events had them moved to a
// queue for retries, and the checkpoint passed them; a restart lost the queue.
// Here: a subscriber that saved what was sent or refused, not what was acknowledged.
func TestKurrentDB1301_TheCheckpointStaysBehindWhatWasNotAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const total, partitions = 40, 4
		store, cp := memory.New(nil), bus.NewMemoryCheckpoints()
		for i := range total {
			appendTo(t, store, fmt.Sprintf("s-%d", i%20), event(i))
		}
		options := bus.SubscriberOptions{Group: "g", Filter: everything, Partitions: partitions}
		positionOf := func(msg *message.Message) (position int64, partition int) {
			page, _ := bus.PageFrom(msg)
			return page.Events[0].Position, bus.PartitionOf(page.Events[0].Stream, partitions)
		}
		first := newSubscriber(t, store, cp, options)
		messages, err := first.Subscribe(t.Context(), "all")
		require.NoError(t, err)
		acked, open := map[int64]bool{}, map[int]int64{}
		for n := range 24 {
			msg := <-messages
			position, partition := positionOf(msg)
			if n%3 == 2 || n >= 20 && open[partition] == 0 {
				open[partition] = position
				if n < 20 {
					msg.Nack() // it waits to be delivered again, others go on
				}
				continue // or is in the midst of being handled
			}
			acked[position] = true
			delete(open, partition)
			msg.Ack()
		}
		require.NoError(t, first.Close())
		require.NotEmpty(t, open)
		for partition, position := range open {
			at, err := cp.Load(t.Context(), fmt.Sprintf("g/all/%d-of-%d", partition, partitions))
			require.NoError(t, err)
			require.Less(t, at.Position, position, "partition %d", partition)
		}
		second := newSubscriber(t, store, cp, options)
		messages, err = second.Subscribe(t.Context(), "all")
		require.NoError(t, err)
		for len(acked) < total {
			msg := <-messages
			position, partition := positionOf(msg)
			require.False(t, acked[position], "%d was acknowledged before", position)
			if open[partition] != 0 {
				require.Equal(t, open[partition], position, "what was not acknowledged comes first")
				delete(open, partition)
			}
			acked[position] = true
			msg.Ack()
		}
		require.NoError(t, second.Close())
	})
}

// There: a checkpoint timer that fired while a subscription caught up made it
// live; the next event it was told of moved the checkpoint over 40 million.
// Here: a commit, or a Resume, that reaches a lane in the midst of a backlog.
func TestCommanded327_ACommitDuringCatchUpDoesNotJumpToTheEnd(t *testing.T) {
	const backlog, pages = 300, 30
	store := memory.New(nil)
	for i := range backlog {
		appendTo(t, store, "a", event(i))
	}
	c := newCollector(t, "c")
	c.size = 10
	var r *bus.Router
	n := 0
	c.apply = func(_ context.Context, p bus.Page) error {
		if n++; n <= pages {
			appendTo(t, store, "live", event(n))
			require.NoError(t, r.Resume("c"))
			require.Equal(t, bus.StateCatchingUp, r.Status()[0].State)
		}
		return nil
	}
	r = newRouter(t, store, nil, c)
	run(t, r)
	soon(t, r, backlog+pages)
	require.Equal(t, c.want(store, backlog+pages), c.positions())
}

// There: numbers were given to rows before they were committed, and a subscriber
// that had seen 5 never saw 4, which was committed later.
// Here: publishers that commit side by side while a group follows.
func TestWatermill311_PublishersSideBySideLoseNothing(t *testing.T) {
	const publishers, each, together, subscribers = 12, 20, 5, 6
	store := openSQLite(t)
	pub, err := bus.NewPublisher(store, nil)
	require.NoError(t, err)
	sub := newSubscriber(t, store, bus.NewMemoryCheckpoints(), bus.SubscriberOptions{Filter: everything})
	var busy sync.WaitGroup
	for n := range subscribers {
		messages, err := sub.Subscribe(t.Context(), "all")
		require.NoError(t, err)
		busy.Go(func() {
			for position := int64(1); position <= publishers*each*together; position++ {
				select {
				case msg := <-messages:
					page, _ := bus.PageFrom(msg)
					if got := page.Events[0].Position; got != position {
						t.Errorf("subscriber %d: position %d comes after %d", n, got, position-1)
						return
					}
					msg.Ack()
				case <-time.After(20 * time.Second):
					t.Errorf("subscriber %d: nothing comes after %d", n, position-1)
					return
				}
			}
		})
	}
	for p := range publishers {
		busy.Go(func() {
			for i := range each {
				var messages []*message.Message
				for m := range together {
					messages = append(messages, message.NewMessage(fmt.Sprintf("%d-%d-%d", p, i, m), nil))
				}
				if err := pub.Publish(fmt.Sprintf("topic-%d", p), messages...); err != nil {
					t.Errorf("publish: %v", err)
				}
			}
		})
	}
	busy.Wait()
}

// There: the place of a subscriber was a number of the database it ran on; after
// a restore new rows had lower ones, and it waited for ever without a word.
// Here: a checkpoint past the end of a copy that goes on with other events.
func TestWatermill576_AConsumerAheadOfARestoredLogIsTold(t *testing.T) {
	dir, copied := filepath.Join(t.TempDir(), "log"), filepath.Join(t.TempDir(), "copy")
	open := func(dir string) *sqlite.Store {
		store, err := sqlite.Open(t.Context(), dir, nil)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, store.Close()) })
		return store
	}
	store := open(dir)
	for i := range 5 {
		appendTo(t, store, "a", event(i))
	}
	require.NoError(t, store.Close())
	require.NoError(t, os.CopyFS(copied, os.DirFS(dir)))
	store = open(dir)
	for i := range 5 {
		appendTo(t, store, "a", event(i))
	}
	c := newCollector(t, "c")
	r := newRouter(t, store, nil, c)
	stop := run(t, r)
	settle(t, r, 10)
	stop()

	restored := open(copied)
	r = newRouter(t, restored, nil, c)
	run(t, r)
	blocked := func(when string) {
		s := r.Status()[0]
		require.Equal(t, bus.StateBlocked, s.State, when)
		require.ErrorIs(t, s.Err, eventstore.ErrRewound, when)
	}
	settle(t, r, 5)
	blocked("behind its checkpoint")
	for i := range 20 {
		appendTo(t, restored, "b", event(i))
	}
	require.NoError(t, r.Resume("c"))
	settle(t, r, 25)
	blocked("when it has grown past its checkpoint")
	require.Len(t, c.positions(), 10)
}

// There: a message that waited for its next attempt held up those behind it, of
// whatever kind, for as long as the wait took.
// Here: a consumer that backs off for half an hour beside others, and a stop.
func TestWatermill271_WhoWaitsForAnAttemptHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(nil)
		bad, good := newCollector(t, "bad"), newCollector(t, "good")
		failures := 1
		bad.apply = func(context.Context, bus.Page) error {
			if failures--; failures == 0 {
				return &bus.RetryError{After: 30 * time.Minute, Attempt: 1, Position: 1, Err: errors.New("not yet")}
			}
			return nil
		}
		r := newRouter(t, store, nil, bad, good)
		stop := run(t, r)
		began := time.Now()
		for i := range 20 {
			settle(t, r, appendTo(t, store, "a", event(i)))
		}
		require.Zero(t, time.Since(began))
		require.Equal(t, good.want(store, 20), good.positions())
		require.Empty(t, bad.positions())
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		require.Equal(t, bad.want(store, 20), bad.positions(), "and goes on by itself")

		failures = 1
		settle(t, r, appendTo(t, store, "a", event(0)))
		began = time.Now()
		stop()
		require.Zero(t, time.Since(began))
	})
}
