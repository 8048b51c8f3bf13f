package bus_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/leat-go/leat/eventstore"
)

func TestMain(m *testing.M) {
	// Watermill's suite leaves goroutines of its own multiplied subscriber.
	const multiplier = "github.com/ThreeDotsLabs/watermill/internal/subscriber.(*multiplier).Subscribe"
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction(multiplier+".func2"),
		goleak.IgnoreAnyFunction(multiplier+".func3"))
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func event(i int) eventstore.EventData {
	return eventstore.EventData{Type: fmt.Sprintf("type_%d", i%3), Data: fmt.Appendf(nil, `{"n":%d}`, i)}
}

// appendTo appends one event to the stream and returns its position.
func appendTo(t testing.TB, store eventstore.Appender, stream string, events ...eventstore.EventData) int64 {
	t.Helper()
	if len(events) == 0 {
		events = []eventstore.EventData{event(0)}
	}
	commit, err := store.Append(context.Background(), eventstore.Batch{Writes: []eventstore.Write{{Stream: stream, Events: events}}})
	require.NoError(t, err)
	return commit.Last
}
