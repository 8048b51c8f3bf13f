package sqlite_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"

	_ "github.com/mattn/go-sqlite3"
)

// sound fails the test where the store's own verification finds anything.
func sound(t *testing.T, s *sqlite.Store) {
	t.Helper()
	r, err := s.Verify(t.Context())
	require.NoError(t, err)
	require.Empty(t, r.Findings)
	head, err := s.Head(t.Context())
	require.NoError(t, err)
	require.Equal(t, head, r.Events)
}

// listing is what is in a directory: names, sizes, modes, times and contents
// of files that no SQLite has open.
func listing(t *testing.T, dir string) (list []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		line := fmt.Sprintf("%s %d %s %d", path, info.Size(), info.Mode(), info.ModTime().UnixNano())
		list = append(list, line)
		return nil
	}))
	return list
}

func sums(t *testing.T, dir string) map[string]string {
	t.Helper()
	m := map[string]string{}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		m[e.Name()] = fmt.Sprintf("%x", sha256.Sum256(data))
	}
	return m
}

// change runs statements on the log of a closed store, past its triggers, and
// leaves its schema as it was.
func change(t *testing.T, dir string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite3", filepath.Join(dir, "log.db"))
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	db.SetMaxOpenConns(1)
	triggers := map[string]string{}
	rows, err := db.Query("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
	require.NoError(t, err)
	for rows.Next() {
		var name, text string
		require.NoError(t, rows.Scan(&name, &text))
		triggers[name] = text
	}
	require.NoError(t, rows.Err())
	for name := range triggers {
		_, err := db.Exec("DROP TRIGGER " + name)
		require.NoError(t, err)
	}
	defer func() {
		for _, text := range triggers {
			_, err := db.Exec(text)
			require.NoError(t, err)
		}
	}()
	for _, text := range statements {
		_, err := db.Exec(text)
		require.NoError(t, err)
	}
}

func TestWhatIsNotAStoreIsRefusedAndLeftAsItIs(t *testing.T) {
	foreign := func(dir, mode string) {
		db, err := sql.Open("sqlite3", "file:"+filepath.Join(dir, "log.db")+"?_journal_mode="+mode)
		require.NoError(t, err)
		_, err = db.Exec("CREATE TABLE t (x); INSERT INTO t VALUES (1)")
		require.NoError(t, err)
		require.NoError(t, db.Close())
	}
	text := func(dir, name, content string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	for name, c := range map[string]struct {
		prepare func(dir string)
		is      error
		says    string
	}{
		"text":           {func(dir string) { text(dir, "log.db", strings.Repeat("dear diary, ", 1000)) }, sqlite.ErrNotStore, "not a database"},
		"short text":     {func(dir string) { text(dir, "log.db", "dear diary") }, sqlite.ErrNotStore, "not a database"},
		"other database": {func(dir string) { foreign(dir, "DELETE") }, sqlite.ErrNotStore, "application id"},
		"other WAL":      {func(dir string) { foreign(dir, "WAL") }, sqlite.ErrNotStore, "application id"},
		"not empty":      {func(dir string) { text(dir, "notes.txt", "x") }, sqlite.ErrNotStore, "notes.txt"},
		"lost log":       {func(dir string) { text(dir, "witness", "{}") }, eventstore.ErrCorrupt, "missing"},
		"newer": {func(dir string) {
			s, err := sqlite.Open(t.Context(), dir, nil)
			require.NoError(t, err)
			require.NoError(t, s.Close())
			require.NoError(t, os.Remove(filepath.Join(dir, "lock")))
			change(t, dir, "PRAGMA user_version = 99")
		}, sqlite.ErrNotStore, "newer program"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c.prepare(dir)
			before, had := listing(t, dir), sums(t, dir)
			_, err := sqlite.Open(t.Context(), dir, nil)
			require.ErrorIs(t, err, c.is)
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), "\n", "one line")
			t.Log(err)
			require.Equal(t, had, sums(t, dir))
			require.Equal(t, before, listing(t, dir))
			_, err = sqlite.OpenReadOnly(t.Context(), dir)
			require.ErrorIs(t, err, sqlite.ErrNotStore)
			require.Equal(t, before, listing(t, dir))
		})
	}
	t.Run("a file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "store")
		require.NoError(t, os.WriteFile(path, nil, 0o600))
		_, err := sqlite.Open(t.Context(), path, nil)
		require.ErrorIs(t, err, sqlite.ErrNotStore)
	})
	t.Run("nothing, to read", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "absent")
		_, err := sqlite.OpenReadOnly(t.Context(), dir)
		require.ErrorIs(t, err, sqlite.ErrNotStore)
		require.NoDirExists(t, dir)
	})
}

func TestFilesArePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "store")
	s := open(t, dir, nil)
	appendTo(t, s, write("ride-1", eventstore.Any(), event("asked", "x")))
	require.NoError(t, s.Close())
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o700), info.Mode().Perm())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	names := []string{}
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), info.Mode().Perm(), e.Name())
		names = append(names, e.Name())
	}
	require.Equal(t, []string{"lock", "log.db", "witness"}, names, "a closed store is compact")
}

func TestACreationThatWasCutShortIsCompleted(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"lock", "log.db"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	appendTo(t, open(t, dir, nil), write("ride-1", eventstore.Any(), event("asked", "x")))
}

func TestTheSecondOwnerIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	appendTo(t, s, write("ride-1", eventstore.Any(), event("asked", "x")))
	for range 3 {
		_, err := sqlite.Open(t.Context(), dir, nil)
		require.ErrorIs(t, err, eventstore.ErrInUse)
	}
	appendTo(t, s, write("ride-1", eventstore.Any(), event("asked", "x")))
	sound(t, s)
}

func TestAReaderBesideTheOwner(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	appendTo(t, s, write("ride-1", eventstore.Any(), event("asked", "x")))
	r, err := sqlite.OpenReadOnly(t.Context(), dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	require.Equal(t, all(t, s), all(t, r))
	require.Equal(t, s.Epoch(), r.Epoch())
	heads := make(chan int64, 1)
	go func() {
		head, err := r.Wait(context.Background(), 1)
		if err != nil {
			t.Error(err)
		}
		heads <- head
	}()
	appendTo(t, s, withID("b", write("driver-1", eventstore.Any(), event("joined", "x"))))
	require.Equal(t, int64(2), <-heads)
	require.Equal(t, all(t, s), all(t, r), "with names that are new to it")
	_, found, err := r.Committed(t.Context(), "b")
	require.NoError(t, err)
	require.True(t, found)
	_, err = r.Append(t.Context(), write("ride-1", eventstore.Any(), event("asked", "x")))
	require.ErrorIs(t, err, sqlite.ErrReadOnly)
	require.ErrorIs(t, r.SaveSnapshot(t.Context(), eventstore.Snapshot{Stream: "ride-1", Fold: "f", Version: 1}), sqlite.ErrReadOnly)
	sound(t, r)
}

func TestAReaderWithoutAnOwner(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	appendTo(t, s, write("ride-1", eventstore.Any(), event("asked", "x")))
	require.NoError(t, s.Close())
	r, err := sqlite.OpenReadOnly(t.Context(), dir)
	require.NoError(t, err)
	require.Len(t, all(t, r), 1)
	errs := make(chan error, 1)
	go func() {
		_, err := r.Wait(context.Background(), 1)
		errs <- err
	}()
	require.NoError(t, r.Close())
	require.ErrorIs(t, <-errs, eventstore.ErrClosed)
}

func TestSnapshots(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	_, found, err := s.LoadSnapshot(t.Context(), "ride-1", "f")
	require.NoError(t, err)
	require.False(t, found)
	for _, version := range []int64{3, 5, 4} {
		require.NoError(t, s.SaveSnapshot(t.Context(), eventstore.Snapshot{Stream: "ride-1", Fold: "f", Version: version, State: []byte(fmt.Sprint(version))}))
	}
	got, found, err := s.LoadSnapshot(t.Context(), "ride-1", "f")
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, eventstore.Snapshot{Stream: "ride-1", Fold: "f", Version: 5, State: []byte("5")}, got, "the later one is kept")
	_, found, err = s.LoadSnapshot(t.Context(), "ride-1", "g")
	require.NoError(t, err)
	require.False(t, found)
}

func TestABackupRestoredIsAStore(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	for i := range 10 {
		appendTo(t, s, withID(fmt.Sprint(i), write("ride-1", eventstore.Any(), event("asked", "x"))))
	}
	dst := filepath.Join(t.TempDir(), "copy")
	require.NoError(t, s.Backup(t.Context(), dst))
	require.Error(t, s.Backup(t.Context(), dst), "never over something")
	restored, _ := restore(t, dst)
	b := open(t, restored, nil)
	require.Equal(t, all(t, s), all(t, b))
	sound(t, b)
	require.Equal(t, int64(11), appendTo(t, b, write("ride-1", eventstore.Exactly(10), event("asked", "x"))).First)
	_, err := s.ReadLog(t.Context(), 0, 1, eventstore.Filter{})
	require.NoError(t, err)
}

func TestOptionsAreChecked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x")
	for _, opts := range []sqlite.Options{{Queue: -1}, {Durability: 7}, {Limits: eventstore.Limits{Data: -1}}} {
		_, err := sqlite.Open(t.Context(), dir, &opts)
		require.ErrorIs(t, err, eventstore.ErrInvalid)
	}
	require.NoDirExists(t, dir)
}
