package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/experiment"
)

const (
	stormAppenders = 96
	stormStreams   = 200
	// longestWait is the longest time after which an append is cancelled.
	longestWait = 5 * time.Millisecond
)

// storm is what became of the appends of a storm, by batch ID.
type storm struct {
	store                       *sqlite.Store
	next                        atomic.Int64
	mu                          sync.Mutex // guards what follows
	commits                     map[string]eventstore.Commit
	refused                     map[string]bool
	cancelled, busy, conflicted int
}

// stormBatch is an append to two streams, one of which is new now and then.
func stormBatch(rnd *rand.Rand, id string) eventstore.Batch {
	other := fmt.Sprintf("new-%s", id)
	if rnd.IntN(10) > 0 {
		other = fmt.Sprintf("driver-%d", rnd.IntN(stormStreams))
	}
	b := withID(id, eventstore.Batch{Writes: []eventstore.Write{
		{Stream: fmt.Sprintf("ride-%d", rnd.IntN(stormStreams)), Events: []eventstore.EventData{event("asked", id), event("asked", id)}},
		{Stream: other, Events: []eventstore.EventData{event("offered", id)}},
	}})
	if rnd.IntN(20) == 0 {
		b.Writes[0].Expect = eventstore.Exactly(1 << 40) // is refused
	}
	return b
}

// blow makes appends until n were made, 30 % of them with a context that ends,
// and reads whose contexts end beside them.
func (s *storm) blow(t *testing.T, rnd *rand.Rand, n int64) {
	for i := s.next.Add(1); i <= n; i = s.next.Add(1) {
		ctx, cancel := context.Background(), func() {}
		if rnd.IntN(10) < 3 {
			ctx, cancel = context.WithTimeout(ctx, time.Duration(rnd.Int64N(int64(longestWait))))
		}
		id := fmt.Sprint(i)
		c, err := s.store.Append(ctx, stormBatch(rnd, id))
		s.note(t, ctx, id, c, err)
		if i%50 == 0 {
			_, err := s.store.ReadLog(ctx, rnd.Int64N(1+max(0, c.Last)), 100, eventstore.Filter{})
			if err != nil && (ctx.Err() == nil || !errors.Is(err, ctx.Err())) && !errors.Is(err, eventstore.ErrRewound) {
				t.Errorf("a read in the storm: %v", err)
			}
		}
		cancel()
	}
}

func (s *storm) note(t *testing.T, ctx context.Context, id string, c eventstore.Commit, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		s.commits[id] = c
		return
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		s.cancelled++
	case errors.Is(err, eventstore.ErrBusy):
		s.busy++
	case errors.Is(err, eventstore.ErrConflict):
		s.conflicted++
	default:
		t.Errorf("append %s: %v", id, err)
	}
	s.refused[id] = true
}

// TestExperimentCancelStorm: every answer is the truth, whoever went away.
func TestExperimentCancelStorm(t *testing.T) {
	e := experiment.Start(t, "cancel storm", "200,000 appends, 30 % cancelled at 0-5 ms: 0 partial appends, 0 orphan rows, pool healthy")
	n := e.N(3000, 200_000)
	s := &storm{store: open(t, experiment.Dir(t), nil), commits: map[string]eventstore.Commit{}, refused: map[string]bool{}}
	var wg sync.WaitGroup
	for a := range stormAppenders {
		wg.Go(func() { s.blow(t, e.Rand(a), int64(n)) })
	}
	wg.Wait()
	e.Figure("appends", n)
	e.Figure("stored", len(s.commits))
	e.Figure("cancelled", s.cancelled)
	e.Figure("refused as conflicts", s.conflicted)
	require.Positive(t, s.cancelled, "a storm that cancels nothing shows nothing")
	untrue := s.untrue(t)
	e.Figure("partial or untrue", untrue)
	require.Zero(t, untrue)
	orphans, err := s.store.Orphans()
	require.NoError(t, err)
	e.Figure("orphan rows", len(orphans))
	require.Empty(t, orphans)
	sound(t, s.store)

	inUse, err := s.store.InUse()
	require.NoError(t, err)
	e.Figure("connections not given back", inUse)
	require.Zero(t, inUse)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 16 {
		wg.Go(func() {
			_, err := s.store.ReadLog(ctx, 0, 100, eventstore.Filter{})
			if err != nil {
				t.Errorf("a read after the storm: %v", err)
			}
		})
	}
	wg.Wait()
	appendTo(t, s.store, write("ride-1", eventstore.Any(), event("asked", "after")))
}

// untrue returns how many answers do not agree with the log.
func (s *storm) untrue(t *testing.T) (n int) {
	blame := func(format string, args ...any) {
		if n++; n < 10 {
			t.Errorf(format, args...)
		}
	}
	stored := map[string][]int64{}
	for _, e := range all(t, s.store) {
		stored[e.BatchID] = append(stored[e.BatchID], e.Position)
	}
	for id := range s.refused {
		if positions := stored[id]; positions != nil {
			blame("append %s was said not to be stored, and is, at %v", id, positions)
		}
		if _, found, err := s.store.Committed(t.Context(), id); err != nil || found {
			blame("append %s was said not to be stored, and its ID is (%v)", id, err)
		}
	}
	for id, c := range s.commits {
		positions := stored[id]
		if len(positions) != c.Events() || len(positions) != 3 || positions[0] != c.First || positions[2] != c.Last {
			blame("append %s was said to be stored at %d to %d, and is at %v", id, c.First, c.Last, positions)
		}
		delete(stored, id)
	}
	if len(stored) > 0 {
		blame("%d batches are stored that nobody knows of", len(stored))
	}
	return n
}
