package sqlite_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
)

func TestABackupIsHeldToItsManifest(t *testing.T) {
	for name, c := range map[string]struct {
		says   string // where and what; nothing is found where it is empty
		damage func(t *testing.T, backup string)
	}{
		"nothing":    {"", func(*testing.T, string) {}},
		"only read":  {"", func(t *testing.T, backup string) { readAll(t, backup) }},
		"no witness": {"witness: it is missing", func(t *testing.T, backup string) { require.NoError(t, os.Remove(filepath.Join(backup, "witness"))) }},
		"4 bytes of the log": {"log.db: it is not the file that was backed up", func(t *testing.T, backup string) {
			rewrite(t, filepath.Join(backup, "log.db"), func(data []byte) []byte { copy(data[len(data)-4:], "leat"); return data })
		}},
		"a file more": {"mine: it is there, which the manifest does not name", func(t *testing.T, backup string) {
			require.NoError(t, os.WriteFile(filepath.Join(backup, "mine"), nil, 0o600))
		}},
		"a link": {"log.db: it is a symbolic link", func(t *testing.T, backup string) {
			require.NoError(t, os.Remove(filepath.Join(backup, "log.db")))
			require.NoError(t, os.Symlink("witness", filepath.Join(backup, "log.db")))
		}},
		"another position": {"manifest: it speaks of position 61", func(t *testing.T, backup string) {
			rewrite(t, filepath.Join(backup, "manifest"), func(data []byte) []byte {
				return []byte(strings.Replace(string(data), `"position": 60`, `"position": 61`, 1))
			})
		}},
		"a field more": {"manifest: it cannot be read", func(t *testing.T, backup string) {
			rewrite(t, filepath.Join(backup, "manifest"), func(data []byte) []byte {
				return []byte(strings.Replace(string(data), `{`, `{"x": 1,`, 1))
			})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			_, backup := filled(t)
			c.damage(t, backup)
			before := listing(t, backup)
			found, err := sqlite.CheckBackup(t.Context(), backup)
			require.NoError(t, err)
			require.Equal(t, before, listing(t, backup))
			_, err = sqlite.Restore(t.Context(), backup, filepath.Join(t.TempDir(), "store"), nil)
			if c.says == "" {
				require.Empty(t, found)
				require.NoError(t, err)
				return
			}
			require.Len(t, found, 1)
			require.Contains(t, found[0].String(), c.says)
			require.Equal(t, "take another backup", found[0].Remedy)
			require.ErrorIs(t, err, eventstore.ErrCorrupt)
		})
	}
	dir, _ := filled(t)
	_, err := sqlite.CheckBackup(t.Context(), dir)
	require.ErrorIs(t, err, sqlite.ErrNotStore)
}

// readAll opens a directory for reading, and reads.
func readAll(t *testing.T, dir string) {
	t.Helper()
	s, err := sqlite.OpenReadOnly(t.Context(), dir)
	require.NoError(t, err)
	require.Len(t, all(t, s), 60)
	require.NoError(t, s.Close())
}

func TestABackupAndWhatIsUnfinishedHaveNoOwner(t *testing.T) {
	dir, backup := filled(t)
	unfinished := filepath.Join(t.TempDir(), "store"+sqlite.UnfinishedSuffix)
	require.NoError(t, os.CopyFS(unfinished, os.DirFS(dir)))
	for path, says := range map[string]string{backup: "this is a backup", unfinished: "has not finished"} {
		before := listing(t, path)
		_, err := sqlite.Open(t.Context(), path, nil)
		require.ErrorIs(t, err, sqlite.ErrNotStore)
		require.ErrorContains(t, err, says)
		require.Equal(t, before, listing(t, path), "it is left as it was")
		readAll(t, path)
	}
	fresh := filepath.Join(t.TempDir(), "new"+sqlite.UnfinishedSuffix)
	_, err := sqlite.Open(t.Context(), fresh, nil)
	require.ErrorIs(t, err, sqlite.ErrNotStore)
	require.NoDirExists(t, fresh)
}

func TestABackupThatIsRefusedNamesItsSource(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir)
	require.NoError(t, os.Remove(filepath.Join(dir, "witness")))
	s, err := sqlite.OpenReadOnly(t.Context(), dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	err = s.Backup(t.Context(), filepath.Join(t.TempDir(), "x"))
	var corrupt *eventstore.CorruptError
	require.ErrorAs(t, err, &corrupt)
	require.Equal(t, filepath.Join(dir, "witness"), corrupt.Where)
	require.NotContains(t, err.Error(), sqlite.UnfinishedSuffix)
}

func TestWhatIsNotOursIsToldOnceAndNothingIsTouched(t *testing.T) {
	_, backup := filled(t)
	above := t.TempDir()
	dst := filepath.Join(above, "store")
	require.NoError(t, os.Mkdir(dst+sqlite.UnfinishedSuffix, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dst+sqlite.UnfinishedSuffix, "mine"), nil, 0o600))
	before := listing(t, above)
	_, err := sqlite.Restore(t.Context(), backup, dst, nil)
	require.Error(t, err)
	require.Equal(t, 1, strings.Count(err.Error(), "move it away"), err)
	require.Equal(t, before, listing(t, above))
}

func TestRestoreOfNoNameIsInvalid(t *testing.T) {
	_, err := sqlite.Restore(t.Context(), "", filepath.Join(t.TempDir(), "x"), nil)
	require.ErrorIs(t, err, eventstore.ErrInvalid)
}
