package saga

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
)

func TestALoopOfSagasIsStopped(t *testing.T) {
	def := Define("loop", 1, Starts(byPlaced, func(o *order, c *Context, e placed) error {
		o.Tries++
		c.Send(remind{Order: e.Order})
		return nil
	}))
	w := newWorld(t, def)
	w.close()
	w.opts.MaxHops = 10
	w.open()
	w.on("remind", func(context.Context, bus.Command) ([]eventstore.Event, error) {
		return []eventstore.Event{placed{"1"}}, nil
	})
	w.emit("s", placed{"1"})
	w.settle()
	i := w.instance("loop", "1")
	require.Equal(t, Parked, i.Status)
	require.Contains(t, i.Reason, "a chain of 10 steps")
	require.Equal(t, 10, stateOf(t, i).Tries)
}

func TestATimerThatIsDueAtOnceIsNoWayAroundTheHopLimit(t *testing.T) {
	def := Define("loop", 1,
		Starts(byPlaced, func(o *order, c *Context, e placed) error { c.After("again", 0); return nil }),
		Timer("again", func(o *order, c *Context) error { o.Tries++; c.After("again", 0); return nil }))
	w := newWorld(t, def)
	w.emit("s", placed{"1"})
	w.feed(1)
	n, err := w.FireDue(t.Context())
	require.NoError(t, err)
	require.Equal(t, MaxHops, n)
	require.Equal(t, Parked, w.instance("loop", "1").Status)
}

func TestAStepWithTooManyEffectsParks(t *testing.T) {
	def := Define("order", 1, Starts(byPlaced, func(o *order, c *Context, e placed) error {
		for n := range MaxEffects + 1 {
			c.Send(remind{e.Order, n})
		}
		return nil
	}))
	w := newWorld(t, def)
	w.emit("s", placed{"1"})
	w.settle()
	require.Contains(t, w.instance("order", "1").Reason, "more than 1000 effects")
	require.Empty(t, w.did())
}

func TestAStateThatIsTooLargeParks(t *testing.T) {
	type hoard struct{ Text string }
	def := Define("hoard", 1, Starts(func(e placed) string { return e.Order }, func(h *hoard, _ *Context, e placed) error {
		h.Text = strings.Repeat("x", MaxState)
		return nil
	}))
	w := newWorld(t, def)
	w.emit("s", placed{"1"})
	w.settle()
	require.Equal(t, Parked, w.instance("hoard", "1").Status)
	require.Contains(t, w.instance("hoard", "1").Reason, "bytes, 1048576 are allowed")
}

func TestWhatIsKeptOfAnErrorIsBounded(t *testing.T) {
	def := Define("order", 1, Starts(byPlaced, func(*order, *Context, placed) error {
		return errors.New("not UTF-8 \xff " + strings.Repeat("é", 1<<20))
	}), Retries(1, time.Hour))
	w := newWorld(t, def)
	w.emit("s", placed{"1"})
	w.settle()
	reason := w.instance("order", "1").Reason
	require.Contains(t, reason, "not UTF-8 \uFFFD é")
	require.Less(t, len(reason), 2*maxReason)
	require.True(t, utf8.ValidString(reason))
}

func TestMisuseOfTheContextParks(t *testing.T) {
	for name, misuse := range map[string]func(*Context){
		"timer":    func(c *Context) { c.Cancel("none") },
		"command":  func(c *Context) { c.Send(&remind{}) },
		"nil":      func(c *Context) { c.Send(nil) },
		"undo":     func(c *Context) { c.Undo("", remind{}) },
		"alias":    func(c *Context) { c.Alias("") },
		"far":      func(c *Context) { c.At("t", time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC)) },
		"too far":  func(c *Context) { c.After("t", 1<<63-1) },
		"two ends": func(c *Context) { c.Complete(); c.Fail("no") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Define("order", 1,
				Starts(byPlaced, func(_ *order, c *Context, _ placed) error { misuse(c); return nil }),
				Timer("t", func(*order, *Context) error { return nil })))
			w.emit("s", placed{"1"})
			w.settle()
			require.Equal(t, Parked, w.instance("order", "1").Status)
			require.Equal(t, 1, w.instance("order", "1").Attempts, "repeating would not help")
		})
	}
}
