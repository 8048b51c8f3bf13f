package sqlite_test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	sqlite3 "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/internal/disk"
	"github.com/leat-go/leat/internal/sqlite"
)

var chain = sqlite.Format{ApplicationID: appID, Migrations: chained}

func TestOpenRefusesWhatSQLiteMustNotBeLedTo(t *testing.T) {
	for name, plant := range map[string]func(path string) error{
		"link":          func(path string) error { return os.Symlink(filepath.Join(filepath.Dir(path), "victim"), path) },
		"dangling link": func(path string) error { return os.Symlink("nowhere", path) },
		"pipe":          func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"directory":     func(path string) error { return os.Mkdir(path, 0o700) },
		"second name":   func(path string) error { return os.Link(filepath.Join(filepath.Dir(path), "victim"), path) },
	} {
		for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
			t.Run(name+suffix, func(t *testing.T) {
				dir := t.TempDir()
				victim := filepath.Join(dir, "victim")
				require.NoError(t, os.WriteFile(victim, []byte("precious"), 0o600))
				path := filepath.Join(dir, "a.db")
				if suffix != "" {
					db, err := sqlite.OpenFormat(t.Context(), path, chain, sqlite.Options{})
					require.NoError(t, err)
					require.NoError(t, db.Close())
				}
				require.NoError(t, plant(path+suffix))
				_, err := sqlite.OpenFormat(t.Context(), path, chain, sqlite.Options{})
				require.ErrorIs(t, err, disk.ErrNotPlain)
				_, err = sqlite.Open(t.Context(), path, sqlite.Options{})
				require.ErrorIs(t, err, disk.ErrNotPlain)
				_, err = sqlite.Open(t.Context(), path, sqlite.Options{ReadOnly: true})
				require.ErrorIs(t, err, disk.ErrNotPlain)
				data, err := os.ReadFile(victim)
				require.NoError(t, err)
				require.Equal(t, "precious", string(data))
			})
		}
	}
}

func TestOpenRefusesANetworkFileSystem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	stop := disk.PretendFileSystem(func(string) (uint32, bool) { return 0x6969, true })
	defer stop()
	_, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	require.ErrorIs(t, err, disk.ErrNotLocal)
	require.NoFileExists(t, path)
}

func TestAFilesNameIsAnything(t *testing.T) {
	for _, name := range []string{
		"a?mode=memory.db", "a#b.db", "a%20b%3F%00.db", "a b.db", "ünïcødé 雪.db", "new\nline.db", "'quote\"s`.db", ":memory:", "file:a.db",
		"&_query_only=1.db", "a\\b.db", "a;b.db", "\x01\x1b[31m.db", "-a.db",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, name)
			db, err := sqlite.OpenFormat(t.Context(), path, chain, sqlite.Options{})
			require.NoError(t, err)
			alter(t, db, "INSERT INTO t (v) VALUES ('x')")
			require.Equal(t, 1, count(t, db))
			require.NoError(t, db.VacuumInto(t.Context(), path+" copy"))
			require.NoError(t, db.Close())
			entries, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Len(t, entries, 2, "no file beside it has got another name: %v", entries)
			for _, at := range []string{path, path + " copy"} {
				db, err = sqlite.OpenFormat(t.Context(), at, chain, sqlite.Options{})
				require.NoError(t, err)
				require.Equal(t, 1, count(t, db))
				require.NoError(t, db.Close())
			}
		})
	}
}

func TestModesDoNotDependOnTheUmask(t *testing.T) {
	for _, umask := range []int{0, 0o777} {
		dir := t.TempDir()
		before := syscall.Umask(umask)
		defer syscall.Umask(before)
		db, err := sqlite.OpenFormat(t.Context(), filepath.Join(dir, "a.db"), chain, sqlite.Options{})
		require.NoError(t, err)
		require.NoError(t, db.VacuumInto(t.Context(), filepath.Join(dir, "copy.db")))
		for _, name := range []string{"a.db", "a.db-wal", "a.db-shm", "copy.db"} {
			info, err := os.Stat(filepath.Join(dir, name))
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "umask %o: %s", umask, name)
		}
		require.NoError(t, db.Close())
	}
}

func TestEveryConnectionIsRestricted(t *testing.T) {
	db := open(t, sqlite.Options{}, chained)
	for name, pool := range map[string]*sql.DB{"writer": db.Writer(), "reader": db.Reader()} {
		t.Run(name, func(t *testing.T) {
			for pragma, want := range map[string]string{"trusted_schema": "0", "foreign_keys": "1", "cell_size_check": "1", "mmap_size": "0"} {
				var got string
				require.NoError(t, pool.QueryRow("PRAGMA "+pragma).Scan(&got))
				require.Equal(t, want, got, pragma)
			}
			elsewhere := filepath.Join(t.TempDir(), "x.db")
			for statement, says := range map[string]string{
				"ATTACH '" + elsewhere + "' AS x":           "too many attached databases",
				"SELECT 1; ATTACH '" + elsewhere + "' AS x": "too many attached databases",
				"SELECT load_extension('/lib/x.so')":        "not authorized",
				"VACUUM INTO '" + elsewhere + "'":           "", // attaches
			} {
				_, err := pool.Exec(statement)
				require.ErrorContains(t, err, says, statement)
				require.NoFileExists(t, elsewhere)
			}
			for what, statement := range map[string]string{
				"a row":         fmt.Sprintf("SELECT zeroblob(%d)", sqlite.MaxRow+1),
				"a statement":   "SELECT '" + strings.Repeat("x", sqlite.MaxSQL) + "'",
				"an expression": "SELECT 1 WHERE 1" + strings.Repeat(" AND 1", sqlite.MaxDepth),
				"a compound":    "SELECT 1" + strings.Repeat(" UNION ALL SELECT 1", sqlite.MaxCompound),
				"arguments":     "SELECT max(1" + strings.Repeat(",1", sqlite.MaxArguments) + ")",
				"a pattern":     "SELECT 'x' LIKE '" + strings.Repeat("x", sqlite.MaxPattern+1) + "'",
			} {
				var got []byte
				require.Error(t, pool.QueryRow(statement).Scan(&got), what)
			}
		})
	}
}

func TestOrdinaryStatementsAreInsideTheLimits(t *testing.T) {
	db := open(t, sqlite.Options{}, chained)
	const parameters = 32_766
	args := make([]any, parameters)
	for i := range args {
		args[i] = i
	}
	_, err := db.Writer().Exec("INSERT INTO u (id) VALUES (?)"+strings.Repeat(", (?)", parameters-1), args...)
	require.NoError(t, err, "many rows with one statement")
	var n int
	require.NoError(t, db.Reader().QueryRow("SELECT COUNT(*) FROM u WHERE id IN (?"+strings.Repeat(", ?", parameters-1)+")", args...).Scan(&n))
	require.Equal(t, parameters, n)
	require.NoError(t, db.Reader().QueryRow("SELECT COUNT(*) FROM u WHERE id = 0"+strings.Repeat(" OR id = 1", 200)).Scan(&n))
	require.NoError(t, db.Reader().QueryRow("SELECT COUNT(*) FROM (SELECT 1"+strings.Repeat(" UNION ALL SELECT 1", sqlite.MaxCompound-1)+")").Scan(&n))
	require.Equal(t, sqlite.MaxCompound, n)
	require.NoError(t, db.Reader().QueryRow("SELECT json_array(1"+strings.Repeat(", 1", 99)+") IS NULL").Scan(&n))
	var depth int
	require.NoError(t, db.Reader().QueryRow("WITH RECURSIVE r (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 10000) SELECT MAX(i) FROM r").Scan(&depth))
	require.Equal(t, 10_000, depth, "recursion is no compound")
}

// SQLite removes the journal that another names once it has played that back,
// whatever file has the name.
func TestAJournalThatNamesAnotherFileIsRefused(t *testing.T) {
	for name, pages := range map[string]byte{"of a new file": 0, "of a file": 1} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path, victim := filepath.Join(dir, "a.db"), filepath.Join(dir, "victim")
			require.NoError(t, os.WriteFile(victim, nil, 0o600))
			require.NoError(t, os.WriteFile(path, make([]byte, 4096), 0o600))
			magic := "\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
			sum := byte(0)
			for _, b := range []byte(victim) {
				sum += b
			}
			j := magic + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" + string([]byte{pages}) + "\x00\x00\x02\x00\x00\x00\x10\x00"
			j += strings.Repeat("\x00", 512-len(j))
			j += "\x00\x00\x00\x01" + victim + string([]byte{0, 0, 0, byte(len(victim)), 0, 0, 0, sum}) + magic
			require.NoError(t, os.WriteFile(path+"-journal", []byte(j), 0o600))
			_, err := sqlite.OpenFormat(t.Context(), path, chain, sqlite.Options{})
			require.Error(t, err)
			_, err = sqlite.Open(t.Context(), path, sqlite.Options{})
			require.ErrorIs(t, err, sqlite.ErrSchema)
			require.FileExists(t, victim)
			require.FileExists(t, path+"-journal")
		})
	}
}

func TestARowOverTheLimitIsRefusedWhenItIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	db, err := sqlite.OpenFormat(t.Context(), path, chain, sqlite.Options{})
	require.NoError(t, err)
	require.NoError(t, db.Close())
	foreign, err := sql.Open("sqlite3", path)
	require.NoError(t, err)
	_, err = foreign.Exec("PRAGMA journal_mode = DELETE; PRAGMA writable_schema = ON")
	require.NoError(t, err)
	_, err = foreign.Exec("INSERT INTO t (v) VALUES (CAST(zeroblob(?) AS TEXT))", sqlite.MaxRow+1)
	require.NoError(t, err)
	require.NoError(t, foreign.Close())

	db, err = sqlite.OpenFormat(t.Context(), path, chain, sqlite.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	var v string
	err = db.Reader().QueryRow("SELECT v FROM t").Scan(&v)
	require.True(t, sqlite.IsTooBig(err), "%v", err)
}

func TestAWriteAheadLogIsLeftAsItIsWhereTheFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.db")
	db, err := sqlite.OpenFormat(t.Context(), path, chain, sqlite.Options{})
	require.NoError(t, err)
	require.NoError(t, db.Close())
	sound, err := os.ReadFile(path)
	require.NoError(t, err)

	// A WAL of another database, or of another time, whose pages are valid.
	alter(t, open(t, sqlite.Options{}, chained), "SELECT 1")
	other := filepath.Join(t.TempDir(), "b.db")
	foreign, err := sql.Open("sqlite3", other+"?_journal_mode=WAL")
	require.NoError(t, err)
	foreign.SetMaxOpenConns(1)
	_, err = foreign.Exec("CREATE TABLE x (y); INSERT INTO x VALUES (1)")
	require.NoError(t, err)
	wal, err := os.ReadFile(other + "-wal")
	require.NoError(t, err)
	require.NoError(t, foreign.Close())
	require.NotEmpty(t, wal)
	require.NoError(t, os.WriteFile(path+"-wal", wal, 0o600))

	_, err = sqlite.OpenFormat(t.Context(), path, chain, sqlite.Options{})
	require.Error(t, err)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, sound, got, "the file")
	got, err = os.ReadFile(path + "-wal")
	require.NoError(t, err)
	require.Equal(t, wal, got, "its WAL")

	for _, suffix := range []string{"-wal", "-shm"} {
		require.NoError(t, os.Remove(path+suffix))
	}
	db, err = sqlite.OpenFormat(t.Context(), path, chain, sqlite.Options{})
	require.NoError(t, err, "and without the other's WAL it is what it was")
	require.NoError(t, db.Close())
}

func TestAKilledFirstCheckpointIsNoDamage(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.db")
	large := sqlite.Format{ApplicationID: appID, Migrations: many(40)} // a schema of many pages
	db, err := sqlite.OpenFormat(t.Context(), path, large, sqlite.Options{})
	require.NoError(t, err)
	wal, err := os.ReadFile(path + "-wal")
	require.NoError(t, err)
	require.NotEmpty(t, wal)
	require.NoError(t, db.Close())
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	const page = 4096
	require.Greater(t, len(whole), 4*page)
	for moved := page; moved < len(whole); moved += page {
		at := filepath.Join(t.TempDir(), "a.db")
		require.NoError(t, os.WriteFile(at, whole[:moved], 0o600))
		require.NoError(t, os.WriteFile(at+"-wal", wal, 0o600))
		db, err := sqlite.OpenFormat(t.Context(), at, large, sqlite.Options{})
		require.NoError(t, err, "%d of %d bytes were moved", moved, len(whole))
		require.NoError(t, db.Close())
	}
}

var _ = sqlite3.ErrNotADB // the driver is registered by its import
