package saga

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
)

// noting is a saga that notes what it sees, and sends a reminder for each.
func noting(opts ...Option[order]) *Definition {
	all := append([]Option[order]{
		Starts(byPlaced, func(o *order, c *Context, e placed) error {
			o.see("placed")
			c.Send(remind{e.Order, len(o.Seen)})
			return nil
		}),
		On(byReserved, func(o *order, c *Context, e reserved) error {
			o.see("reserved")
			c.Send(remind{e.Order, len(o.Seen)})
			return nil
		}),
	}, opts...)
	return Define("order", 1, all...)
}

func TestTheSameEventTwiceAfterARestart(t *testing.T) {
	w := newWorld(t, noting())
	w.emit("s", placed{"1"}, reserved{"1"})
	w.settle()
	w.reopen()
	// A redelivery that the checkpoint does not catch is caught by the cursor.
	read, err := w.log.ReadLog(t.Context(), 0, 10, w.Filter())
	require.NoError(t, err)
	for _, b := range w.bindings {
		b.at = eventstore.Anchor{}
	}
	w.checkpoint.Store(&eventstore.Anchor{})
	require.NoError(t, w.Apply(t.Context(), bus.Page{Events: read.Events, Through: read.Through}))
	w.settle()
	require.Equal(t, []string{"placed", "reserved"}, stateOf(t, w.instance("order", "1")).Seen)
	require.Len(t, w.did(), 2)
	w.audit()
}

func TestAPageBeyondTheCheckpointIsRefused(t *testing.T) {
	w := newWorld(t, noting())
	w.emit("s", placed{"1"}, reserved{"1"})
	read, err := w.log.ReadLog(t.Context(), 1, 10, w.Filter())
	require.NoError(t, err)
	require.ErrorContains(t, w.Apply(t.Context(), bus.Page{After: 1, Events: read.Events, Through: read.Through}), "begins behind position 1")
	// What was applied already is passed over.
	w.feed(10)
	require.NoError(t, w.Apply(t.Context(), bus.Page{After: 1, Events: read.Events, Through: read.Through}))
	require.Equal(t, []string{"placed", "reserved"}, stateOf(t, w.instance("order", "1")).Seen)
}

func TestTwoStartsOfOneKeyAreOneInstance(t *testing.T) {
	w := newWorld(t, noting())
	w.emit("a", placed{"1"})
	w.emit("b", placed{"1"})
	w.settle()
	require.Equal(t, []string{"placed", "placed"}, stateOf(t, w.instance("order", "1")).Seen)
	require.Equal(t, 1, w.stats().Running)
}

func TestAnEventAfterCompletionNeverResurrects(t *testing.T) {
	def := Define("order", 1,
		Starts(byPlaced, func(o *order, c *Context, e placed) error {
			o.see("placed")
			c.Send(remind{e.Order, 1})
			c.Alias("alias-" + e.Order)
			c.After("late", time.Hour)
			c.Complete()
			return nil
		}),
		Timer("late", func(*order, *Context) error { return errBoom }))
	w := newWorld(t, def)
	w.emit("s", placed{"1"})
	w.settle()
	for range 2 {
		w.emit("s", placed{"1"}, placed{"alias-1"})
		w.settle()
		w.reopen()
	}
	i := w.instance("order", "1")
	require.Equal(t, Completed, i.Status)
	require.Equal(t, []string{"placed"}, stateOf(t, i).Seen)
	require.Len(t, w.did(), 1)
	require.Zero(t, w.advance(2*time.Hour), "a completed instance has no timers")
}

func TestAContinuationBeforeItsStartIsIgnored(t *testing.T) {
	w := newWorld(t, noting())
	w.emit("s", reserved{"1"}, placed{"1"})
	w.settle()
	require.Equal(t, []string{"placed"}, stateOf(t, w.instance("order", "1")).Seen)
}

func TestAContinuationThatWaitsFollowsItsStart(t *testing.T) {
	for _, page := range []int{1, 100} {
		def := noting(
			Waits(On(byPaid, func(o *order, _ *Context, _ paid) error { o.see("paid"); return nil })),
			Waits(On(byShipped, func(o *order, _ *Context, _ shipped) error { o.see("shipped"); return nil })))
		w := newWorld(t, def)
		w.emit("s", shipped{"1"}, paid{"1"}, paid{"other"})
		w.feed(page)
		w.reopen()
		w.emit("s", placed{"1"}, reserved{"1"})
		w.feed(page)
		require.Equal(t, []string{"placed", "shipped", "paid", "reserved"}, stateOf(t, w.instance("order", "1")).Seen)
		w.audit()
	}
}

func TestAnAliasAddedAfterItsEventPassed(t *testing.T) {
	def := Define("order", 1,
		Starts(byPlaced, func(o *order, c *Context, e placed) error { o.see("placed"); return nil }),
		On(byReserved, func(o *order, c *Context, e reserved) error { c.Alias("parcel-" + e.Order); return nil }),
		On(byPaid, func(o *order, _ *Context, _ paid) error { o.see("paid"); return nil }),
		Waits(On(byShipped, func(o *order, _ *Context, _ shipped) error { o.see("shipped"); return nil })))
	w := newWorld(t, def)
	w.emit("s", placed{"1"}, paid{"parcel-1"}, shipped{"parcel-1"}, reserved{"1"}, paid{"parcel-1"})
	w.settle()
	require.Equal(t, []string{"placed", "shipped", "paid"}, stateOf(t, w.instance("order", "parcel-1")).Seen)
	w.reopen()
	w.emit("s", paid{"parcel-1"})
	w.settle()
	require.Equal(t, []string{"placed", "shipped", "paid", "paid"}, stateOf(t, w.instance("order", "1")).Seen)
}

func TestAnAliasOfAnotherInstanceParks(t *testing.T) {
	def := Define("order", 1, Starts(byPlaced, func(o *order, c *Context, e placed) error {
		c.Alias("1")
		return nil
	}))
	w := newWorld(t, def)
	w.emit("s", placed{"1"}, placed{"2"})
	w.settle()
	require.Equal(t, Running, w.instance("order", "1").Status)
	i := w.instance("order", "2")
	require.Equal(t, Parked, i.Status)
	require.Contains(t, i.Reason, `alias "1" is the key of another instance`)
}

func TestOneEventToManyInstances(t *testing.T) {
	def := noting(OnMany(func(e grouped) []string { return e.Orders }, func(o *order, _ *Context, _ grouped) error {
		o.see("grouped")
		return nil
	}))
	w := newWorld(t, def)
	w.emit("s", placed{"1"}, placed{"2"}, grouped{[]string{"2", "1", "2", "", "none"}})
	w.settle()
	require.Equal(t, []string{"placed", "grouped"}, stateOf(t, w.instance("order", "1")).Seen)
	require.Equal(t, []string{"placed", "grouped"}, stateOf(t, w.instance("order", "2")).Seen)
	require.Equal(t, 2, w.stats().Running)
}

func TestOneEventToManySagas(t *testing.T) {
	other := Define("other", 1, Starts(byPlaced, func(o *order, c *Context, e placed) error {
		c.Send(ship{e.Order})
		return nil
	}))
	w := newWorld(t, other, noting())
	w.emit("s", placed{"1"})
	w.settle()
	require.ElementsMatch(t, []string{`ship{"Order":"1"}`, `remind{"Order":"1","N":1}`}, w.did())
	require.Equal(t, 1, w.stats().Sagas["other"].Running)
	require.Equal(t, 1, w.stats().Sagas["order"].Running)
}

func TestAnotherProcessOnTheFileIsNoticed(t *testing.T) {
	w := newWorld(t, noting())
	w.emit("s", placed{"1"})
	w.feed(10)
	zombie := w.Engine
	other, err := Open(t.Context(), w.dir, w.log, w.clock, w.defs, &Options{Relaxed: true, Logger: quiet})
	require.NoError(t, err)
	w.emit("s", reserved{"1"})
	w.Engine = other
	w.feed(10)
	w.Engine = zombie
	err = w.tryFeed(10)
	var blocked *bus.BlockedError
	require.ErrorAs(t, err, &blocked)
	require.ErrorIs(t, err, ErrMoved)
	w.Engine = other
	require.NoError(t, zombie.Close())
	require.Equal(t, []string{"placed", "reserved"}, stateOf(t, w.instance("order", "1")).Seen)
}

func TestARewoundLogIsRefused(t *testing.T) {
	w := newWorld(t, noting())
	w.emit("s", placed{"1"})
	w.feed(10)
	w.close()
	kept := w.log
	w.log = newWorld(t).log
	w.emit("s", placed{"1"}, placed{"2"})
	require.ErrorIs(t, w.tryOpen(), eventstore.ErrRewound)
	w.Engine, w.log = nil, kept
}

func TestEmptyPagesWriteNothing(t *testing.T) {
	w := newWorld(t, noting())
	for n := range 5 {
		w.emit("s", did{fmt.Sprint(n)})
	}
	w.step = func(string) error { return errBoom }
	w.feed(2)
	at, err := w.Checkpoint(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 5, at.Position)
	w.step = func(string) error { return nil }
	w.emit("s", placed{"1"})
	w.feed(2)
	w.reopen()
	at, err = w.Checkpoint(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 6, at.Position)
}

func TestRetentionKeepsTheTombstone(t *testing.T) {
	def := Define("order", 1,
		Starts(byPlaced, func(o *order, c *Context, e placed) error {
			o.see("placed")
			c.Complete()
			return nil
		}), Retention(time.Hour))
	w := newWorld(t, def)
	w.emit("s", placed{"1"})
	w.settle()
	w.clock.Advance(start.Add(30 * time.Minute))
	w.reopen()
	w.emit("s", placed{"2"})
	w.settle()
	require.NotEmpty(t, w.history("order", "1"))
	w.clock.Advance(start.Add(61 * time.Minute))
	w.reopen()
	w.emit("s", placed{"1"}, placed{"3"})
	w.settle()
	require.Empty(t, w.history("order", "1"))
	i := w.instance("order", "1")
	require.Equal(t, Completed, i.Status)
	require.JSONEq(t, "{}", string(i.State))
	require.NotEmpty(t, w.history("order", "2"))
}
