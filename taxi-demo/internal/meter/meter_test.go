package meter

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAnIntervalCountsDistanceFrom12MPHAndTimeBelow(t *testing.T) {
	const tick = 5000 // ms; at 12 mph it covers 1/60 mile
	for _, row := range []struct {
		name     string
		distance int64
		want     Units
	}{
		{"stopped", 0, 50_000},
		{"just below 12 mph", 16_666, 50_000},
		{"just above 12 mph", 16_667, 50_001},
		{"60 mph", 83_333, 249_999},
	} {
		t.Run(row.name, func(t *testing.T) {
			require.Equal(t, row.want, Interval(row.distance, tick))
		})
	}
	require.Equal(t, Unit, Interval(200_000, 0), "a fifth of a mile")
	require.Equal(t, Unit, Interval(0, 60_000), "sixty seconds")
	require.Zero(t, Interval(-5, -5))
}

func TestFractionsOfBothCombineAndTheFareFloors(t *testing.T) {
	tariff := Tariff{Initial: 250, Unit: 50}
	half := []Point{{Seq: 1, MS: 5000, Dist: 100_000}, {Seq: 2, MS: 29_999}}
	require.EqualValues(t, 250, Fare(tariff, Measure(slices.Values(half))), "half a unit of each, less 1 ms")
	half[1].MS++
	require.EqualValues(t, 300, Fare(tariff, Measure(slices.Values(half))), "a whole unit")
	require.EqualValues(t, 250, Fare(tariff, -1))
}

func TestASequenceNumberCountsOnceInAnyOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var points []Point
	for i := range 300 {
		points = append(points, Point{Seq: i + 1, MS: 5000, Dist: rng.Int64N(90_000)})
	}
	want := Measure(slices.Values(points))

	for range 20 {
		sent := append(slices.Clone(points), points[:100]...)
		rng.Shuffle(len(sent), func(i, j int) { sent[i], sent[j] = sent[j], sent[i] })
		var m Meter
		counted := 0
		for _, p := range sent {
			var ok bool
			if m, ok = m.Add(p); ok {
				counted++
			}
		}
		require.Equal(t, want, m.Units)
		require.Equal(t, len(points), counted)
		require.Equal(t, len(points), m.Count)
		require.Equal(t, len(points), m.Last())
		require.Empty(t, m.Ahead, "no gap is left")
		require.EqualValues(t, 300*5000, m.MS)
	}
}

func TestALostPointLosesItsUnitsAndIsMissing(t *testing.T) {
	points := []Point{{1, 5000, 20_000}, {2, 5000, 30_000}, {3, 5000, 0}, {4, 5000, 40_000}}
	all := Measure(slices.Values(points))

	var m Meter
	for _, p := range points {
		if p.Seq != 2 {
			m, _ = m.Add(p)
		}
	}
	require.Equal(t, all-points[1].Units(), m.Units)
	require.Equal(t, []int{2, 5, 6}, slices.Collect(m.Missing(6)))
	require.Equal(t, 4, m.Last())

	m, ok := m.Add(points[1])
	require.True(t, ok, "sent again")
	require.Equal(t, all, m.Units)
	require.Empty(t, slices.Collect(m.Missing(4)))
}

func TestAddNeverWritesToAnotherMetersMemory(t *testing.T) {
	var base Meter
	for _, seq := range []int{1, 3, 5, 9} {
		base, _ = base.Add(Point{Seq: seq, MS: 1000})
	}
	before, err := json.Marshal(base)
	require.NoError(t, err)

	left, _ := base.Add(Point{Seq: 4, MS: 1000})
	right, _ := base.Add(Point{Seq: 7, MS: 1000})
	filled, _ := base.Add(Point{Seq: 2, MS: 1000})
	require.Equal(t, []int{3, 4, 5, 9}, left.Ahead)
	require.Equal(t, []int{3, 5, 7, 9}, right.Ahead)
	require.Equal(t, []int{5, 9}, filled.Ahead)

	after, err := json.Marshal(base)
	require.NoError(t, err)
	require.JSONEq(t, string(before), string(after))

	var back Meter
	require.NoError(t, json.Unmarshal(after, &back))
	require.Equal(t, base, back)
}

func TestWhatIsNotAMeasurementIsNotCounted(t *testing.T) {
	for _, p := range []Point{
		{}, {Seq: -1, MS: 1}, {Seq: 1, MS: -1}, {Seq: 1, Dist: -1},
		{Seq: 1, MS: MaxPointMS + 1}, {Seq: 1, Dist: MaxPointDistance + 1},
	} {
		m, ok := Meter{}.Add(p)
		require.False(t, ok, "%+v", p)
		require.Zero(t, m)
	}
}

func FuzzMeterOrderNeverMatters(f *testing.F) {
	f.Add([]byte{1, 2, 3, 3, 2, 1})
	f.Fuzz(func(t *testing.T, seqs []byte) {
		add := func(order []byte) Meter {
			var m Meter
			for _, s := range order {
				m, _ = m.Add(Point{Seq: int(s), MS: 1000 * int32(s), Dist: int64(s)})
			}
			return m
		}
		reversed := slices.Clone(seqs)
		slices.Reverse(reversed)
		require.Equal(t, add(seqs), add(reversed))
	})
}
