package projection

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
)

// views lists the files of the read model, side files of open ones left out.
func views(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, viewsDir))
	require.NoError(t, err)
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext == ".db" || ext == ".live" || ext == ".tmp" {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestARebuildIsIdenticalAndTheOldFileIsKeptUntilTheNext(t *testing.T) {
	l, dir := newTape(), t.TempDir()
	someMoves(l, 3*RebuildPage)
	p := openTest(t, dir, l, ledger(1, nil))
	require.NoError(t, deliver(t, p, l, 1000))
	l.add("note-1", noted{})
	require.NoError(t, deliver(t, p, l, 1000)) // scanned, not saved
	for want := 2; want <= 4; want++ {
		var seen []Progress
		got, err := p.Rebuild(t.Context(), func(p Progress) { seen = append(seen, p) })
		require.NoError(t, err)
		require.True(t, got.Identical, got.Difference)
		require.Equal(t, got.LiveDigest, got.Digest)
		require.Equal(t, int64(3*RebuildPage), got.Events)
		require.Equal(t, l.head(), got.Position)
		require.True(t, slices.IsSortedFunc(seen, func(a, b Progress) int { return int(a.Done - b.Done) }))
		last := seen[len(seen)-1]
		require.Equal(t, l.head(), last.Done)
		require.Equal(t, l.head(), last.Total)
		require.InDelta(t, 100, last.Percent(), 0)
		require.Positive(t, last.Rate)
		require.Equal(t, l.head(), requireFold(t, p, l))
		require.Equal(t, []string{"ledger.live", fmt.Sprintf("ledger.v1.%d.db", want-1), fmt.Sprintf("ledger.v1.%d.db", want)}, views(t, dir))
		require.Equal(t, Running, p.Status().State)
	}
}

// The live file is behind the head, at a place between two pages: the new one
// must be at exactly that place.
func TestARebuildEndsWhereTheLiveFileIs(t *testing.T) {
	l := newTape()
	someMoves(l, 1000)
	p := openTest(t, t.TempDir(), l, ledger(1, nil))
	require.NoError(t, p.Apply(t.Context(), page(l, 0, 321)))
	at := p.Position()
	got, err := p.Rebuild(t.Context(), nil)
	require.NoError(t, err)
	require.True(t, got.Identical, got.Difference)
	require.Equal(t, at, got.Position)
	require.Equal(t, int64(321), got.Events)
	require.Equal(t, at, requireFold(t, p, l))
	require.NoError(t, deliver(t, p, l, 1000))
	require.Equal(t, l.head(), requireFold(t, p, l))
}

func TestARebuildNamesTheFirstRowThatDiffers(t *testing.T) {
	l := newTape()
	someMoves(l, 50)
	for statement, want := range map[string]string{
		`UPDATE account SET mix = 1 WHERE id = 'a-2'`:                  `table account: live has (id="a-2", mix=1, moves=7), rebuilt has (id="a-2", mix=`,
		`DELETE FROM account WHERE id = 'a-0'`:                         `table account: only the rebuilt file has (id="a-0"`,
		`INSERT INTO account (id, mix, moves) VALUES ('a-11', 5, 0)`:   `table account: only the live file has (id="a-11", mix=5, moves=0)`,
		`INSERT INTO line (account, cents) VALUES ('a-1', -7)`:         `table line: only the live file has (account="a-1", cents=-7)`,
		`DELETE FROM line WHERE rowid = (SELECT MAX(rowid) FROM line)`: `table line: only the rebuilt file has (account="a-0"`,
		`INSERT INTO account (id, mix, moves) VALUES ('zz', 5, 0)`:     `table account: only the live file has (id="zz"`,
		`CREATE TABLE extra (id INTEGER PRIMARY KEY)`:                  `table extra: only the live file has "extra"("id")`,
		`CREATE TABLE z (id INTEGER PRIMARY KEY)`:                      `table z: only the live file has "z"("id")`,
		`DROP TABLE line`:                    `table line: only the rebuilt file has "line"("account", "cents")`,
		`ALTER TABLE line ADD COLUMN x TEXT`: `table line: live has "line"("account", "cents", "x"), rebuilt has "line"("account", "cents")`,
		`CREATE TABLE c AS SELECT * FROM line; DELETE FROM line; INSERT INTO line SELECT * FROM c ORDER BY cents DESC; DROP TABLE c`: "",
	} {
		p := openTest(t, t.TempDir(), l, ledger(1, nil))
		require.NoError(t, deliver(t, p, l, 1000))
		_, err := p.live.db.Writer().Exec("PRAGMA foreign_keys = OFF; " + statement)
		require.NoError(t, err)
		got, err := p.Rebuild(t.Context(), nil)
		require.NoError(t, err)
		require.Equal(t, want == "", got.Identical, statement)
		require.Contains(t, got.Difference, want)
		require.Equal(t, got.Identical, got.LiveDigest == got.Digest)
		requireFold(t, p, l) // the fold is live now
	}
}

func TestValuesOfDifferentTypesAreDifferent(t *testing.T) {
	l := newTape()
	someMoves(l, 1)
	d := Define("types", 1, `CREATE TABLE "odd ""name" ("a b", d DATETIME, b BOOLEAN, s AS ("a b" || 'x'), PRIMARY KEY (b, "a b")) WITHOUT ROWID`,
		On(func(_ context.Context, tx *Tx, e eventstore.Of[moved]) error {
			_, err := tx.Exec(`INSERT INTO "odd ""name" VALUES (1, '2020-01-01', 1)`)
			return err
		}))
	for _, value := range []string{"'1'", "1.0", "x'31'", "1"} {
		p := openTest(t, t.TempDir(), l, d)
		require.NoError(t, deliver(t, p, l, 10))
		_, err := p.live.db.Writer().Exec(`UPDATE "odd ""name" SET "a b" = ` + value)
		require.NoError(t, err)
		got, err := p.Rebuild(t.Context(), nil)
		require.NoError(t, err)
		require.Equal(t, value == "1", got.Identical, value)
	}
}

func TestTheLiveFileGoesOnWhileAnotherIsBuilt(t *testing.T) {
	l, dir := newTape(), t.TempDir()
	someMoves(l, 2*RebuildPage)
	var p *Projection
	first := sync.OnceFunc(func() {
		someMoves(l, 2*RebuildPage)
		require.NoError(t, deliver(t, p, l, 500))
		require.NoError(t, p.Read(t.Context(), l.head(), func(r *Reader) error { return nil }))
		require.Equal(t, Rebuilding, p.Status().State)
		require.Contains(t, p.Status().String(), "rebuilding ")
		_, err := p.Rebuild(t.Context(), nil)
		require.ErrorIs(t, err, ErrBuilding)
		_, err = p.Release(t.Context(), "a-1")
		require.ErrorIs(t, err, ErrBuilding)
	})
	p, err := open(t.Context(), dir, l, ledger(1, nil), nil, func(s string) error {
		if s == stepBuilding {
			first()
		}
		return nil
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	require.NoError(t, deliver(t, p, l, 1000))
	got, err := p.Rebuild(t.Context(), nil)
	require.NoError(t, err)
	require.True(t, got.Identical, got.Difference)
	require.Equal(t, int64(4*RebuildPage), got.Events)
	require.Equal(t, l.head(), requireFold(t, p, l))
}

func TestAFailedRebuildLeavesTheLiveFile(t *testing.T) {
	l, dir, f := newTape(), t.TempDir(), &faults{}
	someMoves(l, 100)
	p := openTest(t, dir, l, ledger(1, f.fail))
	require.NoError(t, deliver(t, p, l, 1000))
	f.set(50, always)
	_, err := p.Rebuild(t.Context(), nil)
	bad, ok := errors.AsType[*EventError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, int64(50), bad.Position)
	require.Equal(t, []string{"ledger.live", "ledger.v1.1.db"}, views(t, dir))
	require.Equal(t, l.head(), requireFold(t, p, l))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = p.Rebuild(ctx, nil)
	require.ErrorIs(t, err, context.Canceled)
}

func TestCloseEndsARebuild(t *testing.T) {
	l := newTape()
	someMoves(l, 3*RebuildPage)
	building, closed := make(chan struct{}), make(chan error, 1)
	var p *Projection
	first := sync.OnceFunc(func() {
		go func() { closed <- p.Close() }()
		for !p.isClosed() {
		}
		close(building)
	})
	p, err := open(t.Context(), t.TempDir(), l, ledger(1, nil), nil, func(s string) error {
		if s == stepBuilding {
			first()
		}
		return nil
	})
	require.NoError(t, err)
	require.NoError(t, deliver(t, p, l, 1000))
	_, err = p.Rebuild(t.Context(), nil)
	require.Error(t, err)
	<-building
	require.NoError(t, <-closed)
	require.ErrorIs(t, p.WaitFor(t.Context(), 0), ErrClosed)
	require.ErrorIs(t, p.Apply(t.Context(), bus.Page{}), ErrClosed)
	require.Equal(t, Closed, p.Status().State)
}

// An error at any step leaves one file or the other, and so does a start after it.
func TestAnErrorAtEveryStepOfASwap(t *testing.T) {
	for _, step := range []string{stepCreated, stepBuilding, stepPaused, stepBuilt, stepSettled, stepPointerWritten, stepPointerRenamed, stepSwapped} {
		t.Run(step, func(t *testing.T) {
			l, dir := newTape(), t.TempDir()
			someMoves(l, 2*RebuildPage)
			armed := false
			p, err := open(t.Context(), dir, l, ledger(1, nil), nil, func(s string) error {
				if armed && s == step {
					return errFault
				}
				return nil
			})
			require.NoError(t, err)
			defer func() { require.NoError(t, p.Close()) }()
			require.NoError(t, deliver(t, p, l, 1000))
			armed = true
			_, err = p.Rebuild(t.Context(), nil)
			require.ErrorIs(t, err, errFault)
			armed = false
			generation := 1
			if step == stepPointerRenamed || step == stepSwapped {
				generation = 2
			}
			require.Equal(t, generation, p.live.id.generation)
			require.Equal(t, l.head(), requireFold(t, p, l))
			someMoves(l, 10)
			require.NoError(t, deliver(t, p, l, 1000))
			require.Equal(t, l.head(), requireFold(t, p, l))
			require.NoError(t, p.Close())

			p = openTest(t, dir, l, ledger(1, nil))
			require.Equal(t, l.head(), requireFold(t, p, l))
			require.NotContains(t, views(t, dir), "ledger.live.tmp")
			got, err := p.Rebuild(t.Context(), nil)
			require.NoError(t, err)
			require.True(t, got.Identical)
		})
	}
}

func TestLeftoversAreRemovedAtOpen(t *testing.T) {
	l, dir := newTape(), t.TempDir()
	p := openTest(t, dir, l, ledger(1, nil))
	require.NoError(t, p.Close())
	for _, name := range []string{"ledger.v1.7.db", "ledger.v1.7.db-wal", "ledger.v3.8.db", "ledger.live.tmp", "ledger.v1.9.db-shm", "other.v1.1.db", "ledger-2.v1.1.db", "ledger.notes"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, viewsDir, name), []byte("x"), 0o600))
	}
	openTest(t, dir, l, ledger(1, nil))
	entries, err := os.ReadDir(filepath.Join(dir, viewsDir))
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	require.Equal(t, []string{"ledger-2.v1.1.db", "ledger.live", "ledger.notes", "ledger.v1.1.db", "ledger.v1.1.db-shm", "ledger.v1.1.db-wal", "other.v1.1.db"}, names)
}

// upgraded is ledger with a table more, so that reads tell which file serves.
func upgraded(fail func(eventstore.Recorded) error, opts ...Option) *Definition {
	d := ledger(2, fail, opts...)
	d.schema += "; CREATE TABLE more (x) "
	return d
}

func servedVersion(t *testing.T, p *Projection) (v int) {
	t.Helper()
	require.NoError(t, p.Read(t.Context(), 0, func(r *Reader) error { v = r.Version(); return nil }))
	return v
}

func TestAHigherVersionIsBuiltBesideTheOldOne(t *testing.T) {
	l, dir := newTape(), t.TempDir()
	someMoves(l, 2000)
	p := openTest(t, dir, l, ledger(1, nil))
	require.NoError(t, deliver(t, p, l, 500))
	old := l.head()
	require.NoError(t, p.Close())
	someMoves(l, 100)

	for range 3 { // interrupted, it goes on where it stopped
		p = openTest(t, dir, l, upgraded(nil))
		at, err := p.Checkpoint(t.Context())
		require.NoError(t, err)
		require.NoError(t, p.Apply(t.Context(), page(l, at.Position, 100)))
		require.Equal(t, 1, servedVersion(t, p))
		require.Equal(t, old, requireFold(t, p, l), "the old one serves its state")
		require.Equal(t, old, p.Position())
		s := p.Status()
		require.Equal(t, Rebuilding, s.State)
		require.Equal(t, 1, s.Version)
		require.Equal(t, 2, s.BuildingVersion)
		require.Equal(t, l.head(), s.Building.Total)
		_, err = p.Rebuild(t.Context(), nil)
		require.ErrorIs(t, err, ErrBuilding)
		require.NoError(t, p.Close())
		after, err := Open(t.Context(), dir, l, upgraded(nil), nil)
		require.NoError(t, err)
		next, err := after.Checkpoint(t.Context())
		require.NoError(t, err)
		require.Equal(t, after.next.saved, next)
		require.Greater(t, next.Position, at.Position)
		require.NoError(t, after.Close())
	}
	p = openTest(t, dir, l, upgraded(nil))
	waited := make(chan error, 1)
	go func() { waited <- p.WaitFor(context.Background(), l.head()) }()
	require.NoError(t, deliver(t, p, l, 100))
	require.NoError(t, <-waited)
	require.Equal(t, 2, servedVersion(t, p))
	require.Equal(t, l.head(), requireFold(t, p, l))
	require.Equal(t, Running, p.Status().State)
	require.Equal(t, []string{"ledger.live", "ledger.v1.1.db", "ledger.v2.2.db"}, views(t, dir))
	require.NoError(t, p.Close())

	// Going back is a rename, and forward again a new build.
	someMoves(l, 2000)
	p = openTest(t, dir, l, ledger(1, nil))
	require.Equal(t, old, requireFold(t, p, l))
	require.NoError(t, deliver(t, p, l, 500))
	require.Equal(t, l.head(), requireFold(t, p, l))
	require.NoError(t, p.Close())
	p = openTest(t, dir, l, upgraded(nil))
	require.Equal(t, 1, servedVersion(t, p))
	require.NoError(t, deliver(t, p, l, 500))
	require.Equal(t, 2, servedVersion(t, p))
	_, err := p.Rebuild(t.Context(), nil)
	require.NoError(t, err)
	require.NoError(t, p.Close())
	_, err = Open(t.Context(), dir, l, ledger(1, nil), nil)
	require.ErrorIs(t, err, ErrNewer)
	require.ErrorContains(t, err, "is at version 2, this program defines 1")
}

func TestAnUpgradeOfWhatIsCaughtUpNeedsNoEvent(t *testing.T) {
	l, dir := newTape(), t.TempDir()
	someMoves(l, 10)
	p := openTest(t, dir, l, ledger(1, nil))
	require.NoError(t, deliver(t, p, l, 500))
	require.NoError(t, p.Close())
	p = openTest(t, dir, l, upgraded(nil))
	require.Equal(t, 2, servedVersion(t, p))
	require.Equal(t, l.head(), requireFold(t, p, l))
}

func TestAFailingEventKeepsAnUpgradeFromGoingLive(t *testing.T) {
	for _, policy := range []Policy{Block, Park, Skip} {
		for _, bad := range []int64{7, 1500} {
			l, dir, f := newTape(), t.TempDir(), &faults{}
			someMoves(l, 1500)
			p := openTest(t, dir, l, ledger(1, nil))
			require.NoError(t, deliver(t, p, l, 500))
			require.NoError(t, p.Close())
			if l.events[bad-1].Type != "moved" {
				bad++
			}
			f.set(bad, always)
			d := upgraded(f.fail, OnFailure(policy), once)
			p = openTest(t, dir, l, d)
			blocked, ok := errors.AsType[*bus.BlockedError](deliver(t, p, l, 500))
			require.True(t, ok)
			require.Equal(t, bad, blocked.Position)
			require.Equal(t, 1, servedVersion(t, p))
			require.Equal(t, l.head(), requireFold(t, p, l))
			require.Equal(t, Blocked, p.Status().State)
			require.NoError(t, p.Close())
			p = openTest(t, dir, l, d)
			require.Equal(t, 1, servedVersion(t, p), "nor at the next start")
			f.set(bad, 0)
			require.NoError(t, deliver(t, p, l, 500))
			require.Equal(t, 2, servedVersion(t, p))
			require.Equal(t, l.head(), requireFold(t, p, l))
		}
	}
}

// A rebuild reads ahead where there are processors for it, and else does not.
func TestARebuildIsIdenticalOnAnyNumberOfProcessors(t *testing.T) {
	for _, procs := range []int{1, 2, 4} {
		t.Run(fmt.Sprint(procs), func(t *testing.T) {
			before := runtime.GOMAXPROCS(procs)
			defer runtime.GOMAXPROCS(before)
			l := newTape()
			someMoves(l, 3*RebuildPage+7)
			p := openTest(t, t.TempDir(), l, ledger(1, nil))
			require.NoError(t, deliver(t, p, l, 1000))
			got, err := p.Rebuild(t.Context(), nil)
			require.NoError(t, err)
			require.True(t, got.Identical, got.Difference)
			require.Equal(t, l.head(), got.Position)
			require.Equal(t, l.head(), requireFold(t, p, l))
		})
	}
}
