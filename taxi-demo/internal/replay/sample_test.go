package replay

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/taxi-demo/internal/meter"
	"github.com/leat-go/leat/taxi-demo/internal/tlc"
)

// samplePath returns the trip record sample that lies beside the project, and
// skips the test when it is not there.
func samplePath(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	require.NoError(t, err)
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		parent := filepath.Dir(dir)
		require.NotEqual(t, dir, parent, "no go.mod above the test")
		dir = parent
	}
	path := filepath.Join(dir, "..", "shared", "data", "nyc_tlc_2019-03_sample.csv")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		t.Skip("the trip record sample is not beside the project: ../shared/data/nyc_tlc_2019-03_sample.csv")
	}
	return path
}

func readAll(t testing.TB, path string) []tlc.Trip {
	t.Helper()
	var trips []tlc.Trip
	for trip, err := range tlc.Pair(tlc.Trips(path), 0) {
		require.NoError(t, err)
		trips = append(trips, trip)
	}
	return trips
}

// tally is what a file comes to.
type tally struct {
	classes   map[tlc.Class]int
	landings  map[Landing]int
	reasons   map[tlc.Reason]int
	notDriven int
	pairs     int
	mismatch  int
}

// drive plans every trip and runs the meter over its telemetry.
func drive(t testing.TB, trips []tlc.Trip) tally {
	t.Helper()
	tariffs := meter.Tariffs()
	sum := tally{classes: map[tlc.Class]int{}, landings: map[Landing]int{}, reasons: map[tlc.Reason]int{}}
	for _, trip := range trips {
		plan := NewPlan(trip, tariffs)
		sum.classes[plan.Class]++
		sum.reasons[plan.Reason]++
		if trip.Fare < 0 && trip.Twin != 0 {
			sum.pairs++
		}
		if !plan.Driven {
			sum.notDriven++
			require.Zero(t, plan.Profile)
			continue
		}
		require.Equal(t, trip.Duration().Milliseconds(), plan.Profile.MS)
		tariff, ok := meter.InForce(tariffs, trip.Pickup)
		require.True(t, ok)
		fare := plan.Agreed
		switch plan.Pricing {
		case Metered:
			sum.landings[plan.Profile.Landing]++
			fare = meter.Fare(tariff, meter.Measure(plan.Profile.Points(5*time.Second)))
		case Flat:
			fare, _ = meter.FareAt(tariff, meter.JFK, 0)
		}
		if fare != trip.Fare {
			sum.mismatch++
		}
	}
	return sum
}

func TestTheSampleOf2019_03(t *testing.T) {
	trips := readAll(t, samplePath(t))
	require.Len(t, trips, 6500)
	start := time.Now()
	sum := drive(t, trips)
	t.Logf("%d trips planned in %v", len(trips), time.Since(start))
	t.Logf("classes %v, landings %v, reasons %v, not driven %d, refund pairs %d", sum.classes, sum.landings, sum.reasons, sum.notDriven, sum.pairs)

	require.Equal(t, map[tlc.Class]int{
		tlc.ClassMeter: 6109, tlc.ClassMeterUnreachable: 27, tlc.ClassJFKFlat: 130, tlc.ClassNewark: 16,
		tlc.ClassNassauWestchester: 8, tlc.ClassNegotiated: 147, tlc.ClassNoCheck: 63,
	}, sum.classes)
	require.Zero(t, sum.mismatch)
	require.Zero(t, sum.pairs, "a random sample has no pairs")
	require.Equal(t, 16, sum.notDriven)
}

// TestALostOrDoubledTickShows measures how sharp the fare check is: what share
// of the metered trips changes its fare by one random tick of 5 seconds.
func TestALostOrDoubledTickShows(t *testing.T) {
	const tick = 5 * time.Second
	tariffs := meter.Tariffs()
	rng := rand.New(rand.NewPCG(5, 5))
	type share struct{ changed, of int }
	var lost, doubled [2]share // by row: even, odd
	for _, trip := range readAll(t, samplePath(t)) {
		plan := NewPlan(trip, tariffs)
		if plan.Pricing != Metered {
			continue
		}
		tariff, _ := meter.InForce(tariffs, trip.Pickup)
		seq := 1 + rng.IntN(plan.Profile.Len(tick))
		one, ok := plan.Profile.At(tick, seq)
		require.True(t, ok)
		whole := meter.Measure(plan.Profile.Points(tick))
		var without meter.Meter
		for p := range plan.Profile.Points(tick) {
			if p.Seq != seq {
				without, _ = without.Add(p)
			}
		}
		require.Equal(t, whole-one.Units(), without.Units)

		odd := trip.Row % 2
		lost[odd].of++
		doubled[odd].of++
		if meter.Fare(tariff, without.Units) != trip.Fare {
			lost[odd].changed++
		}
		if meter.Fare(tariff, whole+one.Units()) != trip.Fare {
			doubled[odd].changed++
		}
	}
	pct := func(s share) float64 { return 100 * float64(s.changed) / float64(s.of) }
	t.Logf("one lost tick changes %.1f %% of even and %.1f %% of odd trips, one doubled tick %.1f %% of even and %.1f %% of odd ones",
		pct(lost[0]), pct(lost[1]), pct(doubled[0]), pct(doubled[1]))
	require.Greater(t, pct(lost[0]), 85.0)
	require.Greater(t, pct(doubled[1]), 95.0)
}

// TestTheQuoteOfTheSample measures how good the quote before the ride is, which
// knows nothing of the recorded fare.
func TestTheQuoteOfTheSample(t *testing.T) {
	tariffs := meter.Tariffs()
	var trips, exact, near int
	for _, trip := range readAll(t, samplePath(t)) {
		if v := tlc.Classify(trip, tariffs); !v.Class.Checked() {
			continue
		}
		tariff, _ := meter.InForce(tariffs, trip.Pickup)
		quote := meter.QuoteAt(tariff, trip.RateCode, trip.Distance, trip.Duration().Milliseconds())
		trips++
		if quote == trip.Fare {
			exact++
		}
		if off := quote - trip.Fare; max(off, -off)*20 <= trip.Fare {
			near++
		}
	}
	t.Logf("quote: %.1f %% exact, %.1f %% within 5 %% of %d trips", 100*float64(exact)/float64(trips), 100*float64(near)/float64(trips), trips)
	require.Greater(t, exact*100, trips*55)
	require.Greater(t, near*100, trips*77)
}
