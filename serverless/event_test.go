package serverless_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/serverless"
)

// calls is an event function that notes what it is called with, and fails as
// told.
type calls struct {
	mu   sync.Mutex
	seen []string // "account:cents"
	ids  []string
	fail func(e eventstore.Of[Deposited]) error
}

func (c *calls) handle(_ context.Context, e eventstore.Of[Deposited]) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, fmt.Sprintf("%s:%d", e.Payload.Account, e.Payload.Cents))
	c.ids = append(c.ids, e.ID.String())
	if c.fail != nil {
		return c.fail(e)
	}
	return nil
}

func (c *calls) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := c.seen
	c.seen = nil
	return seen
}

func (c *calls) register(opts ...serverless.EventOption) func(*bank) {
	return func(b *bank) { serverless.OnEvent(b.Host, "receipt", c.handle, opts...) }
}

// failing returns a function that fails with the events of one account.
func failing(account string) func(eventstore.Of[Deposited]) error {
	return func(e eventstore.Of[Deposited]) error {
		if e.Payload.Account == account {
			return errBoom
		}
		return nil
	}
}

func once(p serverless.Policy) []serverless.EventOption {
	return []serverless.EventOption{serverless.Retry(serverless.RetryPolicy{Attempts: 1}), serverless.OnFailure(p)}
}

// reopen closes the bank and its store and makes it anew.
func reopen(t *testing.T, b *bank, dir string, opts serverless.Options, register ...func(*bank)) *bank {
	t.Helper()
	if b != nil {
		require.NoError(t, b.Close())
		require.NoError(t, b.store.Close())
	}
	return newBank(t, dir, opts, register...)
}

func TestAnEventFunctionIsCalledInOrderAndGoesOnAfterARestart(t *testing.T) {
	dir, c := t.TempDir(), &calls{}
	var metas []eventstore.Metadata
	note := func(b *bank) {
		serverless.OnEvent(b.Host, "note", func(ctx context.Context, e eventstore.Of[Withdrawn]) error {
			metas = append(metas, eventstore.MetadataFrom(ctx))
			require.Equal(t, e.Position, serverless.MinPosition(ctx))
			return nil
		})
	}
	b := reopen(t, nil, dir, serverless.Options{}, c.register(), note)
	for i := range 5 {
		b.deposit(t, "1", int64(i))
	}
	b.drain(t)
	require.Equal(t, []string{"1:0", "1:1", "1:2", "1:3", "1:4"}, c.take())
	b.drain(t)
	require.Empty(t, c.take())
	_, err := b.Do(t.Context(), serverless.Request{Function: "withdraw", Payload: Withdraw{Account: "1", Cents: 1}, Metadata: eventstore.Metadata{eventstore.CorrelationID: "c-9"}})
	require.NoError(t, err)

	b = reopen(t, b, dir, serverless.Options{}, c.register(), note)
	b.deposit(t, "2", 7)
	b.drain(t)
	require.Equal(t, []string{"2:7"}, c.take())
	require.Len(t, metas, 1)
	require.Equal(t, "c-9", metas[0][eventstore.CorrelationID])
	require.NotEmpty(t, metas[0][eventstore.CausationID])
}

func TestANewFunctionOnAnOldLogBeginsAfterItUnlessToldOtherwise(t *testing.T) {
	dir, later, all := t.TempDir(), &calls{}, &calls{}
	b := newBank(t, dir, serverless.Options{})
	b.deposit(t, "1", 1)
	b = reopen(t, b, dir, serverless.Options{}, later.register(), func(b *bank) {
		serverless.OnEvent(b.Host, "history", all.handle, serverless.FromStart())
	})
	require.NoError(t, b.Open(t.Context()))
	b = reopen(t, b, dir, serverless.Options{}, later.register(), func(b *bank) {
		serverless.OnEvent(b.Host, "history", all.handle)
	})
	b.deposit(t, "1", 2)
	b.drain(t)
	require.Equal(t, []string{"1:2"}, later.take())
	require.Equal(t, []string{"1:1", "1:2"}, all.take())
}

func TestAttemptsAreKeptAcrossRestartsAndASkippedEventIsADeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, c := t.TempDir(), &calls{fail: failing("bad")}
		opts := []serverless.EventOption{
			serverless.Retry(serverless.RetryPolicy{Attempts: 5, First: time.Second}), serverless.OnFailure(serverless.Skip),
		}
		b := reopen(t, nil, dir, serverless.Options{}, c.register(opts...))
		b.deposit(t, "bad", 1)
		b.deposit(t, "good", 1)
		total := 0
		for restarts := 0; ; restarts++ {
			_, err := b.Drain(t.Context(), serverless.Budget{})
			total += len(c.take())
			if err == nil {
				break
			}
			require.ErrorIs(t, err, serverless.ErrMoreWork)
			require.ErrorIs(t, err, errBoom)
			require.Equal(t, serverless.ExitMoreWork, serverless.ExitCode(err))
			require.Less(t, restarts, 5)
			_, err = b.Drain(t.Context(), serverless.Budget{})
			require.ErrorIs(t, err, serverless.ErrMoreWork, "not tried before its time")
			require.Empty(t, c.take())
			time.Sleep(16 * time.Second)
			b = reopen(t, b, dir, serverless.Options{}, c.register(opts...))
		}
		require.Equal(t, 5+1, total)
		letters, err := b.DeadLetters(t.Context(), "", 0, 10)
		require.NoError(t, err)
		require.Len(t, letters, 1)
		l := letters[0]
		require.Equal(t, "receipt", l.Function)
		require.Equal(t, "account-bad", l.Stream)
		require.EqualValues(t, 1, l.Position)
		require.Equal(t, 5, l.Attempts)
		require.False(t, l.Parked)
		require.Contains(t, l.Error, "boom")
		require.Equal(t, c.ids[0], l.EventID.String())
		require.True(t, l.LastAt.After(l.FirstAt))

		// Retried in vain, then with success, under the same id.
		require.ErrorIs(t, b.RetryDeadLetter(t.Context(), "receipt", 1), errBoom)
		letters, err = b.DeadLetters(t.Context(), "receipt", 0, 10)
		require.NoError(t, err)
		require.Equal(t, 6, letters[0].Attempts)
		c.fail = nil
		require.NoError(t, b.RetryDeadLetter(t.Context(), "receipt", 1))
		require.Equal(t, c.ids[0], c.ids[len(c.ids)-1])
		require.ErrorIs(t, b.RetryDeadLetter(t.Context(), "receipt", 1), serverless.ErrNoDeadLetter)
		require.ErrorIs(t, b.RetryDeadLetter(t.Context(), "nobody", 1), serverless.ErrUnknownFunction)
	})
}

func TestAnEventIsTriedNoLongerThanItsMaximumAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &calls{fail: failing("bad")}
		b := newBank(t, t.TempDir(), serverless.Options{}, c.register(
			serverless.Retry(serverless.RetryPolicy{Attempts: 1000, First: time.Second, Longest: time.Second, MaxAge: time.Minute}),
			serverless.OnFailure(serverless.Skip)))
		stop := b.running(t)
		b.deposit(t, "bad", 1)
		at := b.deposit(t, "good", 1)
		time.Sleep(2 * time.Minute)
		require.NoError(t, b.balances.WaitFor(t.Context(), at.Position))
		letters, err := b.DeadLetters(t.Context(), "", 0, 10)
		require.NoError(t, err)
		require.Len(t, letters, 1)
		age := letters[0].LastAt.Sub(letters[0].FirstAt)
		require.GreaterOrEqual(t, age, time.Minute)
		require.Less(t, age, time.Minute+time.Second+time.Second)
		stop()
	})
}

func TestAParkedStreamWaitsAloneAndIsReleasedInOrder(t *testing.T) {
	for _, partitions := range []int{1, 4} {
		t.Run(fmt.Sprintf("partitions=%d", partitions), func(t *testing.T) {
			dir, c := t.TempDir(), &calls{fail: failing("bad")}
			opts := append(once(serverless.Park), serverless.Concurrency(partitions))
			b := reopen(t, nil, dir, serverless.Options{}, c.register(opts...))
			for i := range 3 {
				b.deposit(t, "bad", int64(i))
				b.deposit(t, "good", int64(i))
			}
			b.drain(t)
			require.ElementsMatch(t, []string{"bad:0", "good:0", "good:1", "good:2"}, c.take())

			b = reopen(t, b, dir, serverless.Options{}, c.register(opts...))
			b.deposit(t, "bad", 3)
			b.drain(t)
			require.Empty(t, c.take(), "the stream is parked after a restart, too")
			letters, err := b.DeadLetters(t.Context(), "receipt", 0, 10)
			require.NoError(t, err)
			require.Len(t, letters, 1)
			require.True(t, letters[0].Parked)
			require.Equal(t, 3, letters[0].Waiting)

			// Released as far as it goes: the next that fails is parked in its place.
			c.fail = func(e eventstore.Of[Deposited]) error {
				if e.Payload.Cents == 2 {
					return errBoom
				}
				return nil
			}
			require.ErrorIs(t, b.RetryDeadLetter(t.Context(), "receipt", letters[0].Position), errBoom)
			require.Equal(t, []string{"bad:0", "bad:1", "bad:2"}, c.take())
			letters, err = b.DeadLetters(t.Context(), "receipt", 0, 10)
			require.NoError(t, err)
			require.Len(t, letters, 1)
			require.EqualValues(t, 5, letters[0].Position)
			require.Equal(t, 1, letters[0].Waiting)

			require.Error(t, b.DiscardDeadLetter(t.Context(), "receipt", 5, ""), "a discard says why")
			require.NoError(t, b.DiscardDeadLetter(t.Context(), "receipt", 5, "a test deposit"))
			require.Equal(t, []string{"bad:3"}, c.take(), "what waited goes on")
			letters, err = b.DeadLetters(t.Context(), "receipt", 0, 10)
			require.NoError(t, err)
			require.Empty(t, letters)
			b.deposit(t, "bad", 9)
			b.drain(t)
			require.Equal(t, []string{"bad:9"}, c.take(), "the stream is open again")
		})
	}
}

func TestABlockedFunctionEndsADrainWithFailureWhileOthersGoOn(t *testing.T) {
	c := &calls{fail: failing("bad")}
	b := newBank(t, t.TempDir(), serverless.Options{}, c.register(once(serverless.Block)...))
	b.deposit(t, "bad", 1)
	b.deposit(t, "good", 1)
	_, err := b.Drain(t.Context(), serverless.Budget{})
	require.ErrorIs(t, err, serverless.ErrBlocked)
	require.Equal(t, serverless.ExitFailed, serverless.ExitCode(err))
	var blocked *serverless.BlockedError
	require.ErrorAs(t, err, &blocked)
	require.Equal(t, "receipt", blocked.Consumers[0].Name)
	require.EqualValues(t, 1, blocked.Consumers[0].FailedAt)
	require.Equal(t, []string{"bad:1"}, c.take())
	require.EqualValues(t, 1, b.balance(t, "good"), "the projection went on")
	st, err := b.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, serverless.StateStopped, st.Consumers[1].State)
	require.EqualValues(t, 2, st.Consumers[1].Lag)

	c.fail = nil // mended
	b.drain(t)
	require.Equal(t, []string{"bad:1", "good:1"}, c.take())
}

func TestResumeTriesABlockedFunctionAgainWhileTheHostRuns(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	called := make(chan struct{}, 10)
	b := newBank(t, t.TempDir(), serverless.Options{}, func(b *bank) {
		serverless.OnEvent(b.Host, "receipt", func(context.Context, eventstore.Of[Deposited]) error {
			defer func() { called <- struct{}{} }()
			if broken.Load() {
				return errBoom
			}
			return nil
		}, once(serverless.Block)...)
	})
	require.ErrorIs(t, b.Resume("receipt"), serverless.ErrNotOpen)
	b.deposit(t, "1", 1)
	stop := b.running(t)
	<-called
	broken.Store(false)
	require.Eventually(t, func() bool {
		st, err := b.Status(t.Context())
		return err == nil && st.Consumers[1].State == "blocked" && st.Consumers[1].Error != ""
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, b.Resume("receipt"))
	<-called
	stop()
}

func TestAShutdownParksNothingAndCountsNoAttempt(t *testing.T) {
	dir := t.TempDir()
	entered := make(chan struct{})
	b := reopen(t, nil, dir, serverless.Options{Grace: time.Millisecond}, func(b *bank) {
		serverless.OnEvent(b.Host, "receipt", func(ctx context.Context, _ eventstore.Of[Deposited]) error {
			close(entered)
			<-ctx.Done()
			return fmt.Errorf("connection lost: %w", errors.Join(ctx.Err(), errBoom))
		}, once(serverless.Park)...)
	})
	b.deposit(t, "1", 1)
	stop := b.running(t)
	<-entered
	stop()
	c := &calls{}
	b = reopen(t, b, dir, serverless.Options{}, c.register(once(serverless.Park)...))
	b.drain(t)
	require.Equal(t, []string{"1:1"}, c.take())
	letters, err := b.DeadLetters(t.Context(), "", 0, 10)
	require.NoError(t, err)
	require.Empty(t, letters)
}

func TestAnUndecodableEventIsNotRetriedAndAPanicIsAFailure(t *testing.T) {
	c := &calls{fail: func(eventstore.Of[Deposited]) error { panic("boom") }}
	b := newBank(t, t.TempDir(), serverless.Options{}, func(b *bank) {
		serverless.OnEvent(b.Host, "patient", c.handle, serverless.OnFailure(serverless.Skip))
		serverless.OnEvent(b.Host, "hasty", c.handle, once(serverless.Skip)...)
	})
	require.NoError(t, b.Open(t.Context()))
	_, err := b.store.Append(t.Context(), eventstore.Batch{Writes: []eventstore.Write{{
		Stream: "other-1", Events: []eventstore.EventData{{Type: "deposited", Data: []byte(`{"Cents":"x"}`)}},
	}}})
	require.NoError(t, err)
	_, err = b.Drain(t.Context(), serverless.Budget{})
	require.ErrorIs(t, err, serverless.ErrMoreWork, "the projection cannot read it either, and backs off")
	letters, err := b.DeadLetters(t.Context(), "", 0, 10)
	require.NoError(t, err)
	require.Len(t, letters, 2)
	require.Equal(t, []int{1, 1}, []int{letters[0].Attempts, letters[1].Attempts})
	require.Empty(t, c.take())

	b2 := newBank(t, t.TempDir(), serverless.Options{}, c.register(once(serverless.Skip)...))
	b2.deposit(t, "1", 1)
	b2.drain(t)
	letters, err = b2.DeadLetters(t.Context(), "receipt", 0, 10)
	require.NoError(t, err)
	require.Contains(t, letters[0].Error, `function "receipt": panic: boom`)
}

func TestATimeoutEndsTheContextAndIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBank(t, t.TempDir(), serverless.Options{}, func(b *bank) {
			serverless.OnEvent(b.Host, "slow", func(ctx context.Context, _ eventstore.Of[Deposited]) error {
				<-ctx.Done()
				return context.Cause(ctx)
			}, append(once(serverless.Skip), serverless.Timeout(time.Hour))...)
		})
		b.deposit(t, "1", 1)
		report, err := b.Drain(t.Context(), serverless.Budget{})
		require.NoError(t, err)
		require.Equal(t, time.Hour, report.Elapsed)
		letters, err := b.DeadLetters(t.Context(), "", 0, 10)
		require.NoError(t, err)
		require.Contains(t, letters[0].Error, "took longer than 1h0m0s")
	})
}

func TestConcurrencyRunsStreamsBesideEachOtherAndEachInOrder(t *testing.T) {
	const partitions, streams, each = 4, 16, 5
	dir := t.TempDir()
	var mu sync.Mutex
	busy, last := map[string]bool{}, map[string]int64{}
	most, now := 0, 0
	opt := serverless.Concurrency(partitions)
	handle := func(_ context.Context, e eventstore.Of[Deposited]) error {
		mu.Lock()
		require.False(t, busy[e.Stream], "a stream is never worked on twice at once")
		require.Equal(t, last[e.Stream]+1, e.Version)
		busy[e.Stream] = true
		now++
		most = max(most, now)
		mu.Unlock()
		for range 100 { // lets others in
			if n := func() int { mu.Lock(); defer mu.Unlock(); return most }(); n > 1 {
				break
			}
		}
		mu.Lock()
		defer mu.Unlock()
		busy[e.Stream], last[e.Stream] = false, e.Version
		now--
		return nil
	}
	register := func(b *bank) { serverless.OnEvent(b.Host, "receipt", handle, opt) }
	b := reopen(t, nil, dir, serverless.Options{}, register)
	for range each {
		for s := range streams {
			b.deposit(t, fmt.Sprint(s), 1)
		}
	}
	b.drain(t)
	require.Len(t, last, streams)
	for _, v := range last {
		require.EqualValues(t, each, v)
	}

	// Another number of partitions goes on from where all of them were.
	opt = serverless.Concurrency(2)
	b = reopen(t, b, dir, serverless.Options{}, register)
	for s := range streams {
		b.deposit(t, fmt.Sprint(s), 1)
	}
	b.drain(t)
	for _, v := range last {
		require.EqualValues(t, each+1, v)
	}
}

func TestAnIdleHostWritesNothing(t *testing.T) {
	dir, c := t.TempDir(), &calls{}
	b := reopen(t, nil, dir, serverless.Options{}, c.register())
	b.deposit(t, "1", 1)
	b.drain(t)
	require.NoError(t, b.Close())
	before := modified(t, dir+"/consumers.db")
	b = reopen(t, b, dir, serverless.Options{}, c.register())
	b.drain(t)
	b.drain(t)
	require.NoError(t, b.Close())
	require.Equal(t, before, modified(t, dir+"/consumers.db"))
}
