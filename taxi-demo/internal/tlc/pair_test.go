package tlc

import (
	"iter"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/taxi-demo/internal/meter"
)

func numbered(trips ...Trip) iter.Seq2[Trip, error] {
	return func(yield func(Trip, error) bool) {
		for i, t := range trips {
			t.Row = int64(i + 1)
			if !yield(t, nil) {
				return
			}
		}
	}
}

func charge(n int) Trip {
	at := time.Date(2024, 5, 1, 9, n, 0, 0, time.UTC)
	return Trip{
		Color: Yellow, Vendor: 2, Pickup: at, Dropoff: at.Add(10 * time.Minute), RateCode: meter.Standard, Distance: 1_600_000,
		PickupZone: 141, DropoffZone: 233, Payment: Cash, Fare: 930, Extra: 100, MTATax: 50, Improvement: 100, Congestion: 250, Total: 1430,
	}
}

func refund(t Trip) Trip {
	t.Payment = NoCharge
	for _, v := range []*int64{&t.Fare, &t.Extra, &t.MTATax, &t.Tip, &t.Tolls, &t.Improvement, &t.Congestion, &t.Total, &t.AirportFee, &t.CBDCongestion} {
		*v = -*v
	}
	return t
}

func twins(t testing.TB, window int, trips ...Trip) []int64 {
	t.Helper()
	var got []int64
	row := int64(0)
	for trip, err := range Pair(numbered(trips...), window) {
		require.NoError(t, err)
		row++
		require.Equal(t, row, trip.Row, "rows stay in their order")
		got = append(got, trip.Twin)
	}
	return got
}

func TestARefundFindsItsCharge(t *testing.T) {
	a, b := charge(1), charge(2)
	require.Equal(t, []int64{0, 3, 2, 0}, twins(t, 10, b, a, refund(a), b), "charge first")
	require.Equal(t, []int64{3, 0, 1}, twins(t, 10, refund(a), b, a), "refund first")
}

func TestAPairIsTwoRowsAndNoRowIsInTwo(t *testing.T) {
	a := charge(1)
	require.Equal(t, []int64{4, 3, 2, 1}, twins(t, 10, a, a, refund(a), refund(a)), "the nearest before")
	require.Equal(t, []int64{0, 3, 2}, twins(t, 10, a, a, refund(a)))
	require.Equal(t, []int64{2, 1, 0}, twins(t, 10, a, refund(a), refund(a)))
	require.Equal(t, []int64{2, 1, 0}, twins(t, 10, refund(a), a, a))
}

func TestOnlyExactOppositesArePairs(t *testing.T) {
	a := charge(1)
	for name, change := range map[string]func(*Trip){
		"vendor":   func(t *Trip) { t.Vendor = 1 },
		"pick-up":  func(t *Trip) { t.Pickup = t.Pickup.Add(time.Second) },
		"drop-off": func(t *Trip) { t.Dropoff = t.Dropoff.Add(time.Second) },
		"zone":     func(t *Trip) { t.DropoffZone++ },
		"color":    func(t *Trip) { t.Color = Green },
		"fare":     func(t *Trip) { t.Fare-- },
		"total":    func(t *Trip) { t.Total-- },
		"tip":      func(t *Trip) { t.Tip = -5 },
		"sign":     func(t *Trip) { *t = a },
	} {
		other := refund(a)
		change(&other)
		require.Equal(t, []int64{0, 0}, twins(t, 10, a, other), name)
	}
}

func TestTheWindowBoundsThePair(t *testing.T) {
	a := charge(0)
	rows := []Trip{a, charge(1), charge(2), refund(a)}
	require.Equal(t, []int64{4, 0, 0, 1}, twins(t, 3, rows...))
	require.Equal(t, []int64{0, 0, 0, 0}, twins(t, 2, rows...))
	require.Equal(t, []int64{4, 0, 0, 1}, twins(t, 0, rows...), "the default")
}

func TestPairingIsWhatComparingEveryRowWithTheOnesBeforeGives(t *testing.T) {
	const seed = 11
	rng := rand.New(rand.NewPCG(seed, 0))
	for round := range 200 {
		window := 1 + rng.IntN(12)
		rows := make([]Trip, rng.IntN(80))
		for i := range rows {
			rows[i] = charge(rng.IntN(4))
			if rng.IntN(3) == 0 {
				rows[i] = refund(rows[i])
			}
			rows[i].Row = int64(i + 1)
		}
		want := make([]int64, len(rows))
		for i := range rows {
			for j := i - 1; j >= max(0, i-window); j-- {
				if want[j] == 0 && opposite(&rows[i], &rows[j]) {
					want[i], want[j] = rows[j].Row, rows[i].Row
					break
				}
			}
		}
		got := twins(t, window, rows...)
		if len(rows) > 0 {
			require.Equal(t, want, got, "seed %d, round %d", seed, round)
		}
	}
}
