package saga

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
)

// gate has the commands of a type wait until it is opened.
func (w *world) gate(command string) (begun, open chan struct{}) {
	begun, open = make(chan struct{}, 100), make(chan struct{})
	w.on(command, func(ctx context.Context, cmd bus.Command) ([]eventstore.Event, error) {
		begun <- struct{}{}
		select {
		case <-open:
			return []eventstore.Event{did{cmd.Type + string(cmd.Data)}}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	return begun, open
}

func types(lines []string) string {
	var out []string
	for _, l := range lines {
		name, _, _ := strings.Cut(l, "{")
		out = append(out, name)
	}
	return strings.Join(out, " ")
}

func TestFailEndsTheInstance(t *testing.T) {
	w := newWorld(t, Define("order", 1, Starts(byPlaced, func(_ *order, c *Context, e placed) error {
		c.Send(remind{e.Order, 1})
		c.Fail("no stock")
		return nil
	})))
	w.refuse("remind", "late")
	w.emit("s", placed{"1"})
	w.settle()
	i := w.instance("order", "1")
	require.Equal(t, Failed, i.Status)
	require.Equal(t, "no stock", i.Reason)
	require.Equal(t, start, i.Completed)
	require.Contains(t, w.history("order", "1"), "rejection remind: passed over: late")
	w.audit()
}

func TestCancelWhileACommandIsInFlight(t *testing.T) {
	w := newWorld(t, shop())
	begun, open := w.gate("reserve")
	w.emit("s", placed{"1"})
	w.subscribe()
	w.feed(10)
	<-begun
	require.NoError(t, w.Cancel(t.Context(), "order", "1", by("the customer called")))
	require.Equal(t, Compensating, w.instance("order", "1").Status)
	require.Zero(t, w.stats().Timers)
	close(open)
	w.settle()
	require.Equal(t, "reserve release", types(w.did()))
	require.Equal(t, Compensated, w.instance("order", "1").Status)
	require.ErrorIs(t, w.Cancel(t.Context(), "order", "1", by("because")), ErrState)
	require.Equal(t, "admin cancel: the customer called", w.history("order", "1")[1])
	w.audit()
}

func TestCancelOfAParkedInstanceDropsWhatWaits(t *testing.T) {
	def := shop()
	def.events["paid"].handle = func(any, *Context, any) error { return &permanentError{errBoom} }
	w := newWorld(t, def)
	w.emit("s", placed{"1"}, reserved{"1"}, paid{"1"}, shipped{"1"})
	w.settle()
	require.Equal(t, 2, w.instance("order", "1").Waiting)
	require.NoError(t, w.Cancel(t.Context(), "order", "1", by("give up")))
	w.settle()
	i := w.instance("order", "1")
	require.Equal(t, Compensated, i.Status)
	require.Zero(t, i.Waiting)
	require.Equal(t, "reserve charge refund release", types(w.did()))
	w.audit()
}

func TestCompleteWithdrawsWhatIsNotInFlight(t *testing.T) {
	w := newWorld(t, chatty(3))
	begun, open := w.gate("remind")
	w.emit("s", placed{"1"}, placed{"2"})
	w.subscribe()
	w.feed(10)
	<-begun
	<-begun
	require.NoError(t, w.Complete(t.Context(), "order", "1", by("by hand")))
	close(open)
	w.settle()
	require.Equal(t, Completed, w.instance("order", "1").Status)
	require.Len(t, w.did(), 4)
	require.Contains(t, w.history("order", "1"), "admin remind: command withdrawn")
	require.ErrorIs(t, w.Complete(t.Context(), "order", "1", by("because")), ErrState)
	w.audit()

	w.emit("s", placed{"3"})
	w.unsubscribe()
	w.feed(10)
	w.step = func(string) error { return errBoom }
	require.Error(t, w.Complete(t.Context(), "order", "3", by("the disk is full")))
	w.step = func(string) error { return nil }
	w.settle()
	require.Len(t, w.did(), 7, "what was held back for the action leaves after all")
	w.audit()
}

func TestRetryOfAParkedInstanceGoesOnInOrder(t *testing.T) {
	fail := true
	def := shop()
	paidHandler := def.events["paid"].handle
	def.events["paid"].handle = func(s any, c *Context, e any) error {
		if fail {
			return errBoom
		}
		return paidHandler(s, c, e)
	}
	w := newWorld(t, def)
	w.emit("s", placed{"1"}, reserved{"1"}, paid{"1"}, shipped{"1"}, reserved{"1"})
	w.feed(2)
	w.retryFailing()
	require.Equal(t, Parked, w.instance("order", "1").Status)
	require.NoError(t, w.Retry(t.Context(), "order", "1", by("hope")))
	i := w.instance("order", "1")
	require.Equal(t, 1, i.Attempts, "the limits count anew")
	w.retryFailing()
	require.Equal(t, Parked, w.instance("order", "1").Status)
	fail = false
	require.NoError(t, w.Retry(t.Context(), "order", "1", by("mended")))
	i = w.instance("order", "1")
	require.Equal(t, []string{"placed", "reserved", "paid", "shipped"}, stateOf(t, i).Seen)
	require.Equal(t, Completed, i.Status)
	require.Zero(t, i.Waiting)
	w.settle()
	w.audit()
}

func TestACrashInTheMiddleOfARelease(t *testing.T) {
	def := shop()
	fail := true
	def.events["paid"].handle = func(s any, c *Context, _ any) error {
		if fail {
			return &permanentError{errBoom}
		}
		s.(*order).see("paid")
		return nil
	}
	w := newWorld(t, def)
	w.emit("s", placed{"1"}, paid{"1"}, paid{"1"})
	w.settle()
	fail = false
	w.step = func(string) error { return errBoom }
	require.Error(t, w.Retry(t.Context(), "order", "1", by("because")))
	w.step = func(string) error { return nil }
	w.reopen()
	require.Equal(t, Parked, w.instance("order", "1").Status)
	require.NoError(t, w.Retry(t.Context(), "order", "1", by("because")))
	require.Equal(t, []string{"placed", "paid", "paid"}, stateOf(t, w.instance("order", "1")).Seen)
	w.audit()
}

func TestACommandOfAFinishedInstanceParksAlone(t *testing.T) {
	w := newWorld(t, Define("order", 1, Starts(byPlaced, func(_ *order, c *Context, e placed) error {
		c.Send(remind{e.Order, 1})
		c.Complete()
		return nil
	})))
	w.close()
	w.opts.CommandAttempts = 1
	w.open()
	w.on("remind", func(context.Context, bus.Command) ([]eventstore.Event, error) { return nil, errBoom })
	w.emit("s", placed{"1"}, placed{"2"})
	w.settle()
	require.Equal(t, Completed, w.instance("order", "1").Status)
	require.Equal(t, 2, w.stats().Commands.Parked)
	w.reopen()
	delete(w.handlers, "remind")
	require.NoError(t, w.Retry(t.Context(), "order", "1", by("because")))
	require.NoError(t, w.Skip(t.Context(), "order", "2", by("because")))
	w.settle()
	require.Len(t, w.did(), 1)
	require.Zero(t, w.stats().Commands.Parked)
	w.audit()
}

func TestResolveSaysWhatBecameOfACommand(t *testing.T) {
	w := newWorld(t, chatty(3, Rejected(func(o *order, _ *Context, r Rejection[remind]) error { o.see(r.Code); return nil })))
	w.emit("s", placed{"1"})
	w.feed(1)
	list, err := w.Pending(t.Context(), 10)
	require.NoError(t, err)
	require.ErrorIs(t, w.Resolve(t.Context(), "order", "1", list[1].ID, nil, by("because")), ErrState)
	require.NoError(t, w.Resolve(t.Context(), "order", "1", list[0].ID, nil, by("seen it happen")))
	require.NoError(t, w.Resolve(t.Context(), "order", "1", list[1].ID, refusal{"no"}, by("they called")))
	require.Equal(t, []string{"no"}, stateOf(t, w.instance("order", "1")).Seen)
	w.settle()
	require.Equal(t, []string{`remind{"Order":"1","N":2}`}, w.did())
	require.ErrorIs(t, w.Resolve(t.Context(), "order", "none", "x", nil, by("because")), ErrNotFound)
	w.audit()
}

func TestInstancesAreListedByStatusAndPage(t *testing.T) {
	w := newWorld(t, shop(), chatty(0).renamed("chatty"))
	w.emit("s", placed{"1"}, placed{"2"}, placed{"3"}, shipped{"2"})
	w.settle()
	all, err := w.Instances(t.Context(), Query{})
	require.NoError(t, err)
	require.Len(t, all, 6)
	page, err := w.Instances(t.Context(), Query{Saga: "order", Limit: 2})
	require.NoError(t, err)
	require.Len(t, page, 2)
	page, err = w.Instances(t.Context(), Query{Saga: "order", Limit: 2, After: page[1].ID})
	require.NoError(t, err)
	require.Len(t, page, 1)
	done, err := w.Instances(t.Context(), Query{Status: Completed})
	require.NoError(t, err)
	require.Len(t, done, 1)
	require.Equal(t, "2", done[0].Key)
	for _, q := range []Query{{Limit: MaxInstances + 1}, {Status: "stuck"}} {
		_, err = w.Instances(t.Context(), q)
		require.ErrorIs(t, err, eventstore.ErrInvalid)
	}
	_, err = w.Instance(t.Context(), "order", "none")
	require.ErrorIs(t, err, ErrNotFound)
	timers, err := w.Timers(t.Context(), 10)
	require.NoError(t, err)
	require.Equal(t, []PendingTimer{{"order", "1", "late", start.Add(time.Minute), false}, {"order", "3", "late", start.Add(time.Minute), false}}, timers)
}

// renamed returns the definition under another name.
func (d *Definition) renamed(name string) *Definition {
	d.name = name
	return d
}

// TestAnActionSaysWhoAndWhy: the journal has both, and without both nothing is
// done.
func TestAnActionSaysWhoAndWhy(t *testing.T) {
	w := newWorld(t, shop())
	w.emit("s", placed{"1"})
	w.settle()
	for _, none := range []By{{}, {Who: "ada"}, {Why: "a call"}, {Who: "a\nb", Why: "a call"}} {
		require.ErrorIs(t, w.Cancel(t.Context(), "order", "1", none), eventstore.ErrInvalid)
	}
	require.Equal(t, Running, w.instance("order", "1").Status)
	long := By{Who: "ada", Why: strings.Repeat("x", MaxWhy+1)}
	require.NoError(t, w.Cancel(t.Context(), "order", "1", long))
	w.settle()
	list, err := w.History(t.Context(), "order", "1")
	require.NoError(t, err)
	var acts []Entry
	for _, e := range list {
		if e.Kind == "admin" {
			acts = append(acts, e)
		}
	}
	require.Len(t, acts, 1)
	require.Equal(t, "ada", acts[0].Who)
	require.Less(t, len(acts[0].Effects), MaxWhy+10, "what is kept is bounded")
}

// TestHistoryTellsOfTimersAndRejections: when a timer was due, and why a
// command was refused.
func TestHistoryTellsOfTimersAndRejections(t *testing.T) {
	w := newWorld(t, Define("order", 1,
		Starts(byPlaced, func(_ *order, c *Context, e placed) error {
			c.Send(charge{e.Order})
			c.After("late", time.Hour)
			return nil
		}),
		Timer("late", func(*order, *Context) error { return nil }),
		Rejected(func(*order, *Context, Rejection[charge]) error { return nil })))
	w.refuse("charge", "card_declined")
	w.emit("s", placed{"1"})
	w.settle()
	w.advance(2 * time.Hour)
	list, err := w.History(t.Context(), "order", "1")
	require.NoError(t, err)
	require.Len(t, list, 3)
	require.Equal(t, "card_declined", list[1].Code)
	require.Equal(t, "refused: card_declined", list[1].Reason)
	require.Equal(t, start.Add(time.Hour), list[2].Due)
	require.Equal(t, start.Add(2*time.Hour), list[2].At)
}

// by is an operator with a reason.
func by(why string) By { return By{Who: "ada", Why: why} }
