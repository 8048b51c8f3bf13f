package saga

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// meeting is a saga whose payments, and those of groups, may come before the
// order, under a key of their own that the order's event tells.
func meeting(placedToo func(*order, *Context, placed) error, opts ...Option[order]) *Definition {
	return Define("order", 1, append([]Option[order]{
		Starts(byPlaced, func(o *order, c *Context, e placed) error {
			o.see("placed")
			return placedToo(o, c, e)
		}),
		Waits(On(byPaid, func(o *order, c *Context, e paid) error {
			o.see("paid " + e.Order)
			c.Undo("money", refund{e.Order})
			c.Send(charge{e.Order})
			return nil
		})),
		Waits(OnMany(func(e grouped) []string { return e.Orders }, func(o *order, _ *Context, _ grouped) error {
			o.see("grouped")
			return nil
		})),
	}, opts...)...)
}

// earlyEvents returns how many events wait for a start.
func (w *world) earlyEvents() (n int) {
	w.t.Helper()
	require.NoError(w.t, w.db.Reader().QueryRow(`SELECT COUNT(*) FROM early`).Scan(&n))
	return n
}

func TestWhatAnAliasAdmitsFollowsTheStepInTheOrderOfTheLog(t *testing.T) {
	w := newWorld(t, meeting(func(o *order, c *Context, e placed) error {
		c.Undo("stock", release{e.Order})
		c.Send(reserve{e.Order})
		c.Alias("pay")
		c.Alias("tip")
		c.Send(ship{e.Order})
		return nil
	}))
	w.emit("s", paid{"tip"}, paid{"1"}, paid{"pay"}, placed{"1"})
	w.feed(10)
	i := w.instance("order", "1")
	require.Equal(t, []string{"placed", "paid tip", "paid 1", "paid pay"}, stateOf(t, i).Seen)
	require.Equal(t, []string{"stock", "money"}, i.Undo, "none is lost")
	require.Equal(t, []string{"reserve", "ship", "charge", "charge", "charge"}, w.pending())
	require.Equal(t, "event placed: undo:stock send:reserve alias:pay alias:tip send:ship", w.history("order", "1")[0])
	require.Zero(t, w.earlyEvents())
	w.audit()
	w.close()
	r, err := Replay(t.Context(), w.dir, w.log, w.defs)
	require.NoError(t, err)
	require.Empty(t, r.Differences)
}

func TestWhatAnAliasWouldAdmitToTheEndIsPassedOver(t *testing.T) {
	for name, end := range map[string]func(*Context){
		"complete":   func(c *Context) { c.Complete() },
		"fail":       func(c *Context) { c.Fail("why") },
		"compensate": func(c *Context) { c.Compensate("why") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, meeting(func(_ *order, c *Context, _ placed) error { c.Alias("pay"); end(c); return nil }))
			w.emit("s", paid{"pay"}, paid{"1"}, placed{"1"}, paid{"pay"})
			w.feed(10)
			i := w.instance("order", "1")
			require.True(t, i.Status.finished())
			require.Equal(t, []string{"placed"}, stateOf(t, i).Seen)
			require.Empty(t, w.pending())
			require.Zero(t, w.earlyEvents(), "nothing is kept for a key that is taken")
			w.audit()
		})
	}
}

// TestAnEarlyEventOfTwoKeysIsHandledOnce, where both become keys of one
// instance: with its start, with a start that fails first, with a later step,
// with two aliases at once.
func TestAnEarlyEventOfTwoKeysIsHandledOnce(t *testing.T) {
	fail := false
	w := newWorld(t, meeting(func(_ *order, c *Context, e placed) error {
		switch {
		case fail:
			return errBoom
		case e.Order != "later":
			c.Alias(e.Order + " x")
			c.Alias(e.Order + " y")
		}
		return nil
	}, On(byReserved, func(_ *order, c *Context, e reserved) error { c.Alias(e.Order + " x"); return nil })))
	for _, keys := range [][]string{{"start", "start x"}, {"failing", "failing x"}, {"later", "later x"}, {"two", "two y", "two x"}, {"two x", "two y"}} {
		w.emit("s", grouped{keys})
	}
	w.emit("s", placed{"start"}, placed{"later"}, placed{"two"}, reserved{"later"})
	w.feed(10)
	fail = true
	w.emit("s", placed{"failing"})
	w.feed(10)
	fail = false
	w.retryFailing()
	for key, seen := range map[string][]string{
		"start": {"placed", "grouped"}, "failing": {"placed", "grouped"}, "later": {"placed", "grouped"}, "two": {"placed", "grouped", "grouped"},
	} {
		require.Equal(t, seen, stateOf(t, w.instance("order", key)).Seen, key)
	}
	require.Zero(t, w.earlyEvents())
	w.audit()
}

// TestAnAliasOfAnInputThatHadToWait: what it admits comes behind what waits.
func TestAnAliasOfAnInputThatHadToWait(t *testing.T) {
	fail := true
	w := newWorld(t, meeting(func(*order, *Context, placed) error { return nil },
		On(byShipped, func(o *order, _ *Context, _ shipped) error {
			if fail {
				return errBoom
			}
			o.see("shipped")
			return nil
		}),
		On(byReserved, func(o *order, c *Context, _ reserved) error { o.see("reserved"); c.Alias("pay"); return nil })))
	w.hourly()
	w.emit("s", placed{"1"}, paid{"pay"}, shipped{"1"}, reserved{"1"}, paid{"1"})
	w.feed(10)
	fail = false
	w.retryFailing()
	require.Equal(t, []string{"placed", "shipped", "reserved", "paid 1", "paid pay"}, stateOf(t, w.instance("order", "1")).Seen)
	w.audit()
}

// TestWhyItCompensatesOutlivesAnAttemptThatFailed: the reason is that of the
// step, not of what kept it from being made.
func TestWhyItCompensatesOutlivesAnAttemptThatFailed(t *testing.T) {
	fail := true
	w := newWorld(t, meeting(func(_ *order, c *Context, _ placed) error {
		if fail {
			return errBoom
		}
		c.Undo("stock", release{"1"})
		c.Compensate("no stock")
		return nil
	}))
	w.emit("s", placed{"1"})
	w.feed(10)
	fail = false
	w.retryFailing()
	w.settle()
	i := w.instance("order", "1")
	require.Equal(t, Compensated, i.Status)
	require.Equal(t, "no stock", i.Reason)
}
