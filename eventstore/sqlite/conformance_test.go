package sqlite_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/eventstore/storetest"
)

func TestConformance(t *testing.T) {
	t.Run("index in memory", func(t *testing.T) { conformance(t, sqlite.IndexEvents) })
	t.Run("index in its table", func(t *testing.T) { conformance(t, 1) })
	t.Run("index in both", func(t *testing.T) { conformance(t, 3) })
}

func conformance(t *testing.T, indexEvents int) {
	start := func(t *testing.T, dir string, o storetest.Options) storetest.Store {
		s, err := sqlite.Open(t.Context(), dir, &sqlite.Options{Clock: o.Clock, Limits: o.Limits, IndexEvents: indexEvents})
		require.NoError(t, err)
		return s
	}
	storetest.Run(t, storetest.Engine{
		Open: func(t *testing.T, o storetest.Options) storetest.Store { return start(t, t.TempDir(), o) },
		Reopen: func(t *testing.T, s storetest.Store, o storetest.Options) storetest.Store {
			return start(t, s.(*sqlite.Store).Dir(), o)
		},
		Check: func(t *testing.T, s storetest.Store) { sound(t, s.(*sqlite.Store)) },
	})
}
