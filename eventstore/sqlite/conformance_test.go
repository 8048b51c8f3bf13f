package sqlite_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore/memory"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/eventstore/storetest"
)

func engine(cachedStreams int) storetest.Engine {
	start := func(t *testing.T, dir string, o storetest.Options) storetest.Store {
		s, err := sqlite.Open(t.Context(), dir, &sqlite.Options{Clock: o.Clock, Limits: o.Limits, CachedStreams: cachedStreams})
		require.NoError(t, err)
		return s
	}
	return storetest.Engine{
		Open: func(t *testing.T, o storetest.Options) storetest.Store { return start(t, t.TempDir(), o) },
		Reopen: func(t *testing.T, s storetest.Store, o storetest.Options) storetest.Store {
			return start(t, s.(*sqlite.Store).Dir(), o)
		},
		Check: func(t *testing.T, s storetest.Store) { sound(t, s.(*sqlite.Store)) },
	}
}

func TestConformance(t *testing.T) { storetest.Run(t, engine(0)) }

func TestItAnswersAsTheModelDoes(t *testing.T) {
	model := storetest.Engine{Open: func(_ *testing.T, o storetest.Options) storetest.Store {
		return memory.New(&memory.Options{Clock: o.Clock, Limits: o.Limits})
	}}
	const cached = 3 // so few that most streams must be looked up
	storetest.RunRandom(t, engine(cached), model, storetest.Random{Seed: 1, Runs: 4, Steps: 300})
}
