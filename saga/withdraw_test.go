package saga

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
)

// TestAWithdrawnCommandDoesNotLeaveMeanwhile: the wait of one that backs off
// may be over before the operator's transaction has committed.
func TestAWithdrawnCommandDoesNotLeaveMeanwhile(t *testing.T) {
	for name, act := range map[string]func(*world) error{
		"cancel":   func(w *world) error { return w.Cancel(t.Context(), "order", "1", by("because")) },
		"skip":     func(w *world) error { return w.Skip(t.Context(), "order", "1", by("because")) },
		"complete": func(w *world) error { return w.Complete(t.Context(), "order", "1", by("because")) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, shop())
			w.hourly()
			w.on("reserve", func(context.Context, bus.Command) ([]eventstore.Event, error) { return nil, errBoom })
			w.emit("s", placed{"1"})
			w.settle()
			require.Equal(t, 1, w.stats().Commands.BackingOff)
			delete(w.handlers, "reserve")
			for _, fails := range []bool{true, false} {
				w.step = func(point string) error {
					if point != "commit" {
						return nil
					}
					w.outbox.retryDue(time.Now().Add(24 * time.Hour).UnixNano())
					require.Nil(t, w.outbox.next(1<<30))
					if fails {
						return errBoom
					}
					return nil
				}
				err := act(w)
				require.Equal(t, fails, err != nil, "%v", err)
				w.step = func(string) error { return nil }
				if fails { // it backs off again
					w.on("reserve", func(context.Context, bus.Command) ([]eventstore.Event, error) { return nil, errBoom })
					w.settle()
					require.Equal(t, 1, w.stats().Commands.BackingOff)
					delete(w.handlers, "reserve")
				}
			}
			w.settle()
			require.Zero(t, w.stats().Commands.Pending)
			for _, done := range w.did() {
				require.NotContains(t, done, "reserve")
			}
			w.audit()
		})
	}
}

func TestResolveOfAParkedCommandHasItsInstanceGoOn(t *testing.T) {
	for _, reopened := range []bool{false, true} {
		w := newWorld(t, chatty(1))
		w.close()
		w.opts.CommandAttempts = 1
		w.open()
		w.on("remind", func(context.Context, bus.Command) ([]eventstore.Event, error) { return nil, errBoom })
		w.emit("s", placed{"1"})
		w.settle()
		require.Equal(t, Parked, w.instance("order", "1").Status)
		if reopened {
			w.reopen()
		}
		list, err := w.Pending(t.Context(), 10)
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.NoError(t, w.Resolve(t.Context(), "order", "1", list[0].ID, nil, by("it was sent by hand")))
		w.settle()
		i := w.instance("order", "1")
		require.Equal(t, Running, i.Status)
		require.Empty(t, i.Reason)
		w.audit()
	}
}
