package sqlite_test

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/internal/sqlite"
)

var format = sqlite.Format{ApplicationID: appID, Migrations: migrations}

// contents returns what is in the files of a directory.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	m := map[string]string{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		m[e.Name()] = string(data)
	}
	return m
}

func TestInspectLooksAtAClosedFileWithoutATrace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a ?#%.db")
	db, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	require.NoError(t, err)
	require.NoError(t, db.Migrate(t.Context(), appID, migrations))
	add := func(tx *sqlite.Tx) error {
		_, err := tx.Exec("INSERT INTO t (v) VALUES ('x')")
		return err
	}
	rows := func(n *int) func(*sql.Tx) error {
		return func(tx *sql.Tx) error { return tx.QueryRow("SELECT COUNT(*) FROM t").Scan(n) }
	}
	require.NoError(t, db.Write(t.Context(), add))
	var n int
	problems, err := sqlite.Inspect(t.Context(), path, format, rows(&n))
	require.NoError(t, err)
	require.Empty(t, problems)
	require.Equal(t, 1, n, "what is in the WAL of an open file is seen")
	require.NoError(t, db.Write(t.Context(), add))
	require.NoError(t, db.Close())

	before := contents(t, filepath.Dir(path))
	require.Len(t, before, 1)
	problems, err = sqlite.Inspect(t.Context(), path, format, rows(&n))
	require.NoError(t, err)
	require.Empty(t, problems)
	require.Equal(t, 2, n)
	require.Equal(t, before, contents(t, filepath.Dir(path)))
}

func TestInspectSaysWhatIsWrong(t *testing.T) {
	nothing := func(*sql.Tx) error { return nil }
	for name, c := range map[string]struct {
		damage func(t *testing.T, path string)
		of     sqlite.Format
		says   string
		err    error
	}{
		"another program's": {nil, sqlite.Format{ApplicationID: 7, Migrations: migrations}, "another program's database", nil},
		"no database": {func(t *testing.T, path string) {
			require.NoError(t, os.WriteFile(path, bytes.Repeat([]byte("hello"), 1000), 0o600))
		}, format, "no SQLite database", nil},
		"empty": {func(t *testing.T, path string) { require.NoError(t, os.Truncate(path, 0)) }, format, "", fs.ErrNotExist},
		"a trigger": {func(t *testing.T, path string) {
			edit(t, path, "CREATE TRIGGER x AFTER INSERT ON t BEGIN DELETE FROM t; END")
		}, format, `trigger "x"`, nil},
		"a page": {func(t *testing.T, path string) {
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, append(data[:4096:4096], make([]byte, len(data)-4096)...), 0o600))
		}, format, "malformed", nil},
		"a link": {func(t *testing.T, path string) {
			require.NoError(t, os.Rename(path, path+".real"))
			require.NoError(t, os.Symlink(path+".real", path))
		}, format, "it is a link", nil},
		"a later relation": {nil, sqlite.Format{ApplicationID: appID, Migrations: migrations, Later: map[int][]string{
			len(migrations):     {"SELECT 'the table', 'it is late'"},
			len(migrations) + 1: {"SELECT 'the table', 'it is too early'"},
		}}, "{the table it is late}", nil},
		"a relation": {nil, sqlite.Format{ApplicationID: appID, Migrations: migrations, Relations: []string{"SELECT 'the table', 'it is empty'"}}, "{the table it is empty}", nil},
		"newer":      {func(t *testing.T, path string) { edit(t, path, "PRAGMA user_version = 9") }, format, "", sqlite.ErrNewer},
		"gone":       {func(t *testing.T, path string) { require.NoError(t, os.Remove(path)) }, format, "", fs.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			db := open(t, sqlite.Options{})
			require.NoError(t, db.Close())
			if c.damage != nil {
				c.damage(t, db.Path())
			}
			problems, err := sqlite.Inspect(t.Context(), db.Path(), c.of, nothing)
			require.ErrorIs(t, err, c.err)
			if c.says != "" {
				require.Contains(t, fmt.Sprint(problems), c.says)
			}
		})
	}
	db := open(t, sqlite.Options{})
	boom := errors.New("boom")
	_, err := sqlite.Inspect(t.Context(), db.Path(), format, func(*sql.Tx) error { return boom })
	require.ErrorIs(t, err, boom)
}

func edit(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	require.NoError(t, err)
	_, err = db.Writer().Exec(statement)
	require.NoError(t, err)
	require.NoError(t, db.Close())
}
