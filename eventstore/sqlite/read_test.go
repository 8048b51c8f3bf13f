package sqlite_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
)

// A router keeps thousands of pages of one event each: one that has room for
// 250 would hold 40 KiB of nothing.
func TestAPageHasRoomForWhatItHolds(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	const events = 70
	for range events {
		appendTo(t, s, write("a", eventstore.Any(), event("t", "1")))
	}
	appendTo(t, s, write("b", eventstore.Any(), event("u", "1")))
	const unknown = 32 // with a filter, or of a stream, nobody knows before
	for _, after := range []int64{0, 40, events - 1, events} {
		page, err := s.ReadLog(t.Context(), after, eventstore.MaxPage, eventstore.Filter{})
		require.NoError(t, err)
		require.Len(t, page.Events, events+1-int(after))
		require.Equal(t, len(page.Events), cap(page.Events))

		page, err = s.ReadLog(t.Context(), after, eventstore.MaxPage, eventstore.Filter{Types: []string{"u"}})
		require.NoError(t, err)
		require.Len(t, page.Events, 1)
		require.LessOrEqual(t, cap(page.Events), unknown)
	}
	of, err := s.ReadStream(t.Context(), "b", 1, eventstore.MaxPage)
	require.NoError(t, err)
	require.Len(t, of, 1)
	require.LessOrEqual(t, cap(of), unknown)
	of, err = s.ReadStream(t.Context(), "a", 1, eventstore.MaxPage)
	require.NoError(t, err)
	require.Len(t, of, events)
	page, err := s.ReadLog(t.Context(), 0, 1, eventstore.Filter{})
	require.NoError(t, err)
	require.Equal(t, 1, cap(page.Events))
}
