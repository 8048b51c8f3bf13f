package saga

import (
	"database/sql"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
)

// reading is a saga whose payments cannot be read while broken.
func reading(broken *bool) *Definition {
	return Define("order", 1,
		Starts(byPlaced, func(o *order, _ *Context, _ placed) error { o.see("placed"); return nil }),
		On(func(e paid) string {
			if *broken {
				panic("the program cannot read it yet")
			}
			return e.Order
		}, func(o *order, c *Context, e paid) error { o.see("paid"); c.Send(charge{e.Order}); return nil }),
		On(byReserved, func(o *order, _ *Context, _ reserved) error { o.see("reserved"); return nil }),
		On(byShipped, func(o *order, _ *Context, _ shipped) error { o.see("shipped"); return nil }))
}

// TestAStreamThatGoesOnGivesWhatOthersHaveOvertaken: an instance has seen later
// events of other streams by the time that a stream goes on.
func TestAStreamThatGoesOnGivesWhatOthersHaveOvertaken(t *testing.T) {
	broken := true
	w := newWorld(t, reading(&broken))
	w.emit("order-1", placed{"1"})
	w.emit("pay-1", paid{"1"}, reserved{"1"})
	w.emit("pay-2", paid{"1"}, reserved{"1"})
	w.emit("ship-1", shipped{"1"})
	w.settle()
	require.Equal(t, []string{"placed", "shipped"}, stateOf(t, w.instance("order", "1")).Seen)
	broken = false // the program is mended
	w.reopen()
	require.NoError(t, w.Retry(t.Context(), "order", OfStream("pay-1"), by("mended")))
	require.Equal(t, []string{"placed", "shipped", "paid", "reserved"}, stateOf(t, w.instance("order", "1")).Seen)
	require.NoError(t, w.Skip(t.Context(), "order", OfStream("pay-2"), by("that one never was")))
	i := w.instance("order", "1")
	require.Equal(t, []string{"placed", "shipped", "paid", "reserved", "reserved"}, stateOf(t, i).Seen)
	require.EqualValues(t, 6, i.Cursor, "and is not given again what it has had")
	for _, b := range w.bindings { // a redelivery of all of it
		b.at = eventstore.Anchor{}
	}
	w.checkpoint.Store(&eventstore.Anchor{})
	w.settle()
	require.Equal(t, stateOf(t, i), stateOf(t, w.instance("order", "1")))
	require.Equal(t, []string{`charge{"Order":"1"}`}, w.did())
	w.audit()
}

// TestAStreamWithTooManyEarlyEventsGoesOn: an operator can have it go on before
// the start has come, and after; either way nothing is lost, and nobody is given
// twice what is for several.
func TestAStreamWithTooManyEarlyEventsGoesOn(t *testing.T) {
	for _, before := range []bool{true, false} {
		def := Define("order", 1,
			Starts(byPlaced, func(*order, *Context, placed) error { return nil }),
			Waits(OnMany(func(e grouped) []string { return e.Orders }, func(o *order, _ *Context, _ grouped) error { o.Tries++; return nil })))
		w := newWorld(t, def)
		w.emit("order-2", placed{"2"})
		for range MaxEarly + 5 {
			w.emit("pay-1", grouped{[]string{"2", "1"}})
		}
		w.feed(1000)
		parked, err := w.Instances(t.Context(), Query{Status: Parked})
		require.NoError(t, err)
		require.Len(t, parked, 1)
		require.Equal(t, 5, parked[0].Waiting)
		require.Contains(t, parked[0].Reason, `1000 events wait for the start of "1" already`)
		require.Equal(t, MaxEarly, stateOf(t, w.instance("order", "2")).Tries, "given to all or to none")
		retry := func() {
			require.NoError(t, w.Retry(t.Context(), "order", OfStream("pay-1"), by("they belong together")))
		}
		if before {
			retry()
			require.Equal(t, MaxEarly+5, stateOf(t, w.instance("order", "2")).Tries)
		}
		w.emit("order-1", placed{"1"})
		w.feed(1000)
		if !before {
			retry()
		}
		for _, key := range []string{"1", "2"} {
			require.Equal(t, MaxEarly+5, stateOf(t, w.instance("order", key)).Tries)
		}
		require.Zero(t, w.stats().Parked)
		w.audit()
	}
}

// TestAStreamNamedLikeAKeyIsNamedApart: what is done with one is not done with
// the other, and what a listing gives names the same to every call.
func TestAStreamNamedLikeAKeyIsNamedApart(t *testing.T) {
	broken := true
	w := newWorld(t, reading(&broken))
	w.emit("order-1", placed{"order-1"}, paid{"order-1"}, paid{"order-1"})
	w.settle()
	parked, err := w.Instances(t.Context(), Query{Status: Parked})
	require.NoError(t, err)
	require.Len(t, parked, 1)
	require.Equal(t, "order-1", parked[0].Stream)
	stream := parked[0].Key
	require.Equal(t, OfStream("order-1"), stream)
	require.Error(t, eventstore.CheckName("saga key", stream), "no instance can have it")
	shown, err := w.Show(t.Context(), "order", stream)
	require.NoError(t, err)
	require.Equal(t, parked[0], shown.Instance)
	require.Len(t, shown.Inputs, 2)
	shown, err = w.Show(t.Context(), "order", "order-1")
	require.NoError(t, err)
	require.Empty(t, shown.Stream)
	require.Equal(t, Running, shown.Status)

	require.ErrorIs(t, w.Retry(t.Context(), "order", "order-1", by("because")), ErrState)
	require.ErrorIs(t, w.Cancel(t.Context(), "order", stream, by("because")), ErrState)
	require.ErrorIs(t, w.Resolve(t.Context(), "order", stream, "x", nil, by("because")), ErrState)
	require.NoError(t, w.Skip(t.Context(), "order", stream, by("it is lost")))
	require.NoError(t, w.Complete(t.Context(), "order", stream, by("so is what follows")))
	require.Equal(t, Completed, w.instance("order", stream).Status)
	require.Equal(t, Running, w.instance("order", "order-1").Status)
	require.Zero(t, w.stats().Parked)

	w.emit("only-a-stream", paid{"order-1"})
	w.settle()
	_, err = w.Instance(t.Context(), "order", "only-a-stream")
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorIs(t, w.Complete(t.Context(), "order", "only-a-stream", by("because")), ErrNotFound)
	_, err = w.History(t.Context(), "order", OfStream("no-stream"))
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorContains(t, err, `stream "no-stream"`)
	require.ErrorIs(t, w.Retry(t.Context(), "order", OfStream("no-stream"), by("because")), ErrNotFound)
	broken = false
	require.NoError(t, w.Retry(t.Context(), "order", OfStream("only-a-stream"), by("mended")))
	w.settle()
	require.Equal(t, []string{"placed", "paid"}, stateOf(t, w.instance("order", "order-1")).Seen)
	w.audit()
}

// TestAnInstanceIsFoundByItsKey without a look at the others.
func TestAnInstanceIsFoundByItsKey(t *testing.T) {
	w := newWorld(t, shop())
	plan := w.plan(instanceOfKey, "order", "1", false)
	require.NotContains(t, plan, "SCAN")
	require.Contains(t, plan, "SEARCH i USING INTEGER PRIMARY KEY (rowid=?)")
	require.Contains(t, plan, "(saga=? AND key=? AND stray=?)")
}

// plan returns how SQLite would run a query of sagas.db.
func (w *world) plan(query string, args ...any) (plan string) {
	w.t.Helper()
	require.NoError(w.t, each(w.t.Context(), w.db.Reader(), func(rows *sql.Rows) error {
		var id, parent, unused int
		var detail string
		err := rows.Scan(&id, &parent, &unused, &detail)
		plan += detail + "\n"
		return err
	}, "EXPLAIN QUERY PLAN "+query, args...))
	return plan
}
