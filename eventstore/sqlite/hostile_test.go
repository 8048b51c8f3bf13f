package sqlite_test

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/disk"
)

func TestTheDirectoryAndItsFilesArePrivateWhateverTheUmask(t *testing.T) {
	for _, umask := range []int{0, 0o777} {
		top := t.TempDir()
		dir, copied := filepath.Join(top, "store"), filepath.Join(top, "backup")
		before := syscall.Umask(umask)
		defer syscall.Umask(before)
		s := open(t, dir, nil)
		appendTo(t, s, write("ride-1", eventstore.Any(), event("asked", "x")))
		require.NoError(t, s.Backup(t.Context(), copied))
		private(t, dir, "lock", "log.db", "log.db-shm", "log.db-wal")
		require.NoError(t, s.Close())
		private(t, dir, "lock", "log.db", "witness")
		private(t, copied, "log.db")
	}
}

// private demands the modes of a directory and of all its files, these at
// least.
func private(t *testing.T, dir string, files ...string) {
	t.Helper()
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o700), info.Mode().Perm(), dir)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), info.Mode().Perm(), e.Name())
	}
	for _, name := range files {
		require.FileExists(t, filepath.Join(dir, name))
	}
}

func TestADirectoryThatOthersMayWriteToIsTold(t *testing.T) {
	for mode, told := range map[fs.FileMode]bool{0o777: true, 0o1777: true, 0o755: false, 0o770: false, 0o700: false} {
		dir := t.TempDir()
		require.NoError(t, os.Chmod(dir, mode))
		var out bytes.Buffer
		s := open(t, dir, &sqlite.Options{Logger: slog.New(slog.NewTextHandler(&out, nil))})
		require.NoError(t, s.Close())
		require.Equal(t, told, strings.Contains(out.String(), "others may write"), "mode %o", mode)
		info, err := os.Stat(dir)
		require.NoError(t, err)
		require.Equal(t, mode.Perm(), info.Mode().Perm(), "it is left as it is")
	}
}

func TestAnOwnerIsNotLedToAnotherFile(t *testing.T) {
	for _, name := range []string{"log.db", "log.db-wal", "log.db-shm", "log.db-journal", "lock", "witness"} {
		for kind, plant := range map[string]func(victim, path string) error{
			"link": os.Symlink,
			"pipe": func(_, path string) error { return syscall.Mkfifo(path, 0o600) },
			"dir":  func(_, path string) error { return os.Mkdir(path, 0o700) },
		} {
			t.Run(name+" is a "+kind, func(t *testing.T) {
				dir, victim := t.TempDir(), filepath.Join(t.TempDir(), "victim")
				fill(t, dir)
				path := filepath.Join(dir, name)
				if err := os.Rename(path, victim); errors.Is(err, fs.ErrNotExist) {
					require.NoError(t, os.WriteFile(victim, []byte("precious"), 0o600))
				} else {
					require.NoError(t, err)
				}
				was, err := os.ReadFile(victim)
				require.NoError(t, err)
				require.NoError(t, plant(victim, path))
				_, err = sqlite.Open(t.Context(), dir, nil)
				require.Error(t, err)
				t.Log(err)
				r, err := sqlite.OpenReadOnly(t.Context(), dir)
				if err == nil {
					require.NoError(t, r.Close())
					require.Contains(t, []string{"lock", "witness"}, name, "which belong to the owner")
				}
				now, err := os.ReadFile(victim)
				require.NoError(t, err)
				require.Equal(t, was, now)
			})
		}
	}
}

func TestTheWitnessIsNotWrittenThroughALink(t *testing.T) {
	dir, victim := t.TempDir(), filepath.Join(t.TempDir(), "victim")
	require.NoError(t, os.WriteFile(victim, []byte("precious"), 0o600))
	fill(t, dir)
	require.NoError(t, os.Symlink(victim, filepath.Join(dir, "witness"+disk.TempSuffix)))
	s := open(t, dir, nil)
	appendTo(t, s, write("ride-1", eventstore.Any(), event("asked", "x")))
	require.NoError(t, s.Close())
	now, err := os.ReadFile(victim)
	require.NoError(t, err)
	require.Equal(t, "precious", string(now))
	open(t, dir, nil)
}

func TestANetworkFileSystemIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	stop := disk.PretendFileSystem(func(string) (uint32, bool) { return 0x6969, true })
	defer stop()
	_, err := sqlite.Open(t.Context(), dir, nil)
	require.ErrorIs(t, err, sqlite.ErrNotStore)
	require.ErrorContains(t, err, "NFS")
	require.NoDirExists(t, dir)
}

// craft runs statements on log.db as another program would.
func craft(t *testing.T, dir string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite3", filepath.Join(dir, "log.db"))
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	db.SetMaxOpenConns(1)
	for _, text := range statements {
		_, err := db.Exec(text)
		require.NoError(t, err, text)
	}
}

// respell changes the text of what the schema says about the object.
func respell(name, from, to string) []string {
	return []string{
		"PRAGMA writable_schema = ON",
		fmt.Sprintf("UPDATE sqlite_schema SET sql = replace(sql, '%s', '%s') WHERE name = '%s'", from, to, name),
		"PRAGMA writable_schema = RESET",
	}
}

func TestACraftedLogIsRefusedOrIsALog(t *testing.T) {
	nested := "SELECT " + strings.Repeat("(", 900) + "1" + strings.Repeat(")", 900)
	for name, c := range map[string]struct {
		craft func(t *testing.T, dir string)
		is    error // nil where it opens
		says  string
	}{
		"page size 512":   {statements("PRAGMA journal_mode = DELETE", "PRAGMA page_size = 512", "VACUUM"), nil, ""},
		"page size 65536": {statements("PRAGMA journal_mode = DELETE", "PRAGMA page_size = 65536", "VACUUM"), nil, ""},
		"full vacuum":     {statements("PRAGMA auto_vacuum = FULL", "VACUUM"), nil, ""},
		"steps of vacuum": {statements("PRAGMA auto_vacuum = INCREMENTAL", "VACUUM"), nil, ""},
		"no WAL":          {statements("PRAGMA journal_mode = DELETE"), nil, ""},
		"journal kept":    {statements("PRAGMA journal_mode = PERSIST", "CREATE TABLE x (y)", "DROP TABLE x"), nil, ""},

		"other program":  {statements("PRAGMA application_id = 252006674"), sqlite.ErrNotStore, "application id"},
		"no program":     {statements("PRAGMA application_id = 0"), sqlite.ErrNotStore, "application id"},
		"later format":   {statements("PRAGMA user_version = 2147483647"), sqlite.ErrNotStore, "newer"},
		"format below 0": {statements("PRAGMA user_version = -1"), sqlite.ErrNotStore, "format -1"},
		"no format":      {statements("PRAGMA user_version = 0"), eventstore.ErrCorrupt, "is not this program's"},

		"trigger":         {statements("CREATE TRIGGER x AFTER INSERT ON events BEGIN UPDATE meta SET epoch = 'x'; END"), eventstore.ErrCorrupt, `trigger "x"`},
		"view":            {statements("CREATE VIEW x AS SELECT * FROM events"), eventstore.ErrCorrupt, `view "x"`},
		"deep view":       {statements("CREATE VIEW x AS " + nested), eventstore.ErrCorrupt, "x"},
		"index":           {statements("CREATE INDEX x ON events (type_id)"), eventstore.ErrCorrupt, `index "x"`},
		"expression":      {statements("CREATE INDEX x ON events (abs(version))"), eventstore.ErrCorrupt, `index "x"`},
		"table":           {statements("CREATE TABLE x (y)"), eventstore.ErrCorrupt, `table "x"`},
		"virtual table":   {statements("CREATE VIRTUAL TABLE x USING fts3(y)"), eventstore.ErrCorrupt, "x"},
		"statistics":      {statements("ANALYZE"), eventstore.ErrCorrupt, "sqlite_stat1"},
		"no trigger":      {statements("DROP TRIGGER events_are_not_deleted"), eventstore.ErrCorrupt, `trigger "events_are_not_deleted" is missing`},
		"generated":       {statements("ALTER TABLE meta ADD COLUMN x INTEGER AS (id + 1)"), eventstore.ErrCorrupt, `table "meta" was changed`},
		"no check":        {statements(respell("events", "CHECK (version > 0)", "")...), eventstore.ErrCorrupt, `table "events" was changed`},
		"not strict":      {statements(respell("snapshots", ") STRICT", ")")...), eventstore.ErrCorrupt, `table "snapshots" was changed`},
		"shared pages":    {statements("PRAGMA writable_schema = ON", "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'types') WHERE name = 'streams'"), eventstore.ErrCorrupt, ""},
		"no schema":       {statements("PRAGMA writable_schema = ON", "DELETE FROM sqlite_schema"), eventstore.ErrCorrupt, "missing"},
		"broken schema":   {statements("PRAGMA writable_schema = ON", "UPDATE sqlite_schema SET sql = 'CREATE TABLE meta (' || sql WHERE name = 'meta'"), eventstore.ErrCorrupt, "meta"},
		"UTF-16":          {utf16, eventstore.ErrCorrupt, "UTF-16"},
		"hot journal":     {journal(false), eventstore.ErrCorrupt, "journal"},
		"journal's super": {journal(true), eventstore.ErrCorrupt, "journal"},
		"WAL of nonsense": {nonsense("log.db-wal"), nil, ""},
		"nonsense":        {nonsense("log.db"), sqlite.ErrNotStore, "not a database"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			fill(t, dir)
			c.craft(t, dir)
			before, err := os.ReadFile(filepath.Join(dir, "log.db"))
			require.NoError(t, err)
			s, err := sqlite.Open(t.Context(), dir, nil)
			if c.is == nil {
				require.NoError(t, err)
				appendTo(t, s, write("ride-1", eventstore.Any(), event("asked", "x")))
				sound(t, s)
				require.NoError(t, s.Close())
				return
			}
			require.ErrorIs(t, err, c.is)
			require.ErrorContains(t, err, c.says)
			after, err := os.ReadFile(filepath.Join(dir, "log.db"))
			require.NoError(t, err)
			require.True(t, bytes.Equal(before, after), "what is refused is not changed")
			if r, err := sqlite.OpenReadOnly(t.Context(), dir); err == nil {
				require.NoError(t, r.Close())
				t.Error("and it is not read either")
			}
		})
	}
}

func statements(texts ...string) func(*testing.T, string) {
	return func(t *testing.T, dir string) { craft(t, dir, texts...) }
}

// utf16 makes the same log with another encoding.
func utf16(t *testing.T, dir string) {
	path := filepath.Join(dir, "log.db")
	old, err := sql.Open("sqlite3", path)
	require.NoError(t, err)
	var schema []string
	rows, err := old.Query("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite%' ORDER BY rowid")
	require.NoError(t, err)
	for rows.Next() {
		var text string
		require.NoError(t, rows.Scan(&text))
		schema = append(schema, text)
	}
	require.NoError(t, rows.Err())
	var version int
	require.NoError(t, old.QueryRow("PRAGMA user_version").Scan(&version))
	require.NoError(t, old.Close())
	require.NoError(t, os.Remove(path))
	craft(t, dir, "PRAGMA encoding = 'UTF-16'", strings.Join(schema, ";"), fmt.Sprintf("PRAGMA application_id = %d", 0x1ea70109), fmt.Sprintf("PRAGMA user_version = %d", version))
}

// journal plants a rollback journal, which SQLite would play back; with a name
// in it, of a file that SQLite would then remove.
func journal(named bool) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		victim := filepath.Join(dir, "victim")
		require.NoError(t, os.WriteFile(victim, []byte("precious"), 0o600))
		t.Cleanup(func() { require.FileExists(t, victim) })
		magic := []byte{0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7}
		j := append([]byte{}, magic...)
		j = append(j, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 2, 0, 0, 0, 16, 0) // no pages; one, before; sector and page size
		j = append(j, make([]byte, 512-len(j))...)
		if named {
			sum := byte(0)
			for _, b := range []byte(victim) {
				sum += b
			}
			j = append(j, 0, 0, 0, 1)
			j = append(j, victim...)
			j = append(j, 0, 0, 0, byte(len(victim)), 0, 0, 0, sum)
			j = append(j, magic...)
		}
		craft(t, dir, "PRAGMA journal_mode = DELETE")
		require.NoError(t, os.WriteFile(filepath.Join(dir, "log.db-journal"), j, 0o600))
	}
}

func TestTheWriteAheadLogOfAnotherLogIsRefused(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir)
	other := t.TempDir()
	s := open(t, other, nil)
	for i := range 50 {
		appendTo(t, s, write(fmt.Sprintf("other-%d", i), eventstore.Any(), event("asked", strings.Repeat("y", 1000))))
	}
	wal, err := os.ReadFile(filepath.Join(other, "log.db-wal"))
	require.NoError(t, err)
	require.NotEmpty(t, wal)
	require.NoError(t, s.Close())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "log.db-wal"), wal, 0o600)) // its pages are sound
	before := sums(t, dir)
	_, err = sqlite.Open(t.Context(), dir, nil)
	require.ErrorIs(t, err, eventstore.ErrCorrupt)
	after := sums(t, dir)
	require.Equal(t, before["log.db"], after["log.db"], "it was not mixed with the log")
	require.Equal(t, before["log.db-wal"], after["log.db-wal"])
	require.NoError(t, os.Remove(filepath.Join(dir, "log.db-wal")))
	require.NoError(t, os.Remove(filepath.Join(dir, "log.db-shm")))
	sound(t, open(t, dir, nil))
}

// A process that is killed while its first checkpoint runs leaves a log whose
// schema is half in the file and whole in the write-ahead log.
func TestALogWhoseFirstCheckpointWasCutShortIsOpened(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	appendTo(t, s, write("ride-1", eventstore.Any(), event("asked", "x")))
	wal, err := os.ReadFile(filepath.Join(dir, "log.db-wal"))
	require.NoError(t, err)
	require.NotEmpty(t, wal)
	require.NoError(t, s.Close())
	whole, err := os.ReadFile(filepath.Join(dir, "log.db"))
	require.NoError(t, err)
	witness, err := os.ReadFile(filepath.Join(dir, "witness"))
	require.NoError(t, err)
	const page = 4096
	for moved := page; moved < len(whole); moved += page {
		cut := t.TempDir()
		for name, data := range map[string][]byte{"log.db": whole[:moved], "log.db-wal": wal, "witness": witness} {
			require.NoError(t, os.WriteFile(filepath.Join(cut, name), data, 0o600))
		}
		s := open(t, cut, nil)
		require.Len(t, all(t, s), 1, "%d of %d bytes were moved", moved, len(whole))
		require.NoError(t, s.Close())
	}
}

func nonsense(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), bytes.Repeat([]byte("nonsense"), 4096), 0o600))
	}
}

func TestAnEventOverTheLimitOfRowsIsDamageAndCostsNoMemory(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir)
	const huge = 200 << 20
	craft(t, dir, fmt.Sprintf(`
		INSERT INTO events (position, stream_id, version, type_id, schema_version, recorded_at, batch, event_id, hash, metadata, data)
		SELECT position + 1, stream_id, version + 1, type_id, schema_version, recorded_at, batch, randomblob(16), hash, metadata, zeroblob(%d)
		FROM events WHERE position = 60`, huge))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s, err := sqlite.Open(t.Context(), dir, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	_, err = s.ReadLog(t.Context(), 50, 100, eventstore.Filter{})
	require.ErrorIs(t, err, eventstore.ErrCorrupt)
	r, err := s.Verify(t.Context())
	if err == nil {
		require.False(t, r.OK())
	} else {
		require.ErrorIs(t, err, eventstore.ErrCorrupt)
	}
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(huge/4))
}

func TestLimitsAreBelowWhatARowMayBe(t *testing.T) {
	for _, l := range []eventstore.Limits{{Data: sqlite.MaxEvent}, {Data: sqlite.MaxEvent + 1, Metadata: 1}, {BatchBytes: -1}} {
		_, err := sqlite.Open(t.Context(), t.TempDir(), &sqlite.Options{Limits: l})
		require.ErrorIs(t, err, eventstore.ErrInvalid)
	}
	const data = 100 << 20
	s := open(t, t.TempDir(), &sqlite.Options{Limits: eventstore.Limits{Data: data, BatchBytes: data}})
	appendTo(t, s, eventstore.Batch{Writes: []eventstore.Write{{Stream: "s", Events: []eventstore.EventData{{Type: "t", Data: make([]byte, data)}}}}})
	require.Len(t, all(t, s)[0].Data, data)
}
