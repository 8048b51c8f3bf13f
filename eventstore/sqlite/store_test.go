package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
)

func TestMain(m *testing.M) {
	if part := os.Getenv(partVariable); part != "" {
		if err := play(part, os.Getenv(dirVariable)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// fewIndexed are so few events in memory that most streams are read from the
// table of the index, and many from both.
const fewIndexed = 3

func open(t *testing.T, dir string, opts *sqlite.Options) *sqlite.Store {
	t.Helper()
	o := sqlite.Options{}
	if opts != nil {
		o = *opts
	}
	if o.IndexEvents == 0 {
		o.IndexEvents = fewIndexed
	}
	s, err := sqlite.Open(t.Context(), dir, &o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func event(typ, data string) eventstore.EventData {
	return eventstore.EventData{Type: typ, Data: []byte(data), Metadata: eventstore.Metadata{"actor": "ann"}}
}

func write(stream string, e eventstore.Expectation, events ...eventstore.EventData) eventstore.Batch {
	return eventstore.Batch{Writes: []eventstore.Write{{Stream: stream, Expect: e, Events: events}}}
}

func withID(id string, b eventstore.Batch) eventstore.Batch {
	b.ID = id
	return b
}

func appendTo(t *testing.T, s *sqlite.Store, b eventstore.Batch) eventstore.Commit {
	t.Helper()
	c, err := s.Append(t.Context(), b)
	require.NoError(t, err)
	return c
}

func all(t *testing.T, s eventstore.LogReader) []eventstore.Recorded {
	t.Helper()
	var events []eventstore.Recorded
	for e, err := range eventstore.Log(t.Context(), s, 0, eventstore.Filter{}) {
		require.NoError(t, err)
		events = append(events, e)
	}
	return events
}

func TestWhatIsAppendedIsThereAfterReopening(t *testing.T) {
	dir := t.TempDir() + "/a ?#%"
	s := open(t, dir, nil)
	c := appendTo(t, s, withID("b-1", eventstore.Batch{Writes: []eventstore.Write{
		{Stream: "ride-2", Expect: eventstore.NoStream(), Events: []eventstore.EventData{event("asked", "1"), event("accepted", "2")}},
		{Stream: "ride-1", Events: []eventstore.EventData{event("asked", "3")}},
	}}))
	require.Equal(t, []eventstore.StreamCommit{{Stream: "ride-2", First: 1, Last: 2}, {Stream: "ride-1", First: 1, Last: 1}}, c.Streams)
	appendTo(t, s, write("ride-1", eventstore.Exactly(1), event("asked", "")))
	before := all(t, s)
	require.Len(t, before, 4)
	anchor, err := s.Anchor(t.Context(), 3)
	require.NoError(t, err)
	require.NoError(t, s.Close())

	s = open(t, dir, nil)
	require.Equal(t, before, all(t, s))
	now, err := s.Anchor(t.Context(), 3)
	require.NoError(t, err)
	require.Equal(t, anchor, now)
	again, found, err := s.Committed(t.Context(), "b-1")
	require.NoError(t, err)
	require.True(t, found)
	c.Duplicate = true
	require.Equal(t, c, again)
	require.Equal(t, again, appendTo(t, s, withID("b-1", eventstore.Batch{Writes: []eventstore.Write{
		{Stream: "ride-2", Expect: eventstore.NoStream(), Events: []eventstore.EventData{event("asked", "1"), event("accepted", "2")}},
		{Stream: "ride-1", Events: []eventstore.EventData{event("asked", "3")}},
	}})))
	require.Equal(t, int64(5), appendTo(t, s, write("ride-1", eventstore.Exactly(2), event("new_type", "x"))).Last)
}

func TestOneOfManyCompetitorsWins(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	const appenders = 32
	for round := range 20 {
		stream := fmt.Sprintf("ride-%d", round)
		errs := make([]error, appenders)
		var wg sync.WaitGroup
		for i := range appenders {
			wg.Go(func() {
				_, errs[i] = s.Append(context.Background(), write(stream, eventstore.NoStream(), event("asked", fmt.Sprint(i))))
			})
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else {
				require.ErrorIs(t, err, eventstore.ErrConflict)
				var conflict *eventstore.ConflictError
				require.True(t, errors.As(err, &conflict))
				require.Equal(t, int64(1), conflict.Conflicts[0].Actual)
			}
		}
		require.Equal(t, 1, won)
	}
}

func TestOneBatchIDInOneGroupIsStoredOnce(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	const appenders = 32
	commits := make([]eventstore.Commit, appenders)
	var wg sync.WaitGroup
	for i := range appenders {
		wg.Go(func() {
			var err error
			commits[i], err = s.Append(context.Background(), withID("same", write("ride-1", eventstore.NoStream(), event("asked", "x"))))
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	first := 0
	for _, c := range commits {
		if !c.Duplicate {
			first++
		}
		c.Duplicate = false
		require.Equal(t, int64(1), c.First)
		require.Equal(t, []eventstore.StreamCommit{{Stream: "ride-1", First: 1, Last: 1}}, c.Streams)
	}
	require.Equal(t, 1, first)
}

func TestFiltersAdvance(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	for i := range 50 {
		appendTo(t, s, write(fmt.Sprintf("%s-%d", []string{"ride", "driver"}[i%2], i%5), eventstore.Any(), event([]string{"a", "b", "c"}[i%3], fmt.Sprint(i))))
	}
	events := all(t, s)
	for _, f := range []eventstore.Filter{
		{Types: []string{"a", "no_such"}}, {Streams: []string{"ride-0", "driver-1"}}, {Categories: []string{"ride"}},
		{Types: []string{"b", "c"}, Categories: []string{"driver", "x"}, Streams: []string{"driver-1", "driver-3", "ride-0"}},
		{Types: []string{"no_such"}}, {Categories: []string{"no_such"}}, {},
	} {
		var want []eventstore.Recorded
		for _, e := range events {
			if f.Match(e.Stream, e.Type) {
				want = append(want, e)
			}
		}
		var got []eventstore.Recorded
		after := int64(0)
		for after < 50 {
			page, err := s.ReadLog(t.Context(), after, 3, f)
			require.NoError(t, err)
			require.Greater(t, page.Through.Position, after)
			require.NoError(t, eventstore.CheckAnchor(t.Context(), s, page.Through))
			got = append(got, page.Events...)
			after = page.Through.Position
		}
		require.Equal(t, want, got, "%+v", f)
	}
}

func TestCommitsWakeWhoWaits(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	heads := make(chan int64, 1)
	go func() {
		head, err := s.Wait(context.Background(), 0)
		if err != nil {
			t.Error(err)
		}
		heads <- head
	}()
	appendTo(t, s, write("ride-1", eventstore.Any(), event("asked", "x")))
	require.Equal(t, int64(1), <-heads)

	errs := make(chan error, 1)
	go func() {
		_, err := s.Wait(context.Background(), 1)
		errs <- err
	}()
	require.NoError(t, s.Close())
	require.ErrorIs(t, <-errs, eventstore.ErrClosed)
	_, err := s.Append(t.Context(), write("ride-1", eventstore.Any(), event("asked", "x")))
	require.ErrorIs(t, err, eventstore.ErrClosed)
	_, err = s.ReadLog(t.Context(), 0, 1, eventstore.Filter{})
	require.ErrorIs(t, err, eventstore.ErrClosed)
	require.NoError(t, s.Close(), "again")
}

func TestEveryCommitIsSynced(t *testing.T) {
	for want, d := range map[string]sqlite.Durability{"2": sqlite.Full, "1": sqlite.Relaxed} {
		s := open(t, t.TempDir(), &sqlite.Options{Durability: d})
		got, err := s.WriterPragma("synchronous")
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}
