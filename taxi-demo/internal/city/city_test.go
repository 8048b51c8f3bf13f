package city_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/taxi-demo/internal/agents"
	"github.com/leat-go/leat/taxi-demo/internal/chaos"
	"github.com/leat-go/leat/taxi-demo/internal/city"
	"github.com/leat-go/leat/taxi-demo/internal/driver"
	"github.com/leat-go/leat/taxi-demo/internal/functions"
	"github.com/leat-go/leat/taxi-demo/internal/meter"
	"github.com/leat-go/leat/taxi-demo/internal/tlc"
)

func tariff(t *testing.T) meter.Tariff {
	t.Helper()
	tariff, ok := meter.InForce(meter.Tariffs(), city.Opening())
	require.True(t, ok)
	return tariff
}

func TestTripsAreDrawnFromTheSeedAlone(t *testing.T) {
	c := city.City{Chaos: chaos.Config{Seed: 3, Level: 50}}
	for n := 1; n <= 200; n++ {
		trip := c.Trip(n, tariff(t))
		require.Equal(t, trip, c.Trip(n, tariff(t)))
		require.NotEqual(t, trip.RideID, city.City{Chaos: chaos.Config{Seed: 4}}.Trip(n, tariff(t)).RideID)
		require.Equal(t, meter.Fare(tariff(t), meter.Measure(trip.Profile.Points(agents.Tick))), trip.Fare)
		require.Positive(t, trip.Profile.MovingMS)
		require.GreaterOrEqual(t, trip.Profile.MS, trip.Profile.MovingMS)
	}
}

func TestDemandFollowsTheHourOnTheGrid(t *testing.T) {
	perHour := map[int]int{}
	last := city.Opening()
	for n := 1; ; n++ {
		at := city.At(n)
		if !at.Before(city.Opening().Add(24 * time.Hour)) {
			break
		}
		require.False(t, at.Before(last), "trip %d", n)
		require.Equal(t, at, at.Truncate(agents.Grid))
		perHour[at.Hour()]++
		last = at
	}
	require.Len(t, perHour, 24)
	require.Greater(t, perHour[8], 4*perHour[3], "more in the morning than at night")
}

// world remembers what it was told.
type world struct {
	mu    sync.Mutex
	known map[string]bool
	trips []functions.RequestTrip
}

func (w *world) learn(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.known[id]
	w.known[id] = true
	return !before
}

func (w *world) RequestTrip(_ context.Context, id string, c functions.RequestTrip) error {
	if w.learn(id) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.trips = append(w.trips, c)
	}
	return nil
}

func (w *world) GoOnline(_ context.Context, id string, _ driver.GoOnline) error {
	w.learn(id)
	return nil
}

func (w *world) Known(_ context.Context, id string) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.known[id], nil
}

// release lets so many instants in.
func release(t *testing.T, s *city.Source, instants int) {
	t.Helper()
	for range instants {
		at, ok, err := s.Next(t.Context())
		require.NoError(t, err)
		if !ok {
			return
		}
		require.NoError(t, s.Release(t.Context(), at))
	}
}

func TestASourceThatIsStartedAgainLetsEveryTripInOnce(t *testing.T) {
	const rides = 1000
	w := &world{known: map[string]bool{}}
	c := city.City{Chaos: chaos.Config{Seed: 2, Level: 50}}
	for _, instants := range []int{1, 3, 300, rides} {
		s, err := c.NewSource(w, meter.Tariffs(), city.Once(rides))
		require.NoError(t, err)
		release(t, s, instants)
	}
	require.Len(t, w.trips, rides)
	for _, trip := range w.trips {
		require.Contains(t, []tlc.Class{tlc.ClassMeter, tlc.ClassNoCheck}, trip.Recorded.Class)
		require.Equal(t, trip.Recorded.RideID, trip.Requested.RideID)
	}
}

// refusing refuses one trip, once.
type refusing struct {
	*world
	left atomic.Int64
}

func (r *refusing) RequestTrip(ctx context.Context, id string, c functions.RequestTrip) error {
	if r.left.Add(-1) == 0 {
		return eventstore.ErrBusy
	}
	return r.world.RequestTrip(ctx, id, c)
}

func TestATripThatTheStoreDidNotTakeIsDueAgain(t *testing.T) {
	for _, mode := range []city.Mode{city.Once(20), city.Live(city.Opening)} {
		w := &refusing{world: &world{known: map[string]bool{}}}
		w.left.Store(5)
		s, err := city.City{Chaos: chaos.Config{Seed: 2}}.NewSource(w, meter.Tariffs(), mode)
		require.NoError(t, err)
		_, _, err = s.Next(t.Context())
		require.NoError(t, err)
		require.NoError(t, s.Release(t.Context(), city.Opening()), "the fleet")
		until := city.At(20)
		require.ErrorIs(t, s.Release(t.Context(), until), eventstore.ErrBusy)
		require.NoError(t, s.Release(t.Context(), until))
		require.Len(t, w.trips, 20)
	}
}
