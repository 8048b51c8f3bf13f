package serverless_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/serverless"
)

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
			gone, err := b.Discarded(t.Context(), "receipt", 0, 10)
			require.NoError(t, err)
			require.Len(t, gone, 1)
			require.Equal(t, "a test deposit", gone[0].Reason)
			shown, event, err := b.DeadLetter(t.Context(), "receipt", 5)
			require.NoError(t, err)
			require.Equal(t, gone[0], shown)
			require.EqualValues(t, 5, event.Position)
			require.Equal(t, shown.EventID, event.ID)
			_, _, err = b.DeadLetter(t.Context(), "receipt", 4)
			require.ErrorIs(t, err, serverless.ErrNoDeadLetter)
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
	require.Positive(t, st.Consumers[1].LagTime)
	require.Equal(t, "stopped: 2 positions to go", st.Consumers[1].String())
	require.Equal(t, "stopped", st.Consumers[0].String())

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
	require.ErrorIs(t, b.Resume("receipt"), serverless.ErrNotRunning)
	b.deposit(t, "1", 1)
	stop := b.running(t)
	<-called
	broken.Store(false)
	require.Eventually(t, func() bool {
		st, err := b.Status(t.Context())
		return err == nil && strings.HasPrefix(st.Consumers[1].String(), "blocked at 1: ") && st.Consumers[1].LagTime > 0
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, b.Resume("receipt"))
	<-called
	stop()
}
