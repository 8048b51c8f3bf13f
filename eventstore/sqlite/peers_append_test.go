package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	file "github.com/leat-go/leat/internal/sqlite"
)

// There: a send was reported as "database is locked" although its row had been
// committed; it was repeated and delivered twice.
// Here: an append while another program holds the write lock of the file.
func TestMurmur122_WhatIsReportedAsBusyIsNotStored(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	require.NoError(t, s.WriterExec("PRAGMA busy_timeout = 1"))
	other, err := file.Open(t.Context(), filepath.Join(dir, "log.db"), file.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, other.Close()) }()
	b := withID("send", write("out", eventstore.Any(), event("sent", "")))
	require.NoError(t, other.Write(t.Context(), func(*file.Tx) error {
		for range 3 {
			_, err := s.Append(t.Context(), b)
			require.ErrorIs(t, err, eventstore.ErrBusy)
			require.NotErrorIs(t, err, eventstore.ErrOutcomeUnknown)
			_, found, err := s.Committed(t.Context(), "send")
			require.NoError(t, err)
			require.False(t, found)
		}
		return nil
	}))
	require.False(t, appendTo(t, s, b).Duplicate, "it was not stored before")
	require.True(t, appendTo(t, s, b).Duplicate)
	require.Len(t, all(t, s), 1)
	sound(t, s)
}

// There: cancelling a context after its statement had returned interrupted the
// next statement on the connection, whoever's it was.
// Here: reads whose contexts end while, or as soon as, they return.
func TestMattn488_AReadThatIsCancelledHurtsNoOther(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	for i := range 10 {
		appendTo(t, s, write(fmt.Sprintf("ride-%d", i%3), eventstore.Any(), many(20)...))
	}
	var readers sync.WaitGroup
	for n := range 2 * file.Readers {
		readers.Go(func() {
			for i := range 60 {
				ctx, cancel := context.WithCancel(context.Background())
				if n%2 == 0 {
					go cancel() // at any moment
				}
				p, err := s.ReadLog(ctx, 0, 200, eventstore.Filter{})
				if err == nil && len(p.Events) != 200 || err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("reader %d, read %d: %d events, %v", n, i, len(p.Events), err)
				}
				cancel()
				events, err := s.ReadStream(context.Background(), "ride-1", 1, 200)
				if err != nil || len(events) != 60 {
					t.Errorf("reader %d, read %d: %d events, %v", n, i, len(events), err)
				}
			}
		})
	}
	readers.Wait()
}

// There: an expected version above the end of the stream was accepted.
// Here: expectations of writes and guards that the stream has not reached.
func TestAneshas_AVersionAboveTheEndIsRefused(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	appendTo(t, s, write("ride-1", eventstore.NoStream(), many(2)...))
	for _, above := range []int64{3, 4, 100, math.MaxInt64} {
		for _, stream := range []string{"ride-1", "ride-2"} {
			_, err := s.Append(t.Context(), write(stream, eventstore.Exactly(above), many(1)...))
			conflict, ok := errors.AsType[*eventstore.ConflictError](err)
			require.True(t, ok, "%s at %d: %v", stream, above, err)
			require.Equal(t, map[string]int64{"ride-1": 2}[stream], conflict.Conflicts[0].Actual)
			_, err = s.Append(t.Context(), eventstore.Batch{ID: "g", Guards: []eventstore.Guard{{Stream: stream, Expect: eventstore.Exactly(above)}}})
			require.ErrorIs(t, err, eventstore.ErrConflict)
		}
	}
	require.Len(t, all(t, s), 2)
	appendTo(t, s, write("ride-1", eventstore.Exactly(2), many(1)...))
}

// There: who lost a race was given the driver's error of a unique index.
// Here: competitors in one group and in many, for one stream, id and batch ID.
func TestHallgren_ARaceIsLostByTheContractsErrors(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	id := eventstore.DeriveID("race", 0)
	var racers sync.WaitGroup
	for n := range 24 {
		racers.Go(func() {
			for round := range 10 {
				e := event("asked", fmt.Sprint(n))
				e.ID = id
				for what, b := range map[string]eventstore.Batch{
					"stream":   write(fmt.Sprintf("ride-%d", round), eventstore.NoStream(), event("asked", "")),
					"event id": write("ids", eventstore.Any(), e),
					"batch ID": withID(fmt.Sprintf("b-%d", round), write("batches", eventstore.Any(), event("asked", fmt.Sprint(n)))),
				} {
					_, err := s.Append(context.Background(), b)
					if _, leaked := errors.AsType[sqlite3.Error](err); leaked {
						t.Errorf("%s: the driver's error: %v", what, err)
					}
					if err != nil && !errors.Is(err, eventstore.ErrConflict) && !errors.Is(err, eventstore.ErrIDReused) {
						t.Errorf("%s: %v", what, err)
					}
				}
			}
		})
	}
	racers.Wait()
	require.Len(t, all(t, s), 10+1+10, "one winner each")
	sound(t, s)
}

// There: the times of events lost what was below a second.
// Here: a time of nanoseconds on its way through the file and a reopening.
func TestHallgren_TimesKeepTheirNanoseconds(t *testing.T) {
	at := time.Unix(1700000000, 123456789)
	dir, c := t.TempDir(), &turnstile{now: func() time.Time { return at }}
	s := open(t, dir, &sqlite.Options{Clock: c})
	b := withID("b", write("ride-1", eventstore.Any(), many(2)...))
	require.Equal(t, at.UnixNano(), appendTo(t, s, b).Time)
	require.NoError(t, s.Close())
	s = open(t, dir, nil)
	for _, e := range all(t, s) {
		require.True(t, at.Equal(e.RecordedAt()), e.RecordedAt())
	}
	require.Equal(t, at.UnixNano(), appendTo(t, s, b).Time, "as a repetition is told")
}

// There: an iterator had no way to report an error, so a read that failed in
// its midst looked like the end of the stream.
// Here: damage in the second page of an iteration.
func TestHallgren_AnIterationThatFailsSaysSo(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	appendTo(t, s, write("ride-1", eventstore.Any(), many(900)...))
	require.NoError(t, s.Close())
	change(t, dir, `DELETE FROM events WHERE position = 700`)
	s, err := sqlite.OpenReadOnly(t.Context(), dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	for name, events := range map[string]func(func(eventstore.Recorded, error) bool){
		"stream": eventstore.Stream(t.Context(), s, "ride-1", 1),
		"log":    eventstore.Log(t.Context(), s, 0, eventstore.Filter{}),
	} {
		good, last := 0, error(nil)
		for _, err := range events {
			if last = err; err == nil {
				good++
			}
		}
		require.ErrorIs(t, last, eventstore.ErrCorrupt, name)
		require.Less(t, good, 700, name)
	}
}
