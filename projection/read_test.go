package projection

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
)

func TestReadYourWrites(t *testing.T) {
	l := newTape()
	p := openTest(t, t.TempDir(), l, ledger(1, nil))
	var wg sync.WaitGroup
	for range 50 {
		at := l.add("a-1", moved{"a-1", 1})
		wg.Go(func() {
			require.NoError(t, p.Read(context.Background(), at, func(r *Reader) error {
				var moves int64
				require.NoError(t, r.QueryRow(`SELECT moves FROM account WHERE id = ?`, "a-1").Scan(&moves))
				require.GreaterOrEqual(t, moves, at)
				return nil
			}))
		})
	}
	for l.head() > p.Position() {
		require.NoError(t, p.Apply(t.Context(), page(l, p.Position(), 7)))
	}
	wg.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, p.WaitFor(ctx, 51), context.Canceled)
	waits := make(chan error)
	go func() { waits <- p.WaitFor(context.Background(), 51) }()
	require.NoError(t, p.Close())
	require.ErrorIs(t, <-waits, ErrClosed)
}

func TestAReadSeesOneStateAlsoWhileFilesAreExchanged(t *testing.T) {
	l, dir := newTape(), t.TempDir()
	someMoves(l, 50)
	p := openTest(t, dir, l, ledger(1, nil))
	require.NoError(t, deliver(t, p, l, 1000))
	reading, goOn := make(chan struct{}), make(chan struct{})
	letGo := sync.OnceFunc(func() { close(goOn) })
	defer letGo()
	done := make(chan error, 1)
	old := l.head()
	go func() {
		done <- p.Read(context.Background(), old, func(r *Reader) error {
			at, err := r.Position()
			if err != nil {
				return err
			}
			close(reading)
			<-goOn
			again, err := r.Position()
			require.Equal(t, at, again)
			require.NoError(t, err)
			got, err := tables(r)
			require.Equal(t, fold(l.events, old), got)
			return err
		})
	}()
	<-reading
	late, _, err := p.pin() // a read that has not begun its transaction
	require.NoError(t, err)
	for range 3 { // the third would remove the file that is being read
		someMoves(l, 50)
		require.NoError(t, deliver(t, p, l, 1000))
		_, err := p.Rebuild(t.Context(), nil)
		require.NoError(t, err)
	}
	require.Equal(t, l.head(), requireFold(t, p, l))
	require.NoError(t, read(t.Context(), late.db, &Reader{}, func(r *Reader) error {
		at, err := r.Position()
		require.NoError(t, err)
		require.Equal(t, late.saved.Position, at)
		got, err := tables(r)
		require.Equal(t, fold(l.events, at), got)
		return err
	}))
	p.unpin(late)
	letGo()
	require.NoError(t, <-done)
	require.NoError(t, p.Close())
	openTest(t, dir, l, ledger(1, nil))
	require.Len(t, views(t, dir), 3)
}

func TestReadersManyAtOnceDuringSwaps(t *testing.T) {
	l := newTape()
	someMoves(l, 50)
	p := openTest(t, t.TempDir(), l, ledger(1, nil))
	require.NoError(t, deliver(t, p, l, 1000))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for last := int64(0); ctx.Err() == nil; {
				at := requireFold(t, p, l)
				require.GreaterOrEqual(t, at, last, "what was read never goes back")
				last = at
			}
		})
	}
	for range 10 {
		someMoves(l, 20)
		require.NoError(t, deliver(t, p, l, 5))
		_, err := p.Rebuild(t.Context(), nil)
		require.NoError(t, err)
	}
	cancel()
	wg.Wait()
}

func TestAToolReadsBesideTheOwnerAndWithoutOne(t *testing.T) {
	l, dir := newTape(), t.TempDir()
	someMoves(l, 50)
	d := ledger(1, (&faults{}).fail)
	_, err := OpenReader(t.Context(), dir, d)
	require.ErrorIs(t, err, ErrNoView)
	p := openTest(t, dir, l, d)
	v, err := OpenReader(t.Context(), dir, d)
	require.NoError(t, err)
	defer func() { require.NoError(t, v.Close()) }()
	check := func() {
		t.Helper()
		require.NoError(t, v.Read(t.Context(), func(r *Reader) error {
			at, err := r.Position()
			require.NoError(t, err)
			require.Equal(t, l.head(), at)
			got, err := tables(r)
			require.Equal(t, fold(l.events, at), got)
			return err
		}))
	}
	require.NoError(t, deliver(t, p, l, 10))
	check()
	_, err = p.Rebuild(t.Context(), nil)
	require.NoError(t, err)
	someMoves(l, 10)
	require.NoError(t, deliver(t, p, l, 10))
	check()
	require.NoError(t, p.Close())
	check()

	alone, err := OpenReader(t.Context(), dir, d)
	require.NoError(t, err)
	s, err := alone.Status(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, Status{Name: "ledger", Version: 1, State: Unknown, Position: l.head()}, s)
	s, err = alone.Status(t.Context(), l)
	require.NoError(t, err)
	require.Equal(t, Status{Name: "ledger", Version: 1, State: Running, Position: l.head(), Head: l.head()}, s)
	at := l.head()
	someMoves(l, 3)
	s, err = alone.Status(t.Context(), l)
	require.NoError(t, err)
	require.Equal(t, Status{Name: "ledger", Version: 1, State: CatchingUp, Position: at, Head: at + 3, Lag: 3, Waiting: l.events[at].RecordedAt()}, s)
	l.events = l.events[:5]
	_, err = alone.Status(t.Context(), l)
	require.ErrorIs(t, err, eventstore.ErrRewound)
	require.Error(t, alone.Read(t.Context(), func(r *Reader) error {
		return r.QueryRow("DELETE FROM account RETURNING id").Scan(new(string))
	}))
	require.NoError(t, alone.Close())
	require.NoError(t, alone.Close())
	require.ErrorIs(t, alone.Read(t.Context(), nil), ErrClosed)
}

func TestAToolSeesAFailingEvent(t *testing.T) {
	l, dir, f := newTape(), t.TempDir(), &faults{}
	someMoves(l, 50)
	f.set(7, always)
	d := ledger(1, f.fail, Retries(2, always))
	for _, want := range []State{BackingOff, Blocked} {
		p := openTest(t, dir, l, d)
		require.Error(t, deliver(t, p, l, 10))
		require.NoError(t, p.Close())
		v, err := OpenReader(t.Context(), dir, d)
		require.NoError(t, err)
		s, err := v.Status(t.Context(), l)
		require.NoError(t, err)
		require.Equal(t, want, s.State)
		require.Equal(t, int64(7), s.Failed)
		require.Contains(t, s.String(), string(want)+" at 7: fault at 7")
		require.NoError(t, v.Close())
	}
}

// TestWhoWaitsDuringAnUpgradeIsToldOfIt, and reads the old version meanwhile.
func TestWhoWaitsDuringAnUpgradeIsToldOfIt(t *testing.T) {
	l, dir := newTape(), t.TempDir()
	someMoves(l, 50)
	p := openTest(t, dir, l, ledger(1, nil))
	require.NoError(t, deliver(t, p, l, 100))
	at := p.Position()
	require.NoError(t, p.Close())
	someMoves(l, 3000)
	p = openTest(t, dir, l, ledger(2, nil))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := p.WaitFor(ctx, l.head())
	require.ErrorIs(t, err, ErrBuilding)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "version 2 is, 0 % so far, and version 1 stands at position 60 until it is there")
	require.NoError(t, p.Read(t.Context(), 0, func(r *Reader) error {
		got, err := r.Position()
		require.Equal(t, at, got)
		require.Equal(t, 1, r.Version())
		return err
	}))
	require.NoError(t, deliver(t, p, l, 1000))
	require.NoError(t, p.WaitFor(t.Context(), l.head()))
	err = p.WaitFor(ctx, l.head()+1)
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, ErrBuilding)
}
