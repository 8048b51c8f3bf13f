package sqlite

import (
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzWitness: whatever a witness file holds, it is refused or says exactly one
// thing, and is written as it was understood.
func FuzzWitness(f *testing.F) {
	good := testimony{Format: witnessFormat, Store: "s", Epoch: "e", Position: 7, Hash: strings.Repeat("ab", 32), Batch: 0, BatchHash: strings.Repeat("00", 32)}
	data, err := json.Marshal(good)
	require.NoError(f, err)
	parsed, err := parseTestimony(data)
	require.NoError(f, err)
	require.Equal(f, good, parsed)
	f.Add(data)
	f.Add(append(data, '\n'))
	for _, bad := range []string{
		"", "{}", "null", "[]", string(data) + "x", string(data) + "{}",
		strings.Replace(string(data), ":7,", ":0,", 1), strings.Replace(string(data), ":7,", ":-7,", 1),
		strings.Replace(string(data), "abab", "abag", 1), strings.Replace(string(data), `"format":1`, `"format":2`, 1),
		strings.Replace(string(data), `"store"`, `"other"`, 1), strings.Replace(string(data), `"batch":0`, `"batch":1`, 1),
	} {
		_, err := parseTestimony([]byte(bad))
		require.Error(f, err, bad)
		f.Add([]byte(bad))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := parseTestimony(data)
		if err != nil {
			return
		}
		require.Equal(t, witnessFormat, got.Format)
		require.GreaterOrEqual(t, got.Position, int64(0))
		_, err = hex.DecodeString(got.Hash + got.BatchHash)
		require.NoError(t, err)
		again, err := json.Marshal(got)
		require.NoError(t, err)
		same, err := parseTestimony(again)
		require.NoError(t, err)
		require.Equal(t, got, same)
	})
}
