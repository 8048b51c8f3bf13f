package saga

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/internal/sqlite"
)

// tripping is a saga that fails when it is paid for as long as told to, and
// when it is shipped for ever; in between it sets timers.
func tripping(fail *bool) *Definition {
	return Define("order", 1,
		Starts(byPlaced, func(_ *order, c *Context, _ placed) error { c.After("moved", 24*time.Hour); return nil }),
		On(byPaid, func(*order, *Context, paid) error {
			if *fail {
				return errBoom
			}
			return nil
		}),
		On(byReserved, func(_ *order, c *Context, _ reserved) error {
			c.After("moved", time.Minute)
			c.After("new", time.Minute)
			return nil
		}),
		On(byShipped, func(*order, *Context, shipped) error { return errBoom }),
		Timer("moved", func(o *order, _ *Context) error { o.see("moved"); return nil }),
		Timer("new", func(o *order, _ *Context) error { o.see("new"); return nil }))
}

// TestATimerThatIsSetWhileItFailsAgainIsHeld: an instance that failed gets on by
// a step that sets timers, and fails again in the same transaction.
func TestATimerThatIsSetWhileItFailsAgainIsHeld(t *testing.T) {
	fail := true
	w := newWorld(t, tripping(&fail))
	w.hourly()
	for n := range FirePage {
		key := fmt.Sprint(n)
		w.emit("s", placed{key}, paid{key}, reserved{key}, shipped{key})
	}
	w.feed(1000)
	_, ok, err := w.NextDue(t.Context())
	require.NoError(t, err)
	require.False(t, ok)
	fail = false
	require.NoError(t, w.Retry(t.Context(), "order", "0", by("mended")))
	_, ok, err = w.NextDue(t.Context())
	require.NoError(t, err)
	require.False(t, ok, "that is what RunTimers waits for")
	w.retryFailing() // the others by themselves

	w.emit("other", placed{"good"}, reserved{"good"})
	w.feed(10)
	timers, err := w.Timers(t.Context(), 3*FirePage)
	require.NoError(t, err)
	require.Len(t, timers, 2*FirePage+2)
	for _, timer := range timers {
		require.Equal(t, timer.Key != "good", timer.Held, timer)
	}
	require.Equal(t, 2, w.advance(time.Hour), "a page of timers that are held holds up no other")
	require.Equal(t, []string{"moved", "new"}, stateOf(t, w.instance("order", "good")).Seen)
	_, ok, err = w.NextDue(t.Context())
	require.NoError(t, err)
	require.False(t, ok)
	require.NoError(t, w.Skip(t.Context(), "order", "0", by("it never was shipped")))
	require.Equal(t, 2, w.advance(0), "they are due")
	w.audit()
}

// TestATimerOfLongAgoFiresAtOnce, however long ago, and no other has to wait
// for it.
func TestATimerOfLongAgoFiresAtOnce(t *testing.T) {
	at := map[string]time.Time{
		"zero": {}, "1600": time.Date(1600, 1, 1, 0, 0, 0, 0, time.UTC), "1969": time.Unix(0, -1), "1970": time.Unix(0, 0),
		"today": start, "late": start.Add(time.Hour), "2262": time.Unix(0, 1<<63-1), "9999": time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC),
	}
	w := newWorld(t, Define("order", 1,
		Starts(byPlaced, func(_ *order, c *Context, e placed) error { c.At("ring", at[e.Order]); return nil }),
		Timer("ring", func(o *order, _ *Context) error { o.see("ring"); return nil })))
	for key := range at {
		w.emit("s", placed{key})
	}
	w.settle()
	require.Equal(t, 5, w.advance(0))
	require.Equal(t, 1, w.advance(time.Hour))
	due, ok, err := w.NextDue(t.Context())
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, at["2262"].UTC(), due)
	i := w.instance("order", "9999")
	require.Equal(t, Parked, i.Status)
	require.Contains(t, i.Reason, "after 2262")
	w.audit()
}

// TestTimersThatWereNotHeldInAFileOfBefore: a program of before left timers of a
// failing instance as if they were to fire.
func TestTimersThatWereNotHeldInAFileOfBefore(t *testing.T) {
	fail := true
	w := newWorld(t, tripping(&fail))
	w.hourly()
	w.emit("s", placed{"failing"}, placed{"parked"}, paid{"failing"}, shipped{"parked"}, placed{"good"})
	w.feed(10)
	w.close()
	asOf(t, w.dir, timersByDue-1)
	db, err := sqlite.Open(t.Context(), filepath.Join(w.dir, FileName), sqlite.Options{})
	require.NoError(t, err)
	_, err = db.Writer().Exec(`UPDATE timer SET held = 0; UPDATE instance SET status = 'parked', next_attempt = 0 WHERE key = 'parked'`)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	w.open()
	require.Equal(t, 1, w.advance(48*time.Hour))
	_, ok, err := w.NextDue(t.Context())
	require.NoError(t, err)
	require.False(t, ok)
	for _, key := range []string{"failing", "parked"} {
		require.Empty(t, stateOf(t, w.instance("order", key)).Seen)
		require.NoError(t, w.Skip(t.Context(), "order", key, by("it never was")))
	}
	require.Equal(t, 2, w.advance(0))
	w.audit()
}
