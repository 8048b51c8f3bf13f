package projection

import (
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
)

// shownTo is what an operator sees of a read model.
type shownTo struct {
	accounts map[string]account
	parked   []ParkedStream
	dead     []DeadLetter
	gone     []Discard
}

func asShown(t *testing.T, p *Projection) (c shownTo) {
	t.Helper()
	require.NoError(t, p.Read(t.Context(), 0, func(r *Reader) (err error) { c.accounts, err = tables(r); return err }))
	var err error
	c.parked, err = p.Parked(t.Context(), 0)
	require.NoError(t, err)
	c.dead, err = p.DeadLetters(t.Context(), 0)
	require.NoError(t, err)
	for i := range c.dead {
		c.dead[i].At = time.Time{} // each file has its own
	}
	c.gone, err = p.Discards(t.Context(), 0)
	require.NoError(t, err)
	return c
}

// TestGoingBackKeepsWhatOperatorsDid: the file that was live before has what was
// released and discarded since, in its streams' order, and so has one more going
// back.
func TestGoingBackKeepsWhatOperatorsDid(t *testing.T) {
	l, f := newTape(), &faults{}
	for _, id := range []string{"b-1", "c-1", "d-1", "e-1"} { // 1 to 3, 4 to 6, …
		for i := range 3 {
			l.add(id, moved{id, int64(i + 1)})
		}
		f.set(l.head()-2, always) // the first of each
	}
	p := openTest(t, t.TempDir(), l, ledger(1, f.fail, OnFailure(Park), once))
	require.NoError(t, deliver(t, p, l, 100))
	_, err := p.Rebuild(t.Context(), nil)
	require.NoError(t, err)

	f.set(1, 0) // b: all is released
	n, err := p.Release(t.Context(), "b-1")
	require.NoError(t, err)
	require.Equal(t, 3, n)
	require.NoError(t, p.Discard(t.Context(), 4, "never valid")) // c: what waited is released
	f.set(7, 0)                                                  // d: the first is released, the second fails
	f.set(8, always)
	n, err = p.Release(t.Context(), "d-1")
	require.ErrorIs(t, err, errFault)
	require.Equal(t, 1, n)
	for _, id := range []string{"b-1", "c-1", "d-1", "e-1", "f-1"} { // 13 to 17
		l.add(id, moved{id, 9})
	}
	require.NoError(t, deliver(t, p, l, 100))
	want := asShown(t, p)
	require.Equal(t, int64(4), want.accounts["b-1"].moves)
	require.Len(t, want.parked, 2)
	require.Len(t, want.gone, 1)

	for range 2 {
		_, err = p.GoBack(t.Context())
		require.NoError(t, err)
		got := asShown(t, p)
		require.True(t, maps.Equal(want.accounts, got.accounts), "want %v, got %v", want.accounts, got.accounts)
		require.Equal(t, want, got)
	}
	f.set(4, 0)
	f.set(8, 0)
	require.NoError(t, p.Retry(t.Context(), 8))
	require.NoError(t, p.Retry(t.Context(), 4)) // discarded no more
	want = asShown(t, p)
	_, err = p.GoBack(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, asShown(t, p))
	require.Empty(t, want.gone)
	built, err := p.Rebuild(t.Context(), nil)
	require.NoError(t, err)
	require.Contains(t, built.Difference, "c-1", "event 4 is in its place")
}

// TestGoingBackRetriesDeadLetters, or says that it cannot.
func TestGoingBackRetriesDeadLetters(t *testing.T) {
	l, f := newTape(), &faults{}
	someMoves(l, 9)
	for _, at := range []int64{2, 3, 4} {
		f.set(at, always)
	}
	p := openTest(t, t.TempDir(), l, ledger(1, f.fail, OnFailure(Skip), once))
	require.NoError(t, deliver(t, p, l, 100))
	_, err := p.Rebuild(t.Context(), nil)
	require.NoError(t, err)
	f.set(2, 0)
	require.NoError(t, p.Retry(t.Context(), 2))
	require.NoError(t, p.Discard(t.Context(), 3, "never valid"))
	want := asShown(t, p)
	f.set(2, 1)
	_, err = p.GoBack(t.Context())
	blocked := new(bus.BlockedError)
	require.ErrorAs(t, err, &blocked)
	require.Equal(t, int64(2), blocked.Position)
	require.Equal(t, want, asShown(t, p))
	require.Equal(t, Running, p.Status().State)
	_, err = p.GoBack(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, asShown(t, p))
}
