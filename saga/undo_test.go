package saga

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
)

func TestUndosRunInReverseOneAtATime(t *testing.T) {
	w := newWorld(t, shop())
	w.emit("s", placed{"1"}, reserved{"1"})
	w.settle()
	begun, open := w.gate("refund")
	w.advanceOnly(time.Minute)
	<-begun
	require.Equal(t, Compensating, w.instance("order", "1").Status)
	require.Equal(t, []string{"stock"}, w.instance("order", "1").Undo)
	close(open)
	w.settle()
	require.Equal(t, "reserve charge refund release", types(w.did()))
	require.Equal(t, Compensated, w.instance("order", "1").Status)
	require.Equal(t, []string{
		"event placed: undo:stock send:reserve timer:late",
		"event reserved: undo:money send:charge",
		"timer late: compensate",
		"undo money: send:refund",
		"undo stock: send:release",
	}, w.history("order", "1"))
	w.audit()
}

// advanceOnly moves the clock and fires what is due.
func (w *world) advanceOnly(d time.Duration) {
	w.t.Helper()
	w.clock.Advance(w.clock.Now().Add(d))
	_, err := w.FireDue(w.t.Context())
	require.NoError(w.t, err)
}

func TestAnUndoWaitsUntilItsActionsFateIsKnown(t *testing.T) {
	w := newWorld(t, shop())
	begun, open := w.gate("charge")
	w.emit("s", placed{"1"}, reserved{"1"})
	w.subscribe()
	w.feed(10)
	<-begun
	w.advanceOnly(time.Minute) // compensate while the charge is in flight
	require.Equal(t, Compensating, w.instance("order", "1").Status)
	require.Equal(t, []string{"stock", "money"}, w.instance("order", "1").Undo)
	require.Equal(t, "reserve", types(w.did()))
	w.emit("s", paid{"1"}) // passed over
	w.feed(10)
	close(open)
	w.settle()
	require.Equal(t, "reserve charge refund release", types(w.did()))
	require.Equal(t, Compensated, w.instance("order", "1").Status)
	require.Equal(t, []string{"placed", "reserved", "late"}, stateOf(t, w.instance("order", "1")).Seen)
	w.audit()
}

func TestAnActionRejectedAfterCompensateIsNotUndone(t *testing.T) {
	w := newWorld(t, shop())
	begun, open := w.gate("charge")
	inner := w.handlers["charge"]
	w.on("charge", func(ctx context.Context, cmd bus.Command) ([]eventstore.Event, error) {
		if _, err := inner(ctx, cmd); err != nil {
			return nil, err
		}
		return nil, refusal{"broke"}
	})
	w.emit("s", placed{"1"}, reserved{"1"})
	w.subscribe()
	w.feed(10)
	<-begun
	w.advanceOnly(time.Minute)
	close(open)
	w.settle()
	require.Equal(t, "reserve release", types(w.did()))
	require.Equal(t, Compensated, w.instance("order", "1").Status)
	w.audit()
}

func TestACrashBetweenUndos(t *testing.T) {
	w := newWorld(t, shop())
	w.emit("s", placed{"1"}, reserved{"1"})
	w.settle()
	w.advanceOnly(time.Minute)
	for range 5 {
		w.reopen()
	}
	// The refund is done, but that is not recorded.
	w.unsubscribe()
	w.step = func(string) error { return errBoom }
	head, err := w.log.Head(t.Context())
	require.NoError(t, err)
	w.subscribe()
	_, err = w.log.Wait(t.Context(), head)
	require.NoError(t, err)
	w.stop()
	w.stop = nil
	require.Error(t, w.Engine.Close())
	w.open()
	w.settle()
	require.Equal(t, "reserve charge refund release", types(w.did()))
	require.Equal(t, Compensated, w.instance("order", "1").Status)
	w.audit()
}

func TestAnUndoThatIsRejectedParks(t *testing.T) {
	w := newWorld(t, shop())
	w.refuse("refund", "closed")
	w.emit("s", placed{"1"}, reserved{"1"})
	w.settle()
	w.advance(time.Minute)
	i := w.instance("order", "1")
	require.Equal(t, Parked, i.Status)
	require.Contains(t, i.Reason, "undo rejected (closed)")
	require.Equal(t, "reserve charge", types(w.did()))
	w.reopen()
	w.settle()
	require.Equal(t, "reserve charge", types(w.did()))

	require.NoError(t, w.Retry(t.Context(), "order", "1", by("again")))
	w.settle()
	require.Equal(t, Parked, w.instance("order", "1").Status, "it is rejected again")
	require.NoError(t, w.Skip(t.Context(), "order", "1", by("refunded by hand")))
	w.settle()
	require.Equal(t, Compensated, w.instance("order", "1").Status)
	require.Equal(t, "reserve charge release", types(w.did()))
	require.Contains(t, w.history("order", "1"), "admin skip: refunded by hand")
	w.audit()
}

func TestAnUndoThatFailsIsRetried(t *testing.T) {
	w := newWorld(t, shop())
	fails := 3
	w.on("refund", func(_ context.Context, cmd bus.Command) ([]eventstore.Event, error) {
		if fails--; fails >= 0 {
			return nil, errBoom
		}
		return []eventstore.Event{did{cmd.Type}}, nil
	})
	w.emit("s", placed{"1"}, reserved{"1"})
	w.settle()
	w.advance(time.Minute)
	for w.instance("order", "1").Status != Compensated {
		w.settle()
	}
	require.Equal(t, "reserve charge refund release", types(w.did()))
	w.audit()
}

func TestAnUndoOfTheSameNameIsReplaced(t *testing.T) {
	def := Define("order", 1,
		Starts(byPlaced, func(o *order, c *Context, e placed) error {
			o.Tries++
			c.Undo("hold", remind{e.Order, o.Tries})
			c.Send(reserve{e.Order})
			return nil
		}),
		On(byPaid, func(_ *order, c *Context, _ paid) error { c.Undo("always", ship{c.Key()}); return nil }),
		On(byShipped, func(_ *order, c *Context, _ shipped) error { c.Compensate("stop"); return nil }),
		IgnoreRejected[order, reserve]())
	w := newWorld(t, def)
	n := 0
	w.on("reserve", func(context.Context, bus.Command) ([]eventstore.Event, error) {
		if n++; n == 2 {
			return nil, refusal{"no"} // the first still has to be undone
		}
		return []eventstore.Event{did{"reserve"}}, nil
	})
	w.emit("s", placed{"1"}, paid{"1"}, placed{"1"})
	w.settle()
	require.Equal(t, []string{"always", "hold"}, w.instance("order", "1").Undo)
	w.emit("s", shipped{"1"})
	w.settle()
	require.Equal(t, []string{"reserve", `remind{"Order":"1","N":2}`, `ship{"Order":"1"}`}, w.did())
	require.Equal(t, Compensated, w.instance("order", "1").Status)
}

func TestCompensateWithNothingToUndo(t *testing.T) {
	w := newWorld(t, Define("order", 1, Starts(byPlaced, func(_ *order, c *Context, _ placed) error {
		c.Compensate("at once")
		return nil
	})))
	w.emit("s", placed{"1"})
	w.settle()
	i := w.instance("order", "1")
	require.Equal(t, Compensated, i.Status)
	require.Equal(t, "at once", i.Reason)
}
