package parts_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/parts"
	"github.com/leat-go/leat/internal/sqlite"
)

var format = sqlite.Format{ApplicationID: 7, Migrations: fstest.MapFS{"0001_t.sql": {Data: []byte("CREATE TABLE t (x INTEGER);")}}}

// open opens the part, writes a row and closes it.
func open(t *testing.T, dir, name string, o sqlite.Options) error {
	t.Helper()
	db, err := parts.Open(t.Context(), dir, name, format, o)
	if err != nil {
		return err
	}
	err = db.Write(t.Context(), func(tx *sqlite.Tx) error {
		_, err := tx.Exec("INSERT INTO t VALUES (1)")
		return err
	})
	return errors.Join(err, db.Close())
}

func missing(t *testing.T, dir string) []string {
	t.Helper()
	names, err := parts.Missing(dir)
	require.NoError(t, err)
	return names
}

func TestAListedFileIsMissed(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, path string){
		"removed":   func(t *testing.T, path string) { require.NoError(t, os.Remove(path)) },
		"truncated": func(t *testing.T, path string) { require.NoError(t, os.Truncate(path, 0)) },
		"truncated, beside a write-ahead log": func(t *testing.T, path string) {
			db, err := sqlite.OpenFormat(t.Context(), path, format, sqlite.Options{})
			require.NoError(t, err)
			require.NoError(t, db.Write(t.Context(), func(tx *sqlite.Tx) error {
				_, err := tx.Exec("INSERT INTO t VALUES (2)")
				return err
			}))
			wal, err := os.ReadFile(path + "-wal")
			require.NoError(t, err)
			require.NotEmpty(t, wal)
			require.NoError(t, db.Close())
			require.NoError(t, os.Truncate(path, 0))
			require.NoError(t, os.WriteFile(path+"-wal", wal, 0o600)) // as a kill leaves it
		},
	} {
		for _, o := range []sqlite.Options{{}, {Durability: sqlite.Normal}} {
			t.Run(name, func(t *testing.T) {
				dir := t.TempDir()
				require.NoError(t, open(t, dir, "sagas.db", o))
				require.NoError(t, open(t, dir, "consumers.db", o))
				require.NoError(t, open(t, dir, "sagas.db", o))
				require.Empty(t, missing(t, dir))
				lose(t, filepath.Join(dir, "sagas.db"))
				before, err := os.ReadDir(dir)
				require.NoError(t, err)
				require.Equal(t, []string{"sagas.db"}, missing(t, dir))
				err = open(t, dir, "sagas.db", o)
				require.ErrorIs(t, err, eventstore.ErrCorrupt)
				require.ErrorContains(t, err, filepath.Join(dir, "sagas.db")+": it is missing or empty")
				require.ErrorContains(t, err, "restore the store from a backup")
				after, err := os.ReadDir(dir)
				require.NoError(t, err)
				require.Len(t, after, len(before), "nothing is made in its place")
				require.NoError(t, open(t, dir, "consumers.db", o), "the others are there")

				list, err := os.ReadFile(filepath.Join(dir, parts.FileName))
				require.NoError(t, err)
				given := strings.Replace(string(list), "sagas.db\n", "", 1)
				require.NoError(t, os.WriteFile(filepath.Join(dir, parts.FileName), []byte(given), 0o600))
				require.Empty(t, missing(t, dir), "it was given up")
				require.NoError(t, open(t, dir, "sagas.db", o))
				again, err := os.ReadFile(filepath.Join(dir, parts.FileName))
				require.NoError(t, err)
				require.Equal(t, string(list), string(again))
			})
		}
	}
}

func TestAListThatCannotBeReadIsDamage(t *testing.T) {
	for name, text := range map[string]string{
		"a path":       "../sagas.db\n",
		"another name": "log.db\nlock\n",
		"too long":     strings.Repeat("# remark\n", 1000),
		"bytes":        "\x00\xff\n",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, parts.FileName), []byte(text), 0o600))
			_, err := parts.Missing(dir)
			require.ErrorIs(t, err, eventstore.ErrCorrupt)
			require.ErrorIs(t, open(t, dir, "sagas.db", sqlite.Options{}), eventstore.ErrCorrupt)
			require.NoFileExists(t, filepath.Join(dir, "sagas.db"))
		})
	}
	t.Run("a link", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(dir, parts.FileName)))
		_, err := parts.Missing(dir)
		require.ErrorIs(t, err, eventstore.ErrCorrupt)
	})
}

func TestAnEmptyListIsFine(t *testing.T) {
	dir := t.TempDir()
	require.Empty(t, missing(t, dir))
	require.NoError(t, parts.List(dir))
	require.NoFileExists(t, filepath.Join(dir, parts.FileName))
	require.NoError(t, os.WriteFile(filepath.Join(dir, parts.FileName), []byte("# nothing\n\n"), 0o600))
	require.Empty(t, missing(t, dir))
}
