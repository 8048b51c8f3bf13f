package projection

import (
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/internal/disk"
)

// What is thrown away after a crash need not be synced, and what serves must be.
func TestAFileIsSyncedBeforeItServes(t *testing.T) {
	synchronous := func(v *view) (mode int) {
		require.NoError(t, v.db.Writer().QueryRow(`PRAGMA synchronous`).Scan(&mode))
		return mode
	}
	const off, normal = 0, 1
	l, dir := newTape(), t.TempDir()
	someMoves(l, 2*RebuildPage)
	p := openTest(t, dir, l, ledger(1, nil))
	require.NoError(t, deliver(t, p, l, 1000))
	require.Equal(t, normal, synchronous(p.live.view))
	v, err := createView(t.Context(), p.files, fileID{"ledger", 1, 7}, p.def, purposeRebuild)
	require.NoError(t, err)
	require.Equal(t, off, synchronous(v))
	require.NoError(t, v.db.Close())

	var mu sync.Mutex // guards steps
	var steps []string
	stop := disk.Observe(func(op disk.Op) {
		mu.Lock()
		defer mu.Unlock()
		switch name := filepath.Base(op.Path); {
		case op.Kind == disk.Sync && strings.HasSuffix(name, ".db"):
			steps = append(steps, "sync "+name)
		case op.Kind == disk.Rename:
			steps = append(steps, "rename")
		}
	})
	defer stop()
	got, err := p.Rebuild(t.Context(), nil)
	stop()
	require.NoError(t, err)
	require.True(t, got.Identical)
	require.Equal(t, []string{"sync " + p.live.id.String(), "rename"}, steps)
	require.Equal(t, normal, synchronous(p.live.view))
	someMoves(l, 10)
	require.NoError(t, deliver(t, p, l, 1000))
	require.Equal(t, l.head(), requireFold(t, p, l))
	require.NoError(t, p.Close())
	v, err = createView(t.Context(), p.files, fileID{"ledger", 2, 9}, p.def, purposeUpgrade)
	require.NoError(t, err)
	require.Equal(t, normal, synchronous(v))
	require.NoError(t, v.db.Close())
}
