package bus_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore/memory"
)

// watermill 636, 645 and 580: a stop lets the page in flight be finished, under
// a context that lives, and Run returns only then.
func TestStopLetsThePageInFlightFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out syncBuffer
		store := memory.New(nil)
		for i := range 3 {
			appendTo(t, store, "a", event(i))
		}
		c := newCollector(t, "slow")
		c.size = 1
		c.apply = func(ctx context.Context, _ bus.Page) error {
			time.Sleep(5 * time.Second)
			return ctx.Err()
		}
		r := newRouter(t, store, &bus.RouterOptions{Logger: slog.New(slog.NewTextHandler(&out, nil))}, c)
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		began := time.Now()
		go func() { ended <- r.Run(ctx) }()
		time.Sleep(time.Second)
		cancel()
		require.NoError(t, <-ended)
		require.Equal(t, 5*time.Second, time.Since(began))
		require.Equal(t, []int64{1}, c.positions(), "the page in flight is finished, and no other begun")
		require.NoError(t, r.Status()[0].Err)
		require.Empty(t, out.String())
	})
}

// openmeter 3141: what fails because of the stop is not a failure.
func TestStopAfterTheGraceIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out syncBuffer
		store := memory.New(nil)
		appendTo(t, store, "a")
		c := newCollector(t, "stuck")
		c.apply = func(ctx context.Context, _ bus.Page) error {
			<-ctx.Done()
			require.ErrorIs(t, context.Cause(ctx), bus.ErrStopped)
			time.Sleep(time.Minute) // and is waited for all the same
			return &bus.BlockedError{Position: 1, Err: ctx.Err()}
		}
		r := newRouter(t, store, &bus.RouterOptions{Grace: 3 * time.Second, Logger: slog.New(slog.NewTextHandler(&out, nil))}, c)
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		time.Sleep(time.Second)
		began := time.Now()
		cancel()
		require.NoError(t, <-ended)
		require.Equal(t, 63*time.Second, time.Since(began))
		s := r.Status()[0]
		require.NotEqual(t, bus.StateBlocked, s.State)
		require.NoError(t, s.Err)
		require.NotContains(t, out.String(), "blocked")
		require.Contains(t, out.String(), "outlive the grace")
	})
}

func TestStopEndsABackoffAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(nil)
		appendTo(t, store, "a")
		c := newCollector(t, "flaky")
		c.apply = func(context.Context, bus.Page) error {
			return &bus.RetryError{After: time.Hour, Attempt: 1, Err: errors.New("not now")}
		}
		blocked := newCollector(t, "blocked")
		blocked.apply = func(context.Context, bus.Page) error { return &bus.BlockedError{Err: errors.New("never")} }
		r := newRouter(t, store, nil, c, blocked)
		stop := run(t, r)
		settle(t, r, 1)
		synctest.Wait()
		began := time.Now()
		stop()
		require.Zero(t, time.Since(began))
	})
}

// channelSubscriber has messages under the subscription's context, as other
// subscribers do.
type channelSubscriber struct {
	messages chan *message.Message
	err      error
	closed   atomic.Bool
}

func (s *channelSubscriber) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	if s.err != nil {
		return nil, s.err
	}
	out := make(chan *message.Message)
	go func() {
		defer close(out)
		for {
			select {
			case msg := <-s.messages:
				msgCtx, cancel := context.WithCancel(ctx)
				msg.SetContext(msgCtx)
				out <- msg
				select {
				case <-msg.Acked():
				case <-msg.Nacked():
				case <-ctx.Done():
				}
				cancel()
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

func (s *channelSubscriber) Close() error { s.closed.Store(true); return nil }

func TestHandlersOfOtherSubscribersFinishToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sub := &channelSubscriber{messages: make(chan *message.Message)}
		r := newRouter(t, memory.New(nil), nil)
		var result error
		require.NoError(t, r.AddHandler("outbox", "commands", sub, func(msg *message.Message) error {
			time.Sleep(5 * time.Second)
			result = msg.Context().Err()
			<-msg.Context().Done()
			require.ErrorIs(t, context.Cause(msg.Context()), bus.ErrStopped)
			return nil
		}))
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		sub.messages <- message.NewMessage("1", nil)
		time.Sleep(time.Second)
		began := time.Now()
		cancel()
		require.NoError(t, <-ended)
		require.Equal(t, bus.DefaultGrace, time.Since(began))
		require.NoError(t, result, "the context must outlive the subscription")
		require.False(t, sub.closed.Load(), "who made the subscriber closes it")
	})
}

func TestCancellationThatIsNotTheStopsGoesThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sub := &channelSubscriber{messages: make(chan *message.Message)}
		r := newRouter(t, memory.New(nil), nil)
		done := make(chan error, 1)
		require.NoError(t, r.AddHandler("h", "t", sub, func(msg *message.Message) error {
			require.True(t, msg.Ack()) // which ends the message's context
			<-msg.Context().Done()
			done <- msg.Context().Err()
			return nil
		}))
		stop := run(t, r)
		sub.messages <- message.NewMessage("1", nil)
		require.ErrorIs(t, <-done, context.Canceled)
		stop()
	})
}

func TestSubscriptionThatFailsEndsRun(t *testing.T) {
	sub := &channelSubscriber{err: errors.New("no broker")}
	c := newCollector(t, "c")
	r := newRouter(t, memory.New(nil), nil, c)
	require.NoError(t, r.AddHandler("h", "orders", sub, func(*message.Message) error { return nil }))
	require.ErrorContains(t, r.Run(context.Background()), `subscribe to "orders": no broker`)
}

// Stops at random moments, with handlers that fail, retry and succeed: none
// may be parked, lost or applied twice because of them.
func TestManyStopsParkAndLoseNothing(t *testing.T) {
	store := memory.New(nil)
	for i := range 2000 {
		appendTo(t, store, "a", event(i))
	}
	c := newCollector(t, "c")
	c.size = 7
	c.apply = func(ctx context.Context, p bus.Page) error {
		switch rand.N(4) {
		case 0:
			return &bus.RetryError{After: time.Microsecond, Attempt: 1, Position: p.Events[0].Position, Err: errors.New("not now")}
		case 1:
			return errors.New("disk on fire")
		}
		if ctx.Err() != nil {
			return &bus.BlockedError{Err: ctx.Err()}
		}
		return nil
	}
	for range 100 {
		r := newRouter(t, store, &bus.RouterOptions{MinBackoff: time.Microsecond, MaxBackoff: time.Microsecond}, c)
		stop := run(t, r)
		settleCtx, cancel := context.WithTimeout(context.Background(), rand.N(time.Millisecond))
		_ = r.Settle(settleCtx, 2000) // a while
		cancel()
		stop()
		require.NotEqual(t, bus.StateBlocked, r.Status()[0].State)
	}
	r := newRouter(t, store, &bus.RouterOptions{MinBackoff: time.Microsecond, MaxBackoff: time.Microsecond}, c)
	run(t, r)
	wait(t, func() bool { return r.Status()[0].Checkpoint == 2000 }, func() { settle(t, r, 2000) })
	require.Equal(t, c.want(store, 2000), c.positions())
}
