//go:build linux && cgo

package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/experiment"
	"github.com/leat-go/leat/internal/faultvfs"
)

// failingDisk has files be opened through a disk that can be made to fail.
func failingDisk(t *testing.T) {
	t.Helper()
	unregister, err := faultvfs.Register()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, unregister()) })
}

func inject(t *testing.T, f faultvfs.Fault) *faultvfs.Injected {
	t.Helper()
	i, err := faultvfs.Inject(f)
	require.NoError(t, err)
	return i
}

// The pages of the write-ahead log cannot be moved into log.db: nothing is lost
// by that, but it is no disk to be trusted with more.
func TestACheckpointThatFailsStopsTheStore(t *testing.T) {
	failingDisk(t)
	dir := t.TempDir()
	s := open(t, dir, shortWAL())
	f := inject(t, faultvfs.Fault{Kind: faultvfs.Write | faultvfs.Sync, Dir: dir, Suffix: "log.db", Times: faultvfs.Forever})
	acked := 0
	for s.Err() == nil {
		_, err := s.Append(t.Context(), write("ride-1", eventstore.Any(), eventstore.EventData{Type: "big", Data: make([]byte, 50_000)}))
		if err == nil {
			acked++
		}
		require.LessOrEqual(t, walBytes(t, dir), int64(2<<20), "at the first that fails")
	}
	require.ErrorContains(t, s.Err(), "move the write-ahead log into it")
	require.Error(t, s.Reopen(t.Context()))
	require.Len(t, all(t, s), acked)
	f.Remove()
	require.NoError(t, s.Reopen(t.Context()))
	appendTo(t, s, batch("a"))
	require.Len(t, all(t, s), acked+3)
	sound(t, s)
}

// Reads are refused where the files could not be opened again, rather than go
// on from nowhere, and go on with them.
func TestReopenThatFailsInTheMiddleIsRepeated(t *testing.T) {
	failingDisk(t)
	dir := t.TempDir()
	s := open(t, dir, quiet)
	appendTo(t, s, batch("a"))
	stopAt(t, s, "b")
	var f *faultvfs.Injected
	failAt(s, "closed", 1, func(func(string) error) error {
		f = inject(t, faultvfs.Fault{Kind: faultvfs.Open, Dir: dir, Times: faultvfs.Forever})
		return nil
	})
	require.Error(t, s.Reopen(t.Context()))
	_, err := s.ReadLog(t.Context(), 0, 10, eventstore.Filter{})
	require.ErrorContains(t, err, "could not be opened again")
	_, _, err = s.Committed(t.Context(), "a")
	require.Error(t, err)
	require.Error(t, s.Reopen(t.Context()), "still")
	f.Remove()
	require.NoError(t, s.Reopen(t.Context()))
	require.Len(t, all(t, s), 6)
	sound(t, s)
}

// TestExperimentReopen has any operation on any file of the log fail, once or
// for ever, and another one while the store is opened again.
func TestExperimentReopen(t *testing.T) {
	e := experiment.Start(t, "reopening in place after an I/O error, and a second one meanwhile", "0 acked lost, each append once, always goes on")
	failingDisk(t)
	cases := e.N(60, 3000)
	stops, attempts, acked := 0, 0, 0
	for i := range cases {
		s, a, n := reopenAfterFaults(t, e.Rand(i))
		stops += s
		attempts += a
		acked += n
		if t.Failed() {
			t.Fatalf("case %d", i)
		}
	}
	e.Figure("cases", cases)
	e.Figure("stops", stops)
	e.Figure("reopenings that failed", attempts)
	e.Figure("acked", acked)
	e.Asserted("acked and lost")
	require.Greater(t, stops, cases/10, "the faults are felt")
}

// anyFault draws a fault of an operation on a file of the log.
func anyFault(rng *rand.Rand, dir string, most int) faultvfs.Fault {
	kinds := faultvfs.Kinds()
	f := faultvfs.Fault{
		Kind: kinds[rng.IntN(len(kinds))], Dir: dir, N: 1 + rng.IntN(most),
		Suffix: []string{"", "log.db", "log.db-wal"}[rng.IntN(3)],
	}
	switch rng.IntN(4) {
	case 0:
		f.Times = faultvfs.Forever
	case 1:
		f.Times = 2 + rng.IntN(5)
	}
	f.Torn = rng.IntN(3) == 0
	if rng.IntN(4) == 0 {
		f.Error = faultvfs.Full
	}
	return f
}

func reopenAfterFaults(t *testing.T, rng *rand.Rand) (stops, failed, acked int) {
	t.Helper()
	ctx := context.Background()
	dir := experiment.Dir(t)
	s := open(t, dir, &sqlite.Options{Checkpoint: 20 + rng.IntN(100), Logger: quiet.Logger, IndexEvents: 1 + rng.IntN(50)})
	d := &disturbed{s: s, acked: map[string]int64{}}
	put := func(id string) {
		switch c, err := s.Append(ctx, batch(id)); {
		case err == nil:
			d.ack(id, c.First, false)
		case errors.Is(err, eventstore.ErrOutcomeUnknown):
			d.unknown = append(d.unknown, id)
		case s.Err() != nil:
			t.Errorf("a store that has stopped refused %s with %v", id, err)
		}
	}
	for round := range 3 {
		first := inject(t, anyFault(rng, dir, 60))
		for i := 0; i < 40 && s.Err() == nil; i++ {
			put(fmt.Sprintf("%d-%d", round, i))
			if rng.IntN(8) == 0 {
				_, _ = s.ReadLog(ctx, 0, 50, eventstore.Filter{}) // it may fail, and shows nothing wrong
			}
		}
		if rng.IntN(2) == 0 {
			first.Remove()
		}
		if s.Err() != nil {
			stops++
			second := inject(t, anyFault(rng, dir, 12))
			for range rng.IntN(4) {
				if s.Reopen(ctx) == nil {
					break
				}
				failed++
			}
			second.Remove()
		}
		first.Remove()
		require.NoError(t, s.Reopen(ctx), "the cause is gone")
		retry(t, d)
	}
	d.holdsAcked(t, s)
	require.NoError(t, s.Close())
	s = open(t, dir, quiet)
	d.holdsAcked(t, s)
	require.NoError(t, s.Close())
	return stops, failed, len(d.acked)
}

// retry repeats what nobody knows the outcome of.
func retry(t *testing.T, d *disturbed) {
	t.Helper()
	for _, id := range d.unknown {
		d.ack(id, appendTo(t, d.s, batch(id)).First, false)
	}
	d.unknown = nil
}

// A read that fails after some rows is an error, and not their end: a stream
// would be loaded without its last events, and decide on what it does not know.
func TestAReadThatFailsInTheMiddleIsNotItsEnd(t *testing.T) {
	failingDisk(t)
	dir := t.TempDir()
	inTable := &sqlite.Options{IndexEvents: 1, Logger: quiet.Logger} // else what is in memory shows that something is missing
	s := open(t, dir, inTable)
	const events = 200
	for range events {
		appendTo(t, s, eventstore.Batch{Writes: []eventstore.Write{{Stream: "ride-1", Events: []eventstore.EventData{{Type: "big", Data: make([]byte, 5000)}}}}})
	}
	require.NoError(t, s.Close())
	failed := 0
	for n := 1; ; n += 7 {
		s := open(t, dir, inTable)
		f := inject(t, faultvfs.Fault{Kind: faultvfs.Read, Dir: dir, N: n})
		list, err := s.ReadStream(t.Context(), "ride-1", 1, 1000)
		hit := f.Failed() > 0
		f.Remove()
		require.NoError(t, s.Close())
		if !hit {
			require.NoError(t, err)
			require.Len(t, list, events)
			break
		}
		require.Error(t, err, "read %d failed, and %d events were returned", n, len(list))
		failed++
	}
	require.Greater(t, failed, 20)
}
