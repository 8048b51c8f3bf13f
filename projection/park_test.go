package projection

import (
	"context"
	"database/sql/driver"
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
)

func TestSkipMakesADeadLetterOfExactlyTheFailingEvents(t *testing.T) {
	l, dir, f := newTape(), t.TempDir(), &faults{}
	someMoves(l, 100)
	var bad []int64
	for i, e := range l.events {
		if e.Type == "moved" && i%9 == 0 {
			bad = append(bad, e.Position)
			f.set(e.Position, always)
		}
	}
	d := ledger(1, f.fail, OnFailure(Skip), once)
	p := openTest(t, dir, l, d)
	require.NoError(t, deliver(t, p, l, 30))
	require.Equal(t, len(bad), p.Status().DeadLetters)
	letters, err := p.DeadLetters(t.Context(), 0)
	require.NoError(t, err)
	for i, d := range letters {
		require.Equal(t, bad[i], d.Position)
		require.Equal(t, l.events[bad[i]-1].Stream, d.Stream)
		require.Equal(t, l.events[bad[i]-1].Version, d.StreamVersion)
		require.Contains(t, d.Err, "fault")
	}
	good := slices.DeleteFunc(slices.Clone(l.events), func(e eventstore.Recorded) bool { return slices.Contains(bad, e.Position) })
	want := fold(good, l.head())
	require.NoError(t, p.Read(t.Context(), l.head(), func(r *Reader) error {
		got, err := tables(r)
		require.Equal(t, want, got)
		return err
	}))

	// A rebuild sets the same events aside, and no others.
	got, err := p.Rebuild(t.Context(), nil)
	require.NoError(t, err)
	require.True(t, got.Identical, got.Difference)
	require.Equal(t, len(bad), p.Status().DeadLetters)
	f.set(2, always)
	_, err = p.Rebuild(t.Context(), nil)
	require.ErrorIs(t, err, errFault, "an event that did not fail before must not be lost by a rebuild")
	require.Equal(t, len(bad), p.Status().DeadLetters)
}

// panicking is an argument of a statement that cannot say what it is.
type panicking struct{}

func (panicking) Value() (driver.Value, error) { panic("no value") }

func TestAnArgumentThatPanicsIsAFailureOfItsEvent(t *testing.T) {
	l := newTape()
	someMoves(l, 20)
	d := Define("ledger", 1, ledgerSchema, On(func(_ context.Context, tx *Tx, e eventstore.Of[moved]) error {
		args := []any{e.Payload.Account, e.Payload.Cents}
		if e.Position == 14 {
			args[1] = panicking{}
		}
		_, err := tx.Exec(`INSERT INTO account (id, mix, moves) VALUES (?, ?, 1) ON CONFLICT (id) DO UPDATE SET moves = moves + 1`, args...)
		return err
	}), OnFailure(Skip), once)
	p := openTest(t, t.TempDir(), l, d)
	require.NoError(t, deliver(t, p, l, 30))
	letters, err := p.DeadLetters(t.Context(), 0)
	require.NoError(t, err)
	require.Len(t, letters, 1)
	require.Equal(t, int64(14), letters[0].Position)
	require.Contains(t, letters[0].Err, "no value")
	require.Equal(t, l.head(), p.Status().Position)
}

func TestAParkedStreamWaitsAndOthersProceed(t *testing.T) {
	l, dir, f := newTape(), t.TempDir(), &faults{}
	someMoves(l, 100)
	stream, bad := "a-3", int64(0)
	for _, e := range l.events {
		if e.Stream == stream && e.Version == 4 {
			bad = e.Position
		}
	}
	f.set(bad, always)
	d := ledger(1, f.fail, OnFailure(Park), once)
	p := openTest(t, dir, l, d)
	require.NoError(t, deliver(t, p, l, 30))
	require.NoError(t, p.Close())
	p = openTest(t, dir, l, d) // who is parked is in the file
	someMoves(l, 30)
	require.NoError(t, deliver(t, p, l, 30))

	waiting := 0
	for _, e := range l.events {
		if e.Stream == stream && e.Version >= 4 {
			waiting++
		}
	}
	parked, err := p.Parked(t.Context(), 0)
	require.NoError(t, err)
	require.Len(t, parked, 1)
	require.Equal(t, ParkedStream{Stream: stream, Position: bad, Type: "moved", Events: waiting, Attempts: 1, Since: parked[0].Since, Err: parked[0].Err}, parked[0])
	others := slices.DeleteFunc(slices.Clone(l.events), func(e eventstore.Recorded) bool { return e.Stream == stream && e.Version >= 4 })
	require.NoError(t, p.Read(t.Context(), l.head(), func(r *Reader) error {
		got, err := tables(r)
		require.Equal(t, fold(others, l.head()), got)
		return err
	}))

	n, err := p.Release(t.Context(), stream)
	require.ErrorIs(t, err, errFault)
	require.Zero(t, n)
	parked, err = p.Parked(t.Context(), 0)
	require.NoError(t, err)
	require.Equal(t, 2, parked[0].Attempts)

	rebuilt, err := p.Rebuild(t.Context(), nil)
	require.NoError(t, err)
	require.True(t, rebuilt.Identical, rebuilt.Difference)
	require.Equal(t, waiting, p.Status().ParkedEvents)

	f.set(bad, 0)
	later := bad // a second failure in the middle of the release
	for _, e := range l.events {
		if e.Stream == stream && e.Version == 9 {
			later = e.Position
		}
	}
	f.set(later, 1)
	n, err = p.Release(t.Context(), stream)
	require.ErrorIs(t, err, errFault)
	require.Equal(t, 5, n)
	n, err = p.Release(t.Context(), stream)
	require.NoError(t, err)
	require.Equal(t, waiting-5, n)
	require.Zero(t, p.Status().ParkedEvents)
	require.Equal(t, l.head(), requireFold(t, p, l))
	n, err = p.Release(t.Context(), stream)
	require.NoError(t, err)
	require.Zero(t, n)
	someMoves(l, 30)
	require.NoError(t, deliver(t, p, l, 30))
	require.Equal(t, l.head(), requireFold(t, p, l))
}

func TestEventsThatArriveDuringAReleaseKeepTheirOrder(t *testing.T) {
	l, f := newTape(), &faults{}
	bad := l.add("a-1", moved{"a-1", 1})
	for i := range 3*releasePage + 7 {
		l.add("a-1", moved{"a-1", int64(i)})
	}
	f.set(bad, 1)
	p := openTest(t, t.TempDir(), l, ledger(1, f.fail, OnFailure(Park), once))
	require.NoError(t, deliver(t, p, l, 1000))
	done := make(chan error, 1)
	go func() {
		_, err := p.Release(context.Background(), "a-1")
		done <- err
	}()
	for i := range 200 {
		l.add("a-1", moved{"a-1", int64(i)})
		require.NoError(t, deliver(t, p, l, 1))
	}
	require.NoError(t, <-done)
	_, err := p.Release(t.Context(), "a-1")
	require.NoError(t, err)
	require.Zero(t, p.Status().ParkedEvents)
	require.True(t, slices.IsSorted(f.order))
	require.Len(t, f.order, int(l.head()), "each exactly once")
	require.Equal(t, l.head(), requireFold(t, p, l))
}

// A release whose event ends the transaction keeps what it released before.
func TestAReleaseThatEndsItsTransaction(t *testing.T) {
	l, broken := newTape(), true
	for i := range 10 {
		l.add("a-1", moved{"a-1", int64(i)})
	}
	d := Define("ledger", 1, ledgerSchema, On(func(ctx context.Context, tx *Tx, e eventstore.Of[moved]) error {
		if err := ledger(1, nil).handlers["moved"].apply(ctx, tx, &e.Recorded, nil); err != nil {
			return err
		}
		switch {
		case broken && e.Position == 1:
			return errFault
		case broken && e.Position == 5:
			_, err := tx.Exec(`INSERT OR ROLLBACK INTO account (id, mix, moves) VALUES ('a-1', 0, 0)`)
			return err
		case broken && e.Position == 7:
			_, err := tx.Exec(`INSERT INTO line (account, cents) VALUES ('nobody', 1)`)
			return err
		}
		return nil
	}), OnFailure(Park), once)
	p := openTest(t, t.TempDir(), l, d)
	require.NoError(t, deliver(t, p, l, 100))
	require.Equal(t, 10, p.Status().ParkedEvents)
	broken = false
	_, err := p.live.db.Writer().Exec(`DELETE FROM leat_parked WHERE position = 1`) // as if it had been released
	require.NoError(t, err)
	broken = true
	p.live.stale = true
	n, err := p.Release(t.Context(), "a-1")
	require.Error(t, err)
	require.Equal(t, 3, n)
	require.Equal(t, 6, p.Status().ParkedEvents)
	_, isEvent := errors.AsType[*EventError](err)
	require.True(t, isEvent)
}

func TestParkedStreamsAreUndoneWithTheirPage(t *testing.T) {
	l, f := newTape(), &faults{}
	someMoves(l, 30)
	f.set(2, 2) // once in the page, once alone: parks a-1, in the transaction …
	ctx, cancel := context.WithCancel(t.Context())
	d := ledger(1, func(e eventstore.Recorded) error {
		if e.Position == 20 {
			cancel() // … that a shutdown undoes
		}
		return f.fail(e)
	}, OnFailure(Park), once)
	p := openTest(t, t.TempDir(), l, d)
	require.ErrorIs(t, p.Apply(ctx, page(l, 0, 100)), context.Canceled)
	require.Empty(t, p.live.parked)
	require.Zero(t, p.Status().ParkedEvents)
	require.Zero(t, requireFold(t, p, l))
	require.NoError(t, deliver(t, p, l, 100))
	require.Equal(t, l.head(), requireFold(t, p, l))
}
