package functions

import (
	"log/slog"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
	"github.com/leat-go/leat/serverless"
	"github.com/leat-go/leat/taxi-demo/internal/driver"
	"github.com/leat-go/leat/taxi-demo/internal/trip"
)

func TestEveryFunctionIsRegisteredAndCanBeInvoked(t *testing.T) {
	store := memory.New(nil)
	defer func() { require.NoError(t, store.Close()) }()
	f := New(store, Deps{})
	h := serverless.New(store, &serverless.Options{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	defer func() { require.NoError(t, h.Close()) }()
	registered := 0
	f.registerWith(func(string) { registered++ }, h)
	require.NoError(t, h.Open(t.Context()))

	commands := 0
	for m := range reflect.TypeOf(f).Methods() {
		if m.Type.NumOut() == 2 && m.Type.Out(0) == reflect.TypeFor[eventstore.Commit]() {
			commands++
		}
	}
	require.Equal(t, commands, registered)

	_, err := h.Invoke(t.Context(), "driver_go_online", driver.GoOnline{DriverID: "d", Zone: 3})
	require.NoError(t, err)
	_, err = h.Invoke(t.Context(), "note_disturbance", trip.Note{RideID: "r", Kind: "x"})
	require.ErrorIs(t, err, trip.ErrNotPlanned)
}
