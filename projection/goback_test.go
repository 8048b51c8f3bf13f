package projection

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
)

func TestGoingBackAndThereAgain(t *testing.T) {
	l, dir := newTape(), t.TempDir()
	someMoves(l, 500)
	p := openTest(t, dir, l, ledger(1, nil))
	_, err := p.GoBack(t.Context())
	require.ErrorIs(t, err, ErrNoPrevious)
	require.NoError(t, deliver(t, p, l, 100))
	marked := func() (n int) {
		require.NoError(t, p.Read(t.Context(), 0, func(r *Reader) error {
			return r.QueryRow(`SELECT COUNT(*) FROM account WHERE id = 'mark'`).Scan(&n)
		}))
		return n
	}
	_, err = p.live.db.Writer().Exec(`INSERT INTO account (id, mix, moves) VALUES ('mark', 0, 0)`) // so that the files can be told apart
	require.NoError(t, err)
	built, err := p.Rebuild(t.Context(), nil)
	require.NoError(t, err)
	require.False(t, built.Identical)
	require.Zero(t, marked())
	was := l.head()

	// What comes in between is in both, whichever serves.
	someMoves(l, 3*RebuildPage)
	require.NoError(t, deliver(t, p, l, 1000))
	back, err := p.GoBack(t.Context())
	require.NoError(t, err)
	require.Equal(t, WentBack{Serves: "ledger.v1.1.db", Kept: "ledger.v1.2.db", From: was, Position: l.head()}, back)
	require.Equal(t, 1, marked())
	require.Equal(t, l.head(), p.Position())
	require.Equal(t, Running, p.Status().State)
	require.Equal(t, []string{"ledger.live", "ledger.v1.1.db", "ledger.v1.2.db"}, views(t, dir))
	someMoves(l, 50)
	require.NoError(t, deliver(t, p, l, 10))
	back, err = p.GoBack(t.Context())
	require.NoError(t, err)
	require.Equal(t, "ledger.v1.2.db", back.Serves)
	require.Zero(t, marked())
	require.Equal(t, l.head(), requireFold(t, p, l))

	// A restart serves the same, and knows where to go back to.
	_, err = p.GoBack(t.Context())
	require.NoError(t, err)
	require.NoError(t, p.Close())
	p = openTest(t, dir, l, ledger(1, nil))
	require.Equal(t, 1, marked())
	_, err = p.GoBack(t.Context())
	require.NoError(t, err)
	require.Equal(t, l.head(), requireFold(t, p, l))
	require.NoError(t, os.Remove(p.files.path(p.previous)))
	_, err = p.GoBack(t.Context())
	require.ErrorIs(t, err, ErrNoPrevious)
	_, err = p.Rebuild(t.Context(), nil)
	require.NoError(t, err)
}

// What is appended at any step of an exchange is in the file that serves then,
// whether it is of a rebuild, an upgrade or a going back; and reads go on.
func TestNoExchangeHasASeam(t *testing.T) {
	for _, way := range []string{"rebuild", "upgrade", "back"} {
		for _, at := range []string{stepBuilding, stepPaused, stepBuilt, stepSettled, stepPointerWritten, stepPointerRenamed, stepSwapped} {
			if way != "upgrade" || at != stepBuilding && at != stepPaused { // which it has not
				t.Run(way+"/"+at, func(t *testing.T) { exchangeWithoutASeam(t, way, at) })
			}
		}
	}
}

func exchangeWithoutASeam(t *testing.T, way, at string) {
	l, dir := newTape(), t.TempDir()
	someMoves(l, 100)
	var p *Projection
	applied := make(chan error, 1)
	armed := false
	open := func(version int) {
		var err error
		p, err = open(t.Context(), dir, l, ledger(version, nil), nil, func(s string) error {
			if s == at && armed {
				armed = false
				someMoves(l, 100)
				requireFold(t, p, l)
				go func() { applied <- deliver(t, p, l, 30) }() // waits where the live file is held
			}
			return nil
		})
		require.NoError(t, err)
	}
	open(1)
	defer func() { require.NoError(t, p.Close()) }()
	require.NoError(t, deliver(t, p, l, 1000))
	_, err := p.Rebuild(t.Context(), nil)
	require.NoError(t, err)
	someMoves(l, RebuildPage+100)
	require.NoError(t, deliver(t, p, l, 1000))
	generation := 1
	switch way {
	case "rebuild":
		armed, generation = true, 3
		_, err = p.Rebuild(t.Context(), nil)
		require.NoError(t, err)
	case "back":
		armed = true
		_, err = p.GoBack(t.Context())
		require.NoError(t, err)
	case "upgrade":
		require.NoError(t, p.Close())
		open(2)
		armed, generation = true, 3
		for armed {
			checkpoint, err := p.Checkpoint(t.Context())
			require.NoError(t, err)
			require.NoError(t, p.Apply(t.Context(), page(l, checkpoint.Position, 1000)))
		}
	}
	require.False(t, armed, "the step is reached")
	require.NoError(t, <-applied)
	require.Equal(t, l.head(), requireFold(t, p, l))
	require.Equal(t, generation, p.live.id.generation)
	someMoves(l, 10)
	require.NoError(t, deliver(t, p, l, 7))
	require.Equal(t, l.head(), requireFold(t, p, l))
}

func TestGoingBackThatFailsLeavesTheLiveFile(t *testing.T) {
	l, dir, f := newTape(), t.TempDir(), &faults{}
	someMoves(l, 100)
	steps := map[string]error{}
	p, err := open(t.Context(), dir, l, ledger(1, f.fail), nil, func(s string) error { return steps[s] })
	require.NoError(t, err)
	require.NoError(t, deliver(t, p, l, 1000))
	_, err = p.Rebuild(t.Context(), nil)
	require.NoError(t, err)
	someMoves(l, 100)
	require.NoError(t, deliver(t, p, l, 1000))
	two := []string{"ledger.live", "ledger.v1.1.db", "ledger.v1.2.db"}
	for _, s := range []string{stepPaused, stepBuilt, stepSettled, stepPointerWritten} {
		steps[s] = errFault
		_, err = p.GoBack(t.Context())
		require.ErrorIs(t, err, errFault)
		require.Equal(t, 2, p.live.id.generation)
		require.Subset(t, views(t, dir), two, "nothing that was kept is removed")
		clear(steps)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = p.GoBack(ctx)
	require.ErrorIs(t, err, context.Canceled)

	// An event that the old file has not seen, and that fails now.
	someMoves(l, 10)
	require.NoError(t, deliver(t, p, l, 1000))
	f.set(l.head(), always)
	_, err = p.GoBack(t.Context())
	require.ErrorIs(t, err, errFault)
	blocked := new(bus.BlockedError)
	require.ErrorAs(t, err, &blocked)
	require.Equal(t, l.head(), blocked.Position)
	require.Equal(t, 2, p.live.id.generation)
	require.Equal(t, l.head(), requireFold(t, p, l))
	f.set(l.head(), 0)
	_, err = p.GoBack(t.Context())
	require.NoError(t, err)
	require.Equal(t, l.head(), requireFold(t, p, l))
	require.NoError(t, p.Close())
	_, err = p.GoBack(t.Context())
	require.ErrorIs(t, err, ErrClosed)

	// An upgrade: the file before is of the other version.
	up := openTest(t, dir, l, ledger(2, nil))
	require.NoError(t, deliver(t, up, l, 1000))
	require.Equal(t, 2, up.Status().Version)
	_, err = up.GoBack(t.Context())
	require.ErrorIs(t, err, ErrNoPrevious)
	require.ErrorContains(t, err, "run the program that defines 1")
}

// TestAnErrorAfterTheExchangeComesWithItsResult, and the projection goes on with
// the file that serves.
func TestAnErrorAfterTheExchangeComesWithItsResult(t *testing.T) {
	l, dir := newTape(), t.TempDir()
	someMoves(l, 100)
	steps := map[string]error{}
	opened := func(version int) *Projection {
		p, err := open(t.Context(), dir, l, ledger(version, nil), nil, func(s string) error { return steps[s] })
		require.NoError(t, err)
		return p
	}
	p := opened(1)
	require.NoError(t, deliver(t, p, l, 1000))
	for _, s := range []string{stepPointerRenamed, stepSwapped} {
		steps[s] = errFault
		built, err := p.Rebuild(t.Context(), nil)
		require.ErrorIs(t, err, errFault)
		require.True(t, built.Identical)
		serves := p.live.id
		back, err := p.GoBack(t.Context())
		require.ErrorIs(t, err, errFault)
		require.Equal(t, serves.String(), back.Kept)
		require.Equal(t, p.live.id.String(), back.Serves)
		clear(steps)
		require.Equal(t, l.head(), requireFold(t, p, l))
	}
	for version, s := range []string{2: stepPointerRenamed, 3: stepSwapped} {
		if s == "" {
			continue
		}
		require.NoError(t, p.Close())
		someMoves(l, 1000)
		p = opened(version)
		steps[s] = errFault
		require.ErrorIs(t, deliver(t, p, l, 500), errFault)
		clear(steps)
		require.Equal(t, version, p.Status().Version)
		require.Equal(t, Running, p.Status().State)
		_, err := p.Release(t.Context(), "a-1")
		require.NoError(t, err, "nothing is built any more")
		require.Equal(t, l.head(), requireFold(t, p, l))
	}
	require.NoError(t, p.Close())
}

func TestDifferencesAreBoundedAndInTheOrderOfTheKey(t *testing.T) {
	l := newTape()
	someMoves(l, 50)
	rebuilt := func(statement string) []Difference {
		t.Helper()
		p := openTest(t, t.TempDir(), l, ledger(1, nil))
		require.NoError(t, deliver(t, p, l, 1000))
		_, err := p.live.db.Writer().Exec("PRAGMA foreign_keys = OFF; " + statement)
		require.NoError(t, err)
		got, err := p.Rebuild(t.Context(), nil)
		require.NoError(t, err)
		require.Equal(t, got.Identical, len(got.Differences) == 0)
		require.Equal(t, got.Difference, first(got.Differences))
		return got.Differences
	}
	got := rebuilt(`
		DELETE FROM account WHERE id = 'a-1';
		UPDATE account SET mix = 1, moves = 3 WHERE id = 'a-2';
		INSERT INTO account (id, mix, moves) VALUES ('a-11', 5, 0);
		DELETE FROM line WHERE rowid = (SELECT MAX(rowid) FROM line);
		INSERT INTO line SELECT * FROM line WHERE rowid = 1`)
	require.Len(t, got, 5)
	require.Equal(t, `id="a-1"`, got[0].Key[1:len(got[0].Key)-1])
	require.Empty(t, got[0].Live)
	require.Contains(t, got[0].Rebuilt, `(id="a-1", mix=`)
	require.Equal(t, Difference{Table: "account", Key: `(id="a-11")`, Live: `(id="a-11", mix=5, moves=0)`}, got[1])
	require.Equal(t, `(id="a-2")`, got[2].Key)
	require.Equal(t, `(id="a-2", mix=1, moves=3)`, got[2].Live)
	require.Contains(t, got[2].Rebuilt, `(id="a-2", mix=`)
	require.Equal(t, "line", got[3].Table)
	require.NotEqual(t, got[3].Live == "", got[4].Live == "", "one more in each of the files")
	require.Len(t, rebuilt(`UPDATE line SET cents = -cents - 1`), MaxDifferences)
}

func TestValuesAreInTheOrderOfSQLite(t *testing.T) {
	const big = 1 << 53
	all := []any{nil, -1e300, int64(-1 << 63), -2.5, int64(-2), int64(0), 0.5, int64(1), 1.5, float64(big), int64(big + 1), float64(big + 2), int64(1<<63 - 1), float64(1 << 63), 1e300, "", "A", "B", "a", []byte{}, []byte{0}, []byte("A")}
	for i, a := range all {
		for j, b := range all {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			require.Equal(t, want, collate(a, b), "%v %v", a, b)
		}
	}
	require.Zero(t, collate(int64(1), 1.0))
	require.Zero(t, collate(float64(big), int64(big)))
}
