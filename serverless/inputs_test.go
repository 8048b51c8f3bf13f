//go:build linux && cgo

package serverless_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/faultvfs"
	"github.com/leat-go/leat/saga"
	"github.com/leat-go/leat/serverless"
)

// fillDisk has no commit to the log find room until free is called.
func fillDisk(t *testing.T, dir string) (free func()) {
	t.Helper()
	f, err := faultvfs.Inject(faultvfs.Fault{Kind: faultvfs.Write, Dir: dir, Suffix: "log.db-wal", Times: faultvfs.Forever, Error: faultvfs.Full})
	require.NoError(t, err)
	return f.Remove
}

func inputs(t *testing.T, b *bank) serverless.Inputs {
	t.Helper()
	st, err := b.Status(t.Context())
	require.NoError(t, err)
	require.Len(t, st.Inputs, 1)
	return st.Inputs[0]
}

// A full disk does not stop the store, and no Run or Drain: freeing space is
// enough, and every input is taken once.
func TestInputsAreTriedAgainUntilAFullDiskHasRoom(t *testing.T) {
	failingDisk(t)
	for name, virtual := range map[string]bool{"run": false, "drain in virtual time": true} {
		t.Run(name, func(t *testing.T) {
			var log lines
			dir, begin := t.TempDir(), time.Now()
			opts := serverless.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}
			clk := clock.NewVirtual(epoch)
			if virtual {
				begin, opts.Clock = epoch, clk
			}
			src := &deposits{at: begin, left: 3}
			b := newBank(t, dir, opts, func(b *bank) { src.bank = b; b.Source(src) })
			require.NoError(t, b.Open(t.Context()))
			free := fillDisk(t, dir)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			done := make(chan error, 1)
			go func() {
				if virtual {
					_, err := b.Drain(ctx, serverless.Budget{})
					done <- err
					return
				}
				done <- b.Run(ctx)
			}()
			require.Eventually(t, func() bool { return inputs(t, b).Attempts > 2 }, time.Minute, time.Millisecond, "it tries")
			held := inputs(t, b)
			require.Contains(t, held.Error, "disk full")
			require.False(t, held.Since.IsZero())
			require.True(t, held.NextAttempt.After(held.Since))
			require.False(t, storeStatus(t, b).Stopped)
			if virtual {
				require.Equal(t, epoch, clk.Now(), "the clock stands still")
			}
			free()
			require.Eventually(t, func() bool { head, err := b.store.Head(t.Context()); return err == nil && head == 3 }, time.Minute, time.Millisecond)
			if !virtual {
				require.Eventually(t, func() bool { return inputs(t, b) == serverless.Inputs{} }, time.Minute, time.Millisecond)
				cancel()
			}
			require.NoError(t, <-done)
			require.Equal(t, 1, log.count("the store does not take inputs"), "once, not with each attempt")
			require.Equal(t, 1, log.count("the store takes inputs again"))
		})
	}
}

func TestInputsThatAreTriedAgainHoldUpNoEnd(t *testing.T) {
	failingDisk(t)
	t.Run("run", func(t *testing.T) {
		dir := t.TempDir()
		src := &deposits{at: time.Now(), left: 1}
		b := newBank(t, dir, serverless.Options{}, func(b *bank) { src.bank = b; b.Source(src) })
		require.NoError(t, b.Open(t.Context()))
		free := fillDisk(t, dir)
		defer free()
		stop := b.running(t)
		require.Eventually(t, func() bool { return inputs(t, b).Attempts > 0 }, time.Minute, time.Millisecond)
		stop()
	})
	t.Run("drain", func(t *testing.T) {
		dir := t.TempDir()
		src := &deposits{at: epoch, left: 1}
		b := newBank(t, dir, serverless.Options{Clock: clock.NewVirtual(epoch)}, func(b *bank) { src.bank = b; b.Source(src) })
		require.NoError(t, b.Open(t.Context()))
		free := fillDisk(t, dir)
		_, err := b.Drain(t.Context(), serverless.Budget{Time: 300 * time.Millisecond})
		require.ErrorIs(t, err, serverless.ErrMoreWork)
		require.ErrorIs(t, err, eventstore.ErrOutcomeUnknown, "it says what it waited for")
		require.Equal(t, serverless.Inputs{}, inputs(t, b), "nobody tries any more")
		free()
		b.drain(t)
		require.EqualValues(t, 1, b.balance(t, "ada"))
	})
}

func TestAnErrorOfTheSourceItselfEndsARun(t *testing.T) {
	src := &flaky{Source: &deposits{at: time.Now(), left: 1}, refuse: func() error { return errBoom }}
	b := newBank(t, t.TempDir(), serverless.Options{}, func(b *bank) { b.Source(src) })
	require.ErrorIs(t, b.Run(t.Context()), errBoom)
}

// flaky is a source that is refused before each release.
type flaky struct {
	serverless.Source
	refuse func() error
}

func (f *flaky) Release(ctx context.Context, until time.Time) error {
	if err := f.refuse(); err != nil {
		return err
	}
	return f.Source.Release(ctx, until)
}

// Welcome of a plan: what a saga sends when one starts.
func welcome(b *bank) {
	b.Saga(saga.Define("welcome", 1,
		saga.Starts(func(e PlanStarted) string { return e.Plan }, func(_ *saving, c *saga.Context, e PlanStarted) error {
			c.Send(Deposit{Account: e.Plan, Cents: 1})
			return nil
		})))
}

// An input that is tried again stands where it would have stood: nothing that
// comes after it gets before it.
func TestInputsThatAreTriedAgainKeepTheirPlace(t *testing.T) {
	run := func(refused int) []eventstore.Recorded {
		src := &planner{plans: 9, gap: 90 * time.Second}
		busy := map[int]int{4: refused, 7: refused}
		src.refuse = func(i int) error {
			if busy[i]--; busy[i] < 0 {
				return nil
			}
			return fmt.Errorf("plan %d: %w", i, eventstore.ErrBusy)
		}
		b := newBank(t, t.TempDir(), serverless.Options{Clock: clock.NewVirtual(epoch), Ordered: true}, withSaving, welcome,
			func(b *bank) { src.b = b; b.Source(src) })
		b.drain(t)
		return content(t, b)
	}
	require.Equal(t, run(0), run(2))
}
