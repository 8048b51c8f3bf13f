//go:build linux && cgo

package parts_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/internal/crashstates"
	"github.com/leat-go/leat/internal/faultvfs"
	"github.com/leat-go/leat/internal/parts"
	"github.com/leat-go/leat/internal/sqlite"
)

// A power cut takes nothing that is listed, also where commits do not wait for
// the disk: the store could not be opened after it.
func TestWhatIsListedSurvivesAPowerCut(t *testing.T) {
	unregister, err := faultvfs.Register()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, unregister()) })
	dir := filepath.Join(t.TempDir(), "store")
	require.NoError(t, os.Mkdir(dir, 0o700))
	record, err := faultvfs.Record(dir)
	require.NoError(t, err)
	relaxed := sqlite.Options{Durability: sqlite.Normal}
	require.NoError(t, open(t, dir, "sagas.db", relaxed))
	log := record.Stop()
	listed := 0
	for i := range uint64(400) {
		image, err := crashstates.State(nil, log, 0, len(log), 1, i)
		require.NoError(t, err)
		left := t.TempDir()
		require.NoError(t, image.WriteTo(left))
		require.Empty(t, missing(t, left), "%v", image)
		require.NoError(t, open(t, left, "sagas.db", relaxed), "%v", image)
		if _, ok := image.Files[parts.FileName]; ok {
			listed++
		}
	}
	require.Greater(t, listed, 50)
	require.Less(t, listed, 390)
}
