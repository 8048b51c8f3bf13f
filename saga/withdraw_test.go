package saga

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
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
		for _, fails := range []bool{false, true} { // the transaction
			t.Run(fmt.Sprint(name, " ", fails), func(t *testing.T) {
				w := newWorld(t, shop())
				w.hourly()
				w.on("reserve", func(context.Context, bus.Command) ([]eventstore.Event, error) { return nil, errBoom })
				w.emit("s", placed{"1"})
				w.settle()
				require.Equal(t, 1, w.stats().Commands.BackingOff)
				delete(w.handlers, "reserve")
				var acted atomic.Bool
				w.step = func(point string) error {
					if point != "commit" || acted.Swap(true) {
						return nil
					}
					w.outbox.retryDue(time.Now().Add(24 * time.Hour).UnixNano())
					if w.outbox.next(1<<30) != nil {
						return errors.New("it leaves")
					}
					if fails {
						return errBoom
					}
					return nil
				}
				if err := act(w); fails {
					require.ErrorIs(t, err, errBoom)
				} else {
					require.NoError(t, err)
				}
				w.settle()
				carriedOut := slices.ContainsFunc(w.did(), func(done string) bool { return strings.HasPrefix(done, "reserve") })
				require.Equal(t, fails, carriedOut)
				require.Zero(t, w.stats().Commands.Pending)
				w.audit()
			})
		}
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
