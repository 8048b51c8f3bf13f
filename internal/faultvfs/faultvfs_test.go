//go:build linux && cgo

package faultvfs_test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/internal/crashstates"
	"github.com/leat-go/leat/internal/disk"
	"github.com/leat-go/leat/internal/faultvfs"
)

// These tests exchange the default VFS of the process: none is parallel.

func register(t *testing.T) {
	t.Helper()
	unregister, err := faultvfs.Register()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, unregister()) })
}

// open opens a database in WAL mode that syncs every commit.
func open(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+path+"?_journal_mode=WAL&_synchronous=FULL")
	require.NoError(t, err)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func exec(t *testing.T, db *sql.DB, text string) {
	t.Helper()
	_, err := db.Exec(text)
	require.NoError(t, err)
}

func count(t *testing.T, dir string) (n int) {
	t.Helper()
	db := open(t, filepath.Join(dir, "x.db"))
	require.NoError(t, db.QueryRow("SELECT COUNT(*) FROM t").Scan(&n))
	var sound string
	require.NoError(t, db.QueryRow("PRAGMA integrity_check").Scan(&sound))
	require.Equal(t, "ok", sound)
	return n
}

func inject(t *testing.T, f faultvfs.Fault) *faultvfs.Injected {
	t.Helper()
	i, err := faultvfs.Inject(f)
	require.NoError(t, err)
	t.Cleanup(i.Remove)
	return i
}

func TestEverythingIsPassedOn(t *testing.T) {
	register(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "x.db")
	db := open(t, path)
	exec(t, db, "CREATE TABLE t (v)")
	reader, err := sql.Open("sqlite3", "file:"+path+"?mode=ro")
	require.NoError(t, err)
	defer func() { require.NoError(t, reader.Close()) }()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				var n int
				if err := reader.QueryRow("SELECT COUNT(*) FROM t").Scan(&n); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 50 {
		exec(t, db, "INSERT INTO t VALUES (1)")
	}
	wg.Wait()
	require.FileExists(t, path+"-shm", "readers and the writer share memory")
	require.NoError(t, reader.Close())
	require.NoError(t, db.Close())
	require.NoFileExists(t, path+"-wal", "the last one checkpoints")
	require.Equal(t, 50, count(t, dir))
}

func TestTheDefaultIsTakenBack(t *testing.T) {
	unregister, err := faultvfs.Register()
	require.NoError(t, err)
	require.NoError(t, unregister())
	dir := t.TempDir()
	all := inject(t, faultvfs.Fault{Kind: faultvfs.Anything, Dir: dir, Times: faultvfs.Forever})
	exec(t, open(t, filepath.Join(dir, "x.db")), "CREATE TABLE t (v)")
	require.Zero(t, all.Seen())
}

// TestTheRecordingIsWhatTheFilesHold replays the recording onto nothing.
func TestTheRecordingIsWhatTheFilesHold(t *testing.T) {
	register(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "x.db")
	r, err := faultvfs.Record(dir)
	require.NoError(t, err)
	_, err = faultvfs.Record(dir)
	require.Error(t, err, "one at a time")
	db := open(t, path)
	exec(t, db, "PRAGMA wal_autocheckpoint = 10; CREATE TABLE t (v)")
	for i := range 100 {
		exec(t, db, fmt.Sprintf("INSERT INTO t VALUES (randomblob(%d))", 10*i))
	}
	exec(t, db, "PRAGMA wal_checkpoint(TRUNCATE)")
	exec(t, db, "INSERT INTO t VALUES (randomblob(9000))")
	require.NoError(t, disk.Replace(filepath.Join(dir, "witness"), []byte("seen")))
	d := crashstates.NewDisk(nil)
	l := r.Log()
	d.Run(l, len(l))
	for _, name := range []string{"x.db", "x.db-wal", "witness"} {
		want, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		got, found := d.Content(name)
		require.True(t, found, name)
		require.Equal(t, want, got, name)
	}
	require.NoError(t, db.Close())
	l = r.Stop()
	d.Run(l, len(l))
	_, found := d.Content("x.db-wal")
	require.False(t, found)
}

func TestMarksAndStepsShareOneSequence(t *testing.T) {
	register(t)
	dir := t.TempDir()
	r, err := faultvfs.Record(dir)
	require.NoError(t, err)
	db := open(t, filepath.Join(dir, "x.db"))
	exec(t, db, "CREATE TABLE t (v)")
	r.Mark("one")
	exec(t, db, "INSERT INTO t VALUES (1)")
	r.Mark("two")
	require.NoError(t, disk.Replace(filepath.Join(dir, "witness"), []byte("seen")))
	require.NoError(t, disk.Replace(filepath.Join(t.TempDir(), "other"), []byte("elsewhere")))
	require.NoError(t, db.Close())
	l := r.Stop()
	var texts []string
	between := map[crashstates.Kind]int{}
	l.Marks(func(_ int, text string) { texts = append(texts, text) })
	for i, op := range l {
		if string(op.Data) == "two" {
			for _, op := range l[:i] {
				if string(op.Data) == "one" {
					clear(between)
				}
				between[op.Kind]++
			}
			require.Equal(t, "create witness.tmp", l[i+1].String())
			require.Equal(t, "sync witness.tmp", l[i+2].String())
			require.Equal(t, "rename witness.tmp to witness", l[i+3].String())
			require.Equal(t, "sync .", l[i+4].String())
		}
	}
	require.Equal(t, []string{"one", "two"}, texts)
	require.Equal(t, 1, between[crashstates.Sync], "a commit is one sync of the write-ahead log")
	require.Positive(t, between[crashstates.Write])
	for i, op := range l {
		require.LessOrEqual(t, op.Start, i)
	}
}

func TestTheNthOperationFails(t *testing.T) {
	register(t)
	for name, c := range map[string]struct {
		fault faultvfs.Fault
		code  sqlite3.ErrNoExtended
		rows  int // of five inserts
	}{
		"a sync once":         {faultvfs.Fault{Kind: faultvfs.Sync, Suffix: "-wal", N: 3}, sqlite3.ErrIoErrFsync, 4},
		"syncs for ever":      {faultvfs.Fault{Kind: faultvfs.Sync, Suffix: "-wal", N: 3, Times: faultvfs.Forever}, sqlite3.ErrIoErrFsync, 2},
		"a write once":        {faultvfs.Fault{Kind: faultvfs.Write, Suffix: "-wal", N: 3}, sqlite3.ErrIoErrWrite, 4},
		"a torn write":        {faultvfs.Fault{Kind: faultvfs.Write, Suffix: "-wal", N: 4, Torn: true}, sqlite3.ErrIoErrWrite, 4},
		"a full disk, twice":  {faultvfs.Fault{Kind: faultvfs.Write, Suffix: "-wal", N: 3, Times: 2, Error: faultvfs.Full}, 13, 3},
		"other files do well": {faultvfs.Fault{Kind: faultvfs.Anything, Suffix: "y.db", Times: faultvfs.Forever}, 0, 5},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			db := open(t, filepath.Join(dir, "x.db"))
			exec(t, db, "PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (v)")
			c.fault.Dir = dir
			f := inject(t, c.fault)
			rows := 0
			for range 5 {
				_, err := db.Exec("INSERT INTO t VALUES (1)")
				if err == nil {
					rows++
					continue
				}
				e, ok := err.(sqlite3.Error) //nolint:errorlint // a value, not wrapped
				require.True(t, ok)
				require.Equal(t, c.code, e.ExtendedCode)
			}
			require.Equal(t, c.rows, rows)
			require.Equal(t, rows < 5, f.Failed() > 0)
			f.Remove()
			f.Remove()
			require.NoError(t, db.Close())
			require.GreaterOrEqual(t, count(t, dir), rows)
		})
	}
}

func TestEveryKindCanFail(t *testing.T) {
	register(t)
	for _, kind := range faultvfs.Kinds() {
		t.Run(kind.String(), func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "x.db")
			db := open(t, path)
			exec(t, db, "CREATE TABLE t (v)")
			f := inject(t, faultvfs.Fault{Kind: kind, Dir: dir, Times: faultvfs.Forever})
			other, err := sql.Open("sqlite3", "file:"+path+"?_journal_mode=WAL&_busy_timeout=1")
			require.NoError(t, err)
			_, err = other.Exec("INSERT INTO t VALUES (randomblob(9000)); PRAGMA wal_checkpoint(TRUNCATE)")
			if kind != faultvfs.Delete {
				require.Error(t, err)
			}
			require.NoError(t, other.Close())
			require.NoError(t, db.Close())
			require.Positive(t, f.Failed())
			f.Remove()
			require.GreaterOrEqual(t, count(t, dir), 0)
		})
	}
}

func TestFaultsAreBounded(t *testing.T) {
	for range faultvfs.MaxFaults {
		inject(t, faultvfs.Fault{Kind: faultvfs.Sync})
	}
	_, err := faultvfs.Inject(faultvfs.Fault{Kind: faultvfs.Sync})
	require.Error(t, err)
}
