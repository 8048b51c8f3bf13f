package sqlite_test

import (
	"context"
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
	"github.com/leat-go/leat/internal/disk"
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

func anchors(t *testing.T, s *sqlite.Store) (all []eventstore.Anchor) {
	t.Helper()
	head, err := s.Head(t.Context())
	require.NoError(t, err)
	for p := range head + 1 {
		a, err := s.Anchor(t.Context(), p)
		require.NoError(t, err)
		all = append(all, a)
	}
	return all
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

func TestAnAnchorIsOfTheEpochInWhichItsEventWasWritten(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	ask(t, s, 3)
	first := anchors(t, s)
	backup := backUp(t, s)
	ask(t, s, 4)
	past := anchors(t, s)[4:]

	dir, _ := restore(t, backup)
	b := open(t, dir, nil)
	require.Equal(t, first, anchors(t, b))
	for range 3 { // however far it has grown since
		for _, a := range first {
			require.NoError(t, eventstore.CheckAnchor(t.Context(), b, a))
		}
		for _, a := range past {
			err := eventstore.CheckCheckpoint(t.Context(), b, a, "board", "")
			var rewound *eventstore.RewoundError
			require.ErrorAs(t, err, &rewound)
			require.Equal(t, eventstore.Epoch{Name: b.Epoch(), After: 3, Time: rewound.Restored.Time}, rewound.Restored)
			require.ErrorContains(t, err, fmt.Sprintf(`"board" is at position %d`, a.Position))
			require.ErrorContains(t, err, "restored after position 3")
		}
		ask(t, b, 4)
	}

	// A second restore, before the end of the first one's epoch.
	second := anchors(t, b)
	dir, _ = restore(t, backUp(t, b))
	c := open(t, dir, nil)
	ask(t, c, 2)
	require.Equal(t, second, anchors(t, c)[:len(second)])
	epochs := c.Epochs()
	require.Len(t, epochs, 3)
	require.Equal(t, []int64{0, 3, 15}, []int64{epochs[0].After, epochs[1].After, epochs[2].After})
	require.Equal(t, []string{s.Epoch(), b.Epoch(), c.Epoch()}, []string{epochs[0].Name, epochs[1].Name, epochs[2].Name})
	page, err := c.ReadLog(t.Context(), 0, 3, eventstore.Filter{})
	require.NoError(t, err)
	require.Equal(t, s.Epoch(), page.Through.Epoch)
	r, err := c.Verify(t.Context())
	require.NoError(t, err)
	require.Empty(t, r.Findings)
	require.Equal(t, c.Epoch(), r.Head.Epoch)
	beside, err := sqlite.OpenReadOnly(t.Context(), dir)
	require.NoError(t, err)
	require.Equal(t, anchors(t, c), anchors(t, beside))
	require.NoError(t, beside.Close())
}

func TestAnEmptyStoreIsRestored(t *testing.T) {
	dir, r := restore(t, backUp(t, open(t, t.TempDir(), nil)))
	require.Equal(t, eventstore.Anchor{}, r.Head)
	s := open(t, dir, nil)
	ask(t, s, 1)
	require.Equal(t, r.Epoch, anchors(t, s)[1].Epoch)
	sound(t, s)
}

func TestAnEpochThatWasChangedIsFound(t *testing.T) {
	for name, statements := range map[string][]string{
		"name":           {`UPDATE epochs SET name = 'x' WHERE number = 2`},
		"first name":     {`UPDATE epochs SET name = 'x' WHERE number = 1`},
		"place":          {`UPDATE epochs SET began_after = 30 WHERE number = 2`},
		"past the end":   {`UPDATE epochs SET began_after = 3000 WHERE number = 3`},
		"batch":          {`UPDATE epochs SET batch = 5 WHERE number = 2`},
		"time":           {`UPDATE epochs SET began_at = began_at + 1 WHERE number = 2`},
		"first time":     {`UPDATE epochs SET began_at = began_at + 1 WHERE number = 1`},
		"hash":           {`UPDATE epochs SET hash = randomblob(32) WHERE number = 2`},
		"first hash":     {`UPDATE epochs SET hash = randomblob(32) WHERE number = 1`},
		"last forgotten": {`DELETE FROM epochs WHERE number = 3`},
		"one forgotten":  {`DELETE FROM epochs WHERE number = 2`},
		"merged":         {`DELETE FROM epochs WHERE number = 2`, `UPDATE epochs SET number = 2 WHERE number = 3`},
		"all forgotten":  {`DELETE FROM epochs`},
		"one more":       {`INSERT INTO epochs VALUES (4, 'x', 61, 21, 0, randomblob(32))`},
		"store":          {`UPDATE meta SET store_id = 'x'`},
		"event there":    {`UPDATE events SET hash = randomblob(32) WHERE position = 60`},
	} {
		t.Run(name, func(t *testing.T) {
			_, backup := filled(t)
			dir, _ := restore(t, backup)
			s := open(t, dir, nil)
			ask(t, s, 1)
			require.NoError(t, s.Close())
			s, err := sqlite.OpenReadOnly(t.Context(), dir)
			require.NoError(t, err)
			dir, _ = restore(t, backUp(t, s))
			require.NoError(t, s.Close())
			s = open(t, dir, nil)
			ask(t, s, 1)
			require.NoError(t, s.Close())

			change(t, dir, statements...)
			_, err = sqlite.Open(t.Context(), dir, nil)
			require.ErrorIs(t, err, eventstore.ErrCorrupt)
			require.NotContains(t, err.Error(), "\n")
			t.Log(err)
			s, err = sqlite.OpenReadOnly(t.Context(), dir)
			if err != nil {
				require.ErrorIs(t, err, eventstore.ErrCorrupt)
				return
			}
			r, err := s.Verify(t.Context())
			require.NoError(t, errors.Join(err, s.Close()))
			require.NotEmpty(t, r.Findings)
			t.Log(r.Findings)
		})
	}
}

// TestALogFromBeforeEpochsGetsItsFirst opens a log as the first program that
// made some left it.
func TestALogFromBeforeEpochsGetsItsFirst(t *testing.T) {
	dir := t.TempDir()
	script, err := os.ReadFile("migration/0001_log.sql")
	require.NoError(t, err)
	db, err := sql.Open("sqlite3", filepath.Join(dir, "log.db"))
	require.NoError(t, err)
	_, err = db.Exec(string(script) + `;
		PRAGMA application_id = 0x1ea70109;
		PRAGMA user_version = 1;
		INSERT INTO meta (id, store_id, epoch, created_at) VALUES (1, 'its store', 'its epoch', 7)`)
	require.NoError(t, errors.Join(err, db.Close()))
	s := open(t, dir, nil)
	require.Equal(t, []eventstore.Epoch{{Name: "its epoch", Time: 7}}, s.Epochs())
	ask(t, s, 1)
	require.Equal(t, "its epoch", anchors(t, s)[1].Epoch)
	sound(t, s)
	dir, _ = restore(t, backUp(t, s))
	sound(t, open(t, dir, nil))
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
	"a stranger": {sqlite.ErrNotStore, func(t *testing.T, backup string) {
		require.NoError(t, os.WriteFile(filepath.Join(backup, "run-me.sh"), nil, 0o700))
	}},
	"a database of a newer program": {sqlite.ErrNotStore, func(t *testing.T, backup string) {
		require.NoError(t, os.WriteFile(filepath.Join(backup, "inbox.db"), nil, 0o600))
	}},
	"no log": {sqlite.ErrNotStore, func(t *testing.T, backup string) {
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

func TestALossIsAcceptedOnlyByOptionAndSaid(t *testing.T) {
	// lost returns a copy of the store whose log ends at position 57.
	behind := func(t *testing.T, backup string) {
		change(t, backup, `DELETE FROM events WHERE position > 57`, `DELETE FROM batches WHERE last > 57 OR number > 20`,
			`DELETE FROM batches WHERE number > 19`, `DELETE FROM events WHERE position > 57`,
			`UPDATE sqlite_sequence SET seq = 57 WHERE name = 'events'`, `UPDATE sqlite_sequence SET seq = 19 WHERE name = 'batches'`)
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

func TestADestinationIsNewAndElsewhere(t *testing.T) {
	dir, backup := filled(t)
	s, err := sqlite.OpenReadOnly(t.Context(), dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	make := map[string]func(dst string) error{
		"backup":  func(dst string) error { return s.Backup(t.Context(), dst) },
		"restore": func(dst string) error { _, err := sqlite.Restore(t.Context(), backup, dst, nil); return err },
	}
	from := map[string]string{"backup": dir, "restore": backup}
	for what, fn := range make {
		t.Run(what, func(t *testing.T) {
			before := listing(t, from[what])
			above := t.TempDir()
			require.ErrorIs(t, fn(""), eventstore.ErrInvalid)
			require.ErrorIs(t, fn(filepath.Join(from[what], "inside")), eventstore.ErrInvalid)
			require.ErrorIs(t, fn(from[what]), eventstore.ErrInvalid)
			require.ErrorIs(t, fn(filepath.Dir(from[what])), eventstore.ErrInvalid)
			require.NoError(t, os.Symlink(from[what], filepath.Join(above, "link")))
			require.ErrorIs(t, fn(filepath.Join(above, "link", "inside")), eventstore.ErrInvalid)
			require.ErrorContains(t, fn(filepath.Join(above, "link")), "one in the other")

			full := filepath.Join(above, "full")
			require.NoError(t, os.Mkdir(full, 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(full, "mine"), nil, 0o600))
			require.ErrorContains(t, fn(full), "not empty")
			require.ErrorContains(t, fn(filepath.Join(full, "mine")), "not a directory")
			require.Equal(t, before, listing(t, from[what]))
			require.Equal(t, []string{"full", "link"}, names(t, above))

			empty := filepath.Join(above, "empty")
			require.NoError(t, os.Mkdir(empty, 0o700))
			require.NoError(t, fn(empty))
			require.FileExists(t, filepath.Join(empty, "log.db"))
			require.NoError(t, fn(filepath.Join(above, "a", "b", "c")))
			require.FileExists(t, filepath.Join(above, "a", "b", "c", "log.db"))
		})
	}
}

func TestWhatAKillLeftIsReusedAndWhatIsNotOursIsNot(t *testing.T) {
	_, backup := filled(t)
	above := t.TempDir()
	dst := filepath.Join(above, "store")
	left := dst + sqlite.UnfinishedSuffix
	require.NoError(t, os.Mkdir(left, 0o700))
	for _, name := range []string{"lock", "log.db", "log.db-wal", "sagas.db", "witness.tmp", "manifest"} {
		require.NoError(t, os.WriteFile(filepath.Join(left, name), []byte("half"), 0o600))
	}
	mine := filepath.Join(left, "mine")
	require.NoError(t, os.WriteFile(mine, nil, 0o600))
	_, err := sqlite.Restore(t.Context(), backup, dst, nil)
	require.ErrorContains(t, err, "move it away")
	require.FileExists(t, mine)
	require.NoError(t, os.Remove(mine))
	_, err = sqlite.Restore(t.Context(), backup, dst, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"store"}, names(t, above))
	sound(t, open(t, dst, nil))
}

func TestBackupCopiesWhatIsLeatsAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	ask(t, s, 1)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "receipts.txt"), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "mine.db"), nil, 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "views"), 0o700))
	backup := backUp(t, s)
	require.Equal(t, []string{"lock", "log.db", "manifest", "witness"}, names(t, backup))

	tamper(t, filepath.Join(dir, "sagas.db"), "CREATE TABLE t (x)")
	require.Error(t, s.Backup(t.Context(), filepath.Join(t.TempDir(), "x")), "another program's file under the name of ours is not passed over")
	require.NoError(t, os.Remove(filepath.Join(dir, "sagas.db")))
	require.NoError(t, os.Symlink(filepath.Join(backup, "log.db"), filepath.Join(dir, "sagas.db")))
	require.Error(t, s.Backup(t.Context(), filepath.Join(t.TempDir(), "x")))
}

func TestARefusedStepLeavesNothing(t *testing.T) {
	dir, backup := filled(t)
	s := open(t, dir, nil)
	make := map[string]func(dst string) error{
		"backup":  func(dst string) error { return s.Backup(t.Context(), dst) },
		"restore": func(dst string) error { _, err := sqlite.Restore(t.Context(), backup, dst, nil); return err },
	}
	for what, fn := range make {
		for after := 0; ; after++ {
			above := t.TempDir()
			dst := filepath.Join(above, "store")
			steps, boom := 0, errors.New("no space left")
			stop := disk.Obstruct(func(op disk.Op) error {
				if steps++; steps == after+1 {
					return boom
				}
				return nil
			})
			err := fn(dst)
			stop()
			if steps <= after {
				require.NoError(t, err)
				require.Greater(t, after, 5)
				break
			}
			require.ErrorIs(t, err, boom, "%s, step %d", what, after+1)
			if _, gone := os.Stat(dst); gone == nil { // renamed, and not known to be durable
				sound(t, open(t, dst, nil))
				require.Equal(t, []string{"store"}, names(t, above))
				continue
			}
			require.Empty(t, names(t, above), "%s, step %d", what, after+1)
		}
	}
}

func TestACancelledBackupOrRestoreLeavesNothing(t *testing.T) {
	dir, backup := filled(t)
	s := open(t, dir, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	above := t.TempDir()
	require.ErrorIs(t, s.Backup(ctx, filepath.Join(above, "a")), context.Canceled)
	_, err := sqlite.Restore(ctx, backup, filepath.Join(above, "b"), nil)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, names(t, above))
}

// TestLitestream783_APositionAfterARestoreIsNotTakenForTheOldOne: after a
// restore litestream went on from the position that it had in memory or in its
// files, and what it wrote then did not follow what was there.
func TestLitestream783_APositionAfterARestoreIsNotTakenForTheOldOne(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	ask(t, s, 10)
	backup := backUp(t, s)
	ask(t, s, 10)
	old, err := s.Anchor(t.Context(), 20)
	require.NoError(t, err)
	dir, _ := restore(t, backup)
	b := open(t, dir, nil)
	for range 20 { // the same events, to the same positions and beyond
		c := appendTo(t, b, write("ride-1", eventstore.Any(), event("asked", "x")))
		require.ErrorIs(t, eventstore.CheckAnchor(t.Context(), b, old), eventstore.ErrRewound)
		a, err := b.Anchor(t.Context(), c.Last)
		require.NoError(t, err)
		require.Equal(t, b.Epoch(), a.Epoch)
		require.ErrorIs(t, eventstore.CheckAnchor(t.Context(), s, a), eventstore.ErrRewound, "nor the other way round")
	}
	sound(t, b)
}

// TestLitestream1344_WhatARestoreMakesIsSyncedWithItsDirectories: litestream
// renamed a restored database into place without syncing the directory, so that
// a power cut could take it away again.
func TestLitestream1344_WhatARestoreMakesIsSyncedWithItsDirectories(t *testing.T) {
	dir, backup := filled(t)
	s := open(t, dir, nil)
	make := map[string]func(dst string) error{
		"backup":  func(dst string) error { return s.Backup(t.Context(), dst) },
		"restore": func(dst string) error { _, err := sqlite.Restore(t.Context(), backup, dst, nil); return err },
	}
	for what, fn := range make {
		above := t.TempDir()
		dst := filepath.Join(above, "new", "store")
		var ops []disk.Op
		stop := disk.Observe(func(op disk.Op) { ops = append(ops, op) })
		require.NoError(t, fn(dst), what)
		stop()
		made := dst + sqlite.UnfinishedSuffix
		synced := map[string]int{}
		renamed := 0
		for i, op := range ops {
			switch {
			case op.Kind == disk.Sync:
				synced[op.Path] = i + 1
			case op.Kind == disk.Rename && op.To == dst:
				renamed = i + 1
			}
		}
		require.Positive(t, renamed)
		for _, file := range names(t, dst) {
			if file == "witness" || file == "manifest" {
				file += disk.TempSuffix // synced before it got its name
			}
			if file != "lock" {
				require.Positive(t, synced[filepath.Join(made, file)], "%s: %s is synced", what, file)
				require.Less(t, synced[filepath.Join(made, file)], renamed, "%s: before it has its name", what)
			}
		}
		require.Positive(t, synced[made], "%s: its entries are synced", what)
		require.Less(t, synced[made], renamed, what)
		require.Greater(t, synced[filepath.Dir(dst)], renamed, "%s: its own entry is synced after it has its name", what)
		require.Positive(t, synced[above], "%s: and so is that of the directory above, which is new", what)
	}
}

func TestABackupGoesOnWhileItsStoreIsWrittenTo(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	ctx, cancel := context.WithCancel(t.Context())
	written := make(chan int64, 1)
	go func() {
		last := int64(0)
		for ctx.Err() == nil {
			c, err := s.Append(context.Background(), write("ride-1", eventstore.Any(), event("asked", "x")))
			if err != nil {
				t.Error(err)
			}
			last = c.Last
		}
		written <- last
	}()
	for range 10 {
		before, err := s.Head(t.Context())
		require.NoError(t, err)
		_, r := restore(t, backUp(t, s))
		require.GreaterOrEqual(t, r.Head.Position, before)
		require.NoError(t, eventstore.CheckAnchor(t.Context(), s, r.Head))
	}
	cancel()
	require.Positive(t, <-written)
}
