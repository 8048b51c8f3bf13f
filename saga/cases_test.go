package saga

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
)

// Cases of docs/sagas.md that no other file of tests is about.

// die kills the engine and opens it again from what is stored.
func (w *world) die() {
	w.t.Helper()
	w.step = func(string) error { return errBoom }
	w.unsubscribe()
	if err := w.Engine.Close(); err != nil {
		require.ErrorIs(w.t, err, errBoom)
	}
	w.open()
}

func TestARemoteCallWhoseResultIsLostIsMadeAgainUnderItsID(t *testing.T) {
	w := newWorld(t, chatty(1))
	var calls []string
	called := make(chan struct{}, 2)
	w.emit("s", placed{"1"})
	w.feed(10)
	remote := func(_ context.Context, cmd bus.Command) (eventstore.Commit, error) {
		calls = append(calls, cmd.ID)
		called <- struct{}{}
		return eventstore.Commit{}, nil // the world has changed, and the log knows nothing
	}
	w.step = func(string) error { return errBoom }
	w.subscribeTo(remote)
	<-called
	w.unsubscribe()
	require.ErrorIs(t, w.Engine.Close(), errBoom)
	w.open()
	w.subscribeTo(remote)
	w.settle()
	require.Len(t, calls, 2)
	require.Equal(t, calls[0], calls[1], "by which the other side can tell")
	require.Empty(t, w.pending())
	w.audit()
}

func TestACrashInTheMiddleOfParking(t *testing.T) {
	for _, point := range []string{"commit", "committed"} {
		t.Run(point, func(t *testing.T) {
			w := newWorld(t, Define("order", 1,
				Starts(byPlaced, func(o *order, c *Context, e placed) error { o.see("placed"); c.After("late", time.Hour); return nil }),
				On(byPaid, func(*order, *Context, paid) error { return errBoom }),
				Timer("late", func(*order, *Context) error { return nil }), Retries(1, time.Hour)))
			w.emit("s", placed{"1"})
			w.feed(10)
			w.emit("s", paid{"1"}, paid{"1"})
			w.step = func(p string) error {
				if p == point {
					return errBoom
				}
				return nil
			}
			require.ErrorIs(t, w.tryFeed(10), errBoom)
			w.die()
			require.Equal(t, point == "committed", w.instance("order", "1").Status == Parked)
			w.feed(10)
			i := w.instance("order", "1")
			require.Equal(t, Parked, i.Status)
			require.Equal(t, 2, i.Waiting)
			require.Equal(t, 1, i.Attempts, "it is tried once")
			list, err := w.Timers(t.Context(), 10)
			require.NoError(t, err)
			require.True(t, list[0].Held)
			w.audit()
		})
	}
}

// TestADiskThatTakesNothingForAWhileLosesNothing: at each transaction of a
// whole order the disk is full or busy, once before the commit and once with an
// outcome that nobody knows. package diskfault does the same with real files.
func TestADiskThatTakesNothingForAWhileLosesNothing(t *testing.T) {
	w := newWorld(t, shop())
	w.on("reserve", func(context.Context, bus.Command) ([]eventstore.Event, error) {
		return []eventstore.Event{did{"reserve"}, reserved{"1"}}, nil
	})
	w.on("charge", func(context.Context, bus.Command) ([]eventstore.Event, error) {
		return []eventstore.Event{did{"charge"}, paid{"1"}}, nil
	})
	w.on("ship", func(context.Context, bus.Command) ([]eventstore.Event, error) {
		return []eventstore.Event{did{"ship"}, shipped{"1"}}, nil
	})
	var asked atomic.Int64
	trouble := func(point string) error {
		// before, before, unknown, and then it goes well
		switch n := asked.Add(1) % 4; {
		case point == "commit" && n < 3, point == "committed" && n == 3:
			return errors.New("disk full")
		}
		return nil
	}
	w.close()
	w.open()
	w.step = trouble
	w.emit("s", placed{"1"})
	for w.stats().Completed == 0 || w.stats().Commands.Pending > 0 {
		if err := w.tryFeed(1); err != nil {
			require.ErrorContains(t, err, "disk full")
		}
		w.subscribe()
		require.NoError(t, w.Settle(t.Context()))
		if err := w.catchUp(t.Context()); err != nil {
			require.ErrorContains(t, err, "disk full")
		}
	}
	w.unsubscribe()
	w.step = func(string) error { return nil }
	require.Equal(t, []string{"reserve", "charge", "ship"}, w.did())
	require.Equal(t, []string{"placed", "reserved", "paid", "shipped"}, stateOf(t, w.instance("order", "1")).Seen)
	require.Greater(t, asked.Load(), int64(8))
	w.audit()
}

func TestABatchDeliveredAgainAfterAPartOfItWasAcknowledged(t *testing.T) {
	w := newWorld(t, noting())
	w.emit("s", placed{"1"}, reserved{"1"}, placed{"2"}, reserved{"2"})
	at, err := w.log.Anchor(t.Context(), 2)
	require.NoError(t, err)
	read, err := w.log.ReadLog(t.Context(), 0, 10, w.Filter())
	require.NoError(t, err)
	require.NoError(t, w.Apply(t.Context(), bus.Page{Events: read.Events[:2], Through: at}))
	for range 2 {
		require.NoError(t, w.Apply(t.Context(), bus.Page{Events: read.Events, Through: read.Through}))
		w.die()
	}
	w.settle()
	for _, key := range []string{"1", "2"} {
		require.Equal(t, []string{"placed", "reserved"}, stateOf(t, w.instance("order", key)).Seen)
	}
	require.Len(t, w.did(), 4)
	w.audit()
}

// TestTheSameEventDaysLater: that it was handled is not forgotten with time, nor
// with what was kept of the instance.
func TestTheSameEventDaysLater(t *testing.T) {
	w := newWorld(t, Define("order", 1,
		Starts(byPlaced, func(o *order, c *Context, e placed) error { c.Send(remind{e.Order, 1}); c.Complete(); return nil }), Retention(time.Hour)))
	w.emit("s", placed{"1"})
	w.settle()
	read, err := w.log.ReadLog(t.Context(), 0, 10, w.Filter())
	require.NoError(t, err)
	for range 3 {
		w.clock.Advance(w.clock.Now().Add(300 * 24 * time.Hour))
		w.reopen()
		for _, b := range w.bindings {
			b.at = eventstore.Anchor{}
		}
		w.checkpoint.Store(&eventstore.Anchor{})
		require.NoError(t, w.Apply(t.Context(), bus.Page{Events: read.Events, Through: read.Through}))
		w.settle()
	}
	require.Equal(t, []string{`remind{"Order":"1","N":1}`}, w.did())
	require.Equal(t, 1, w.stats().Completed)
}

func TestConcurrentEventsOfOneInstanceAreSteppedInTheOrderOfTheLog(t *testing.T) {
	w := newWorld(t, Define("order", 1,
		Starts(byPlaced, func(o *order, c *Context, e placed) error { return nil }),
		On(func(e did) string { return "1" }, func(o *order, c *Context, e did) error { o.see(e.What); return nil })))
	w.emit("s", placed{"1"})
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for n := range 25 {
				if _, err := w.appendTo(context.Background(), "", fmt.Sprint("s-", g), nil, did{fmt.Sprint(g, "/", n)}); err != nil {
					panic(err)
				}
				// Deliveries overtake each other; one that comes too early is refused.
				if err := w.tryFeed(1 + n%5); err != nil && !errors.Is(err, ErrMoved) {
					panic(err)
				}
			}
		})
	}
	all.Wait()
	w.feed(100)
	want := []string{}
	page, err := w.log.ReadLog(t.Context(), 0, 1000, eventstore.Filter{Types: []string{"did"}})
	require.NoError(t, err)
	for _, r := range page.Events {
		e, err := eventstore.Decode[did](r)
		require.NoError(t, err)
		want = append(want, e.What)
	}
	require.Len(t, want, 100)
	require.Equal(t, want, stateOf(t, w.instance("order", "1")).Seen)
	w.audit()
}

// TestAnIDThatIsReusedParksTheInstance: a command function that makes something
// else of the same command after its result was lost.
func TestAnIDThatIsReusedParksTheInstance(t *testing.T) {
	w := newWorld(t, chatty(1))
	w.close()
	w.opts.CommandAttempts = 2
	w.open()
	w.emit("s", placed{"1"})
	w.feed(10)
	calls := 0
	w.subscribeTo(func(ctx context.Context, cmd bus.Command) (eventstore.Commit, error) {
		calls++
		c, err := w.appendTo(ctx, cmd.ID, "out", cmd.Metadata, did{fmt.Sprint("try ", calls)})
		if calls == 1 {
			return c, errBoom // stored, and nobody hears of it
		}
		return c, err
	})
	for w.stats().Parked == 0 {
		require.NoError(t, w.Settle(t.Context()))
		require.NoError(t, w.retryDue(t.Context()))
	}
	require.Equal(t, []string{"try 1"}, w.did(), "the log keeps the first")
	require.Contains(t, w.instance("order", "1").Reason, "reused")
	w.audit()
}

func TestAVeryLongTimer(t *testing.T) {
	const years = 200 * 365 * 24 * time.Hour
	w := newWorld(t, Define("order", 1,
		Starts(byPlaced, func(o *order, c *Context, e placed) error {
			if e.Order == "too far" {
				c.After("late", 1<<63-1)
				return nil
			}
			c.After("late", years)
			return nil
		}),
		Timer("late", func(o *order, c *Context) error { o.see("late"); c.Complete(); return nil })))
	w.emit("s", placed{"1"}, placed{"too far"})
	w.settle()
	require.Contains(t, w.instance("order", "too far").Reason, "too far")
	w.reopen()
	due, ok, err := w.NextDue(t.Context())
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, start.Add(years), due)
	require.Zero(t, w.advance(years-1))
	w.reopen()
	require.Equal(t, 1, w.advance(1))
	require.Equal(t, []string{"late"}, stateOf(t, w.instance("order", "1")).Seen)
}

// TestATimerNeverStartsAnInstance: one that is set as the instance ends, or
// whose instance was forgotten, is gone with it.
func TestATimerNeverStartsAnInstance(t *testing.T) {
	fired := 0
	w := newWorld(t, Define("order", 1,
		Starts(byPlaced, func(o *order, c *Context, e placed) error {
			c.After("late", time.Hour)
			c.Complete()
			return nil
		}),
		Timer("late", func(*order, *Context) error { fired++; return nil }), Retention(time.Minute)))
	w.emit("s", placed{"1"})
	w.settle()
	w.clock.Advance(start.Add(30 * time.Minute))
	w.reopen()
	w.emit("s", placed{"2"}) // the first is swept
	w.settle()
	require.Zero(t, w.advance(2*time.Hour))
	require.Zero(t, fired)
	require.Equal(t, 2, w.stats().Completed)
	require.Zero(t, w.stats().Open())
	require.Zero(t, w.stats().Timers)
	w.audit()
}

// TestRetentionDoesNotWaitForManyToFinish: where little happens, one of the next
// steps removes what is old.
func TestRetentionDoesNotWaitForManyToFinish(t *testing.T) {
	w := newWorld(t, Define("order", 1,
		Starts(byPlaced, func(_ *order, c *Context, e placed) error { c.Complete(); return nil }), Retention(time.Hour)))
	w.emit("s", placed{"1"})
	w.feed(10)
	for n, kept := range []int{1, 1, 0} {
		w.clock.Advance(w.clock.Now().Add(30 * time.Minute))
		w.emit("s", placed{fmt.Sprint("later ", n)})
		w.feed(10)
		require.Len(t, w.history("order", "1"), kept, "half an hour %d", n)
	}
	require.JSONEq(t, `{}`, string(w.instance("order", "1").State))
	require.NotEmpty(t, w.history("order", "later 1"))
}

func TestAHandlerThatPanicsParksItsInstanceAlone(t *testing.T) {
	w := newWorld(t, Define("order", 1,
		Starts(byPlaced, func(o *order, c *Context, e placed) error {
			c.Send(remind{e.Order, 1})
			if e.Order == "bad" {
				panic("oh")
			}
			return nil
		})))
	w.emit("s", placed{"1"}, placed{"bad"}, placed{"2"})
	w.settle()
	w.retryFailing()
	w.settle()
	require.Equal(t, Parked, w.instance("order", "bad").Status)
	require.Contains(t, w.instance("order", "bad").Reason, "panic: oh")
	require.Equal(t, 2, w.stats().Running)
	require.Len(t, w.did(), 2)
	w.audit()
}

// TestASlowHandlerHoldsUpOthersAndLosesNothing: handlers compute, and nobody
// can interrupt them. Whoever waits can give up.
func TestASlowHandlerHoldsUpOthersAndLosesNothing(t *testing.T) {
	slow, begun := make(chan struct{}), make(chan struct{}, 1)
	w := newWorld(t, Define("order", 1,
		Starts(byPlaced, func(o *order, c *Context, e placed) error {
			if e.Order == "slow" {
				begun <- struct{}{}
				<-slow
			}
			c.Send(remind{e.Order, 1})
			return nil
		})))
	w.emit("s", placed{"slow"}, placed{"1"})
	applied := make(chan error, 1)
	go func() { applied <- w.tryFeed(10) }()
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, w.Cancel(ctx, "order", "1", by("it takes too long")), context.Canceled)
	_, err := w.Stats(t.Context())
	require.NoError(t, err, "it can be looked at meanwhile")
	_, err = w.Instances(t.Context(), Query{})
	require.NoError(t, err)
	close(slow)
	require.NoError(t, <-applied)
	w.settle()
	require.Len(t, w.did(), 2)
	w.audit()
}

// TestAnActionNeverArrivesAfterItsUndo: the action was carried out, its outcome
// lost, and the instance compensates: it is repeated, and only then undone.
func TestAnActionNeverArrivesAfterItsUndo(t *testing.T) {
	w := newWorld(t, shop())
	w.emit("s", placed{"1"})
	w.feed(10)
	head, err := w.log.Head(t.Context())
	require.NoError(t, err)
	w.step = func(string) error { return errBoom }
	w.subscribe()
	_, err = w.log.Wait(t.Context(), head)
	require.NoError(t, err)
	w.die()
	w.advanceOnly(time.Minute) // late: it compensates
	require.Equal(t, Compensating, w.instance("order", "1").Status)
	require.Equal(t, []string{"reserve"}, w.pending(), "the undo has not left")
	w.settle()
	var sent []string
	for _, c := range w.sent {
		sent = append(sent, c.Type)
	}
	require.Equal(t, []string{"reserve", "reserve", "release"}, sent)
	require.Equal(t, "reserve release", types(w.did()))
	w.audit()
}
