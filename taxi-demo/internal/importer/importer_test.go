package importer

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/taxi-demo/internal/driver"
	"github.com/leat-go/leat/taxi-demo/internal/functions"
	"github.com/leat-go/leat/taxi-demo/internal/meter"
	"github.com/leat-go/leat/taxi-demo/internal/tlc"
)

// disk is an outside whose disk is full after so many commands.
type disk struct {
	mu     sync.Mutex // guards both
	room   int
	stored []string
}

func (d *disk) put(id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.room--; d.room < 0 {
		return fmt.Errorf("do: %w", &eventstore.OutcomeUnknownError{Err: fmt.Errorf("disk full")})
	}
	d.stored = append(d.stored, id)
	return nil
}

func (d *disk) RequestTrip(_ context.Context, id string, _ functions.RequestTrip) error {
	return d.put(id)
}
func (d *disk) RecordTrip(_ context.Context, id string, _ functions.RecordTrip) error {
	return d.put(id)
}
func (d *disk) GoOnline(_ context.Context, id string, _ driver.GoOnline) error { return d.put(id) }
func (d *disk) Known(context.Context, string) (bool, error)                    { return false, nil }

func TestRowsThatTheStoreDidNotTakeAreDueAgain(t *testing.T) {
	const rows = 20 // of one instant
	d := &disk{room: 7}
	begun := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	im := &Importer{
		source: "x", outside: d, tariffs: meter.Tariffs(), start: func() time.Time { return begun }, half: map[int64]tlc.Trip{},
		next: func() (tlc.Trip, error, bool) { return tlc.Trip{}, nil, false }, stop: func() {},
	}
	var want []string
	for n := range int64(rows) {
		im.queue = append(im.queue, row{trip: tlc.Trip{Row: n + 1, Fare: mostCents + 1}})
		want = append(want, im.id(n+1))
	}
	at, ok, err := im.Next(t.Context())
	require.NoError(t, err)
	require.True(t, ok)
	require.ErrorIs(t, im.Release(t.Context(), at), eventstore.ErrOutcomeUnknown)
	require.EqualValues(t, 7, im.Rows())
	again, ok, err := im.Next(t.Context())
	require.NoError(t, err)
	require.True(t, ok)
	require.False(t, again.After(at))
	d.room = rows
	require.NoError(t, im.Release(t.Context(), at))
	slices.Sort(d.stored)
	require.Equal(t, want, d.stored)
	require.EqualValues(t, rows, im.Rows())
	_, ok, err = im.Next(t.Context())
	require.NoError(t, err)
	require.False(t, ok)
}
