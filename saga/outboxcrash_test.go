package saga

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestACrashAfterDispatchRepeatsAndTheLogAnswersDuplicate(t *testing.T) {
	w := newWorld(t, chatty(3))
	w.emit("s", placed{"1"})
	// Outcomes are never recorded: the process dies before.
	w.feed(1)
	w.step = func(string) error { return errBoom }
	w.subscribe()
	require.NoError(t, w.Settle(t.Context()))
	w.step = func(string) error { return errBoom }
	w.stop()
	w.stop = nil
	require.Len(t, w.sent, 3)
	require.Error(t, w.Engine.Close())
	w.open()
	require.Len(t, w.pending(), 3)
	w.settle()
	require.Len(t, w.sent, 6)
	require.Len(t, w.did(), 3)
	w.reopen()
	require.Empty(t, w.pending())
}

func TestACrashAroundTheCommitOfAStep(t *testing.T) {
	for _, point := range []string{"commit", "committed"} {
		t.Run(point, func(t *testing.T) {
			w := newWorld(t, shop())
			w.step = func(p string) error {
				if p == point {
					return errBoom
				}
				return nil
			}
			w.emit("s", placed{"1"}, reserved{"1"})
			require.ErrorIs(t, w.tryFeed(10), errBoom)
			w.step = func(string) error { return nil }
			require.Error(t, func() error { // in the same process: what is in memory follows the file
				if point == "committed" {
					if err := w.lock(t.Context()); err != nil {
						return err
					}
					w.unlock()
					w.audit()
				}
				return errBoom
			}())
			w.reopen()
			if point == "commit" {
				require.Zero(t, w.stats().Running)
			}
			w.settle()
			require.Equal(t, []string{"placed", "reserved"}, stateOf(t, w.instance("order", "1")).Seen)
			require.Len(t, w.did(), 2)
			w.audit()
		})
	}
}

func TestAnUnknownOutcomeOfACommitIsReadFromTheFile(t *testing.T) {
	w := newWorld(t, chatty(2))
	w.step = func(p string) error {
		if p == "committed" {
			return errBoom
		}
		return nil
	}
	w.emit("s", placed{"1"})
	require.ErrorIs(t, w.tryFeed(10), errBoom)
	w.step = func(string) error { return nil }
	w.settle()
	require.Len(t, w.did(), 2)
	require.Equal(t, 1, w.stats().Running)
	w.audit()
}

func TestOutcomesThatCannotBeRecordedYetAreKept(t *testing.T) {
	w := newWorld(t, chatty(1, Rejected(func(o *order, _ *Context, r Rejection[remind]) error { o.see(r.Code); return nil })))
	w.emit("s", placed{"1"})
	w.feed(1)
	var failures atomic.Int32
	failures.Store(3)
	w.step = func(p string) error {
		if p == "commit" && failures.Add(-1) >= 0 {
			return errors.New("disk full")
		}
		return nil
	}
	w.refuse("remind", "no")
	w.settle()
	require.Negative(t, failures.Load())
	require.Equal(t, []string{"no"}, stateOf(t, w.instance("order", "1")).Seen)
	require.Len(t, w.sent, 1)
	w.audit()
}
