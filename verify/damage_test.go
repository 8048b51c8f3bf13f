package verify_test

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
)

func contains(s, part string) bool { return strings.Contains(s, part) }

func touch(t *testing.T, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(path, []byte("hello, this is not a database"), 0o600))
	return path
}

// changing changes a database of a closed store, past its triggers, and leaves
// its schema as it was.
func changing(name string, statements ...string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		require.NoError(t, change(filepath.Join(dir, name), statements...))
	}
}

func change(path string, statements ...string) (err error) {
	db, err := sql.Open("sqlite3", "file:"+path)
	if err != nil {
		return err
	}
	defer func() {
		if end := db.Close(); err == nil {
			err = end
		}
	}()
	db.SetMaxOpenConns(1)
	triggers := map[string]string{}
	rows, err := db.Query("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
	if err != nil {
		return err
	}
	for rows.Next() {
		var name, text string
		if err := rows.Scan(&name, &text); err != nil {
			return err
		}
		triggers[name] = text
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for name := range triggers {
		if _, err := db.Exec("DROP TRIGGER " + name); err != nil {
			return err
		}
	}
	for _, text := range statements {
		if _, err := db.Exec(text); err != nil {
			return err
		}
	}
	for _, text := range triggers {
		if _, err := db.Exec(text); err != nil {
			return err
		}
	}
	return nil
}

// editRaw runs statements as they are.
func editRaw(path string, statements ...string) error {
	db, err := sql.Open("sqlite3", "file:"+path)
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	for _, text := range statements {
		if _, err := db.Exec(text); err != nil {
			return errors.Join(err, db.Close())
		}
	}
	return db.Close()
}

// patch sets a byte of a file.
func patch(t *testing.T, path string, at int, to byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	data[at] = to
	require.NoError(t, os.WriteFile(path, data, 0o600))
}

// emptyIndex puts the page of a table, which is empty, in the place of that of
// its index: SQLite's own check finds nothing wrong with it.
func emptyIndex(t *testing.T, dir string) {
	path := filepath.Join(dir, "log.db")
	db, err := sql.Open("sqlite3", "file:"+path)
	require.NoError(t, err)
	root := func(name string) (n int) {
		require.NoError(t, db.QueryRow("SELECT rootpage FROM sqlite_schema WHERE name = ?", name).Scan(&n))
		return n - 1
	}
	table, index := root("snapshots"), root("sqlite_autoindex_snapshots_1")
	require.NoError(t, db.Close())
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	copy(page("log.db", data, index), page("log.db", data, table))
	require.NoError(t, os.WriteFile(path, data, 0o600))
}

func removing(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, name))) }
}

// linking puts a link in the place of a file.
func linking(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		path := filepath.Join(dir, name)
		require.NoError(t, os.Rename(path, path+".real"))
		require.NoError(t, os.Symlink(path+".real", path))
	}
}

// foreign returns the directory of another store.
func foreign(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	s := open(t, dir)
	_, err := s.Append(t.Context(), ask("x"))
	require.NoError(t, err)
	require.NoError(t, s.Close())
	return dir
}

func snapshot(t *testing.T, dir string) {
	t.Helper()
	s := open(t, dir)
	require.NoError(t, s.SaveSnapshot(t.Context(), eventstore.Snapshot{Stream: "desk-1", Fold: "fold", Version: 1, State: []byte("state")}))
	require.NoError(t, s.Close())
}
