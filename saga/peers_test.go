package saga

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
)

// Bugs of peers in sagas, outboxes and timers: docs/peers.md lists them all.

// beside opens another engine over the file, as a process does that takes over
// from one it believes dead. The first is the world's no more.
func (w *world) beside() (dead *Engine) {
	w.t.Helper()
	dead = w.Engine
	w.open()
	w.t.Cleanup(func() {
		if err := dead.Close(); err != nil { // it had something to record
			require.ErrorIs(w.t, err, ErrMoved)
		}
	})
	return dead
}

// savedAt returns the positions that the file has of the sagas, by name.
func (w *world) savedAt() map[string]int64 {
	w.t.Helper()
	rows, err := w.db.Reader().Query(`SELECT name, position FROM saga`)
	require.NoError(w.t, err)
	defer func() { require.NoError(w.t, rows.Close()) }()
	at := map[string]int64{}
	for rows.Next() {
		var name string
		var position int64
		require.NoError(w.t, rows.Scan(&name, &position))
		at[name] = position
	}
	require.NoError(w.t, rows.Err())
	return at
}

// There: the checkpoint of a filtered subscription stood still as long as
// nothing matched: a restart read all of it again, for ever the same.
// Here: an engine over a log of which most concerns no saga.
func TestEventuous559_WhatConcernsNoSagaIsNotScannedForEver(t *testing.T) {
	w := newWorld(t, chatty(1))
	for n := range 7 {
		w.emit("s", did{fmt.Sprint(n)})
	}
	w.feed(2)
	w.reopen()
	at, err := w.Checkpoint(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 7, at.Position, "a small log, and one that is idle, is seen once")

	stretch := make([]eventstore.Event, lazyCheckpoint/2)
	for n := range stretch {
		stretch[n] = did{}
	}
	for range 5 {
		w.emit("s", stretch...)
		w.feed(eventstore.MaxPage)
		head, err := w.log.Head(t.Context())
		require.NoError(t, err)
		require.Less(t, head-w.savedAt()["order"], int64(lazyCheckpoint), "what a crash would have scanned again")
	}
	w.emit("s", placed{"1"})
	w.settle()
	require.Equal(t, 1, w.stats().Running)
}

// There: a checkpoint timer that fired during a catch-up ended it, and the
// checkpoint jumped to the end.
// Here: outcomes of commands that are recorded while a new saga catches up.
func TestCommanded327_RecordingOutcomesDoesNotEndACatchUp(t *testing.T) {
	const orders = 20
	w := newWorld(t, chatty(1))
	for n := range orders {
		w.emit("s", placed{fmt.Sprint(n)})
	}
	w.feed(100)
	w.close()
	w.defs = append(w.defs, Define("late", 1, Starts(byPlaced, func(o *order, _ *Context, e placed) error {
		o.see(e.Order)
		return nil
	}), FromOrigin()))
	w.open()
	page, err := w.log.ReadLog(t.Context(), 0, 5, w.Filter())
	require.NoError(t, err)
	require.NoError(t, w.Apply(t.Context(), bus.Page{Events: page.Events, Through: page.Through}))
	w.subscribe()
	require.NoError(t, w.Settle(t.Context())) // the commands of the other saga
	w.record()
	require.Empty(t, w.pending())
	require.Equal(t, map[string]int64{"order": orders, "late": 5}, w.savedAt())
	w.reopen()
	w.settle()
	require.Equal(t, orders, w.stats().Sagas["late"].Running)
	for n := range orders {
		require.Equal(t, []string{fmt.Sprint(n)}, stateOf(t, w.instance("late", fmt.Sprint(n))).Seen)
	}
	require.Len(t, w.did(), orders)
	w.audit()
}

// There: a due timeout was deleted, then its message sent; where that failed,
// the timeout was lost.
// Here: a firing whose transaction fails, then a command whose dispatch fails.
func TestNServiceBus2885_ATimerIsGoneOnlyWithWhatItSends(t *testing.T) {
	for _, point := range []string{"commit", "committed"} {
		t.Run(point, func(t *testing.T) {
			w := newWorld(t, ringing())
			w.emit("s", placed{"1"})
			w.settle()
			w.unsubscribe()
			w.clock.Advance(start.Add(time.Minute))
			w.step = func(p string) error {
				if p == point {
					return errBoom
				}
				return nil
			}
			_, err := w.FireDue(t.Context())
			require.ErrorIs(t, err, errBoom)
			w.step = func(string) error { return nil }
			w.reopen()
			s := w.stats()
			require.Equal(t, 1, s.Timers+s.Commands.Pending, "the timer or its command, one of them")
			require.Equal(t, point == "commit", s.Timers == 1)
			_, err = w.FireDue(t.Context())
			require.NoError(t, err)
			var failures atomic.Int32
			w.on("remind", func(_ context.Context, cmd bus.Command) ([]eventstore.Event, error) {
				if failures.Add(1) <= 3 {
					return nil, errBoom
				}
				return []eventstore.Event{did{"reminded"}}, nil
			})
			w.settle()
			w.reopen()
			for failures.Load() <= 3 {
				w.settle()
				w.retryFailing()
			}
			w.settle()
			require.Equal(t, []string{"reminded"}, w.did())
			require.Empty(t, w.pending())
			w.audit()
		})
	}
}

// There: one timeout that fired had all others of its saga deleted.
// Here: timers of one instance, and of another, beside one that fires.
func TestNServiceBus246_ATimerThatFiresLeavesTheOthers(t *testing.T) {
	opts := []Option[order]{Starts(byPlaced, func(o *order, c *Context, e placed) error {
		for n := range 3 {
			c.After(fmt.Sprint("t", n), time.Duration(n+1)*time.Minute)
		}
		return nil
	})}
	for n := range 3 {
		name := fmt.Sprint("t", n)
		opts = append(opts, Timer(name, func(o *order, c *Context) error { o.see(name); return nil }))
	}
	w := newWorld(t, Define("order", 1, opts...))
	w.emit("s", placed{"1"}, placed{"2"})
	w.settle()
	for n := range 3 {
		require.Equal(t, 6-2*n, w.stats().Timers)
		require.Equal(t, 2, w.advance(time.Minute))
		w.reopen()
	}
	require.Equal(t, []string{"t0", "t1", "t2"}, stateOf(t, w.instance("order", "1")).Seen)
	require.Equal(t, []string{"t0", "t1", "t2"}, stateOf(t, w.instance("order", "2")).Seen)
}

// There: two instances of the timeout manager each dispatched what was due.
// Here: an engine that was taken for dead, and calls at once in one that lives.
func TestNServiceBus4085_TwoEnginesFireATimerOnce(t *testing.T) {
	w := newWorld(t, ringing())
	for n := range 5 {
		w.emit("s", placed{fmt.Sprint(n)})
	}
	w.settle()
	w.unsubscribe()
	dead := w.beside()
	w.clock.Advance(start.Add(time.Hour))
	_, err := dead.FireDue(t.Context())
	require.ErrorIs(t, err, ErrMoved)
	var firing sync.WaitGroup
	fired := make(chan int, 8)
	for range cap(fired) {
		firing.Go(func() {
			n, err := w.FireDue(context.Background())
			if err != nil {
				t.Errorf("fire: %v", err)
			}
			fired <- n
		})
	}
	firing.Wait()
	close(fired)
	total := 0
	for n := range fired {
		total += n
	}
	require.Equal(t, 5, total)
	w.settle()
	require.Len(t, w.did(), 5)
}

// There: messages of the outbox belonged to a node; when that crashed, nobody
// sent them.
// Here: commands in flight, and behind those, in an engine that is taken for dead.
func TestWolverine565_CommandsOfADeadOwnerLeave(t *testing.T) {
	w := newWorld(t, chatty(3))
	w.emit("s", placed{"1"}, placed{"2"})
	w.feed(10)
	ctx, cancel := context.WithCancel(t.Context())
	messages, err := w.Outbox().Subscribe(ctx, "")
	require.NoError(t, err)
	inFlight := <-messages
	handle := w.Dispatcher(w.dispatch)
	w.beside()
	w.settle()
	require.Len(t, w.did(), 6)
	require.Empty(t, w.pending())
	require.NoError(t, handle(inFlight), "it was not dead after all")
	inFlight.Ack()
	cancel()
	for range messages {
	}
	require.Len(t, w.did(), 6, "the log knows the command by its id")
	w.audit()
}

// There: what a node had put off for later was nobody's after its end.
// Here: a command that backs off when its owner dies.
func TestWolverine369_ACommandThatBacksOffOutlivesItsOwner(t *testing.T) {
	w := newWorld(t, chatty(2))
	w.hourly()
	fail := true
	w.on("remind", func(_ context.Context, cmd bus.Command) ([]eventstore.Event, error) {
		if fail {
			return nil, errBoom
		}
		return []eventstore.Event{did{string(cmd.Data)}}, nil
	})
	w.emit("s", placed{"1"})
	w.settle()
	w.record()
	w.unsubscribe()
	w.beside()
	fail = false
	require.Equal(t, []string{"remind", "remind"}, w.pending())
	require.NoError(t, w.Settle(t.Context()))
	require.Empty(t, w.did(), "its wait is not over")
	require.NoError(t, w.lock(t.Context()))
	_, err := w.db.Writer().Exec(`UPDATE outbox SET next_attempt = 1 WHERE next_attempt > 0`)
	require.NoError(t, err)
	require.NoError(t, w.Engine.reload(t.Context()))
	w.unlock()
	require.NoError(t, w.retryDue(t.Context()))
	w.settle()
	require.Equal(t, []string{`{"Order":"1","N":0}`, `{"Order":"1","N":1}`}, w.did())
}

// There: a timeout that came after its saga had completed failed on the state
// that was gone.
// Here: timers that are due together with what completes their instance.
func TestWolverine1095_ATimerAfterTheEndDoesNothing(t *testing.T) {
	def := Define("order", 1,
		Starts(byPlaced, func(o *order, c *Context, e placed) error {
			c.After("a", time.Minute)
			c.After("b", time.Minute)
			c.After("c", time.Hour)
			return nil
		}),
		On(byShipped, func(o *order, c *Context, e shipped) error { c.Complete(); return nil }),
		Timer("a", func(o *order, c *Context) error {
			c.Send(remind{Order: c.Key()})
			c.After("d", 0)
			c.Complete()
			return nil
		}),
		Timer("b", func(o *order, c *Context) error { panic("after the end") }),
		Timer("c", func(o *order, c *Context) error { panic("after the end") }),
		Timer("d", func(o *order, c *Context) error { panic("after the end") }))
	w := newWorld(t, def)
	w.emit("s", placed{"by timer"}, placed{"by event"})
	w.settle()
	w.clock.Advance(start.Add(2 * time.Hour)) // all are due
	w.emit("s", shipped{"by event"})
	n, err := w.FireDue(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, n)
	w.settle()
	require.Zero(t, w.advance(time.Hour))
	for _, key := range []string{"by timer", "by event"} {
		require.Equal(t, Completed, w.instance("order", key).Status)
	}
	require.Equal(t, []string{`remind{"Order":"by timer","N":0}`}, w.did())
	require.Zero(t, w.stats().Timers)
	w.audit()
}

// There: a message was marked as handled in another transaction than the one
// that stored what it did; a crash between the two had it done twice.
// Here: a crash around the commit of a step, and the page delivered again.
func TestWolverine1677_StateCommandsTimersAndPlaceAreOneTransaction(t *testing.T) {
	for _, point := range []string{"commit", "committed"} {
		t.Run(point, func(t *testing.T) {
			w := newWorld(t, Define("order", 1,
				Starts(byPlaced, func(o *order, c *Context, e placed) error {
					o.Tries++
					c.Send(remind{Order: e.Order})
					c.After("ring", time.Hour)
					return nil
				}),
				Timer("ring", func(*order, *Context) error { return nil })))
			w.emit("s", placed{"1"})
			page, err := w.log.ReadLog(t.Context(), 0, 10, w.Filter())
			require.NoError(t, err)
			w.step = func(p string) error {
				if p == point {
					return errBoom
				}
				return nil
			}
			delivery := bus.Page{Events: page.Events, Through: page.Through}
			require.ErrorIs(t, w.Apply(t.Context(), delivery), errBoom)
			w.beside() // the process died there
			all := map[string]int{"instance": 0, "outbox": 0, "timer": 0, "saga": 0}
			for table := range all {
				where := ""
				if table == "saga" {
					where = " WHERE position > 0"
				}
				var n int
				require.NoError(t, w.db.Reader().QueryRow(`SELECT COUNT(*) FROM `+table+where).Scan(&n))
				all[table] = n
			}
			want := map[string]int{"commit": 0, "committed": 1}[point]
			require.Equal(t, map[string]int{"instance": want, "outbox": want, "timer": want, "saga": want}, all)
			for range 3 {
				require.NoError(t, w.Apply(t.Context(), delivery))
			}
			w.settle()
			require.Equal(t, 1, stateOf(t, w.instance("order", "1")).Tries)
			require.Len(t, w.did(), 1)
			require.Equal(t, 1, w.stats().Timers)
		})
	}
}

// There: the state of sagas lived in memory, and a restart forgot it.
// Here: a process for each of the saga's events.
func TestEventHorizon_StateOutlivesTheProcess(t *testing.T) {
	w := newWorld(t, shop())
	for _, e := range []eventstore.Event{placed{"1"}, reserved{"1"}, paid{"1"}} {
		w.emit("s", e)
		w.settle()
		w.reopen()
	}
	require.Equal(t, []string{"placed", "reserved", "paid"}, stateOf(t, w.instance("order", "1")).Seen)
}
