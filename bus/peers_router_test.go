package bus_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
)

// poison is a publisher that says thank you.
type poison struct{ taken atomic.Int64 }

func (p *poison) Publish(_ string, messages ...*message.Message) error {
	p.taken.Add(int64(len(messages)))
	return nil
}

func (*poison) Close() error { return nil }

func poisonQueue(t *testing.T) (*poison, message.HandlerMiddleware) {
	t.Helper()
	p := &poison{}
	mw, err := middleware.PoisonQueue(p, "poison")
	require.NoError(t, err)
	return p, mw
}

// retries is Watermill's Retry with these waits.
func retries(n int, wait time.Duration) middleware.Retry {
	return middleware.Retry{MaxRetries: n, InitialInterval: wait, MaxInterval: wait, Multiplier: 1}
}

// fails returns a collector of pages of one that fails so often at position 2.
func fails(t *testing.T, times int) *collector {
	c := newCollector(t, "c")
	c.size = 1
	c.apply = func(_ context.Context, p bus.Page) error {
		if p.Through.Position == 2 && times > 0 {
			times--
			return errors.New("not this time")
		}
		return nil
	}
	return c
}

// poisoned carries three events through the middleware to a consumer that
// fails seven times, and demands that each is applied all the same.
func poisoned(t *testing.T, chain ...message.HandlerMiddleware) {
	t.Helper()
	store := memory.New(nil)
	for i := range 3 {
		appendTo(t, store, "a", event(i))
	}
	c := fails(t, 7)
	r := newRouter(t, store, &bus.RouterOptions{Middleware: chain, MinBackoff: time.Microsecond, MaxBackoff: time.Microsecond}, c)
	run(t, r)
	wait(t, func() bool { return r.Status()[0].Checkpoint == 3 }, func() { settle(t, r, 3) })
	require.Equal(t, []int64{1, 2, 3}, c.positions())
}

// There: with the retries outside of the poison queue, a message went to the
// queue at its first failure and was acknowledged; no retry was ever made.
// Here: the same two in a router's middleware, around a page that fails.
func TestWatermill645_APoisonQueueInsideOfRetriesSetsNothingAside(t *testing.T) {
	queue, mw := poisonQueue(t)
	poisoned(t, retries(2, time.Microsecond).Middleware, mw)
	require.Positive(t, queue.taken.Load(), "it was asked")
}

// There: the other way round the message went to the queue once the retries in
// memory were used up, and was acknowledged, outside of any transaction.
// Here: a page counts as applied when its consumer says so, and not before.
func TestWatermill580_APoisonQueueOutsideOfRetriesSetsNothingAside(t *testing.T) {
	queue, mw := poisonQueue(t)
	poisoned(t, mw, retries(2, time.Microsecond).Middleware)
	require.Positive(t, queue.taken.Load(), "it was asked")
}

// stopped runs a router around a page that fails, stops it during the wait for
// the next attempt, and demands that nothing came of that.
func stopped(t *testing.T, chain ...message.HandlerMiddleware) {
	t.Helper()
	store := memory.New(nil)
	for i := range 3 {
		appendTo(t, store, "a", event(i))
	}
	c := fails(t, 1)
	r := newRouter(t, store, &bus.RouterOptions{Middleware: chain}, c)
	stop := run(t, r)
	time.Sleep(time.Minute)
	require.Equal(t, []int64{1}, c.positions())
	stop()
	require.Equal(t, []int64{1}, c.positions())
	require.EqualValues(t, 1, c.at.Position)
	status := r.Status()[0]
	require.EqualValues(t, 1, status.Checkpoint)
	require.NoError(t, status.Err, "the stop is no failure")

	r = newRouter(t, store, &bus.RouterOptions{Middleware: chain}, c)
	run(t, r)
	settle(t, r, 3)
	require.Equal(t, []int64{1, 2, 3}, c.positions())
}

// There: retries that a stop cut short counted as used up.
// Here: a router that stops while a middleware waits for its next attempt.
func TestWatermill636_RetriesThatAStopCutsShortAreNotUsedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		retry := retries(3, time.Hour)
		stopped(t, retry.Middleware)
	})
}

// There: a stop cancelled what was being handled; the error that came of it had
// the message put into the poison queue and acknowledged.
// Here: a router that stops, with a poison queue as its outermost middleware.
func TestOpenmeter3141_AStopNeitherPoisonsNorAcknowledges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, mw := poisonQueue(t)
		stopped(t, mw, retries(3, time.Hour).Middleware)
	})
}

// There: Subscribe on what was closed returned with its lock held, and the next
// call waited for ever.
// Here: calls of a subscriber and a publisher after their Close.
func TestWatermill317_WhatIsClosedAnswers(t *testing.T) {
	sub, err := bus.NewSubscriber(memory.New(nil), nil, nil)
	require.NoError(t, err)
	pub, err := bus.NewPublisher(memory.New(nil), nil)
	require.NoError(t, err)
	for range 3 {
		answered := make(chan error, 1)
		go func() {
			err := sub.Close()
			_, closed := sub.Subscribe(context.Background(), "a")
			answered <- errors.Join(err, closed)
		}()
		select {
		case err := <-answered:
			require.ErrorIs(t, err, eventstore.ErrClosed)
		case <-time.After(20 * time.Second):
			t.Fatal("no answer")
		}
		require.NoError(t, pub.Close())
		require.ErrorIs(t, pub.Publish("a", message.NewMessage("1", nil)), eventstore.ErrClosed)
	}
}

// There: data races between Close and everything else.
// Here: closing while others publish, subscribe, acknowledge and add handlers.
func TestWatermill111_ClosingAmidEverything(t *testing.T) {
	for range 20 {
		store, cp := memory.New(nil), bus.NewMemoryCheckpoints()
		sub := newSubscriber(t, store, cp, bus.SubscriberOptions{Group: "g", Partitions: 2, Filter: everything})
		pub, err := bus.NewPublisher(store, nil)
		require.NoError(t, err)
		r := newRouter(t, store, nil, newCollector(t, "c"))
		stop := run(t, r)
		var busy sync.WaitGroup
		for n := range 4 {
			busy.Go(func() {
				for i := range 10 {
					_ = pub.Publish("a", message.NewMessage(fmt.Sprintf("%d-%d", n, i), nil)) // or closed
				}
			})
			busy.Go(func() {
				messages, err := sub.Subscribe(t.Context(), "all")
				if err != nil {
					return // closed
				}
				for msg := range messages {
					msg.Ack()
				}
			})
			busy.Go(func() { _ = r.Add(newCollector(t, fmt.Sprint(n))) }) // or stopped
		}
		busy.Go(func() { _ = pub.Close() })
		busy.Go(func() { _ = sub.Close() })
		busy.Go(stop)
		busy.Wait()
		at, err := cp.Load(t.Context(), "g/all/0-of-2")
		require.NoError(t, err)
		require.NoError(t, eventstore.CheckAnchor(t.Context(), store, at))
	}
}

// There: what had been published before a Close reached the subscriber in part:
// the rest waited for a lock and was thrown away.
// Here: a subscriber that is closed with everything published and nothing read.
func TestWatermill589_WhatWasPublishedBeforeACloseIsDeliveredAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const total = 30
		store, cp := memory.New(nil), bus.NewMemoryCheckpoints()
		pub, err := bus.NewPublisher(store, nil)
		require.NoError(t, err)
		first := newSubscriber(t, store, cp, bus.SubscriberOptions{Group: "g"})
		unread, err := first.Subscribe(t.Context(), "a")
		require.NoError(t, err)
		for i := range total {
			require.NoError(t, pub.Publish("a", message.NewMessage(fmt.Sprint(i), nil)))
		}
		synctest.Wait()
		require.NoError(t, first.Close())
		_, open := <-unread
		require.False(t, open)

		second := newSubscriber(t, store, cp, bus.SubscriberOptions{Group: "g"})
		messages, err := second.Subscribe(t.Context(), "a")
		require.NoError(t, err)
		for i := range total {
			msg := <-messages
			require.Equal(t, fmt.Sprint(i), msg.UUID)
			msg.Ack()
		}
		require.NoError(t, second.Close())
	})
}
