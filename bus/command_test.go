package bus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
)

type refusal struct{}

func (refusal) Error() string         { return "no open offer" }
func (refusal) RejectionCode() string { return "no_open_offer" }

func TestDispatchSetsWhatTheHandlerNeeds(t *testing.T) {
	commands := bus.NewCommands()
	require.NoError(t, commands.Handle("accept_ride", func(ctx context.Context, data []byte) (eventstore.Commit, error) {
		cmd := eventstore.CommandFrom(ctx)
		require.Equal(t, "c-1", cmd.ID())
		require.Equal(t, "x", eventstore.MetadataFrom(ctx)[eventstore.CorrelationID])
		require.Equal(t, "data", string(data))
		cmd.Done(eventstore.Commit{ID: "c-1", First: 7, Last: 7})
		return eventstore.Commit{}, nil
	}))
	require.ErrorIs(t, commands.Handle("accept_ride", nil), bus.ErrDuplicateName)
	require.ErrorIs(t, commands.Handle("", nil), eventstore.ErrInvalid)
	require.True(t, commands.Has("accept_ride"))
	require.Equal(t, []string{"accept_ride"}, commands.Names())

	cmd := bus.Command{ID: "c-1", Type: "accept_ride", Data: []byte("data"), Metadata: eventstore.Metadata{eventstore.CorrelationID: "x"}}
	commit, err := commands.Dispatch(context.Background(), cmd)
	require.NoError(t, err)
	require.Equal(t, int64(7), commit.Last, "the commit of the one append, though the handler did not return it")

	_, err = commands.Dispatch(context.Background(), bus.Command{Type: "unheard"})
	require.ErrorIs(t, err, bus.ErrUnknownCommand)
	require.ErrorContains(t, err, `"unheard"`)
}

func TestDispatchTellsRejectionsFromBugs(t *testing.T) {
	commands := bus.NewCommands()
	boom := errors.New("boom")
	for name, h := range map[string]bus.CommandHandler{
		"refuse": func(context.Context, []byte) (eventstore.Commit, error) {
			return eventstore.Commit{}, fmt.Errorf("ride 7: %w", refusal{})
		},
		"panic": func(context.Context, []byte) (eventstore.Commit, error) { panic(boom) },
	} {
		require.NoError(t, commands.Handle(name, h))
	}
	_, err := commands.Dispatch(context.Background(), bus.Command{Type: "refuse"})
	rejection, ok := bus.RejectionOf(err)
	require.True(t, ok)
	require.Equal(t, "no_open_offer", rejection.RejectionCode())

	_, err = commands.Dispatch(context.Background(), bus.Command{Type: "panic"})
	_, ok = bus.RejectionOf(err)
	require.False(t, ok)
	panicked, ok := errors.AsType[*bus.PanicError](err)
	require.True(t, ok)
	require.ErrorIs(t, err, boom)
	require.Contains(t, string(panicked.Stack), "command_test.go")
}

func TestCommandTravelsAsAMessage(t *testing.T) {
	for _, cmd := range []bus.Command{
		{ID: "c-1", Type: "accept_ride", Data: []byte(`{}`), Metadata: eventstore.Metadata{"a": "b"}},
		{Type: "bare"},
	} {
		back, err := bus.CommandFromMessage(bus.CommandMessage(cmd))
		require.NoError(t, err)
		require.Equal(t, cmd, back)
	}
	msg := bus.CommandMessage(bus.Command{Type: "x"})
	delete(msg.Metadata, bus.MetaCommand)
	_, err := bus.CommandFromMessage(msg)
	require.ErrorIs(t, err, eventstore.ErrInvalid)
}
