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

func keys(list []Instance) string {
	all := []string{}
	for _, i := range list {
		all = append(all, i.Key)
	}
	return strings.Join(all, " ")
}

// TestWhatIsStuckIsFound: what has failed at once, and what neither moves nor
// waits for a timer after the time that was asked for.
func TestWhatIsStuckIsFound(t *testing.T) {
	w := newWorld(t, Define("order", 1,
		Starts(byPlaced, func(o *order, c *Context, e placed) error {
			switch e.Order {
			case "parked":
				return errBoom
			case "timed":
				c.After("late", 100*time.Hour)
			case "sending":
				c.Send(reserve{e.Order})
			case "done":
				c.Complete()
			case "done-sending":
				c.Send(reserve{e.Order})
				c.Complete()
			}
			return nil
		}),
		On(byPaid, func(o *order, c *Context, e paid) error { return nil }),
		Timer("late", func(*order, *Context) error { return nil }),
		Retries(1, time.Hour)))
	w.hourly()
	w.on("reserve", func(context.Context, bus.Command) ([]eventstore.Event, error) { return nil, errBoom })
	w.emit("s", placed{"parked"}, placed{"timed"}, placed{"sending"}, placed{"done"}, placed{"done-sending"}, placed{"waits"}, placed{"moves"})
	w.settle()
	w.record()
	find := func(q Query) string {
		t.Helper()
		list, err := w.Instances(t.Context(), q)
		require.NoError(t, err)
		return keys(list)
	}
	require.Equal(t, "parked sending done-sending", find(Query{Stuck: time.Hour}))
	w.advance(2 * time.Hour)
	w.emit("s", paid{"moves"})
	w.settle()
	require.Equal(t, "parked sending done-sending waits", find(Query{Stuck: time.Hour}))
	require.Equal(t, "parked sending done-sending", find(Query{Stuck: 3 * time.Hour}))
	require.Equal(t, "parked sending waits", find(Query{Stuck: time.Hour, Open: true}))
	require.Equal(t, "parked", find(Query{Stuck: time.Hour, Status: Parked}))
	require.Equal(t, "parked timed sending waits", find(Query{Open: true, UpdatedBefore: start.Add(time.Hour)}))
	w.emit("s", placed{"new"})
	w.settle()
	require.Equal(t, "timed sending waits moves", find(Query{Status: Running, CreatedBefore: start.Add(time.Hour)}))
	require.Equal(t, "sending", find(Query{Stuck: time.Hour, After: 1, Limit: 1}))
	_, err := w.Instances(t.Context(), Query{Stuck: -1})
	require.ErrorIs(t, err, eventstore.ErrInvalid)
}

// TestShowHasEverythingOfAnInstance: what it went through, and what it waits
// for.
func TestShowHasEverythingOfAnInstance(t *testing.T) {
	w := newWorld(t, before(), counting())
	w.hourly()
	w.refuse("reserve", "none")
	w.emit("s", placed{"1"}, placed{"2"})
	w.feed(10)
	w.emit("s", paid{"1"}) // which fails
	w.feed(10)
	w.settle()
	require.NoError(t, w.Cancel(t.Context(), "order", "2", by("the customer called")))
	c, err := w.Show(t.Context(), "order", "1")
	require.NoError(t, err)
	require.Equal(t, w.instance("order", "1"), c.Instance)
	require.Len(t, c.History, 1)
	require.Equal(t, "undo:stock send:reserve timer:late", c.History[0].Effects)
	require.Equal(t, []PendingTimer{{Saga: "order", Key: "1", Name: "late", Due: start.Add(time.Hour), Held: true}}, c.Timers)
	require.Empty(t, c.Commands)
	require.Equal(t, []WaitingInput{{Kind: "event", Position: 3}, {Kind: "rejection", Name: "reserve", Code: "none", Reason: "refused: none"}}, c.Inputs)
	c, err = w.Show(t.Context(), "order", "2")
	require.NoError(t, err)
	require.Equal(t, "ada", c.History[len(c.History)-1].Who)
	w.emit("s", placed{"3"})
	w.unsubscribe()
	w.feed(10)
	c, err = w.Show(t.Context(), "order", "3")
	require.NoError(t, err)
	require.Len(t, c.Commands, 1)
	require.Equal(t, "reserve", c.Commands[0].Type)
	_, err = w.Show(t.Context(), "order", "none")
	require.ErrorIs(t, err, ErrNotFound)
}
