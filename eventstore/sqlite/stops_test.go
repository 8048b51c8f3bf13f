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
)

// TestStopsAndReopeningsBesideEverything has writes stop again and again, with
// and without their last commit stored, while others append, read, follow and
// reopen.
func TestStopsAndReopeningsBesideEverything(t *testing.T) {
	s := open(t, t.TempDir(), quiet)
	stops := 60
	if testing.Short() {
		stops = 10
	}
	left := failAtRandom(s, stops)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var reopeners, followers, appenders sync.WaitGroup
	for range 2 {
		reopeners.Go(func() {
			for {
				select {
				case <-s.Stopped():
				case <-ctx.Done():
					return
				}
				if err := s.Reopen(ctx); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		})
	}
	followed := make([][]string, 3)
	for f := range followed {
		followers.Go(func() { followed[f] = follow(ctx, t, s) })
	}
	var ids atomic.Int64
	for a := range 4 {
		appenders.Go(func() {
			for i := 0; left.Load() > 0; i++ {
				ids.Add(1)
				insist(ctx, t, s, fmt.Sprintf("%d-%d", a, i))
			}
		})
	}
	appenders.Wait()
	require.NoError(t, s.Reopen(ctx))
	events := all(t, s)
	require.Equal(t, 3*ids.Load(), int64(len(events)), "each append once")
	appendTo(t, s, batch("last"))
	followers.Wait()
	cancel()
	reopeners.Wait()
	for _, seen := range followed {
		require.Len(t, seen, len(events)+3)
		for i, e := range events {
			require.Equal(t, e.BatchID, seen[i], "position %d", i+1)
		}
	}
	sound(t, s)
}

// failAtRandom has so many statements of the writer fail, and returns how many
// are left.
func failAtRandom(s *sqlite.Store, stops int) *atomic.Int64 {
	var left atomic.Int64
	left.Store(int64(stops))
	rng := rand.New(rand.NewPCG(1, 2)) // of the writer
	s.Inject(func(point string, exec func(string) error) error {
		switch {
		case left.Load() <= 0, point == "closed", rng.IntN(40) != 0:
			return nil
		}
		left.Add(-1)
		if point == "write" && rng.IntN(2) == 0 {
			return exec("ROLLBACK")
		}
		return errDisk
	})
	return &left
}

// insist appends a batch until that is acknowledged.
func insist(ctx context.Context, t *testing.T, s *sqlite.Store, id string) {
	for _, err := s.Append(ctx, batch(id)); err != nil; _, err = s.Append(ctx, batch(id)) {
		if !errors.Is(err, eventstore.ErrOutcomeUnknown) {
			t.Error(err)
			return
		}
	}
	if _, found, err := s.Committed(ctx, id); !found && !errors.Is(err, eventstore.ErrOutcomeUnknown) {
		t.Errorf("acknowledged, and not committed: %s, %v", id, err)
	}
}

// follow reads the log as it grows, through the batch "last", and returns the
// batch of each position.
func follow(ctx context.Context, t *testing.T, s *sqlite.Store) (seen []string) {
	for after := int64(0); ; {
		page, err := s.ReadLog(ctx, after, 100, eventstore.Filter{})
		if err != nil {
			t.Error(err)
			return seen
		}
		for _, e := range page.Events {
			if e.Position != int64(len(seen))+1 {
				t.Errorf("position %d after %d", e.Position, len(seen))
			}
			seen = append(seen, e.BatchID)
		}
		if n := len(seen); n > 0 && seen[n-1] == "last" {
			return seen
		}
		after = page.Through.Position
		if _, err := s.Wait(ctx, after); err != nil {
			t.Error(err)
			return seen
		}
	}
}
