package verify_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/verify"
)

func TestABackupIsHeldToItsManifest(t *testing.T) {
	dir := t.TempDir()
	store, stop := desk(t, dir, 6)
	backup := filepath.Join(t.TempDir(), "backup")
	require.NoError(t, store.Backup(t.Context(), backup))
	stop()
	require.Equal(t, verify.KindStore, unchanged(t, dir).Kind)
	r := unchanged(t, backup)
	require.Empty(t, r.Findings)
	require.Equal(t, verify.KindBackup, r.Kind)
	require.Equal(t, int64(12), r.Log.Events)
	for name, damage := range map[string]func(backup string) error{
		"sagas.db": func(b string) error { return os.Remove(filepath.Join(b, "sagas.db")) },
		"consumers.db": func(b string) error {
			f, err := os.OpenFile(filepath.Join(b, "consumers.db"), os.O_WRONLY, 0)
			require.NoError(t, err)
			_, err = f.WriteAt([]byte("leat"), 72) // which SQLite keeps for later
			require.NoError(t, f.Close())
			return err
		},
		"log.db":   func(b string) error { return os.Remove(filepath.Join(b, "log.db")) },
		"mine":     func(b string) error { return os.WriteFile(filepath.Join(b, "mine"), nil, 0o600) },
		"manifest": func(b string) error { return os.Truncate(filepath.Join(b, "manifest"), 40) },
	} {
		t.Run(name, func(t *testing.T) {
			b := killed(t, backup)
			require.NoError(t, damage(b))
			r := unchanged(t, b)
			require.False(t, r.OK())
			require.Equal(t, verify.KindBackup, r.Kind)
			require.Equal(t, name, r.Findings[0].File)
			for _, f := range r.Findings {
				require.Equal(t, "use another backup", f.Remedy)
			}
		})
	}
	t.Run("open", func(t *testing.T) {
		s, err := sqlite.OpenReadOnly(t.Context(), backup)
		require.NoError(t, err)
		_, err = verify.Dir(t.Context(), backup)
		require.ErrorIs(t, err, eventstore.ErrInUse)
		require.NoError(t, s.Close())
		require.Empty(t, unchanged(t, backup).Findings)
	})
}

func TestNothingThatWasNotLookedAtIsOK(t *testing.T) {
	require.False(t, verify.Report{}.OK())
	r, err := verify.Dir(t.Context(), "")
	require.ErrorIs(t, err, eventstore.ErrInvalid)
	require.False(t, r.OK())
}
