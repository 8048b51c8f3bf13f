package saga

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
)

// TestSkipOfATimer: it is gone, and one that was set again since is not.
func TestSkipOfATimer(t *testing.T) {
	calls := 0
	w := newWorld(t, Define("order", 1,
		Starts(byPlaced, func(_ *order, c *Context, _ placed) error {
			c.After("ring", time.Minute)
			c.After("other", 2*time.Hour)
			return nil
		}),
		Timer("ring", func(*order, *Context) error { calls++; return errBoom }),
		Timer("other", func(o *order, _ *Context) error { o.see("other"); return nil }), Retries(1, time.Hour)))
	w.emit("s", placed{"1"})
	w.settle()
	w.advance(time.Hour)
	require.Equal(t, Parked, w.instance("order", "1").Status)
	require.NoError(t, w.Skip(t.Context(), "order", "1", by("it rings for nothing")))
	require.Equal(t, 1, w.advance(2*time.Hour))
	i := w.instance("order", "1")
	require.Equal(t, Running, i.Status)
	require.Equal(t, []string{"other"}, stateOf(t, i).Seen)
	require.Equal(t, 1, calls)
	require.Zero(t, w.stats().Timers)
	all, err := w.History(t.Context(), "order", "1")
	require.NoError(t, err)
	skipped := all[len(all)-2] // the last is the other timer
	require.Equal(t, "admin", skipped.Kind)
	require.Regexp(t, `^passed over: timer ring \(.*\): `+errBoom.Error(), skipped.Effects)
	w.audit()
}

// TestSkipTakesWhatFailed, and not what is healthy: an instance may be parked for
// an input while a command of it backs off, or for a command while inputs wait.
func TestSkipTakesWhatFailed(t *testing.T) {
	for name, c := range map[string]struct {
		parks            bool // the command
		fails            bool // the event
		commands, inputs int  // left by the first Skip
	}{
		"input, command backs off": {false, true, 1, 0},
		"command, input waits":     {true, false, 0, 0},
		"both, first the command":  {true, true, 0, 1},
		"command backs off":        {false, false, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Define("order", 1,
				Starts(byPlaced, func(_ *order, c *Context, e placed) error { c.Send(charge{e.Order}); return nil }),
				On(byPaid, func(o *order, _ *Context, _ paid) error {
					if c.fails {
						return errBoom
					}
					o.see("paid")
					return nil
				}), IgnoreRejected[order, charge](), Retries(1, time.Hour)))
			w.hourly()
			if c.parks {
				w.opts.CommandAttempts = 1
				w.reopen()
			}
			w.on("charge", func(context.Context, bus.Command) ([]eventstore.Event, error) { return nil, errors.New("503") })
			if c.fails { // before the command parks the instance
				w.emit("s", placed{"1"}, paid{"1"})
				w.settle()
			} else {
				w.emit("s", placed{"1"})
				w.settle()
				w.emit("s", paid{"1"})
				w.settle()
			}
			require.NoError(t, w.Skip(t.Context(), "order", "1", by("it is nonsense")))
			require.Len(t, w.pending(), c.commands)
			i := w.instance("order", "1")
			require.Equal(t, c.inputs, i.Waiting)
			if c.inputs > 0 {
				require.Equal(t, Parked, i.Status, "for what failed next")
				require.NoError(t, w.Skip(t.Context(), "order", "1", by("that too")))
				i = w.instance("order", "1")
			}
			require.Equal(t, Running, i.Status)
			require.Equal(t, !c.fails, len(stateOf(t, i).Seen) == 1)
			w.audit()
		})
	}
}
