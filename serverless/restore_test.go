package serverless_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/serverless"
)

// backUp takes a backup of the bank's store and returns its directory.
func backUp(t *testing.T, b *bank) string {
	t.Helper()
	dst := filepath.Join(t.TempDir(), "backup")
	require.NoError(t, b.store.Backup(t.Context(), dst))
	return dst
}

// restored restores a backup into a new directory and returns that.
func restored(t *testing.T, backup string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "restored")
	_, err := sqlite.Restore(t.Context(), backup, dir, nil)
	require.NoError(t, err)
	return dir
}

// TestRestoreKnowsTheSchemaOfEveryFile: the log knows the files beside it by
// the digests of their schemas only. Where this fails because of a new
// migration, its digest is in the error, and belongs into the list of
// companions in package eventstore/sqlite.
func TestRestoreKnowsTheSchemaOfEveryFile(t *testing.T) {
	b := newBank(t, t.TempDir(), serverless.Options{}, withSaving, (&calls{}).register())
	b.deposit(t, "ada", 100)
	b.drain(t)
	r, err := sqlite.Restore(t.Context(), backUp(t, b), filepath.Join(t.TempDir(), "restored"), nil)
	require.NoError(t, err)
	require.Equal(t, []string{"consumers.db", "sagas.db", "log.db"}, r.Files)
}
