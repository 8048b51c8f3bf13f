package serverless_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/serverless"
)

func TestACommandByIDTakesEffectOnceAlsoAcrossARestart(t *testing.T) {
	dir := t.TempDir()
	request := serverless.Request{
		Function: "deposit", Payload: Deposit{Account: "1", Cents: 500}, ID: "payment-7",
		Metadata: eventstore.Metadata{eventstore.Actor: "ann", eventstore.CorrelationID: "c-1"},
	}
	var first serverless.Result
	for restart := range 3 {
		store := openStore(t, dir, nil)
		b := wireBank(store, serverless.Options{Logger: quiet()})
		for range 2 {
			r, err := b.Do(t.Context(), request)
			require.NoError(t, err)
			if first.Position == 0 {
				first = r
				require.False(t, r.Commit.Duplicate)
				continue
			}
			require.True(t, r.Commit.Duplicate)
			require.Equal(t, first.Position, r.Position)
		}
		if restart > 0 {
			require.Zero(t, b.decided.Load(), "what was decided is not decided again")
		}
		head, err := store.Head(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 1, head)
		page, err := store.ReadLog(t.Context(), 0, 10, eventstore.Filter{})
		require.NoError(t, err)
		meta, err := page.Events[0].Meta.Decode()
		require.NoError(t, err)
		require.Equal(t, eventstore.Metadata{eventstore.Actor: "ann", eventstore.CorrelationID: "c-1", eventstore.CommandID: "payment-7"}, meta)
		require.NoError(t, b.Close())
		require.NoError(t, store.Close())
	}
}

func TestPayloadsAreReadStrictly(t *testing.T) {
	b := newBank(t, t.TempDir(), serverless.Options{})
	for _, bad := range []string{
		`{"Account":"1","Cents":1,"Currency":"EUR"}`,
		`{"Account":"1","Cents":1} {}`,
		`{"Account":"1","Cents":"much"}`,
		``,
	} {
		for _, name := range []string{"deposit", "balance"} {
			_, err := b.Invoke(t.Context(), name, json.RawMessage(bad))
			require.ErrorIs(t, err, serverless.ErrPayload, "%s %s", name, bad)
			require.ErrorContains(t, err, name)
		}
	}
	_, err := b.Invoke(t.Context(), "deposit", make(chan int))
	require.ErrorIs(t, err, serverless.ErrPayload)
	_, err = b.Invoke(t.Context(), "nothing", nil)
	require.ErrorIs(t, err, serverless.ErrUnknownFunction)
	r, err := b.Invoke(t.Context(), "deposit", []byte(`{"Account":"1","Cents":1}`))
	require.NoError(t, err)
	require.EqualValues(t, 1, r.Position)
}

func TestARejectionIsTheDomainsAndAPanicNamesItsFunction(t *testing.T) {
	b := newBank(t, t.TempDir(), serverless.Options{}, func(b *bank) {
		serverless.Query(b.Host, "explode", func(context.Context, Balance) (int, error) { panic("boom") })
		serverless.Command(b.Host, "burst", func(context.Context, Balance) (eventstore.Commit, error) { panic("boom") })
		serverless.Command(b.Host, "careful", func(context.Context, Balance) (eventstore.Commit, error) {
			return eventstore.Commit{}, nil
		}, serverless.RequireID())
	})
	_, err := b.Invoke(t.Context(), "withdraw", Withdraw{Account: "1", Cents: 5})
	rejection, ok := bus.RejectionOf(err)
	require.True(t, ok)
	require.Equal(t, "insufficient_funds", rejection.RejectionCode())
	for _, name := range []string{"explode", "burst"} {
		_, err = b.Invoke(t.Context(), name, Balance{})
		var p *bus.PanicError
		require.ErrorAs(t, err, &p)
		require.ErrorContains(t, err, name)
		require.Equal(t, "boom", p.Value)
	}
	_, err = b.Invoke(t.Context(), "careful", Balance{})
	require.ErrorIs(t, err, serverless.ErrIDRequired)
}

func TestAQueryWithAMinimumPositionReadsOnesOwnWrites(t *testing.T) {
	b := newBank(t, t.TempDir(), serverless.Options{})
	stop := b.running(t)
	defer stop()
	for i := range 50 {
		done := b.deposit(t, "1", 10)
		r, err := b.Do(t.Context(), serverless.Request{Function: "balance", Payload: Balance{Account: "1"}, MinPosition: done.Position})
		require.NoError(t, err)
		require.EqualValues(t, 10*(i+1), r.Value)
	}
	require.NoError(t, b.balances.WaitFor(t.Context(), 50))
}

func TestAClosingHostWaitsForNobodyWhoWaitsForIt(t *testing.T) {
	b := newBank(t, t.TempDir(), serverless.Options{})
	require.ErrorIs(t, b.balances.WaitFor(t.Context(), 1), serverless.ErrNotOpen)
	done := b.deposit(t, "1", 10) // nobody moves the model
	waiting := make(chan error, 1)
	go func() {
		_, err := b.Do(context.Background(), serverless.Request{Function: "balance", Payload: Balance{Account: "1"}, MinPosition: done.Position})
		waiting <- err
	}()
	require.NoError(t, b.Close())
	require.ErrorIs(t, <-waiting, serverless.ErrClosed)
	_, err := b.Invoke(t.Context(), "balance", Balance{})
	require.ErrorIs(t, err, serverless.ErrClosed)
	require.ErrorIs(t, b.balances.Read(t.Context(), 0, func(*projection.Reader) error { return nil }), serverless.ErrNotOpen)
}
