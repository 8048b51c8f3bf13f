package sqlite

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
)

// TestVerifyEndsWithItsContext: the checks of a large log are one statement
// each, and take minutes.
func TestVerifyEndsWithItsContext(t *testing.T) {
	s, err := Open(t.Context(), t.TempDir(), &Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	for i := range 20 {
		b := eventstore.Batch{ID: fmt.Sprint(i), Writes: []eventstore.Write{{Stream: fmt.Sprint("ride-", i)}}}
		for range 5000 {
			b.Writes[0].Events = append(b.Writes[0].Events, eventstore.EventData{Type: "asked", Data: []byte(`{}`)})
		}
		_, err := s.Append(t.Context(), b)
		require.NoError(t, err)
	}
	v := &verification{store: s, head: s.tip.Load().position}
	for name, step := range map[string]func(context.Context) error{"relations": v.relations, "integrity": v.integrity} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
			defer cancel()
			require.ErrorIs(t, step(ctx), context.DeadlineExceeded)
			require.NoError(t, step(t.Context()), "its connection goes on")
		})
	}
}
