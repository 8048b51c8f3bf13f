package serverless_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/serverless"
)

// echo deposits again for every deposit, as long as more says so.
func echo(more func(cents int64) bool) func(*bank) {
	return func(b *bank) {
		serverless.OnEvent(b.Host, "echo", func(ctx context.Context, e eventstore.Of[Deposited]) error {
			if !more(e.Payload.Cents) {
				return nil
			}
			_, err := b.Do(ctx, serverless.Request{
				Function: "deposit", Payload: Deposit{Account: e.Payload.Account, Cents: e.Payload.Cents + 1},
				ID: "echo-" + e.ID.String(),
			})
			return err
		})
	}
}

func TestDrainedMeansEveryConsumerHasScannedToAHeadThatStandsStill(t *testing.T) {
	b := newBank(t, t.TempDir(), serverless.Options{}, echo(func(cents int64) bool { return cents < 20 }))
	b.deposit(t, "1", 1)
	report := b.drain(t)
	require.EqualValues(t, 20, report.Head)
	require.EqualValues(t, 19, report.Appended)
	require.EqualValues(t, 40, report.Delivered)
	require.Zero(t, report.Next)
	require.EqualValues(t, 210, b.balance(t, "1"))
	st, err := b.Status(t.Context())
	require.NoError(t, err)
	for _, c := range st.Consumers {
		require.Zero(t, c.Lag, c.Name)
		require.Zero(t, c.LagTime, c.Name)
	}
	report = b.drain(t)
	require.Zero(t, report.Appended)
	require.Zero(t, report.Delivered)
}

func TestASpentBudgetSaysMoreWorkAndTheNextDrainGoesOn(t *testing.T) {
	most := int64(1 << 40)
	b := newBank(t, t.TempDir(), serverless.Options{}, echo(func(cents int64) bool { return cents < most }))
	b.deposit(t, "1", 1)
	report, err := b.Drain(t.Context(), serverless.Budget{Time: 50 * time.Millisecond})
	require.ErrorIs(t, err, serverless.ErrMoreWork)
	require.ErrorContains(t, err, "budget is spent")
	require.Equal(t, serverless.ExitMoreWork, serverless.ExitCode(err))
	require.Positive(t, report.Appended)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = b.Drain(ctx, serverless.Budget{})
	require.ErrorIs(t, err, context.Canceled)

	head, err := b.store.Head(t.Context())
	require.NoError(t, err)
	most = head + 5
	report = b.drain(t)
	require.EqualValues(t, most, report.Head)
	require.Equal(t, serverless.ExitDone, serverless.ExitCode(nil))
}

func TestOneDrainOrRunAtATime(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	b := newBank(t, t.TempDir(), serverless.Options{}, func(b *bank) {
		serverless.OnEvent(b.Host, "slow", func(context.Context, eventstore.Of[Deposited]) error {
			close(entered)
			<-leave
			return nil
		})
	})
	b.deposit(t, "1", 1)
	drained := make(chan error, 1)
	go func() {
		_, err := b.Drain(context.Background(), serverless.Budget{})
		drained <- err
	}()
	<-entered
	require.ErrorIs(t, b.Run(t.Context()), serverless.ErrRunning)
	st, err := b.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, "balances", st.Consumers[0].Name)
	require.Equal(t, "function", st.Consumers[1].Kind)
	require.EqualValues(t, 1, st.Consumers[1].Lag)
	require.Positive(t, st.Consumers[1].LagTime)
	require.Contains(t, []string{"running", "catching up"}, st.Consumers[1].State)
	close(leave)
	require.NoError(t, <-drained)
}

func TestClosingEndsADrainThatCanBeRepeated(t *testing.T) {
	dir := t.TempDir()
	entered := make(chan struct{})
	b := reopen(t, nil, dir, serverless.Options{Grace: time.Millisecond}, func(b *bank) {
		serverless.OnEvent(b.Host, "slow", func(ctx context.Context, _ eventstore.Of[Deposited]) error {
			close(entered)
			<-ctx.Done()
			return ctx.Err()
		})
	})
	b.deposit(t, "1", 1)
	drained := make(chan error, 1)
	go func() {
		_, err := b.Drain(context.Background(), serverless.Budget{})
		drained <- err
	}()
	<-entered
	require.NoError(t, b.Close())
	err := <-drained
	require.ErrorIs(t, err, serverless.ErrMoreWork)
	require.ErrorIs(t, err, serverless.ErrClosed)
	require.ErrorIs(t, b.Run(t.Context()), serverless.ErrClosed)
	c := &calls{}
	b = reopen(t, b, dir, serverless.Options{}, func(b *bank) { serverless.OnEvent(b.Host, "slow", c.handle) })
	b.drain(t)
	require.Equal(t, []string{"1:1"}, c.take())
}

func TestARunThatEndsHasClosedEverything(t *testing.T) {
	dir := t.TempDir()
	entered, leave := make(chan struct{}), make(chan struct{})
	b := newBank(t, dir, serverless.Options{}, withSaving, func(b *bank) {
		serverless.OnEvent(b.Host, "slow", func(ctx context.Context, _ eventstore.Of[Deposited]) error {
			close(entered)
			<-leave
			return ctx.Err() // its context lives on while it is finished
		})
	})
	stop := b.running(t)
	b.deposit(t, "1", 1)
	<-entered
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	select {
	case <-stopped:
		t.Error("the run ended before its last function")
	default:
	}
	close(leave)
	<-stopped
	_, err := b.Invoke(t.Context(), "deposit", Deposit{})
	require.ErrorIs(t, err, serverless.ErrClosed)
	for _, name := range files(t, dir) {
		if filepath.Dir(name) != dir || filepath.Base(name) == "consumers.db-wal" || filepath.Base(name) == "sagas.db-wal" {
			require.NotContains(t, name, "-wal", "the file is closed")
		}
	}
	c := &calls{}
	b = reopen(t, b, dir, serverless.Options{}, withSaving, func(b *bank) { serverless.OnEvent(b.Host, "slow", c.handle) })
	b.drain(t)
	require.Empty(t, c.take(), "what was finished is recorded")
}

// till is a Source that deposits at the instants it is given.
type till struct {
	b     *bank
	at    []time.Time
	clock clock.Clock
	seen  []time.Time // of the clock, at each release
}

func (s *till) Next(context.Context) (time.Time, bool, error) {
	if len(s.at) == 0 {
		return time.Time{}, false, nil
	}
	return s.at[0], true, nil
}

func (s *till) Release(ctx context.Context, until time.Time) error {
	s.seen = append(s.seen, s.clock.Now())
	for len(s.at) > 0 && !s.at[0].After(until) {
		_, err := s.b.Do(ctx, serverless.Request{
			Function: "deposit", Payload: Deposit{Account: "till", Cents: 1},
			ID: fmt.Sprintf("till-%d", s.at[0].UnixNano()),
		})
		if err != nil {
			return err
		}
		s.at = s.at[1:]
	}
	return nil
}

type groupedTill struct{ *till }

func (s groupedTill) Together(_ context.Context, before time.Time) (time.Time, error) {
	last := s.at[0]
	for _, at := range s.at {
		if before.IsZero() || at.Before(before) {
			last = at
		}
	}
	return last, nil
}

var epoch = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func minutes(n ...int) (at []time.Time) {
	for _, m := range n {
		at = append(at, epoch.Add(time.Duration(m)*time.Minute))
	}
	return at
}

func recorded(t testing.TB, b *bank) (at []time.Time) {
	t.Helper()
	for e, err := range eventstore.Log(t.Context(), b.store, 0, eventstore.Filter{}) {
		require.NoError(t, err)
		at = append(at, e.RecordedAt())
	}
	return at
}

func TestVirtualTimeMovesToEachOutsideInput(t *testing.T) {
	clk := clock.NewVirtual(epoch)
	dir := t.TempDir()
	first, second := &till{clock: clk, at: minutes(5, 5, 90)}, &till{clock: clk, at: minutes(7, 60*24)}
	b := newBank(t, dir, serverless.Options{Clock: clk}, func(b *bank) {
		first.b, second.b = b, b
		b.Source(first)
		b.Source(second)
	})
	report, err := b.Drain(t.Context(), serverless.Budget{Until: epoch.Add(time.Hour)})
	require.NoError(t, err)
	require.Equal(t, minutes(5, 7), recorded(t, b), "one id is one deposit")
	require.Equal(t, epoch.Add(90*time.Minute), report.Next)
	require.EqualValues(t, 2, report.Instants)
	require.Equal(t, epoch.Add(7*time.Minute), report.Now)
	report = b.drain(t)
	require.Equal(t, minutes(5, 7, 90, 60*24), recorded(t, b))
	require.Equal(t, epoch.Add(24*time.Hour), report.Now)
	require.Zero(t, report.Next)
	require.EqualValues(t, 4, b.balance(t, "till"))

	// Another process goes on from the same instant.
	clk = clock.NewVirtual(time.Unix(0, 0))
	b = reopen(t, b, dir, serverless.Options{Clock: clk})
	require.NoError(t, b.Open(t.Context()))
	require.Equal(t, epoch.Add(24*time.Hour), clk.Now().UTC())
}

func TestInputsThatMayGoTogetherDoAtTheLastOfThem(t *testing.T) {
	clk := clock.NewVirtual(epoch)
	src := &till{clock: clk, at: minutes(1, 2, 3)}
	b := newBank(t, t.TempDir(), serverless.Options{Clock: clk}, func(b *bank) {
		src.b = b
		b.Source(groupedTill{src})
	})
	report := b.drain(t)
	require.Equal(t, minutes(3, 3, 3), recorded(t, b))
	require.EqualValues(t, 1, report.Instants)
}

func TestAnOverdueInputIsDueNow(t *testing.T) {
	clk := clock.NewVirtual(epoch.Add(time.Hour))
	src := &till{clock: clk, at: minutes(1, 2)}
	b := newBank(t, t.TempDir(), serverless.Options{Clock: clk}, func(b *bank) {
		src.b = b
		b.Source(src)
	})
	report := b.drain(t)
	require.Equal(t, minutes(60, 60), recorded(t, b))
	require.EqualValues(t, 1, report.Instants)
}

func TestAFailingSourceEndsADrain(t *testing.T) {
	clk := clock.NewVirtual(epoch)
	b := newBank(t, t.TempDir(), serverless.Options{Clock: clk}, func(b *bank) { b.Source(brokenSource{}) })
	_, err := b.Drain(t.Context(), serverless.Budget{})
	require.ErrorIs(t, err, errBoom)
	require.Equal(t, serverless.ExitFailed, serverless.ExitCode(err))
}

type brokenSource struct{}

func (brokenSource) Next(context.Context) (time.Time, bool, error) { return epoch, true, nil }
func (brokenSource) Release(context.Context, time.Time) error      { return errBoom }

func TestBackoffIsWallTimeAndHoldsTheVirtualClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clk := clock.NewVirtual(epoch)
		src := &till{clock: clk, at: minutes(1, 2)}
		const most = 100
		failures, at := most, []time.Time(nil)
		b := newBank(t, t.TempDir(), serverless.Options{Clock: clk}, func(b *bank) {
			src.b = b
			b.Source(src)
			serverless.OnEvent(b.Host, "flaky", func(context.Context, eventstore.Of[Deposited]) error {
				if failures--; failures >= 0 {
					at = append(at, clk.Now())
					return errBoom
				}
				return nil
			}, serverless.Retry(serverless.RetryPolicy{Attempts: most + 1, First: time.Hour, Longest: time.Hour, MaxAge: most * time.Hour}))
		})
		report, err := b.Drain(t.Context(), serverless.Budget{})
		require.NoError(t, err)
		require.Positive(t, report.Elapsed)
		require.Equal(t, minutes(1, 2), recorded(t, b))
		require.Len(t, at, most)
		for _, now := range at {
			require.Equal(t, minutes(1)[0], now, "the clock is held")
		}

		failures = most
		src.at = minutes(3)
		_, err = b.Drain(t.Context(), serverless.Budget{Time: time.Nanosecond})
		require.ErrorIs(t, err, serverless.ErrMoreWork)
	})
}

func TestInRealTimeSourcesGoByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const factor = 60
		began := time.Now()
		clk := clock.NewScaled(epoch, factor)
		src := &till{clock: clk, at: minutes(1, 2, 60)}
		b := newBank(t, t.TempDir(), serverless.Options{Clock: clk}, func(b *bank) {
			src.b = b
			b.Source(src)
		})
		stop := b.running(t)
		_, err := b.store.Wait(t.Context(), 2)
		require.NoError(t, err)
		require.InDelta(t, time.Minute.Seconds(), time.Since(began).Seconds(), 0.1, "an hour at 60 times")
		require.NoError(t, b.balances.WaitFor(t.Context(), 3))
		stop()
		require.Empty(t, src.at)
		require.True(t, slices.IsSortedFunc(src.seen, time.Time.Compare))
	})
}
