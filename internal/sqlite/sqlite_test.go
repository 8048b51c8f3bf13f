package sqlite_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/internal/sqlite"
)

const appID = 0x1ea70000

var migrations = fstest.MapFS{
	"0001_first.sql": {Data: []byte("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT NOT NULL) STRICT")},
}

// open opens a new file, migrated by dir or else by migrations.
func open(t *testing.T, opts sqlite.Options, dir ...fs.FS) *sqlite.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "a ?#%.db"), opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	require.NoError(t, db.Migrate(t.Context(), appID, append(dir, migrations)[0]))
	return db
}

func count(t *testing.T, db *sqlite.DB) (n int) {
	t.Helper()
	require.NoError(t, db.Reader().QueryRow("SELECT COUNT(*) FROM t").Scan(&n))
	return n
}

func TestEveryConnectionIsAsDurableAsAsked(t *testing.T) {
	for want, d := range map[int]sqlite.Durability{2: sqlite.Full, 1: sqlite.Normal} {
		db := open(t, sqlite.Options{Durability: d})
		var got int
		require.NoError(t, db.Writer().QueryRow("PRAGMA synchronous").Scan(&got))
		require.Equal(t, want, got)
		var full, checkpoint int
		require.NoError(t, db.Writer().QueryRow("PRAGMA fullfsync").Scan(&full))
		require.NoError(t, db.Writer().QueryRow("PRAGMA checkpoint_fullfsync").Scan(&checkpoint))
		require.Equal(t, []int{1, 1}, []int{full, checkpoint}, "through the drive's memory, on macOS")
	}
}

func TestFilesArePrivate(t *testing.T) {
	db := open(t, sqlite.Options{})
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(db.Path() + suffix)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), suffix)
	}
}

func TestWriteIsAllOrNothing(t *testing.T) {
	db := open(t, sqlite.Options{})
	boom := errors.New("boom")
	err := db.Write(t.Context(), func(tx *sqlite.Tx) error {
		_, err := tx.Exec("INSERT INTO t (v) VALUES ('x')")
		require.NoError(t, err)
		return boom
	})
	require.ErrorIs(t, err, boom)
	require.Zero(t, count(t, db))
	require.Panics(t, func() {
		_ = db.Write(t.Context(), func(tx *sqlite.Tx) error {
			_, err := tx.Exec("INSERT INTO t (v) VALUES ('x')")
			require.NoError(t, err)
			panic("boom")
		})
	})
	require.NoError(t, db.Write(t.Context(), func(tx *sqlite.Tx) error {
		_, err := tx.Exec("INSERT INTO t (v) VALUES ('y')")
		return err
	}), "the connection is usable after a panic")
	require.Equal(t, 1, count(t, db))
}

func TestWriteRefusesToCommitATransactionThatEnded(t *testing.T) {
	db := open(t, sqlite.Options{})
	err := db.Write(t.Context(), func(tx *sqlite.Tx) error {
		_, err := tx.Exec("INSERT INTO t (v) VALUES ('x'); ROLLBACK")
		return err
	})
	require.ErrorContains(t, err, "ended before its commit")
	require.Zero(t, count(t, db))
}

func TestNoStatementRunsAfterATransactionThatEnded(t *testing.T) {
	db := open(t, sqlite.Options{})
	err := db.Write(t.Context(), func(tx *sqlite.Tx) error {
		_, err := tx.Exec("INSERT INTO t (v) VALUES ('x')")
		require.NoError(t, err)
		_, err = tx.Exec("INSERT OR ROLLBACK INTO t (v) VALUES (NULL)")
		require.True(t, sqlite.IsConstraint(err), "%v", err)
		require.True(t, tx.Ended())
		_, err = tx.Exec("INSERT INTO t (v) VALUES ('y')")
		require.ErrorIs(t, err, sqlite.ErrEnded)
		_, err = tx.Query("INSERT INTO t (v) VALUES ('y') RETURNING id")
		require.ErrorIs(t, err, sqlite.ErrEnded)
		require.ErrorIs(t, tx.QueryRow("INSERT INTO t (v) VALUES ('y') RETURNING id").Scan(new(int)), sqlite.ErrEnded)
		_, err = tx.Prepare("INSERT INTO t (v) VALUES ('y')")
		require.ErrorIs(t, err, sqlite.ErrEnded)
		require.ErrorIs(t, tx.Savepoint(func() error { panic("it has no transaction") }), sqlite.ErrEnded)
		return nil // a caller that swallows all that
	})
	require.ErrorContains(t, err, "ended before its commit")
	require.Zero(t, count(t, db))
	require.NoError(t, db.Write(t.Context(), func(tx *sqlite.Tx) error {
		_, err := tx.Exec("INSERT INTO t (v) VALUES ('z')")
		return err
	}), "the connection is as it was")
	require.Equal(t, 1, count(t, db))
}

func TestSavepointUndoesOnlyItself(t *testing.T) {
	db := open(t, sqlite.Options{})
	boom := errors.New("boom")
	require.NoError(t, db.Write(t.Context(), func(tx *sqlite.Tx) error {
		for i := range 3 {
			err := tx.Savepoint(func() error {
				if _, err := tx.Exec("INSERT INTO t (v) VALUES ('x')"); err != nil {
					return err
				}
				if i == 1 {
					return boom
				}
				return nil
			})
			if i == 1 {
				require.ErrorIs(t, err, boom)
			} else {
				require.NoError(t, err)
			}
		}
		return nil
	}))
	require.Equal(t, 2, count(t, db))
}

func TestReadersCannotWrite(t *testing.T) {
	db := open(t, sqlite.Options{})
	_, err := db.Reader().Exec("INSERT INTO t (v) VALUES ('x')")
	require.Error(t, err)
}

func TestOpenRefusesWhatIsNotItsOwn(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	text := filepath.Join(dir, "text.db")
	require.NoError(t, os.WriteFile(text, []byte("these are the notes of somebody, and long enough to be read as a header of a database file, which they are not"), 0o600))
	_, err := sqlite.Open(ctx, text, sqlite.Options{})
	require.ErrorContains(t, err, "not a database")

	link := filepath.Join(dir, "link.db")
	require.NoError(t, os.Symlink(text, link))
	_, err = sqlite.Open(ctx, link, sqlite.Options{})
	require.ErrorContains(t, err, "symbolic link")

	_, err = sqlite.Open(ctx, filepath.Join(dir, "absent.db"), sqlite.Options{ReadOnly: true})
	require.ErrorIs(t, err, os.ErrNotExist)

	db := open(t, sqlite.Options{})
	require.ErrorIs(t, db.Migrate(ctx, appID+1, migrations), sqlite.ErrForeign)
	require.ErrorIs(t, db.Migrate(ctx, appID, fstest.MapFS{}), sqlite.ErrNewer)
}
