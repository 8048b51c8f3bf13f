package functions

import (
	"log/slog"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
	"github.com/leat-go/leat/serverless"
)

func TestEveryFunctionIsACommandOfTheHost(t *testing.T) {
	store := memory.New(nil)
	defer func() { require.NoError(t, store.Close()) }()
	f := New(store, Deps{})
	h := serverless.New(store, &serverless.Options{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	defer func() { require.NoError(t, h.Close()) }()
	f.Register(h)
	require.NoError(t, h.Open(t.Context()))

	for m := range reflect.TypeOf(f).Methods() {
		if m.Type.NumOut() != 2 || m.Type.Out(0) != reflect.TypeFor[eventstore.Commit]() {
			continue
		}
		c := reflect.Zero(m.Type.In(2)).Interface().(payload)
		// An empty payload is refused, or there is nothing to do; what matters
		// is that the function is there.
		_, err := h.Invoke(t.Context(), c.CommandType(), c)
		require.NotErrorIs(t, err, serverless.ErrUnknownFunction, m.Name)
	}
}
