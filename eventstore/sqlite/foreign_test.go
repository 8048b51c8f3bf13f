package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/experiment"
)

// playVisit opens log.db as another program would, reads it, and closes it.
func playVisit(dir string) (err error) {
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(dir, "log.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return db.QueryRow("SELECT COUNT(*) FROM events").Scan(new(int))
}

// visit has another program open, read and close the live log: the sqlite3
// shell, where there is one.
func visit(t *testing.T, dir string) {
	t.Helper()
	if shell, err := exec.LookPath("sqlite3"); err == nil {
		require.NoError(t, run(shell, filepath.Join(dir, "log.db"), "SELECT COUNT(*) FROM events"))
		return
	}
	require.NoError(t, command(t, "visit", dir).Run())
}

// readBytes does in this process what no code of Leat does: it opens the live
// database past SQLite, and closes it, which drops the locks by which other
// programs see that it is in use.
func readBytes(t *testing.T, dir string) {
	t.Helper()
	_, err := os.ReadFile(filepath.Join(dir, "log.db"))
	require.NoError(t, err)
}

// disturbed are appends that go on while something is done to the log.
type disturbed struct {
	s     *sqlite.Store
	after atomic.Bool // it was done

	mu      sync.Mutex // guards what follows
	acked   map[string]int64
	unknown []string
	late    []string // begun after it was done, and acknowledged
	wg      sync.WaitGroup
	stop    atomic.Bool
}

// disturb begins to append from so many appenders. They end when the store has
// stopped, or acknowledges what it must not.
func disturb(t *testing.T, s *sqlite.Store, appenders int) *disturbed {
	d := &disturbed{s: s, acked: map[string]int64{}}
	for a := range appenders {
		d.wg.Go(func() {
			for i := 0; !d.stop.Load(); i++ {
				id, late := fmt.Sprintf("%d-%d", a, i), d.after.Load()
				c, err := s.Append(context.Background(), batch(id))
				if err == nil {
					d.ack(id, c.First, late)
					if late {
						return
					}
					continue
				}
				d.mu.Lock()
				d.unknown = append(d.unknown, id)
				d.mu.Unlock()
				if !errors.Is(err, eventstore.ErrOutcomeUnknown) {
					t.Error(err)
				}
				return
			}
		})
	}
	return d
}

func (d *disturbed) ack(id string, position int64, late bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.acked[id] = position
	if late {
		d.late = append(d.late, id)
	}
}

// wait returns when so many appends are acknowledged, or the store has stopped.
func (d *disturbed) wait(n int) {
	for d.s.Err() == nil {
		d.mu.Lock()
		enough := len(d.acked) >= n
		d.mu.Unlock()
		if enough {
			return
		}
	}
}

// holdsAcked demands that the log holds every acknowledged append at its
// position, and that repeating the others leaves one copy of each.
func (d *disturbed) holdsAcked(t *testing.T, s *sqlite.Store) {
	t.Helper()
	events := all(t, s)
	for id, position := range d.acked {
		require.Greater(t, int64(len(events)), position+1, "acknowledged, and lost")
		for i := range 3 {
			require.Equal(t, id, events[position-1+int64(i)].BatchID)
		}
	}
	for _, id := range d.unknown {
		appendTo(t, s, batch(id))
	}
	seen := map[string]int{}
	for _, e := range all(t, s) {
		seen[e.BatchID]++
	}
	require.Len(t, seen, len(d.acked)+len(d.unknown))
	for id, n := range seen {
		require.Equal(t, 3, n, id)
	}
	sound(t, s)
}

// rescue makes a store of what a stopped one still sees, as an operator would,
// and closes the stopped one.
func rescue(t *testing.T, s *sqlite.Store) *sqlite.Store {
	t.Helper()
	ctx := context.Background()
	dir := experiment.Dir(t)
	backup, restored := filepath.Join(dir, "backup"), filepath.Join(dir, "restored")
	require.NoError(t, s.Backup(ctx, backup))
	require.NoError(t, s.Close())
	_, err := sqlite.Restore(ctx, backup, restored, nil)
	require.NoError(t, err)
	return open(t, restored, quiet)
}

// losses are what can be done to the files of an open log. kept says that the
// database itself is left alone, so that it holds everything afterwards.
var losses = []struct {
	name string
	kept bool
	lose func(log string) error
}{
	{"wal removed", true, func(log string) error { return os.Remove(log + "-wal") }},
	{"wal and index removed", true, func(log string) error { return errors.Join(os.Remove(log+"-wal"), os.Remove(log+"-shm")) }},
	{"wal replaced by nothing", true, func(log string) error { return replaceFile(log+"-wal", false) }},
	{"wal replaced by its copy", false, func(log string) error { return replaceFile(log+"-wal", true) }},
	{"index replaced", false, func(log string) error { return replaceFile(log+"-shm", true) }},
	{"database removed", false, os.Remove},
	{"database replaced by its copy", false, func(log string) error { return replaceFile(log, true) }},
	{"everything removed", false, func(log string) error {
		return errors.Join(os.Remove(log), os.Remove(log+"-wal"), os.Remove(log+"-shm"))
	}},
}

// replaceFile puts another file in the place of one: a copy, made by another
// process, or nothing.
func replaceFile(path string, copied bool) error {
	if copied {
		if err := run("cp", path, path+".new"); err != nil {
			return err
		}
	} else if err := os.WriteFile(path+".new", nil, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func TestExperimentWALRemovedOrReplaced(t *testing.T) {
	e := experiment.Start(t, "write-ahead log removed or replaced", "fail-stop within one commit, 0 acked lost")
	cases := e.N(80, 800)
	acked, alone := 0, 0
	for i := range cases {
		n, kept := loseFiles(t, e.Rand(i), i)
		acked += n
		if kept {
			alone++
		}
	}
	e.Figure("points", cases)
	e.Figure("acked", acked)
	e.Asserted("acked and lost")
	e.Asserted("acknowledged after it")
	e.Figure("log.db alone held all", alone)
}

// loseFiles takes files away from under appends at a random moment. It returns
// how many were acknowledged, and whether log.db alone then held them all, as
// a kill would have left it.
func loseFiles(t *testing.T, rng *rand.Rand, i int) (acked int, alone bool) {
	t.Helper()
	loss := losses[i%len(losses)]
	dir := experiment.Dir(t)
	s := open(t, dir, quiet)
	d := disturb(t, s, 1+rng.IntN(4))
	d.wait(1 + rng.IntN(200))
	log := filepath.Join(dir, "log.db")
	require.NoError(t, loss.lose(log), loss.name)
	d.after.Store(true)
	d.wg.Wait()
	require.ErrorIs(t, s.Err(), eventstore.ErrCorrupt, loss.name)
	require.Empty(t, d.late, "%s: acknowledged after the files were gone", loss.name)
	require.ErrorIs(t, s.Reopen(t.Context()), eventstore.ErrCorrupt)
	if loss.kept {
		killed := experiment.Dir(t)
		for _, name := range []string{"log.db", "witness", "lock"} {
			require.NoError(t, run("cp", filepath.Join(dir, name), killed))
		}
		left := open(t, killed, quiet)
		d.holdsAcked(t, left)
		require.NoError(t, left.Close())
	}
	r := rescue(t, s)
	d.holdsAcked(t, r)
	require.NoError(t, r.Close())
	return len(d.acked), loss.kept
}

func TestExperimentForeignShell(t *testing.T) {
	e := experiment.Start(t, "sqlite3 shell opening and closing the live log", "0 acked lost, or fail-stop within one commit and a rescue that holds all")
	visits, acked := e.N(150, 1000), 0
	t.Run("beside the owner", func(t *testing.T) {
		s := open(t, experiment.Dir(t), quiet)
		d := disturb(t, s, 4)
		for i := range visits {
			d.wait(i * 5)
			visit(t, s.Dir())
		}
		d.stop.Store(true)
		d.wg.Wait()
		require.NoError(t, s.Err(), "nothing happens to it")
		require.Empty(t, d.unknown)
		acked += len(d.acked)
		d.holdsAcked(t, s)
	})
	stops, bytes := 0, e.N(40, 1000)
	t.Run("after its bytes were read in the owner's process", func(t *testing.T) {
		for i := range bytes {
			rng := e.Rand(i)
			s := open(t, experiment.Dir(t), quiet)
			d := disturb(t, s, 1+rng.IntN(4))
			d.wait(1 + rng.IntN(100))
			readBytes(t, s.Dir())
			visit(t, s.Dir())
			d.after.Store(true)
			if _, err := os.Stat(filepath.Join(s.Dir(), "log.db-wal")); err == nil && s.Err() == nil {
				d.stop.Store(true) // a new connection had taken the lock again
			}
			d.wg.Wait()
			require.Empty(t, d.late)
			acked += len(d.acked)
			r := s
			if s.Err() != nil {
				stops++
				require.ErrorIs(t, s.Err(), eventstore.ErrCorrupt)
				r = rescue(t, s)
			}
			d.holdsAcked(t, r)
			require.NoError(t, r.Close())
		}
	})
	e.Figure("visits", visits)
	e.Asserted("stops of them")
	e.Figure("visits after os.ReadFile in the process", bytes)
	e.Figure("stops of those", stops)
	e.Figure("acked", acked)
	e.Asserted("acked and lost")
}

// MemPalace #2471: a program read the bytes of its own live database, for a
// backup; the next other one that opened and closed it unlinked the write-ahead
// log, and the rows of hours were gone at the restart.
func TestMemPalace2471_TheLogIsUnlinkedAfterItsBytesWereRead(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, quiet)
	for i := range 100 {
		appendTo(t, s, batch(fmt.Sprint(i)))
	}
	readBytes(t, dir)
	visit(t, dir)
	require.NoFileExists(t, filepath.Join(dir, "log.db-wal"), "this is what happens")
	_, err := s.Append(t.Context(), batch("b"))
	require.ErrorIs(t, err, eventstore.ErrOutcomeUnknown)
	require.ErrorIs(t, s.Err(), eventstore.ErrCorrupt, "within one commit")
	r := rescue(t, s)
	require.Equal(t, all(t, r)[299].BatchID, "99", "nothing is lost")
}

// holon #2910: a tool closed its connection to the database of a running
// program as the last one, as it believed, and the write-ahead log went with
// it. Here: a tool beside the owner never is the last one.
func TestHolon2910_AToolThatClosesLeavesTheLiveLogAlone(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	for i := range 10 {
		appendTo(t, s, batch(fmt.Sprint(i)))
		visit(t, dir)
		r, err := sqlite.OpenReadOnly(t.Context(), dir)
		require.NoError(t, err)
		require.Len(t, all(t, r), 3*(i+1))
		require.NoError(t, r.Close())
	}
	require.NoError(t, s.Err())
	sound(t, s)
}
