package saga

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
)

// Only what leaves for the first time since its step was written is known to be
// unused: not what failed, and not what another engine may have sent.
func TestACommandIsUnusedTheFirstTime(t *testing.T) {
	w := newWorld(t, chatty(2))
	failed := false
	w.on("remind", func(_ context.Context, cmd bus.Command) ([]eventstore.Event, error) {
		if !failed {
			failed = true
			return nil, errors.New("no")
		}
		return []eventstore.Event{did{cmd.ID}}, nil
	})
	w.emit("s", placed{"1"})
	for len(w.did()) < 2 {
		w.settle()
	}
	require.Equal(t, []bool{true, false, true}, unused(w))

	w.unsubscribe()
	w.emit("s", placed{"2"})
	require.NoError(t, w.tryFeed(100))
	require.Len(t, w.pending(), 2)
	w.close()
	w.open()
	w.settle()
	require.Equal(t, []bool{true, false, true, false, false}, unused(w))
	require.Len(t, w.did(), 4)
}

func unused(w *world) (list []bool) {
	for _, cmd := range w.sent {
		list = append(list, cmd.Unused)
	}
	return list
}
