package tlc

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/taxi-demo/internal/meter"
)

func TestClasses(t *testing.T) {
	tariffs := meter.Tariffs()
	no, yes := false, true
	for _, row := range []struct {
		name   string
		change func(*Trip)
		class  Class
		driven bool
		reason Reason
	}{
		{"standard", func(t *Trip) {}, ClassMeter, yes, ""},
		{"unknown zones do not matter", func(t *Trip) { t.PickupZone = ZoneUnknown }, ClassMeter, yes, ""},
		{"just under four hours", func(t *Trip) { t.Dropoff = t.Pickup.Add(4*time.Hour - time.Second) }, ClassMeter, yes, ""},
		{"four hours", func(t *Trip) { t.Dropoff = t.Pickup.Add(4 * time.Hour) }, ClassNoCheck, yes, ReasonOverFourHours},
		{"a day", func(t *Trip) { t.Dropoff = t.Pickup.Add(MaxRide) }, ClassNoCheck, yes, ReasonOverFourHours},
		{"over a day", func(t *Trip) { t.Dropoff = t.Pickup.Add(MaxRide + 1) }, ClassNoCheck, no, ReasonOverADay},
		{"no duration", func(t *Trip) { t.Dropoff = t.Pickup }, ClassNoCheck, no, ReasonDropoffNotAfter},
		{"backwards", func(t *Trip) { t.Dropoff = t.Pickup.Add(-time.Hour) }, ClassNoCheck, no, ReasonDropoffNotAfter},
		{"no distance", func(t *Trip) { t.Distance = 0 }, ClassNoCheck, yes, ReasonZeroDistance},
		{"free", func(t *Trip) { t.Fare = 0 }, ClassNoCheck, yes, ReasonZeroFare},
		{"negative", func(t *Trip) { t.Fare = -900 }, ClassNoCheck, no, ReasonNegativeFare},
		{"negative, negotiated", func(t *Trip) { t.Fare, t.RateCode = -900, meter.Negotiated }, ClassNoCheck, no, ReasonNegativeFare},
		{"refund", func(t *Trip) { t.Fare, t.Twin = -900, 7 }, ClassNoCheck, no, ReasonRefund},
		{"refunded", func(t *Trip) { t.Twin = 7 }, ClassMeter, yes, ""},
		{"no rate code", func(t *Trip) { t.RateCode = 0 }, ClassNoCheck, no, ReasonNoRateCode},
		{"rate code 99", func(t *Trip) { t.RateCode = 99 }, ClassNoCheck, no, ReasonNoRateCode},
		{"no fare", func(t *Trip) { t.Fare, t.Flags = 0, FlagNoFare }, ClassNoCheck, no, ReasonNoFare},
		{"no time", func(t *Trip) { t.Dropoff = time.Time{} }, ClassNoCheck, no, ReasonNoTime},
		{"before all tariffs", func(t *Trip) { t.Pickup = t.Pickup.AddDate(-15, 0, 0); t.Dropoff = t.Dropoff.AddDate(-15, 0, 0) }, ClassNoCheck, no, ReasonNoTariff},
		{"flat", func(t *Trip) { t.RateCode, t.Fare = meter.JFK, 5200 }, ClassJFKFlat, yes, ""},
		{"flat, no distance", func(t *Trip) { t.RateCode, t.Fare, t.Distance = meter.JFK, 5200, 0 }, ClassJFKFlat, yes, ""},
		{"flat, by the tariff of later", func(t *Trip) { t.RateCode, t.Fare = meter.JFK, 7000 }, ClassNoCheck, yes, ReasonNotTheFlatFare},
		{"flat, no duration", func(t *Trip) { t.RateCode, t.Fare, t.Dropoff = meter.JFK, 5200, t.Pickup }, ClassNoCheck, no, ReasonDropoffNotAfter},
		{"newark", func(t *Trip) { t.RateCode = meter.Newark }, ClassNewark, yes, ReasonByAgreement},
		{"nassau", func(t *Trip) { t.RateCode = meter.NassauWestchester }, ClassNassauWestchester, yes, ReasonByAgreement},
		{"negotiated, free", func(t *Trip) { t.RateCode, t.Fare = meter.Negotiated, 0 }, ClassNegotiated, yes, ReasonByAgreement},
		{"negotiated, no duration", func(t *Trip) { t.RateCode, t.Dropoff = meter.Negotiated, t.Pickup }, ClassNegotiated, no, ReasonDropoffNotAfter},
		{"group", func(t *Trip) { t.RateCode = meter.Group }, ClassNoCheck, yes, ReasonByAgreement},
	} {
		t.Run(row.name, func(t *testing.T) {
			trip := want2017()
			row.change(&trip)
			require.Equal(t, Verdict{row.class, row.driven, row.reason}, Classify(trip, tariffs))
		})
	}
	require.Len(t, Classes(), 7)
	require.True(t, ClassJFKFlat.Checked())
	require.False(t, ClassNewark.Checked())
}

func TestLinesTakeOutOfExtraWhatIsInItTwice(t *testing.T) {
	base := Trip{Fare: 1000, Extra: 100, MTATax: 50, Improvement: 100, Tip: 200, Tolls: 694, Congestion: 250, AirportFee: 175, CBDCongestion: 75}
	want := meter.Breakdown{Fare: 1000, Extra: 100, MTATax: 50, Improvement: 100, Tip: 200, Tolls: 694, Congestion: 250, AirportFee: 175, CBDCongestion: 75}
	total := want.Total()
	for _, inside := range []int64{0, 250, 175, 75, 425, 325, 250 + 175 + 75} {
		trip := base
		trip.Extra, trip.Total = 100+inside, total
		lines, ok := trip.Lines()
		require.True(t, ok, "%d", inside)
		require.Equal(t, want, lines, "%d", inside)
	}

	trip := base
	trip.Total = total + 195 // a fee without a column
	lines, ok := trip.Lines()
	require.False(t, ok)
	require.Equal(t, want, lines)

	trip.Vendor, trip.Extra = 1, 600
	lines, ok = trip.Lines()
	require.False(t, ok)
	require.Equal(t, want, lines)

	trip = Trip{Fare: 1000, Extra: -50, MTATax: 50, Total: 1000}
	lines, ok = trip.Lines()
	require.False(t, ok)
	require.Zero(t, lines.Extra, "no line of a charge is negative")

	trip = Trip{Fare: -1000, Extra: -50, MTATax: -50, Total: -1100}
	lines, ok = trip.Lines()
	require.True(t, ok)
	require.EqualValues(t, -1100, lines.Total())
}

// sample reads the trip records beside the project, and skips the test when
// they are not there.
func sample(t testing.TB) []Trip {
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
	info, err := Check(path)
	require.NoError(t, err)
	require.EqualValues(t, 6500, info.Rows)
	return read(t, path)
}

func TestTheSampleOf2019_03(t *testing.T) {
	trips := sample(t)
	tariffs := meter.Tariffs()
	classes, flags, colors := map[Class]int{}, map[string]int{}, map[Color]int{}
	notDriven, extra, compared := 0, 0, 0
	for _, trip := range trips {
		verdict := Classify(trip, tariffs)
		classes[verdict.Class]++
		colors[trip.Color]++
		if !verdict.Driven {
			notDriven++
		}
		for _, name := range trip.Flags.Names() {
			flags[name]++
		}
		if verdict.Class == ClassMeter || verdict.Class == ClassJFKFlat {
			lines, _ := trip.Lines()
			tariff, _ := meter.InForce(tariffs, trip.Pickup)
			compared++
			if lines.Extra == tariff.Extra(meter.Ride{PickedUp: trip.Pickup, Code: trip.RateCode}) {
				extra++
			}
		}
	}
	t.Logf("classes %v, flags %v, not driven %d, recorded extra is the tariff's in %d of %d", classes, flags, notDriven, extra, compared)
	require.Equal(t, map[Color]int{Yellow: 5500, Green: 1000}, colors)
	require.Equal(t, map[Class]int{
		ClassMeter: 6136, ClassJFKFlat: 130, ClassNewark: 16, ClassNassauWestchester: 8, ClassNegotiated: 147, ClassNoCheck: 63,
	}, classes)
	require.Equal(t, 16, notDriven)
	require.Greater(t, extra*1000, compared*985)
}
