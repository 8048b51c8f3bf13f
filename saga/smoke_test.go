package saga

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func shop() *Definition {
	return Define("order", 1,
		Starts(byPlaced, func(o *order, c *Context, e placed) error {
			o.see("placed")
			c.Undo("stock", release{e.Order})
			c.Send(reserve{e.Order})
			c.After("late", time.Minute)
			return nil
		}),
		On(byReserved, func(o *order, c *Context, e reserved) error {
			o.see("reserved")
			c.Undo("money", refund{e.Order})
			c.Send(charge{e.Order})
			return nil
		}),
		On(byPaid, func(o *order, c *Context, e paid) error {
			o.see("paid")
			c.Cancel("late")
			c.Send(ship{e.Order})
			return nil
		}),
		On(byShipped, func(o *order, c *Context, _ shipped) error {
			o.see("shipped")
			c.Complete()
			return nil
		}),
		Timer("late", func(o *order, c *Context) error {
			o.see("late")
			c.Compensate("too late")
			return nil
		}),
		Rejected(func(o *order, c *Context, r Rejection[charge]) error {
			o.see("rejected:" + r.Code)
			c.Compensate(r.Code)
			return nil
		}),
		IgnoreRejected[order, ship](),
		Retries(3, time.Hour),
	)
}

func TestTheWholeWayOfAnOrder(t *testing.T) {
	w := newWorld(t, shop())
	w.emit("order-1", placed{"1"})
	w.settle()
	require.Equal(t, []string{`reserve{"Order":"1"}`}, w.did())
	w.emit("order-1", reserved{"1"})
	w.settle()
	w.emit("order-1", paid{"1"})
	w.settle()
	w.emit("order-1", shipped{"1"})
	w.settle()
	i := w.instance("order", "1")
	require.Equal(t, Completed, i.Status)
	require.Equal(t, []string{"placed", "reserved", "paid", "shipped"}, stateOf(t, i).Seen)
	require.Equal(t, []string{`reserve{"Order":"1"}`, `charge{"Order":"1"}`, `ship{"Order":"1"}`}, w.did())
	require.Zero(t, w.stats().Timers)
	w.audit()
}

func TestCompensationRunsInReverse(t *testing.T) {
	w := newWorld(t, shop())
	w.refuse("charge", "broke")
	w.emit("order-1", placed{"1"}, reserved{"1"})
	w.settle()
	i := w.instance("order", "1")
	require.Equal(t, Compensated, i.Status)
	// The charge was rejected: there is nothing to refund.
	require.Equal(t, []string{`reserve{"Order":"1"}`, `release{"Order":"1"}`}, w.did())
	w.audit()
}
