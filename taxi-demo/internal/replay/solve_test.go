package replay

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/taxi-demo/internal/meter"
	"github.com/leat-go/leat/taxi-demo/internal/tlc"
)

func trip(row, distance int64, duration time.Duration, fare int64) tlc.Trip {
	at := time.Date(2019, 3, 6, 12, 0, 0, 0, time.UTC)
	return tlc.Trip{
		Row: row, Pickup: at, Dropoff: at.Add(duration), Distance: distance, RateCode: meter.Standard, Fare: fare,
		Color: tlc.Yellow, Vendor: 2, PickupZone: 1, DropoffZone: 2,
	}
}

func tariffOf(t testing.TB, trip tlc.Trip) meter.Tariff {
	t.Helper()
	tariff, ok := meter.InForce(meter.Tariffs(), trip.Pickup)
	require.True(t, ok)
	return tariff
}

func TestWhereTheMeterStops(t *testing.T) {
	for _, row := range []struct {
		name    string
		trip    tlc.Trip
		landing Landing
		units   float64
	}{
		{"even row", trip(2, 1_600_000, 375*time.Second, 700), Above, 9.02},
		{"odd row", trip(1, 1_600_000, 375*time.Second, 700), Below, 9.97},
		{"even row, above is out of reach", trip(2, 1_600_000, 8*time.Minute+30*time.Second, 650), Below, 8.97},
		{"odd row, below is out of reach", trip(1, 1_630_000, 150*time.Second, 700), Above, 9.02},
		{"only the middle", trip(2, 20_000, 29*time.Second, 250), Middle, 0.5},
		{"no choice", trip(2, 20_000, 14*time.Second, 250), Inside, 0.274},
	} {
		t.Run(row.name, func(t *testing.T) {
			tariff := tariffOf(t, row.trip)
			p, err := Solve(tariff, row.trip)
			require.NoError(t, err)
			require.Equal(t, row.landing, p.Landing)
			for _, tick := range Ticks() {
				units := meter.Measure(p.Points(tick))
				require.Equal(t, row.trip.Fare, meter.Fare(tariff, units))
				require.InDelta(t, row.units, float64(units)/float64(meter.Unit), 0.002)
			}
		})
	}
}

func TestWhatNoMeterReaches(t *testing.T) {
	for name, trip := range map[string]tlc.Trip{
		"faster than 65 mph":           trip(1, 10_000_000, 9*time.Minute, 2750),
		"too cheap for its duration":   trip(1, 1_000_000, 30*time.Minute, 500),
		"too cheap for its distance":   trip(1, 5_000_000, 10*time.Minute, 1000),
		"too dear":                     trip(1, 1_000_000, 5*time.Minute, 5000),
		"not a whole number of units":  trip(1, 1_600_000, 375*time.Second, 701),
		"below the initial charge":     trip(1, 1_600_000, 375*time.Second, 200),
		"no distance":                  trip(1, 0, time.Minute, 300),
		"no duration":                  trip(1, 1_600_000, 0, 700),
		"backwards":                    trip(1, 1_600_000, -time.Minute, 700),
		"a fare of millions":           trip(1, 1_600_000, time.Minute, 62_326_150),
		"to the moon":                  trip(1, 238_855_000_000, time.Hour, 1000),
		"a fare beyond every number":   trip(1, 1_600_000, time.Minute, 1<<62),
		"beyond the limit of distance": trip(1, meter.MaxPointDistance+1, time.Minute, 700),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Solve(tariffOf(t, trip), trip)
			require.ErrorIs(t, err, ErrUnreachable)
			if trip.Duration() > 0 && trip.Distance > 0 && trip.Distance <= meter.MaxPointDistance {
				plan := NewPlan(trip, meter.Tariffs())
				require.Equal(t, tlc.ClassMeterUnreachable, plan.Class)
				require.True(t, plan.Driven)
				require.Equal(t, Agreed, plan.Pricing)
				require.Equal(t, trip.Fare, plan.Agreed)
			}
		})
	}
	_, err := Solve(meter.Tariff{}, trip(1, 1_600_000, time.Minute, 0))
	require.ErrorIs(t, err, ErrUnreachable, "no tariff")
}

// TestSolvedProfilesHoldTheirPromises solves random trips and compares with the
// range of fares that the formula allows.
func TestSolvedProfilesHoldTheirPromises(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	solved, unreachable := 0, 0
	for range 1_500 {
		distance := 10_000 * (1 + rng.Int64N(3_000))
		duration := time.Second * time.Duration(1+rng.Int64N(4*3600-1))
		units := max(5*distance/1_000_000, int64(duration/time.Minute))
		tr := trip(rng.Int64N(1000), distance, duration, 250+50*max(units+rng.Int64N(12)-3, 0))
		tariff := tariffOf(t, tr)
		p, err := Solve(tariff, tr)
		if err != nil {
			unreachable++
			continue
		}
		solved++
		require.Equal(t, distance, p.Distance)
		require.Equal(t, duration.Milliseconds(), p.MS)
		require.True(t, p.MovingMS > 0 && p.MovingMS <= p.MS)
		require.LessOrEqual(t, distance*36, p.MovingMS*MaxMPH*10, "65 mph")
		again, err := Solve(tariff, tr)
		require.NoError(t, err)
		require.Equal(t, p, again)
	}
	t.Logf("%d solved, %d unreachable", solved, unreachable)
	require.Greater(t, solved, 500)
}

func TestPointsAddUpAtEveryTick(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	for range 100 {
		p := Profile{Distance: rng.Int64N(40_000_000), MS: 1 + rng.Int64N(3_600_000)}
		p.MovingMS = 1 + rng.Int64N(p.MS)
		for _, tick := range append(Ticks(), 60*time.Second, 1234*time.Millisecond) {
			var distance, ms int64
			points := slices.Collect(p.Points(tick))
			require.Len(t, points, p.Len(tick))
			for i, point := range points {
				if point.Seq != i+1 || !point.Valid() || point.MS < 1 || int64(point.MS) > tick.Milliseconds() {
					t.Fatalf("%+v at %d", point, i)
				}
				if one, ok := p.At(tick, i+1); !ok || one != point {
					t.Fatalf("%+v is not %+v", one, point)
				}
				distance += point.Dist
				ms += int64(point.MS)
				if odometer := p.Odometer(time.Duration(ms) * time.Millisecond); odometer != distance {
					t.Fatalf("%d is not %d", odometer, distance)
				}
			}
			require.Equal(t, p.Distance, distance)
			require.Equal(t, p.MS, ms)
		}
		for _, seq := range []int{-1, 0, p.Len(time.Second) + 1} {
			_, ok := p.At(time.Second, seq)
			require.False(t, ok)
		}
	}
	require.Panics(t, func() { Profile{}.Len(0) })
}

func TestConstant(t *testing.T) {
	require.Equal(t, Profile{Distance: 5, MS: 1000, MovingMS: 1000}, Constant(5, time.Second))
	require.Equal(t, Profile{MS: 1000}, Constant(0, time.Second))
	require.Equal(t, Profile{MS: 1000}, Constant(-5, time.Second))
	require.Equal(t, Profile{}, Constant(5, 0))
	require.Equal(t, Profile{}, Constant(5, -time.Second))
	require.Empty(t, slices.Collect(Profile{}.Points(time.Second)))
	require.Equal(t, 12, Constant(0, time.Minute).Len(5*time.Second))
}

func TestAPlanIsSmallAndTellsNoRecordedFare(t *testing.T) {
	tr := trip(2, 1_600_000, 375*time.Second, 700)
	plan := NewPlan(tr, meter.Tariffs())
	data, err := json.Marshal(plan)
	require.NoError(t, err)
	t.Logf("%s", data)
	require.JSONEq(t, `{"class":"meter","driven":true,"pricing":"metered","profile":{"distance":1600000,"ms":375000,"moving_ms":313800,"landing":"above"}}`, string(data))
	var back Plan
	require.NoError(t, json.Unmarshal(data, &back))
	require.Equal(t, plan, back)

	tr.RateCode, tr.Fare = meter.JFK, 5200
	plan = NewPlan(tr, meter.Tariffs())
	require.Equal(t, Flat, plan.Pricing)
	require.Zero(t, plan.Agreed)

	tr.RateCode, tr.Fare = meter.Newark, 6950
	plan = NewPlan(tr, meter.Tariffs())
	require.Equal(t, Plan{
		Verdict: tlc.Verdict{Class: tlc.ClassNewark, Driven: true, Reason: tlc.ReasonByAgreement},
		Pricing: Agreed, Agreed: 6950, Profile: Constant(tr.Distance, tr.Duration()),
	}, plan)

	tr.Fare = -1
	plan = NewPlan(tr, meter.Tariffs())
	data, err = json.Marshal(plan)
	require.NoError(t, err)
	require.JSONEq(t, `{"class":"no_check","driven":false,"reason":"negative_fare"}`, string(data))
}

func FuzzSolve(f *testing.F) {
	f.Add(int64(1), int64(1_600_000), int64(375), int64(700))
	f.Add(int64(2), int64(20_000), int64(14), int64(250))
	f.Fuzz(func(t *testing.T, row, distance, seconds, fare int64) {
		if seconds > 4*3600 || seconds < -4*3600 {
			return
		}
		tr := trip(row, distance, time.Duration(seconds)*time.Second, fare)
		tariff := tariffOf(t, tr)
		p, err := Solve(tariff, tr)
		if err != nil {
			require.ErrorIs(t, err, ErrUnreachable)
			return
		}
		for _, tick := range Ticks() {
			require.Equal(t, fare, meter.Fare(tariff, meter.Measure(p.Points(tick))))
		}
	})
}

func BenchmarkSolve(b *testing.B) {
	tr := trip(2, 2_800_000, 900*time.Second, 1150)
	tariff := tariffOf(b, tr)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Solve(tariff, tr); err != nil {
			b.Fatal(err)
		}
	}
}
