package experiment_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/internal/experiment"
)

func TestFiguresAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "figures")
	t.Setenv("LEAT_FIGURES", path)
	t.Setenv("LEAT_SEED", "7")
	t.Setenv("LEAT_EXPERIMENT", "long")
	t.Run("one", func(t *testing.T) {
		e := experiment.Start(t, "kills", "nothing is lost")
		require.Equal(t, uint64(7), e.Seed())
		require.Equal(t, 1000, e.N(5, 1000))
		require.Equal(t, e.Rand(3).Uint64(), e.Rand(3).Uint64())
		require.NotEqual(t, e.Rand(3).Uint64(), e.Rand(4).Uint64())
		e.Figure("lost", 1)
		e.Figure("lost", 0)
	})
	line, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(line), `"experiment":"kills","test":"TestFiguresAreKept/one","promise":"nothing is lost","passed":true,"long":true,"seed":7,`)
	require.Contains(t, string(line), `"figures":[{"name":"lost","value":"0"}]`)
}
