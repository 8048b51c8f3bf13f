package saga

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWhatWaitsForAStartWaitsForAFailingStartToo(t *testing.T) {
	fail := true
	def := Define("order", 1,
		Starts(byPlaced, func(o *order, _ *Context, _ placed) error {
			if fail {
				return errBoom
			}
			o.see("placed")
			return nil
		}),
		Waits(On(byPaid, func(o *order, _ *Context, _ paid) error { o.see("paid"); return nil })))
	w := newWorld(t, def)
	w.emit("s", paid{"1"}, placed{"1"})
	w.feed(10)
	require.Empty(t, stateOf(t, w.instance("order", "1")).Seen)
	fail = false
	w.retryFailing()
	require.Equal(t, []string{"placed", "paid"}, stateOf(t, w.instance("order", "1")).Seen)
	w.audit()
}

func TestEffectsBeforeAnErrorNeverLeak(t *testing.T) {
	for _, how := range []string{"error", "panic", "misuse"} {
		t.Run(how, func(t *testing.T) {
			fail := true
			def := Define("order", 1,
				Starts(byPlaced, func(o *order, c *Context, e placed) error {
					o.see("placed")
					c.Undo("u", release{e.Order})
					c.Send(remind{e.Order, 1})
					c.After("late", time.Minute)
					c.Alias("alias")
					c.Complete()
					switch {
					case fail && how == "error":
						return errBoom
					case fail && how == "panic":
						panic(errBoom)
					case fail:
						c.After("unknown", time.Minute)
					}
					return nil
				}),
				Timer("late", func(*order, *Context) error { return nil }),
				Retries(2, time.Hour))
			w := newWorld(t, def)
			w.emit("s", placed{"1"})
			w.feed(10)
			w.retryFailing()
			i := w.instance("order", "1")
			require.Equal(t, Parked, i.Status)
			require.Empty(t, stateOf(t, i).Seen)
			require.Empty(t, i.Undo)
			require.Empty(t, w.pending())
			require.Zero(t, w.stats().Timers)
			_, err := w.Instance(t.Context(), "order", "alias")
			require.ErrorIs(t, err, ErrNotFound)
			fail = false
			require.NoError(t, w.Retry(t.Context(), "order", "1", by("mended")))
			w.settle()
			require.Equal(t, []string{`remind{"Order":"1","N":1}`}, w.did())
			require.Equal(t, Completed, w.instance("order", "1").Status)
			w.audit()
		})
	}
}

func TestAFailingInstanceBlocksNoOtherAndItsLaterEventsWait(t *testing.T) {
	fail := true
	def := noting(
		On(byPaid, func(o *order, _ *Context, e paid) error {
			if fail && e.Order == "1" {
				return errBoom
			}
			o.see("paid")
			return nil
		}),
		On(byShipped, func(o *order, _ *Context, _ shipped) error { o.see("shipped"); return nil }))
	w := newWorld(t, def)
	w.hourly()
	w.emit("s", placed{"1"}, placed{"2"}, paid{"1"}, shipped{"1"}, paid{"2"})
	w.feed(2)
	w.emit("s", shipped{"2"}, reserved{"1"})
	w.feed(2)
	require.Equal(t, []string{"placed", "paid", "shipped"}, stateOf(t, w.instance("order", "2")).Seen)
	i := w.instance("order", "1")
	require.Equal(t, []string{"placed"}, stateOf(t, i).Seen)
	require.Equal(t, 3, i.Waiting)
	require.Equal(t, 1, i.Attempts)
	require.Equal(t, 1, w.stats().BackingOff)
	require.False(t, w.stats().NextAttempt.IsZero())
	require.Contains(t, w.stats().Failure, "boom")

	w.reopen() // attempts are in the file
	require.Equal(t, 1, w.instance("order", "1").Attempts)
	fail = false
	w.retryFailing()
	require.Equal(t, []string{"placed", "paid", "shipped", "reserved"}, stateOf(t, w.instance("order", "1")).Seen)
	require.Zero(t, w.instance("order", "1").Waiting)
	require.Zero(t, w.stats().BackingOff)
	w.audit()
}

func TestAttemptsAndAgeAreLimited(t *testing.T) {
	calls := 0
	def := Define("order", 1,
		Starts(byPlaced, func(*order, *Context, placed) error { calls++; return errBoom }),
		Retries(4, time.Hour))
	w := newWorld(t, def)
	w.emit("s", placed{"1"})
	w.feed(1)
	w.retryFailing()
	require.Equal(t, 4, calls)
	require.Equal(t, Parked, w.instance("order", "1").Status)
	require.Equal(t, 1, w.stats().Parked)

	def.attempts, def.age = 1000, time.Nanosecond
	w.emit("s", placed{"2"})
	w.feed(1)
	w.retryFailing()
	require.Less(t, w.instance("order", "2").Attempts, 4)
	require.Equal(t, Parked, w.instance("order", "2").Status)
	w.audit()
}

// future is paid, as a newer program writes it.
type future struct{ Order string }

func (future) EventType() string { return "paid" }
func (future) EventVersion() int { return 7 }

func TestAnUndecodableEventParksItsStreamAlone(t *testing.T) {
	def := noting(
		On(byPaid, func(o *order, _ *Context, _ paid) error { o.see("paid"); return nil }),
		On(byShipped, func(o *order, _ *Context, _ shipped) error { o.see("shipped"); return nil }))
	w := newWorld(t, def)
	w.emit("a", placed{"1"})
	w.emit("b", placed{"2"})
	w.emit("a", future{"1"}, shipped{"1"})
	w.emit("b", shipped{"2"})
	w.settle()
	require.Equal(t, []string{"placed"}, stateOf(t, w.instance("order", "1")).Seen, "what follows in the stream waits")
	require.Equal(t, []string{"placed", "shipped"}, stateOf(t, w.instance("order", "2")).Seen)
	parked, err := w.Instances(t.Context(), Query{Status: Parked})
	require.NoError(t, err)
	require.Len(t, parked, 1)
	require.Equal(t, "a", parked[0].Stream)
	require.Equal(t, OfStream("a"), parked[0].Key)
	require.Contains(t, parked[0].Reason, "schema version 7")
	w.audit()

	w.reopen()
	w.emit("a", reserved{"1"})
	w.settle()
	require.NoError(t, w.Retry(t.Context(), "order", OfStream("a"), by("try")))
	require.Equal(t, []string{"placed"}, stateOf(t, w.instance("order", "1")).Seen, "it still cannot be read")
	require.NoError(t, w.Skip(t.Context(), "order", OfStream("a"), by("it is lost")))
	w.settle()
	require.Equal(t, []string{"placed", "shipped", "reserved"}, stateOf(t, w.instance("order", "1")).Seen)
	require.Zero(t, w.stats().Parked)
	w.emit("a", shipped{"1"})
	w.emit("a", future{"1"}, future{"1"})
	w.settle()
	require.Equal(t, 1, w.stats().Parked)
	require.NoError(t, w.Complete(t.Context(), "order", OfStream("a"), by("drop them")))
	require.Zero(t, w.stats().Parked)
	require.Equal(t, []string{"placed", "shipped", "reserved", "shipped"}, stateOf(t, w.instance("order", "1")).Seen)
	w.audit()
}

func TestAPanicOfAKeyFunctionParksTheStream(t *testing.T) {
	def := Define("order", 1,
		Starts(func(e placed) string {
			if e.Order == "bad" {
				panic("no key")
			}
			return e.Order
		}, func(*order, *Context, placed) error { return nil }))
	w := newWorld(t, def)
	w.emit("a", placed{"bad"})
	w.emit("b", placed{"1"}, placed{strings.Repeat("x", 300)})
	w.settle()
	require.Equal(t, Running, w.instance("order", "1").Status)
	require.Equal(t, 2, w.stats().Parked)
}

func TestAnUndecodableStateParksAndStaysListable(t *testing.T) {
	w := newWorld(t, noting())
	w.emit("s", placed{"1"}, placed{"2"})
	w.settle()
	w.close()
	w.open()
	_, err := w.db.Writer().Exec(`UPDATE instance SET state = '[1]' WHERE key = '1'`)
	require.NoError(t, err)
	w.emit("s", reserved{"1"}, reserved{"2"})
	w.settle()
	i := w.instance("order", "1")
	require.Equal(t, Parked, i.Status)
	require.Contains(t, i.Reason, "decode state")
	require.JSONEq(t, "[1]", string(i.State))
	require.Equal(t, Running, w.instance("order", "2").Status)
}
