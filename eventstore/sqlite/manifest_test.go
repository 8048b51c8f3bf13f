package sqlite

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

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
