package serverless_test

import (
	"context"
	"database/sql"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/disk"
	"github.com/leat-go/leat/internal/sqlite"
	"github.com/leat-go/leat/saga"
	"github.com/leat-go/leat/serverless"
)

// wholeHost opens a host with files of every kind in dir, calls it once and
// closes it. It returns the error of opening it.
func wholeHost(t *testing.T, storeDir, dir string) error {
	t.Helper()
	store := openStore(t, storeDir, clock.System())
	b := wireBank(store, serverless.Options{Dir: dir, Logger: quiet()})
	b.Saga(saga.Define("interest", 1, saga.Starts(func(e Deposited) string { return e.Account }, func(_ *struct{}, c *saga.Context, _ Deposited) error {
		c.Complete()
		return nil
	})))
	serverless.OnEvent(b.Host, "notes", func(context.Context, eventstore.Of[Deposited]) error { return nil })
	err := b.Open(t.Context())
	if err == nil {
		_, err = b.Invoke(t.Context(), "deposit", Deposit{Account: "a", Cents: 1})
	}
	require.NoError(t, b.Close())
	require.NoError(t, store.Close())
	return err
}

func TestEveryFileOfAHostIsHardened(t *testing.T) {
	planted := func(statements string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			db, err := sql.Open("sqlite3", path)
			require.NoError(t, err)
			_, err = db.Exec(statements)
			require.NoError(t, err)
			require.NoError(t, db.Close())
		}
	}
	for name, c := range map[string]struct {
		plant func(t *testing.T, path string)
		is    error
	}{
		"trigger":             {planted("CREATE TRIGGER planted AFTER INSERT ON waiting BEGIN SELECT 1; END"), sqlite.ErrSchema},
		"trigger, and no WAL": {planted("PRAGMA journal_mode = DELETE; CREATE TRIGGER planted AFTER INSERT ON waiting BEGIN SELECT 1; END"), sqlite.ErrSchema},
		"other program":       {planted("PRAGMA application_id = 7"), sqlite.ErrForeign},
		"newer":               {planted("PRAGMA user_version = 99"), sqlite.ErrNewer},
		"link": {func(t *testing.T, path string) {
			require.NoError(t, os.Rename(path, path+".elsewhere"))
			require.NoError(t, os.Symlink(path+".elsewhere", path))
		}, disk.ErrNotPlain},
		"link of its WAL": {func(t *testing.T, path string) { require.NoError(t, os.Symlink("elsewhere", path+"-wal")) }, disk.ErrNotPlain},
		"pipe": {func(t *testing.T, path string) {
			require.NoError(t, os.Remove(path))
			require.NoError(t, syscall.Mkfifo(path, 0o600))
		}, disk.ErrNotPlain},
		"second name": {func(t *testing.T, path string) { require.NoError(t, os.Link(path, path+".copy")) }, disk.ErrNotPlain},
	} {
		for _, file := range []string{"sagas.db", "consumers.db"} {
			t.Run(name+" "+file, func(t *testing.T) {
				dir := t.TempDir()
				require.NoError(t, wholeHost(t, dir, ""))
				path := filepath.Join(dir, file)
				c.plant(t, path)
				before := contentOf(t, path)
				err := wholeHost(t, dir, "")
				require.ErrorIs(t, err, c.is)
				require.ErrorContains(t, err, file)
				require.Equal(t, before, contentOf(t, path), "what is refused is not changed")
			})
		}
	}
}

// contentOf returns what is in a regular file, nil for another.
func contentOf(t *testing.T, path string) []byte {
	t.Helper()
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

func TestTheFilesOfAHostElsewhereArePrivateAndLocal(t *testing.T) {
	before := syscall.Umask(0)
	defer syscall.Umask(before)
	dir := filepath.Join(t.TempDir(), "elsewhere")
	require.NoError(t, wholeHost(t, t.TempDir(), dir))
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := d.Info()
		require.NoError(t, err)
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		require.Equal(t, want, info.Mode().Perm(), path)
		return nil
	}))

	remote := filepath.Join(t.TempDir(), "remote")
	stop := disk.PretendFileSystem(func(at string) (uint32, bool) { return 0x6969, at == remote })
	defer stop()
	require.ErrorIs(t, wholeHost(t, t.TempDir(), remote), disk.ErrNotLocal)
}
