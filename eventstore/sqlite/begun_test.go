package sqlite_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
)

// A power cut while SQLite writes the first page of a new log can leave a file
// of the right length without its contents, and the journal that takes it back.
func TestALogWhoseFirstPageWasCutShortIsANewOne(t *testing.T) {
	journal := make([]byte, 512)
	copy(journal, "\xd9\xd5\x05\xf9\x20\xa1\x63\xd7")
	binary.BigEndian.PutUint32(journal[20:], 512)  // the sector
	binary.BigEndian.PutUint32(journal[24:], 4096) // the page; there were none
	begin := func(t *testing.T) string {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "log.db"), make([]byte, 4096), 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "log.db-journal"), journal, 0o600))
		return dir
	}
	t.Run("the owner goes on", func(t *testing.T) {
		s := open(t, begin(t), nil)
		appendTo(t, s, write("ride-1", eventstore.Any(), event("asked", "x")))
		sound(t, s)
	})
	t.Run("a reader is told", func(t *testing.T) {
		dir := begin(t)
		before := listing(t, dir)
		_, err := sqlite.OpenReadOnly(t.Context(), dir)
		require.ErrorIs(t, err, sqlite.ErrNotStore)
		require.ErrorContains(t, err, "cut short")
		require.Equal(t, before, listing(t, dir))
	})
	t.Run("but not with a witness", func(t *testing.T) {
		dir := begin(t)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "witness"), []byte("{}"), 0o600))
		before := listing(t, dir)
		_, err := sqlite.Open(t.Context(), dir, nil)
		require.Error(t, err)
		require.Equal(t, before, listing(t, dir))
	})
}
