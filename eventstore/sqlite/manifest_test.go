package sqlite

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
)

// What a newer program has written is not damaged.
func TestAManifestOfANewerProgramIsNoDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), manifestName)
	for text, want := range map[string]error{
		`{"format":2,"store":"s","novelty":true}`: ErrNotStore,
		`{"format":1,"store":"s","novelty":true}`: eventstore.ErrCorrupt,
		`{"format":2`: eventstore.ErrCorrupt,
	} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, err := readManifest(path)
		require.ErrorIs(t, err, want, text)
		require.ErrorContains(t, err, path)
	}
}

// FuzzManifest: whatever a manifest holds, it is refused, or says the same when
// it is written again.
func FuzzManifest(f *testing.F) {
	whole, err := json.Marshal(manifest{Format: manifestFormat, Store: "s", Epoch: "e", Position: 7, Files: []part{{Name: "log.db", Bytes: 1, SHA256: "00"}}})
	require.NoError(f, err)
	for _, seed := range [][]byte{whole, whole[:20], nil, []byte("{}"), append(whole, whole...), []byte(`{"format":1,"files":[{"name":"../x"},{"name":"../x"}]}`)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseManifest(data)
		if err != nil {
			return
		}
		require.NotPanics(t, func() { m.differences(nil) })
		again, err := json.Marshal(m)
		require.NoError(t, err)
		same, err := parseManifest(again)
		require.NoError(t, err)
		require.Equal(t, m, same)
	})
}
