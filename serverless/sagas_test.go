package serverless_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/saga"
	"github.com/leat-go/leat/serverless"
)

func TestAnOperatorRetriesAParkedInstanceOfAHost(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	b := newBank(t, t.TempDir(), serverless.Options{}, func(b *bank) {
		b.Saga(saga.Define("interest", 1,
			saga.Retries(1, time.Hour),
			saga.Starts(func(e Deposited) string { return e.Account }, func(_ *struct{}, c *saga.Context, _ Deposited) error {
				if broken.Load() {
					return errors.New("a bug")
				}
				c.Complete()
				return nil
			})))
	})
	_, err := b.Sagas()
	require.ErrorIs(t, err, serverless.ErrNotOpen)
	b.deposit(t, "ada", 100)
	b.drain(t)
	engine, err := b.Sagas()
	require.NoError(t, err)
	parked, err := engine.Instances(t.Context(), saga.Query{Status: saga.Parked})
	require.NoError(t, err)
	require.Len(t, parked, 1)
	require.Contains(t, parked[0].Reason, "a bug")

	broken.Store(false)
	require.NoError(t, engine.Retry(t.Context(), "interest", "ada", saga.By{Who: "grace", Why: "mended"}))
	b.drain(t)
	done, err := engine.Instances(t.Context(), saga.Query{Status: saga.Completed})
	require.NoError(t, err)
	require.Len(t, done, 1)
}

func TestAHostWithoutSagasSaysSo(t *testing.T) {
	b := newBank(t, t.TempDir(), serverless.Options{})
	require.NoError(t, b.Open(t.Context()))
	_, err := b.Sagas()
	require.ErrorIs(t, err, serverless.ErrNoSagas)
}

// TestADrainThatCannotBeginSaysWhy: each of these once ended in a panic.
func TestADrainThatCannotBeginSaysWhy(t *testing.T) {
	t.Run("registration", func(t *testing.T) {
		b := newBank(t, t.TempDir(), serverless.Options{}, func(b *bank) { b.Saga(nil) })
		_, err := b.Drain(t.Context(), serverless.Budget{})
		require.ErrorIs(t, err, serverless.ErrRegistration)
	})
	t.Run("cancelled", func(t *testing.T) {
		b := newBank(t, t.TempDir(), serverless.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := b.Drain(ctx, serverless.Budget{})
		require.ErrorIs(t, err, context.Canceled)
	})
	t.Run("no time at all", func(t *testing.T) {
		b := newBank(t, t.TempDir(), serverless.Options{})
		_, err := b.Drain(t.Context(), serverless.Budget{Time: 1})
		require.ErrorIs(t, err, serverless.ErrMoreWork)
	})
	t.Run("closed", func(t *testing.T) {
		b := newBank(t, t.TempDir(), serverless.Options{})
		require.NoError(t, b.Open(t.Context()))
		require.NoError(t, b.Close())
		_, err := b.Drain(t.Context(), serverless.Budget{})
		require.ErrorIs(t, err, serverless.ErrClosed)
	})
}

func TestACommandHasAPayload(t *testing.T) {
	calls := 0
	b := newBank(t, t.TempDir(), serverless.Options{}, func(b *bank) {
		serverless.Command(b.Host, "notify", func(context.Context, Notify) (eventstore.Commit, error) {
			calls++
			return eventstore.Commit{}, nil
		})
	})
	_, err := b.Invoke(t.Context(), "deposit", nil)
	require.ErrorIs(t, err, serverless.ErrPayload)
	_, err = b.Invoke(t.Context(), "deposti", Deposit{})
	require.ErrorIs(t, err, serverless.ErrUnknownFunction)
	require.ErrorContains(t, err, `"deposit"`, "it says what there is")
	_, err = b.Invoke(t.Context(), "deposit", append(append([]byte(`{"Account":"`), make([]byte, serverless.MaxPayload)...), `"}`...))
	require.ErrorIs(t, err, serverless.ErrPayload)
	require.ErrorContains(t, err, "are allowed")
	for _, id := range []string{"a\nb", "\xff", strings.Repeat("x", eventstore.MaxName+1)} {
		_, err = b.Do(t.Context(), serverless.Request{Function: "notify", ID: id, Payload: Notify{}})
		require.ErrorIs(t, err, eventstore.ErrInvalid, "%q", id)
	}
	require.Zero(t, calls, "no function was called")
}

// Notify asks for something outside of the log.
type Notify struct{}

func (Notify) CommandType() string { return "notify" }
