package sqlite_test

import (
	"bytes"
	"context"
	"database/sql"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/internal/sqlite"
)

// small are limits of a write-ahead log that a test reaches: 82, 200 and 400 kB.
func small(log *bytes.Buffer) sqlite.Options {
	return sqlite.Options{Checkpoint: 20, LongWAL: 200_000, MaxWAL: 400_000, Logger: slog.New(slog.NewTextHandler(log, nil))}
}

func insert(db *sqlite.DB) error {
	return db.Write(context.Background(), func(tx *sqlite.Tx) error {
		_, err := tx.Exec("INSERT INTO t (v) VALUES (?)", strings.Repeat("x", 10_000))
		return err
	})
}

func walSize(t *testing.T, db *sqlite.DB) int64 {
	t.Helper()
	info, err := os.Stat(db.Path() + "-wal")
	require.NoError(t, err)
	return info.Size()
}

func TestTheWALIsEmptiedAsItGrows(t *testing.T) {
	var log bytes.Buffer
	db := open(t, small(&log))
	for range 500 {
		require.NoError(t, insert(db))
		require.Less(t, walSize(t, db), int64(120_000), "a checkpoint and one transaction")
	}
	require.Equal(t, 500, count(t, db))
	require.Empty(t, log.String())
}

// rqlite #1627: the result of the checkpoint was not read, so a read that never
// ended let the write-ahead log grow until the disk was full.
func TestRqlite1627_ACheckpointThatDoesNotGetThroughIsNoticed(t *testing.T) {
	var log bytes.Buffer
	db := open(t, small(&log))
	require.NoError(t, insert(db))
	tx, err := db.Reader().BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
	require.NoError(t, err)
	var n int
	require.NoError(t, tx.QueryRow("SELECT COUNT(*) FROM t").Scan(&n))
	for err = insert(db); err == nil; err = insert(db) {
		require.Less(t, walSize(t, db), int64(450_000))
	}
	require.ErrorIs(t, err, sqlite.ErrWALFull)
	require.ErrorContains(t, err, "end that read")
	require.ErrorIs(t, insert(db), sqlite.ErrWALFull, "again, at once")
	require.Equal(t, 1, strings.Count(log.String(), "the write-ahead log grows"), "one line")
	stored := count(t, db)
	require.NoError(t, tx.QueryRow("SELECT COUNT(*) FROM t").Scan(&n))
	require.Equal(t, 1, n, "the read is not cut off")
	require.NoError(t, tx.Rollback())
	require.Eventually(t, func() bool { return insert(db) == nil }, 10*time.Second, 10*time.Millisecond, "by itself")
	require.Equal(t, stored+1, count(t, db))
	require.Equal(t, 1, strings.Count(log.String(), "short again"))
	require.Less(t, walSize(t, db), int64(120_000), "and its file is cut")
}

// codex #22444: a long-running process went on writing into a deleted
// write-ahead log, which nobody could see any more, and whose 690 GB no file
// had the name of.
func TestCodex22444_AWriteIntoADeletedWALIsNoticed(t *testing.T) {
	for name, lose := range map[string]func(path string) error{
		"wal removed":    func(path string) error { return os.Remove(path + "-wal") },
		"wal replaced":   func(path string) error { return replace(path + "-wal") },
		"index replaced": func(path string) error { return replace(path + "-shm") },
	} {
		t.Run(name, func(t *testing.T) {
			db := open(t, sqlite.Options{})
			for range 3 {
				require.NoError(t, insert(db))
			}
			require.NoError(t, lose(db.Path()))
			err := insert(db)
			require.ErrorIs(t, err, sqlite.ErrReplaced)
			var unknown *sqlite.CommitError
			require.ErrorAs(t, err, &unknown, "it is stored, in a file without a name")
			err = insert(db)
			require.ErrorIs(t, err, sqlite.ErrReplaced)
			require.NotErrorAs(t, err, &unknown, "nothing more is stored")
			require.Equal(t, 4, count(t, db), "what is open is still read")
			if name != "index replaced" {
				require.Equal(t, 4, countCopy(t, db), "and it was moved to where it has a name")
			}
			require.NoError(t, db.Close())
			require.Equal(t, 4, countCopy(t, db), "closing loses nothing either")
		})
	}
	t.Run("database replaced", func(t *testing.T) {
		db := open(t, sqlite.Options{})
		require.NoError(t, insert(db))
		require.NoError(t, replace(db.Path()))
		require.ErrorIs(t, insert(db), sqlite.ErrReplaced)
	})
}

func TestFilesThatCannotBeLookedAtForAWhileAreNotLost(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	require.NoError(t, os.Mkdir(dir, 0o700))
	db, err := sqlite.Open(t.Context(), filepath.Join(dir, "file.db"), sqlite.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	require.NoError(t, db.Write(t.Context(), func(tx *sqlite.Tx) error {
		_, err := tx.Exec("CREATE TABLE t (v TEXT NOT NULL) STRICT")
		return err
	}))
	require.NoError(t, os.Rename(dir, dir+".aside"))
	require.NoError(t, os.Symlink(dir, dir)) // too many levels of links
	err = insert(db)
	var unknown *sqlite.CommitError
	require.ErrorAs(t, err, &unknown, "where it went is not known")
	require.NotErrorIs(t, err, sqlite.ErrReplaced)
	require.NoError(t, os.Remove(dir))
	require.NoError(t, os.Rename(dir+".aside", dir))
	require.NoError(t, insert(db))
	require.Equal(t, 2, count(t, db))
}

func replace(path string) error {
	if err := os.WriteFile(path+".new", nil, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// countCopy counts the rows of the database file alone, as it is on the disk.
// It looks at a copy made by another process, since closing the file here would
// drop SQLite's locks.
func countCopy(t *testing.T, db *sqlite.DB) (n int) {
	t.Helper()
	path := t.TempDir() + "/copy.db"
	require.NoError(t, exec.CommandContext(t.Context(), "cp", db.Path(), path).Run())
	c, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	require.NoError(t, c.Reader().QueryRow("SELECT COUNT(*) FROM t").Scan(&n))
	return n
}
