package serverless_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/serverless"
)

// A model is looked at as it was, rebuilt with others, and gone back with.
func TestAModelOfThePastRebuiltAndGoneBackWith(t *testing.T) {
	b := newBank(t, t.TempDir(), serverless.Options{})
	_, err := b.balances.GoBack(t.Context())
	require.ErrorIs(t, err, serverless.ErrNotOpen)
	_, err = b.balances.AsOf(t.Context(), 1, nil)
	require.ErrorIs(t, err, serverless.ErrNotOpen)
	_, err = serverless.RebuildAll(t.Context(), []*serverless.Model{b.balances}, nil)
	require.ErrorIs(t, err, serverless.ErrNotOpen)
	for range 5 {
		b.deposit(t, "ada", 10)
	}
	b.drain(t)
	past, err := b.balances.AsOf(t.Context(), 3, nil)
	require.NoError(t, err)
	var cents int64
	require.NoError(t, past.Read(t.Context(), func(r *projection.Reader) error {
		return r.QueryRow(`SELECT cents FROM balance WHERE account = 'ada'`).Scan(&cents)
	}))
	require.NoError(t, past.Close())
	require.EqualValues(t, 30, cents)

	got, err := serverless.RebuildAll(t.Context(), []*serverless.Model{b.balances}, func(string, projection.Progress) {
		st, err := b.balances.Status()
		require.NoError(t, err)
		require.NotNil(t, st.Building)
	})
	require.NoError(t, err)
	require.NoError(t, got[0].Err)
	require.True(t, got[0].Identical)
	st, err := b.Status(t.Context())
	require.NoError(t, err)
	require.Nil(t, st.Consumers[0].Building)
	beside := serverless.Consumer{State: "catching up", Lag: 7, Building: &projection.Progress{Done: 43, Total: 100}}
	require.Equal(t, "catching up: 7 positions to go; rebuilding 43 %", beside.String())
	back, err := b.balances.GoBack(t.Context())
	require.NoError(t, err)
	require.Equal(t, "balances.v1.1.db", back.Serves)
	require.EqualValues(t, 50, b.balance(t, "ada"))
}

// What waits for an operator is in the status, of read models and functions.
func TestWhatIsSetAsideIsInTheStatus(t *testing.T) {
	b := newBank(t, t.TempDir(), serverless.Options{}, func(b *bank) {
		for name, policy := range map[string]projection.Policy{"parks": projection.Park, "skips": projection.Skip} {
			b.Project(projection.Define(name, 1, `CREATE TABLE t (id INTEGER PRIMARY KEY) STRICT`,
				projection.On(func(context.Context, *projection.Tx, eventstore.Of[Deposited]) error { return errBoom }),
				projection.OnFailure(policy), projection.Retries(1, 0)))
		}
	})
	for range 3 {
		b.deposit(t, "ada", 10)
	}
	b.drain(t)
	st, err := b.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, 3, st.Parked)
	require.Equal(t, 3, st.DeadLetters)
	said := map[string]string{}
	for _, c := range st.Consumers {
		said[c.Name] = c.String()
	}
	require.Equal(t, "stopped; parked: 3", said["parks"])
	require.Equal(t, "stopped; dead letters: 3", said["skips"])
}

// A read model that is blocked goes on where its operator has the event passed
// over, without a new start.
func TestABlockedModelGoesOnOnceTheEventIsDiscarded(t *testing.T) {
	var model *serverless.Model
	b := newBank(t, t.TempDir(), serverless.Options{}, func(b *bank) {
		model = b.Project(projection.Define("picky", 1, `CREATE TABLE t (position INTEGER PRIMARY KEY) STRICT`,
			projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[Deposited]) error {
				if e.Payload.Cents == 13 {
					return errBoom
				}
				_, err := tx.Exec(`INSERT INTO t (position) VALUES (?)`, e.Position)
				return err
			}), projection.Retries(1, 0)))
	})
	defer b.running(t)()
	b.deposit(t, "ada", 10)
	bad := b.deposit(t, "bob", 13)
	last := b.deposit(t, "ada", 10)
	blocked, ok := errors.AsType[*bus.BlockedError](model.WaitFor(t.Context(), last.Commit.Last))
	require.True(t, ok)
	require.Equal(t, bad.Commit.Last, blocked.Position)
	p, err := model.Projection()
	require.NoError(t, err)
	require.NoError(t, p.Discard(t.Context(), bad.Commit.Last, "nobody pays that"))
	require.NoError(t, b.Resume("picky"))
	require.NoError(t, model.WaitFor(t.Context(), last.Commit.Last))
	var n int
	require.NoError(t, model.Read(t.Context(), last.Commit.Last, func(r *projection.Reader) error {
		return r.QueryRow(`SELECT COUNT(*) FROM t`).Scan(&n)
	}))
	require.Equal(t, 2, n)
}
