package serverless_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/serverless"
	"github.com/leat-go/leat/verify"
)

// What sagas have under way, and which events functions were given, is nowhere
// else: a program that found an empty file would begin anew and tell nobody.
func TestAPrimaryFileThatWasRemovedIsMissed(t *testing.T) {
	for _, name := range []string{"sagas.db", "consumers.db"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			host := func() *bank { return newBank(t, dir, serverless.Options{}, withSaving, (&calls{}).register()) }
			b := host()
			b.deposit(t, "ada", 100)
			b.drain(t)
			require.NoError(t, b.Host.Close())
			path := filepath.Join(dir, name)
			require.NoError(t, os.Remove(path))
			require.ErrorIs(t, b.store.Backup(t.Context(), filepath.Join(t.TempDir(), "backup")), eventstore.ErrCorrupt)
			require.NoError(t, b.store.Close())

			r, err := verify.Dir(t.Context(), dir)
			require.NoError(t, err)
			require.Len(t, r.Findings, 1)
			require.Equal(t, name, r.Findings[0].File)
			require.Contains(t, r.Findings[0].Reason, "missing")

			b = host()
			err = b.Open(t.Context())
			require.ErrorIs(t, err, eventstore.ErrCorrupt)
			require.ErrorContains(t, err, path)
			require.NoFileExists(t, path)
			require.NoError(t, b.store.Close())

			dst := filepath.Join(t.TempDir(), "restored")
			restored, err := sqlite.Restore(t.Context(), dir, dst, &sqlite.RestoreOptions{AcceptLoss: true})
			require.NoError(t, err)
			require.Contains(t, restored.Lost, name+" is missing or empty, but the store had it: what was in it is nowhere else")

			require.NoError(t, os.Remove(filepath.Join(dir, "parts")))
			b = host()
			b.drain(t)
			require.FileExists(t, path)
		})
	}
}

// What a restored store has, it must have from then on.
func TestARestoredStoreMissesWhatIsRemoved(t *testing.T) {
	b := newBank(t, t.TempDir(), serverless.Options{}, withSaving, (&calls{}).register())
	b.deposit(t, "ada", 100)
	b.drain(t)
	dir := restored(t, backUp(t, b.store))
	require.NoError(t, os.Remove(filepath.Join(dir, "sagas.db")))
	b = newBank(t, dir, serverless.Options{}, withSaving, (&calls{}).register())
	require.ErrorIs(t, b.Open(t.Context()), eventstore.ErrCorrupt)
}
