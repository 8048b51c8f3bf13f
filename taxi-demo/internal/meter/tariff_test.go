package meter

import (
	"encoding/json"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func wall(s string) time.Time {
	t, err := time.Parse("2006-01-02 15:04", s)
	if err != nil {
		panic(err)
	}
	return t
}

func TestThePublishedTariffsByDate(t *testing.T) {
	tariffs := Tariffs()
	for _, row := range []struct {
		at                                                   string
		initial, unit, night, rush, jfk, newark, improvement int64
		yellow, green, airport, laGuardia                    int64
	}{
		{"2017-06-30 12:00", 250, 50, 50, 100, 5200, 1750, 30, 0, 0, 0, 0},
		{"2019-02-01 23:59", 250, 50, 50, 100, 5200, 1750, 30, 0, 0, 0, 0},
		{"2019-02-02 00:00", 250, 50, 50, 100, 5200, 1750, 30, 250, 275, 0, 0},
		{"2022-12-18 23:59", 250, 50, 50, 100, 5200, 1750, 30, 250, 275, 125, 0},
		{"2022-12-19 00:00", 300, 70, 100, 250, 7000, 2000, 100, 250, 275, 125, 500},
		{"2024-05-01 09:00", 300, 70, 100, 250, 7000, 2000, 100, 250, 275, 175, 500},
	} {
		t.Run(row.at, func(t *testing.T) {
			got, ok := InForce(tariffs, wall(row.at))
			require.True(t, ok)
			require.Equal(t,
				[]int64{row.initial, row.unit, row.night, row.rush, row.jfk, row.newark, row.improvement, row.yellow, row.green, row.airport, row.laGuardia, 50},
				[]int64{got.Initial, got.Unit, got.Night, got.Rush, got.JFKFlat, got.Newark, got.Improvement, got.CongestionYellow, got.CongestionGreen, got.AirportFee, got.LaGuardia, got.MTATax})
		})
	}
	_, ok := InForce(tariffs, wall("2008-12-31 23:00"))
	require.False(t, ok, "no tariff is known")
	for i := 1; i < len(tariffs); i++ {
		require.True(t, tariffs[i-1].EffectiveFrom.Before(tariffs[i].EffectiveFrom), "effective dates increase")
	}

	tariffs[0], tariffs[5] = tariffs[5], tariffs[0]
	got, ok := InForce(tariffs, wall("2017-06-30 12:00"))
	require.True(t, ok)
	require.EqualValues(t, 5200, got.JFKFlat, "order does not matter")

	data, err := json.Marshal(tariffs)
	require.NoError(t, err)
	var back []Tariff
	require.NoError(t, json.Unmarshal(data, &back))
	require.Equal(t, tariffs, back)
}

func TestLegalHolidays(t *testing.T) {
	for _, day := range []string{
		"2017-01-02", // New Year's Day on the Monday after
		"2019-01-01", "2019-01-21", "2019-02-18", "2019-05-27", "2019-07-04", "2019-09-02", "2019-10-14",
		"2019-11-11", "2019-11-28", "2019-12-25", "2021-07-05", "2024-06-19", "2024-05-27", "2024-11-28",
		"2030-11-28", "2022-12-26", "2023-01-02",
	} {
		require.True(t, IsLegalHoliday(wall(day+" 17:00")), day)
		require.False(t, IsRush(wall(day+" 17:00")), day)
	}
	for _, day := range []string{
		"2019-03-04", "2019-05-20", "2019-06-19", "2019-09-09", "2019-11-21", "2019-11-29", "2020-07-06", "2024-01-02",
	} {
		require.False(t, IsLegalHoliday(wall(day+" 17:00")), day)
	}
	for year := 1990; year < 2060; year++ {
		days := 0
		for at := time.Date(year, 1, 1, 17, 0, 0, 0, time.UTC); at.Year() == year; at = at.AddDate(0, 0, 1) {
			if IsLegalHoliday(at) {
				days++
			}
		}
		require.True(t, days >= 10 && days <= 14, "%d: %d", year, days)
	}
}

func TestNightAndRushByPickUp(t *testing.T) {
	for at, want := range map[string][2]bool{
		"2019-03-06 05:59": {true, false},
		"2019-03-06 06:00": {false, false},
		"2019-03-06 15:59": {false, false},
		"2019-03-06 16:00": {false, true},
		"2019-03-06 19:59": {false, true},
		"2019-03-06 20:00": {true, false},
		"2019-03-09 17:00": {false, false}, // Saturday
	} {
		require.Equal(t, want, [2]bool{IsNight(wall(at)), IsRush(wall(at))}, at)
	}
}

func TestBill(t *testing.T) {
	old, _ := InForce(Tariffs(), wall("2019-03-06 17:00"))
	b := old.Bill(Ride{PickedUp: wall("2019-03-06 17:00"), Code: Standard, CongestionZone: true, ToLaGuardia: true}, 1250)
	require.Equal(t, Breakdown{Fare: 1250, Extra: 100, MTATax: 50, Improvement: 30, Congestion: 250}, b)
	require.EqualValues(t, 1680, b.Total())
	b.Tip, b.Tolls = 300, 612
	require.EqualValues(t, 1680+912, b.Total())
	require.EqualValues(t, 330, b.Taxes())

	now, _ := InForce(Tariffs(), wall("2025-03-05 21:00"))
	at := wall("2025-03-05 21:00")
	require.Equal(t,
		Breakdown{Fare: 4000, Extra: 600, MTATax: 50, Improvement: 100, Congestion: 250, CBDCongestion: 75, AirportFee: 175},
		now.Bill(Ride{PickedUp: at, Code: Standard, CongestionZone: true, ReliefZone: true, FromLaGuardia: true}, 4000))
	require.Equal(t,
		Breakdown{Fare: 4000, Extra: 100, MTATax: 50, Improvement: 100, Congestion: 275},
		now.Bill(Ride{PickedUp: at, Code: Standard, Green: true, CongestionZone: true, FromLaGuardia: true}, 4000))
	require.Zero(t, now.Extra(Ride{PickedUp: at, Code: JFK}), "no night surcharge on the flat fare")
	require.EqualValues(t, 500, now.Extra(Ride{PickedUp: at.Add(-3 * time.Hour), Code: JFK}))
	require.Zero(t, now.Extra(Ride{PickedUp: at, Code: Negotiated}))
}

func TestFareAt(t *testing.T) {
	old, _ := InForce(Tariffs(), wall("2019-03-06 17:00"))
	for code, want := range map[RateCode]int64{Standard: 750, JFK: 5200, Newark: 2500} {
		got, ok := FareAt(old, code, 10*Unit+Unit-1)
		require.True(t, ok)
		require.Equal(t, want, got)
	}
	for _, code := range []RateCode{0, NassauWestchester, Negotiated, Group, 99} {
		_, ok := FareAt(old, code, Unit)
		require.False(t, ok)
	}
	require.True(t, Group.Usable())
	require.False(t, RateCode(99).Usable())
}

func TestQuoteIsAnExactIntegerRoot(t *testing.T) {
	tariff := Tariff{Initial: 250, Unit: 50}
	require.EqualValues(t, 250+50*5, Quote(tariff, 600_000, 4*60_000), "3, 4, 5")
	require.EqualValues(t, 250+50*4, Quote(tariff, 600_000, 4*60_000-1))
	require.EqualValues(t, 250, Quote(tariff, -1, -1))
	require.EqualValues(t, 5200, QuoteAt(Tariff{JFKFlat: 5200}, JFK, 1, 1))
	require.EqualValues(t, 250+50*5+1750, QuoteAt(Tariff{Initial: 250, Unit: 50, Newark: 1750}, Newark, 600_000, 4*60_000))

	rng := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		a, b := rng.Int64N(1<<uint(1+rng.IntN(40))), rng.Int64N(1<<uint(1+rng.IntN(40)))
		x, y := big.NewInt(a), big.NewInt(b)
		x.Mul(x, x).Add(x, y.Mul(y, y)).Sqrt(x)
		require.Equal(t, x.Int64(), hypotenuse(a, b), "%d %d", a, b)
	}
	require.EqualValues(t, math.MaxInt64, hypotenuse(math.MaxInt64, math.MaxInt64))
}
