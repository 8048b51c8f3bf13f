package saga

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore/memory"
)

// ringing is a saga with a timer that sends a reminder when it fires.
func ringing(opts ...Option[order]) *Definition {
	all := append([]Option[order]{
		Starts(byPlaced, func(o *order, c *Context, e placed) error {
			c.After("ring", time.Minute)
			return nil
		}),
		On(byPaid, func(o *order, c *Context, _ paid) error {
			c.Cancel("ring")
			return nil
		}),
		On(byReserved, func(o *order, c *Context, _ reserved) error {
			c.After("ring", time.Minute)
			return nil
		}),
		On(byShipped, func(o *order, c *Context, _ shipped) error {
			c.Complete()
			return nil
		}),
		Timer("ring", func(o *order, c *Context) error {
			o.see(c.Now().Sub(start).String())
			c.Send(remind{c.Key(), len(o.Seen)})
			return nil
		}),
	}, opts...)
	return Define("order", 1, all...)
}

func TestATimerIsNeverEarlyAndFiresOnce(t *testing.T) {
	w := newWorld(t, ringing())
	w.emit("s", placed{"1"})
	w.settle()
	due, ok, err := w.NextDue(t.Context())
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, start.Add(time.Minute), due)
	require.Zero(t, w.advance(time.Minute-1))
	w.reopen()
	require.Zero(t, w.advance(0))
	require.Equal(t, 1, w.advance(1))
	w.reopen()
	require.Zero(t, w.advance(time.Hour))
	require.Equal(t, []string{`remind{"Order":"1","N":1}`}, w.did())
	_, ok, err = w.NextDue(t.Context())
	require.NoError(t, err)
	require.False(t, ok)
	w.audit()
}

// The timer that is due next is looked up apart: that nothing fires before it
// says nothing of those behind it.
func TestATimerBehindOneThatIsDueWaitsForItsInstant(t *testing.T) {
	w := newWorld(t, ringing())
	w.emit("s", placed{"1"})
	w.settle()
	require.Zero(t, w.advance(1))
	w.emit("s", placed{"2"})
	w.settle()
	require.Equal(t, 1, w.advance(time.Minute-1))
	require.Equal(t, []string{`remind{"Order":"1","N":1}`}, w.did())
	require.Equal(t, 1, w.advance(1))
	w.audit()
}

func TestAStoredFactBeatsALateTimer(t *testing.T) {
	for _, page := range []string{"seen", "not yet delivered"} {
		t.Run(page, func(t *testing.T) {
			w := newWorld(t, ringing())
			w.emit("s", placed{"1"}, placed{"2"})
			w.settle()
			w.clock.Advance(start.Add(time.Hour))
			w.emit("s", paid{"1"}) // the backlog already holds the answer
			if page == "seen" {
				w.feed(10)
			}
			n, err := w.FireDue(t.Context())
			require.NoError(t, err)
			require.Equal(t, 1, n)
			w.settle() // the bus delivers what was read already
			require.Empty(t, stateOf(t, w.instance("order", "1")).Seen)
			require.Equal(t, []string{`remind{"Order":"2","N":1}`}, w.did())
			w.audit()
		})
	}
}

func TestALongBacklogIsAppliedBeforeATimerFires(t *testing.T) {
	w := newWorld(t, ringing())
	w.emit("s", placed{"1"})
	w.settle()
	w.clock.Advance(start.Add(time.Hour))
	for range 3 * readPage {
		w.emit("s", placed{"2"})
	}
	for range 2 * readPage {
		w.emit("s", did{"nothing"})
	}
	w.emit("s", paid{"1"})
	n, err := w.FireDue(t.Context())
	require.NoError(t, err)
	require.Zero(t, n)
	at, err := w.Checkpoint(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 5*readPage+2, at.Position)
	w.audit()
}

func TestAnEventAfterTheTimerFollowsIt(t *testing.T) {
	w := newWorld(t, ringing())
	w.emit("s", placed{"1"})
	w.settle()
	w.advance(time.Minute)
	w.emit("s", paid{"1"})
	w.settle()
	require.Equal(t, []string{"event placed: timer:ring", "timer ring: send:remind", "event paid: cancel:ring"}, w.history("order", "1"))
}

func TestAStaleGenerationDoesNotFire(t *testing.T) {
	w := newWorld(t, ringing())
	w.emit("s", placed{"1"})
	w.settle()
	w.clock.Advance(start.Add(30 * time.Second))
	w.emit("s", reserved{"1"}) // armed again
	w.settle()
	require.Zero(t, w.advance(30*time.Second))
	require.Equal(t, 1, w.advance(30*time.Second))
	require.Equal(t, []string{"1m30s"}, stateOf(t, w.instance("order", "1")).Seen)

	// Armed again in the very transaction in which the old one is due.
	w.emit("s", placed{"2"})
	w.settle()
	w.clock.Advance(start.Add(time.Hour))
	w.emit("s", reserved{"2"})
	n, err := w.FireDue(t.Context())
	require.NoError(t, err)
	require.Zero(t, n)
	require.Equal(t, 1, w.stats().Timers)
	w.audit()
}

func TestATimerThatArmsItselfIsAnotherTimerEachTime(t *testing.T) {
	def := Define("order", 1,
		Starts(byPlaced, func(o *order, c *Context, e placed) error { c.At("tick", start.Add(time.Minute)); return nil }),
		Timer("tick", func(o *order, c *Context) error {
			o.Tries++
			c.Send(remind{c.Key(), 0}) // the same each time, but for its id
			if o.Tries < 5 {
				c.After("tick", time.Minute)
			}
			return nil
		}))
	w := newWorld(t, def)
	w.emit("s", placed{"1"})
	w.settle()
	for range 10 {
		w.advance(time.Minute)
		w.reopen()
	}
	require.Len(t, w.did(), 5)
	require.Equal(t, 5, stateOf(t, w.instance("order", "1")).Tries)
}

func TestTimersOfOneInstantFireInOrder(t *testing.T) {
	var fired []string
	define := func(name string) *Definition {
		ring := func(timer string) func(*order, *Context) error {
			return func(_ *order, c *Context) error {
				fired = append(fired, name+"/"+c.Key()+"/"+timer)
				return nil
			}
		}
		return Define(name, 1,
			Starts(byPlaced, func(_ *order, c *Context, e placed) error {
				c.After("b", time.Minute)
				c.After("a", time.Minute)
				c.After("0", 2*time.Minute)
				return nil
			}),
			Timer("a", ring("a")), Timer("b", ring("b")), Timer("0", ring("0")))
	}
	w := newWorld(t, define("y"), define("x"))
	w.emit("s", placed{"2"}, placed{"1"})
	w.settle()
	require.Equal(t, 12, w.advance(time.Hour))
	require.Equal(t, []string{"x/1/a", "x/1/b", "x/2/a", "x/2/b", "y/1/a", "y/1/b", "y/2/a", "y/2/b",
		"x/1/0", "x/2/0", "y/1/0", "y/2/0"}, fired)
}

func TestAStormAfterADowntimeFiresInPages(t *testing.T) {
	w := newWorld(t, ringing())
	const n = 2*FirePage + 7
	for i := range n {
		w.emit("s", placed{fmt.Sprint(i)})
	}
	w.feed(1000)
	w.reopen()
	commits := 0
	w.step = func(point string) error {
		if point == "commit" {
			commits++
		}
		return nil
	}
	w.advanceOnly(24 * time.Hour)
	require.Equal(t, 3, commits, "those of one instant too: what the first send leaves before the last fire")
	w.step = func(string) error { return nil }
	w.settle()
	require.Len(t, w.did(), n)
	require.Zero(t, w.stats().Timers)
	w.audit()
}

func TestAFailingTimerStarvesNobody(t *testing.T) {
	fail := true
	def := Define("order", 1,
		Starts(byPlaced, func(o *order, c *Context, e placed) error { c.After("ring", time.Minute); return nil }),
		On(byPaid, func(o *order, _ *Context, _ paid) error { o.see("paid"); return nil }),
		Timer("ring", func(o *order, c *Context) error {
			if fail && c.Key() != "good" {
				return errBoom
			}
			o.see("ring " + c.Now().Sub(start).String())
			return nil
		}))
	w := newWorld(t, def)
	w.hourly()
	for n := range 100 {
		w.emit("s", placed{fmt.Sprint("bad-", n)})
	}
	w.emit("s", placed{"good"})
	w.feed(1000)
	require.Equal(t, 101, w.advance(time.Minute))
	require.Equal(t, []string{"ring 1m0s"}, stateOf(t, w.instance("order", "good")).Seen)
	_, ok, err := w.NextDue(t.Context())
	require.NoError(t, err)
	require.False(t, ok, "held timers do not count")
	w.emit("s", paid{"bad-1"})
	w.settle()
	w.audit()
	fail = false
	w.retryFailing()
	require.Equal(t, []string{"ring 1m0s", "paid"}, stateOf(t, w.instance("order", "bad-1")).Seen)
	require.Zero(t, w.stats().Timers)
	w.audit()
}

func TestTimersOfAParkedInstanceWait(t *testing.T) {
	fail := true
	def := ringing(OnMany(func(e grouped) []string { return e.Orders }, func(o *order, _ *Context, _ grouped) error {
		if fail {
			return &permanentError{errBoom}
		}
		return nil
	}))
	w := newWorld(t, def)
	w.emit("s", placed{"1"}, grouped{[]string{"1"}})
	w.settle()
	require.Equal(t, Parked, w.instance("order", "1").Status)
	require.Zero(t, w.advance(time.Hour))
	w.reopen()
	require.Zero(t, w.advance(time.Hour))
	fail = false
	require.NoError(t, w.Retry(t.Context(), "order", "1", by("because")))
	require.Equal(t, 1, w.advance(0))
	require.Equal(t, []string{"1m0s"}, stateOf(t, w.instance("order", "1")).Seen)
}

func TestLastTimeIsTheClockOfTheLastStep(t *testing.T) {
	w := newWorld(t, ringing())
	last, err := w.LastTime(t.Context())
	require.NoError(t, err)
	require.True(t, last.IsZero())
	w.emit("s", placed{"1"})
	w.settle()
	w.advance(90 * time.Second)
	w.clock.Advance(start.Add(time.Hour)) // nothing happens then
	w.reopen()
	last, err = w.LastTime(t.Context())
	require.NoError(t, err)
	require.Equal(t, start.Add(90*time.Second), last)
}

func TestAClockThatGoesBackSetsNoTimerInThePast(t *testing.T) {
	w := newWorld(t, ringing())
	w.emit("s", placed{"1"})
	w.settle()
	w.advance(time.Hour)
	w.close()
	w.clock = clock.NewVirtual(start.Add(-24 * time.Hour))
	w.open()
	w.emit("s", placed{"2"}) // recorded at the log's time, which does not go back
	w.settle()
	due, ok, err := w.NextDue(t.Context())
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, start.Add(time.Hour+time.Minute), due)
}

// inBubble runs timers by the bubble's clock, which moves when all wait.
func inBubble(t *testing.T, fn func(w *world)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, dir: dir, log: memory.New(nil), defs: []*Definition{ringing()}}
		e, err := Open(t.Context(), dir, w.log, clock.System(), w.defs, &Options{Relaxed: true, Logger: quiet})
		require.NoError(t, err)
		w.Engine = e
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- e.RunTimers(ctx) }()
		fn(w)
		cancel()
		require.NoError(t, <-ended)
		require.NoError(t, e.Close())
	})
}

func TestRunTimersWakesForTheFirstTimer(t *testing.T) {
	inBubble(t, func(w *world) {
		began := time.Now()
		w.emit("s", placed{"1"})
		w.feed(10)
		time.Sleep(time.Minute - 1)
		synctest.Wait()
		require.Equal(t, 1, w.stats().Timers, "never early")
		time.Sleep(2)
		synctest.Wait()
		require.Zero(t, w.stats().Timers)
		require.WithinDuration(t, began.Add(time.Minute), time.Now(), time.Millisecond)
	})
}

func TestRunTimersIsWokenByAnEarlierTimer(t *testing.T) {
	inBubble(t, func(w *world) {
		w.emit("s", placed{"1"})
		w.feed(10)
		time.Sleep(50 * time.Second)
		w.emit("s", reserved{"1"}) // moved: due at 1m50s
		w.emit("s", placed{"2"})   // also
		w.feed(10)
		time.Sleep(59 * time.Second)
		synctest.Wait()
		require.Equal(t, 2, w.stats().Timers)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Zero(t, w.stats().Timers)
	})
}

func TestRunTimersEndsWithTheEngine(t *testing.T) {
	w := newWorld(t, ringing())
	ended := make(chan error, 1)
	go func() { ended <- w.RunTimers(context.Background()) }()
	require.NoError(t, w.Engine.Close())
	require.ErrorIs(t, <-ended, ErrClosed)
	require.ErrorIs(t, w.RunTimers(t.Context()), ErrClosed)
	_, err := w.FireDue(t.Context())
	require.True(t, err == nil || errors.Is(err, ErrClosed))
	w.Engine = nil
}
