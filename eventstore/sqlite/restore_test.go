package sqlite_test

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
)

// backUp takes a backup of the store and returns its directory.
func backUp(t *testing.T, s *sqlite.Store) string {
	t.Helper()
	dst := filepath.Join(t.TempDir(), "backup")
	require.NoError(t, s.Backup(t.Context(), dst))
	return dst
}

// restore restores a backup into a new directory and returns that.
func restore(t *testing.T, backup string) (dir string, r sqlite.Restored) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "restored")
	r, err := sqlite.Restore(t.Context(), backup, dir, nil)
	require.NoError(t, err)
	require.Empty(t, r.Lost)
	return dir, r
}

// filled makes a store with 60 events and 21 batches, and a backup of it.
func filled(t *testing.T) (dir, backup string) {
	t.Helper()
	dir = t.TempDir()
	fill(t, dir)
	s, err := sqlite.OpenReadOnly(t.Context(), dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	return dir, backUp(t, s)
}

func ask(t *testing.T, s *sqlite.Store, n int) {
	t.Helper()
	for range n {
		appendTo(t, s, write("ride-1", eventstore.Any(), event("asked", "x")))
	}
}

func TestARestoredStoreIsTheOneThatWasBackedUp(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	for i := range 10 {
		appendTo(t, s, withID(fmt.Sprint(i), write("ride-1", eventstore.Any(), event("asked", fmt.Sprint(i)))))
	}
	require.NoError(t, s.SaveSnapshot(t.Context(), eventstore.Snapshot{Stream: "ride-1", Fold: "f", Version: 3, State: []byte("s")}))
	backup := backUp(t, s)
	before := sums(t, backup)
	dir, r := restore(t, backup)
	require.Equal(t, before, sums(t, backup), "the backup is left as it was")
	head, err := s.Anchor(t.Context(), 10)
	require.NoError(t, err)
	require.Equal(t, head, r.Head, "the end is of the epoch in which it was written")
	require.Equal(t, []string{"log.db"}, r.Files)
	require.Equal(t, int64(10), r.Events)
	require.Equal(t, int64(10), r.Batches)
	require.Equal(t, []string{"lock", "log.db", "witness"}, names(t, dir), "it is compact, and no backup any more")

	b := open(t, dir, nil)
	require.Equal(t, all(t, s), all(t, b))
	sound(t, b)
	require.Equal(t, r.Epoch, b.Epoch())
	require.NotEqual(t, s.Epoch(), b.Epoch())
	require.True(t, appendTo(t, b, withID("3", write("ride-1", eventstore.Any(), event("asked", "3")))).Duplicate)
	require.Equal(t, int64(11), appendTo(t, b, write("ride-1", eventstore.Exactly(10), event("asked", "x"))).First)
	_, found, err := b.LoadSnapshot(t.Context(), "ride-1", "f")
	require.NoError(t, err)
	require.False(t, found, "nothing bears out what a snapshot says")
}

func names(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// tamper runs statements on a database that nobody has open.
func tamper(t *testing.T, path, statements string) {
	t.Helper()
	db, err := sql.Open("sqlite3", path)
	require.NoError(t, err)
	_, err = db.Exec(statements)
	require.NoError(t, errors.Join(err, db.Close()))
}

func rewrite(t *testing.T, path string, edit func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, edit(data), 0o600))
}

// hostile are backups that no option makes acceptable.
var hostile = map[string]struct {
	is     error
	damage func(t *testing.T, backup string)
}{
	"a linked log": {eventstore.ErrCorrupt, func(t *testing.T, backup string) {
		path := filepath.Join(backup, "log.db")
		require.NoError(t, os.Rename(path, path+"x"))
		require.NoError(t, os.Rename(path+"x", filepath.Join(t.TempDir(), "elsewhere.db")))
		require.NoError(t, os.Symlink(filepath.Join(t.TempDir(), "elsewhere.db"), path))
	}},
	"a linked witness": {eventstore.ErrCorrupt, func(t *testing.T, backup string) {
		require.NoError(t, os.Remove(filepath.Join(backup, "witness")))
		require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(backup, "witness")))
	}},
	"a directory for a log": {eventstore.ErrCorrupt, func(t *testing.T, backup string) {
		require.NoError(t, os.Remove(filepath.Join(backup, "log.db")))
		require.NoError(t, os.Mkdir(filepath.Join(backup, "log.db"), 0o700))
	}},
	"a directory for sagas": {eventstore.ErrCorrupt, func(t *testing.T, backup string) {
		require.NoError(t, os.Mkdir(filepath.Join(backup, "sagas.db"), 0o700))
	}},
	"a pipe for consumers": {eventstore.ErrCorrupt, func(t *testing.T, backup string) {
		require.NoError(t, syscall.Mkfifo(filepath.Join(backup, "consumers.db"), 0o600))
	}},
	"a stranger": {eventstore.ErrCorrupt, func(t *testing.T, backup string) {
		require.NoError(t, os.WriteFile(filepath.Join(backup, "run-me.sh"), nil, 0o700))
	}},
	"a database of a newer program": {sqlite.ErrNotStore, func(t *testing.T, backup string) {
		rewrite(t, filepath.Join(backup, "manifest"), func(data []byte) []byte {
			return []byte(strings.Replace(string(data), `"files": [`, `"files": [{"name": "inbox.db", "bytes": 0, "sha256": ""},`, 1))
		})
		require.NoError(t, os.WriteFile(filepath.Join(backup, "inbox.db"), nil, 0o600))
	}},
	"no log": {eventstore.ErrCorrupt, func(t *testing.T, backup string) {
		require.NoError(t, os.Remove(filepath.Join(backup, "log.db")))
	}},
	"no backup": {sqlite.ErrNotStore, func(t *testing.T, backup string) {
		require.NoError(t, os.RemoveAll(backup))
	}},
	"a newer format": {sqlite.ErrNotStore, func(t *testing.T, backup string) {
		tamper(t, filepath.Join(backup, "log.db"), "PRAGMA user_version = 99")
	}},
	"another program's log": {sqlite.ErrNotStore, func(t *testing.T, backup string) {
		tamper(t, filepath.Join(backup, "log.db"), "PRAGMA application_id = 7")
	}},
	"text for a log": {sqlite.ErrNotStore, func(t *testing.T, backup string) {
		require.NoError(t, os.WriteFile(filepath.Join(backup, "log.db"), []byte(strings.Repeat("dear diary, ", 1000)), 0o600))
	}},
	"an empty log": {eventstore.ErrCorrupt, func(t *testing.T, backup string) {
		require.NoError(t, os.Truncate(filepath.Join(backup, "log.db"), 0))
	}},
	"half a log": {eventstore.ErrCorrupt, func(t *testing.T, backup string) {
		rewrite(t, filepath.Join(backup, "log.db"), func(data []byte) []byte { return data[:len(data)/2] })
	}},
	"a trigger more": {eventstore.ErrCorrupt, func(t *testing.T, backup string) {
		tamper(t, filepath.Join(backup, "log.db"), "CREATE TRIGGER x AFTER INSERT ON events BEGIN DELETE FROM streams; END")
	}},
	"a view more": {eventstore.ErrCorrupt, func(t *testing.T, backup string) {
		tamper(t, filepath.Join(backup, "log.db"), "CREATE VIEW x AS SELECT * FROM events")
	}},
	"a trigger less": {eventstore.ErrCorrupt, func(t *testing.T, backup string) {
		tamper(t, filepath.Join(backup, "log.db"), "DROP TRIGGER events_are_not_changed")
	}},
	"a changed event": {eventstore.ErrCorrupt, func(t *testing.T, backup string) {
		change(t, backup, `UPDATE events SET data = X'00' WHERE position = 7`)
	}},
	"a forgotten batch": {eventstore.ErrCorrupt, func(t *testing.T, backup string) {
		change(t, backup, `DELETE FROM batches WHERE number = 7`)
	}},
	"a moved epoch": {eventstore.ErrCorrupt, func(t *testing.T, backup string) {
		change(t, backup, `UPDATE epochs SET began_after = 7`)
	}},
	"sagas of another program": {sqlite.ErrNotStore, func(t *testing.T, backup string) {
		tamper(t, filepath.Join(backup, "sagas.db"), "CREATE TABLE t (x)")
	}},
	"text for consumers": {sqlite.ErrNotStore, func(t *testing.T, backup string) {
		require.NoError(t, os.WriteFile(filepath.Join(backup, "consumers.db"), []byte(strings.Repeat("dear diary, ", 1000)), 0o600))
	}},
	"a false write-ahead log": {eventstore.ErrCorrupt, func(t *testing.T, backup string) {
		require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(backup, "log.db-wal")))
	}},
}

func TestAHostileBackupIsRefusedAndLeavesNothing(t *testing.T) {
	for name, c := range hostile {
		t.Run(name, func(t *testing.T) {
			_, backup := filled(t)
			c.damage(t, backup)
			above := t.TempDir()
			for _, accept := range []bool{false, true} {
				_, err := sqlite.Restore(t.Context(), backup, filepath.Join(above, "new", "store"), &sqlite.RestoreOptions{AcceptLoss: accept})
				require.Error(t, err)
				require.NotContains(t, err.Error(), "AcceptLoss", "it does not help")
				require.NotContains(t, err.Error(), "from a backup", "it is one")
				require.LessOrEqual(t, strings.Count(err.Error(), "take another")+strings.Count(err.Error(), "name another"), 1, "one thing to do")
				require.NotContains(t, err.Error(), "\n", "one line")
				require.NotContains(t, err.Error(), above, "what was made is gone, and not spoken of")
				require.Empty(t, names(t, above))
				if accept {
					require.ErrorIs(t, err, c.is)
					t.Log(err)
				}
			}
		})
	}
}

func TestARefusedBackupIsNamedWithThePlaceInIt(t *testing.T) {
	_, backup := filled(t)
	change(t, backup, `UPDATE events SET data = X'00' WHERE position = 7`)
	_, err := sqlite.Restore(t.Context(), backup, filepath.Join(t.TempDir(), "store"), &sqlite.RestoreOptions{AcceptLoss: true})
	require.ErrorContains(t, err, filepath.Join(backup, "log.db")+", position 7: the event is not what was written")
}

func TestALossIsAcceptedOnlyByOptionAndSaid(t *testing.T) {
	// lost returns a copy of the store whose log ends at position 57.
	behind := func(t *testing.T, backup string) {
		change(t, backup, `DELETE FROM events WHERE position > 57`, `DELETE FROM batches WHERE last > 57 OR number > 20`,
			`DELETE FROM batches WHERE number > 19`, `DELETE FROM events WHERE position > 57`,
			`UPDATE sqlite_sequence SET seq = 57 WHERE name = 'events'`, `UPDATE sqlite_sequence SET seq = 19 WHERE name = 'batches'`,
			`DELETE FROM stream_index WHERE position > 57`, `UPDATE meta SET indexed = min(indexed, 57)`)
	}
	for name, c := range map[string]struct {
		says   []string
		damage func(t *testing.T, backup string)
	}{
		"a log behind its witness": {[]string{"not the file that was backed up", "3 acknowledged events are missing"}, behind},
		"no witness": {[]string{"witness is missing, which the manifest names", "lost its witness"}, func(t *testing.T, backup string) {
			require.NoError(t, os.Remove(filepath.Join(backup, "witness")))
		}},
		"a torn witness": {[]string{"witness is not the file", "cannot be read"}, func(t *testing.T, backup string) {
			require.NoError(t, os.Truncate(filepath.Join(backup, "witness"), 40))
		}},
		"the witness of another log": {[]string{"witness is not the file", "belongs to another log"}, func(t *testing.T, backup string) {
			_, other := filled(t)
			data, err := os.ReadFile(filepath.Join(other, "witness"))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(backup, "witness"), data, 0o600))
		}},
		"no manifest": {[]string{"no manifest"}, func(t *testing.T, backup string) {
			require.NoError(t, os.Remove(filepath.Join(backup, "manifest")))
		}},
		"a torn manifest": {[]string{"manifest cannot be read"}, func(t *testing.T, backup string) {
			require.NoError(t, os.Truncate(filepath.Join(backup, "manifest"), 40))
		}},
		"a huge manifest": {[]string{"manifest cannot be read"}, func(t *testing.T, backup string) {
			require.NoError(t, os.Truncate(filepath.Join(backup, "manifest"), 1<<20))
		}},
		"a file that was half copied": {[]string{"sagas.db is missing, which the manifest names"}, func(t *testing.T, backup string) {
			rewrite(t, filepath.Join(backup, "manifest"), func(data []byte) []byte {
				return []byte(strings.Replace(string(data), `"files": [`, `"files": [{"name": "sagas.db", "bytes": 1, "sha256": ""},`, 1))
			})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			_, backup := filled(t)
			c.damage(t, backup)
			above := t.TempDir()
			dst := filepath.Join(above, "store")
			_, err := sqlite.Restore(t.Context(), backup, dst, nil)
			require.ErrorIs(t, err, eventstore.ErrCorrupt)
			require.ErrorContains(t, err, "AcceptLoss")
			require.NotContains(t, err.Error(), "\n")
			require.Empty(t, names(t, above))
			r, err := sqlite.Restore(t.Context(), backup, dst, &sqlite.RestoreOptions{AcceptLoss: true})
			require.NoError(t, err)
			require.Len(t, r.Lost, len(c.says))
			for i, says := range c.says {
				require.Contains(t, r.Lost[i], says)
			}
			s := open(t, dst, nil)
			sound(t, s)
			ask(t, s, 1)
		})
	}
}

func TestAStoreThatLostItsWitnessGoesOnThroughRestore(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir)
	require.NoError(t, os.Remove(filepath.Join(dir, "witness")))
	_, err := sqlite.Open(t.Context(), dir, nil)
	require.ErrorIs(t, err, eventstore.ErrCorrupt)
	s, err := sqlite.OpenReadOnly(t.Context(), dir)
	require.NoError(t, err)
	err = s.Backup(t.Context(), filepath.Join(t.TempDir(), "x"))
	require.ErrorIs(t, err, eventstore.ErrCorrupt, "a Backup would say that it is whole")
	require.NoError(t, s.Close())
	dst := filepath.Join(t.TempDir(), "store")
	r, err := sqlite.Restore(t.Context(), dir, dst, &sqlite.RestoreOptions{AcceptLoss: true})
	require.NoError(t, err)
	require.Equal(t, int64(60), r.Events)
	sound(t, open(t, dst, nil))
}

// TestFilesOfOthersInADirectoryThatNoBackupMadeAreLeftAndNamed: a program may
// have files of its own in the directory of a store.
func TestFilesOfOthersInADirectoryThatNoBackupMadeAreLeftAndNamed(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir)
	for _, name := range []string{"receipts.txt", "a\nb"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600))
	}
	dst := filepath.Join(t.TempDir(), "store")
	_, err := sqlite.Restore(t.Context(), dir, dst, nil)
	require.ErrorIs(t, err, eventstore.ErrCorrupt)
	require.ErrorContains(t, err, "AcceptLoss")
	r, err := sqlite.Restore(t.Context(), dir, dst, &sqlite.RestoreOptions{AcceptLoss: true})
	require.NoError(t, err)
	require.Len(t, r.Lost, 2)
	require.Equal(t, `not of this program's store, and not copied: "a\nb", "receipts.txt"`, r.Lost[1])
	require.Equal(t, []string{"lock", "log.db", "witness"}, names(t, dst))
	require.Contains(t, names(t, dir), "receipts.txt")
	sound(t, open(t, dst, nil))
}

// TestWhatAKilledOwnerLeftInItsWriteAheadLogIsRestored: its directory is no
// Backup, but all that it acknowledged is in it.
func TestWhatAKilledOwnerLeftInItsWriteAheadLogIsRestored(t *testing.T) {
	live := t.TempDir()
	s := open(t, live, nil)
	ask(t, s, 5)
	dir := t.TempDir()
	for _, name := range []string{"log.db", "log.db-wal", "log.db-shm", "lock"} { // as a machine that stops leaves them
		require.NoError(t, exec.CommandContext(t.Context(), "cp", filepath.Join(live, name), dir).Run()) // never opened here
	}
	_, err := sqlite.Restore(t.Context(), live, filepath.Join(t.TempDir(), "x"), nil)
	require.ErrorIs(t, err, eventstore.ErrInUse)
	dst := filepath.Join(t.TempDir(), "store")
	r, err := sqlite.Restore(t.Context(), dir, dst, &sqlite.RestoreOptions{AcceptLoss: true})
	require.NoError(t, err)
	require.Equal(t, int64(5), r.Events)
	require.Equal(t, []string{"lock", "log.db", "witness"}, names(t, dst))
}

// TestADirectoryWithoutALogSaysSo and not that something else in it is too much.
func TestADirectoryWithoutALogSaysSo(t *testing.T) {
	restore := func(dir string) error {
		_, err := sqlite.Restore(t.Context(), dir, filepath.Join(t.TempDir(), "store"), &sqlite.RestoreOptions{AcceptLoss: true})
		return err
	}
	for name, lose := range map[string]func(path string) error{"removed": os.Remove, "emptied": func(path string) error { return os.Truncate(path, 0) }} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			fill(t, dir)
			require.NoError(t, os.WriteFile(filepath.Join(dir, "receipts.txt"), []byte("x"), 0o600))
			require.NoError(t, lose(filepath.Join(dir, "log.db")))
			err := restore(dir)
			require.ErrorIs(t, err, eventstore.ErrCorrupt)
			require.ErrorContains(t, err, filepath.Join(dir, "log.db")+": it is missing or empty, but witness of a store is there: take another backup")
			require.NoError(t, os.WriteFile(filepath.Join(dir, "consumers.db"), []byte("x"), 0o600))
			_, err = sqlite.Open(t.Context(), dir, nil)
			require.ErrorIs(t, err, eventstore.ErrCorrupt)
			require.ErrorContains(t, err, "the log is missing or empty, but consumers.db is there")
		})
	}
	t.Run("of others", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "receipts.txt"), []byte("x"), 0o600))
		err := restore(dir)
		require.ErrorIs(t, err, sqlite.ErrNotStore)
		require.ErrorContains(t, err, "holds no log.db: name the directory of a backup")
	})
	t.Run("unfinished", func(t *testing.T) {
		_, backup := filled(t)
		require.NoError(t, os.Rename(backup, backup+sqlite.UnfinishedSuffix))
		err := restore(backup + sqlite.UnfinishedSuffix)
		require.ErrorIs(t, err, sqlite.ErrNotStore)
		require.ErrorContains(t, err, "unfinished backup or restore: make it again, or remove it")
	})
}
