package projection

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/disk"
	"github.com/leat-go/leat/internal/sqlite"
)

// Names of tables and columns are the user's, and go into statements that
// compare files.
func TestNamesOfTablesAndColumnsAreNoSQL(t *testing.T) {
	const table, column = `"x"" ; DROP TABLE ""victim""; --"`, `"a"" FROM ""victim""; --' [b] ` + "`c`" + `"`
	def := Define("ledger", 1, `
		CREATE TABLE victim (id INTEGER PRIMARY KEY) STRICT;
		INSERT INTO victim (id) VALUES (1);
		CREATE TABLE `+table+` (id INTEGER PRIMARY KEY, `+column+` INTEGER) STRICT;`,
		On(func(_ context.Context, tx *Tx, e eventstore.Of[moved]) error {
			_, err := tx.Exec(`INSERT INTO `+table+` (`+column+`) VALUES (?)`, e.Payload.Cents)
			return err
		}))
	l, dir := newTape(), t.TempDir()
	someMoves(l, 10)
	p := openTest(t, dir, l, def)
	require.NoError(t, deliver(t, p, l, 100))
	got, err := p.Rebuild(t.Context(), nil)
	require.NoError(t, err)
	require.True(t, got.Identical, got.Difference)
	_, err = p.live.db.Writer().Exec(`UPDATE ` + table + ` SET ` + column + ` = 7 WHERE id = 3`)
	require.NoError(t, err)
	got, err = p.Rebuild(t.Context(), nil)
	require.NoError(t, err)
	require.False(t, got.Identical)
	require.Contains(t, got.Difference, "DROP TABLE", "the name of the table is named")
}

func TestAHandlerReachesNoOtherFile(t *testing.T) {
	elsewhere := filepath.Join(t.TempDir(), "x.db")
	for _, statement := range []string{
		"ATTACH '" + elsewhere + "' AS x", "SELECT 1; ATTACH '" + elsewhere + "' AS x", "/* */ VACUUM INTO '" + elsewhere + "'",
		"SELECT 1; VACUUM INTO '" + elsewhere + "'", "SELECT load_extension('" + elsewhere + "')", "PRAGMA writable_schema = ON",
	} {
		def := Define("ledger", 1, "CREATE TABLE t (x) ", On(func(_ context.Context, tx *Tx, _ eventstore.Of[moved]) error {
			_, err := tx.Exec(statement)
			return err
		}))
		l := newTape()
		someMoves(l, 1)
		p := openTest(t, t.TempDir(), l, def)
		require.Error(t, deliver(t, p, l, 10), statement)
		require.NoFileExists(t, elsewhere)
	}
}

func TestAReadModelIsNotLedElsewhere(t *testing.T) {
	const file = "ledger.v1.1.db"
	for name, plant := range map[string]func(t *testing.T, path string){
		"link": func(t *testing.T, path string) {
			require.NoError(t, os.Rename(path, path+".elsewhere"))
			require.NoError(t, os.Symlink(path+".elsewhere", path))
		},
		"pipe": func(t *testing.T, path string) {
			require.NoError(t, os.RemoveAll(path))
			require.NoError(t, syscall.Mkfifo(path, 0o600))
		},
	} {
		for _, at := range []string{"views", "views/ledger.live", "views/" + file} {
			t.Run(at+" is a "+name, func(t *testing.T) {
				l, dir := newTape(), t.TempDir()
				someMoves(l, 10)
				p, err := Open(t.Context(), dir, l, ledger(1, nil), nil)
				require.NoError(t, err)
				require.NoError(t, deliver(t, p, l, 100))
				require.NoError(t, p.Close())
				plant(t, filepath.Join(dir, filepath.FromSlash(at)))
				_, err = Open(t.Context(), dir, l, ledger(1, nil), nil)
				require.Error(t, err)
				if name == "link" && at == "views" {
					require.ErrorIs(t, err, disk.ErrNotPlain)
					require.ErrorIs(t, Remove(dir, "ledger"), disk.ErrNotPlain, "nor is anything removed there")
					require.FileExists(t, filepath.Join(dir, "views.elsewhere", file))
				}
			})
		}
	}
}

func TestAReadModelWithATriggerOnTheFrameworksTablesIsRefused(t *testing.T) {
	l, dir := newTape(), t.TempDir()
	someMoves(l, 10)
	p, err := Open(t.Context(), dir, l, ledger(1, nil), nil)
	require.NoError(t, err)
	require.NoError(t, deliver(t, p, l, 100))
	require.NoError(t, p.Close())
	db, err := sql.Open("sqlite3", filepath.Join(dir, "views", "ledger.v1.1.db"))
	require.NoError(t, err)
	_, err = db.Exec("CREATE TRIGGER planted AFTER UPDATE ON leat_checkpoint BEGIN UPDATE leat_view SET version = 9; END")
	require.NoError(t, err)
	require.NoError(t, db.Close())
	_, err = Open(t.Context(), dir, l, ledger(1, nil), nil)
	require.ErrorIs(t, err, sqlite.ErrSchema)
	_, err = OpenReader(t.Context(), dir, ledger(1, nil))
	require.ErrorIs(t, err, sqlite.ErrSchema)
	require.ErrorContains(t, err, "remove the read model")
	require.NoError(t, Remove(dir, "ledger"))
	p = openTest(t, dir, l, ledger(1, nil))
	require.NoError(t, deliver(t, p, l, 100))
}
