package verify_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/verify"
)

// TestTheFindingsOfOneLookAgree: each says one thing, and together they say one
// thing to do.
func TestTheFindingsOfOneLookAgree(t *testing.T) {
	const restore = "restore the store from a backup"
	good := t.TempDir()
	_, stop := desk(t, good, 10)
	stop()
	t.Run("a sound log without its witness", func(t *testing.T) {
		dir := killed(t, good)
		require.NoError(t, os.Remove(filepath.Join(dir, "witness")))
		r := unchanged(t, dir)
		require.True(t, r.Log.Read)
		require.Len(t, r.Findings, 1)
		require.Equal(t, restore+", or go on from this one by Restore with AcceptLoss", r.Findings[0].Remedy)
		require.Equal(t, "it is missing, so that nobody knows whether the log is whole", r.Findings[0].Reason)
	})
	t.Run("a damaged log without its witness", func(t *testing.T) {
		dir := killed(t, good)
		require.NoError(t, os.Remove(filepath.Join(dir, "witness")))
		changing("log.db", `UPDATE events SET data = X'00' WHERE position = 7`)(t, dir)
		r := unchanged(t, dir)
		require.Len(t, r.Findings, 2)
		for _, f := range r.Findings {
			require.Equal(t, restore, f.Remedy, "a damaged log is never accepted")
		}
		require.False(t, r.Cut)
	})
	t.Run("no log", func(t *testing.T) {
		dir := killed(t, good)
		touch(t, dir, "log.db")
		r := unchanged(t, dir)
		require.False(t, r.Log.Read)
		require.Len(t, r.Findings, 1)
		require.NotRegexp(t, `sqlite: |name another|from a backup`, r.Findings[0].Reason)
	})
	t.Run("a backup", func(t *testing.T) {
		dir, backup := killed(t, good), filepath.Join(t.TempDir(), "backup")
		s := open(t, dir)
		require.NoError(t, s.Backup(t.Context(), backup))
		require.NoError(t, s.Close())
		require.NoError(t, os.Remove(filepath.Join(backup, "witness")))
		r := unchanged(t, backup)
		require.Len(t, r.Findings, 1, "what the manifest misses is missed once")
		require.Equal(t, "witness: it is missing, which the manifest names: use another backup", r.Findings[0].String())
	})
	t.Run("more than are looked for", func(t *testing.T) {
		dir := t.TempDir()
		s := open(t, dir)
		for i := range sqlite.MaxFindings + 1 {
			_, err := s.Append(t.Context(), ask(fmt.Sprint("many-", i)))
			require.NoError(t, err)
		}
		require.NoError(t, s.Close())
		changing("log.db", `UPDATE events SET data = X'00'`)(t, dir)
		r := unchanged(t, dir)
		require.True(t, r.Cut)
		require.Len(t, r.Findings, sqlite.MaxFindings)
	})
}

// TestWhatWasNotFinishedIsNoStore: it may lack anything, and damage it is not.
func TestWhatWasNotFinishedIsNoStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "saved"+sqlite.UnfinishedSuffix)
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "log.db"), []byte("half"), 0o600))
	_, err := verify.Dir(t.Context(), dir)
	require.ErrorIs(t, err, sqlite.ErrNotStore)
	require.ErrorContains(t, err, "unfinished backup or restore: make it again, or remove it")
}
