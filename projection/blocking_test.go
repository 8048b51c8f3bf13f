package projection

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
)

// The event at which a projection is blocked is seen, also at the next start,
// and passed over; what is discarded so is left out by a rebuild.
func TestTheEventThatBlocksIsDiscarded(t *testing.T) {
	l, dir, f := newTape(), t.TempDir(), &faults{}
	someMoves(l, 100)
	f.set(22, always)
	d := ledger(1, f.fail, once)
	p := openTest(t, dir, l, d)
	require.Error(t, deliver(t, p, l, 30))
	for range 2 {
		s := p.Status()
		require.Equal(t, int64(22), s.Failed)
		require.Contains(t, s.Reason, "fault at 22")
		got, err := p.Failure(t.Context(), 22)
		require.NoError(t, err)
		require.Equal(t, Failure{State: Failing, Event: l.events[21], Attempts: 1, Err: got.Err, At: got.At}, got)
		require.Contains(t, got.Err, "fault at 22")
		require.ErrorIs(t, p.Retry(t.Context(), 22), ErrNoFailure)
		require.ErrorIs(t, p.Discard(t.Context(), 23, "the next"), ErrNoFailure)
		require.NoError(t, p.Close())
		p = openTest(t, dir, l, d)
	}
	require.NoError(t, p.Discard(t.Context(), 22, "it never was"))
	require.Equal(t, int64(22), p.Status().Position)
	require.Zero(t, p.Status().Failed)
	got, err := p.Failure(t.Context(), 22)
	require.NoError(t, err)
	require.Equal(t, Discarded, got.State)
	require.Equal(t, "it never was", got.Reason)
	require.Equal(t, 1, got.Attempts)
	require.NoError(t, p.Close())
	p = openTest(t, dir, l, d) // it is in the file
	require.NoError(t, deliver(t, p, l, 30))
	without := func(e eventstore.Recorded) bool { return e.Position == 22 }
	requireGood(t, p, l, without)
	built, err := p.Rebuild(t.Context(), nil)
	require.NoError(t, err)
	require.True(t, built.Identical, built.Difference)
	requireGood(t, p, l, without)
	f.set(22, 0)
	require.NoError(t, p.Retry(t.Context(), 22))
	require.ErrorIs(t, p.Discard(t.Context(), 22, "again"), ErrNoFailure)
}
