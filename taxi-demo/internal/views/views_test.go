package views_test

import (
	"testing"
	"time"

	"github.com/leat-go/leat/projection/projectiontest"
	"github.com/leat-go/leat/taxi-demo/internal/driver"
	"github.com/leat-go/leat/taxi-demo/internal/earnings"
	"github.com/leat-go/leat/taxi-demo/internal/meter"
	"github.com/leat-go/leat/taxi-demo/internal/ride"
	"github.com/leat-go/leat/taxi-demo/internal/telemetry"
	"github.com/leat-go/leat/taxi-demo/internal/tlc"
	"github.com/leat-go/leat/taxi-demo/internal/trip"
	"github.com/leat-go/leat/taxi-demo/internal/views"
	"github.com/leat-go/leat/taxi-demo/internal/wallet"
)

var split = ride.Split{DriverNet: 800, Tip: 100, PlatformFee: 200, Taxes: 400, Tolls: 50}

var bill = meter.Breakdown{Fare: 1000, MTATax: 50, Improvement: 100, Congestion: 250, Tolls: 50, Tip: 100}

// settled is a ride that went well, told from four sides.
func settled() []projectiontest.Stream {
	return projectiontest.Log(
		projectiontest.In("trip-a", trip.Recorded{Source: "city", Row: 1, Class: tlc.ClassMeter, RideID: "a", Fare: 1000}),
		projectiontest.In("wallet-p", wallet.Opened{RiderID: "p"}, wallet.ToppedUp{RiderID: "p", Amount: 5000}),
		projectiontest.In("driver-d", driver.Online{DriverID: "d", Zone: 4}),
		projectiontest.In("ride-a", ride.Requested{RideID: "a", RiderID: "p", Pickup: 4, Dropoff: 9, Quote: 900}),
		projectiontest.In("wallet-p", wallet.Held{RiderID: "p", RideID: "a", Amount: 1080}),
		projectiontest.In("ride-a", ride.Offered{RideID: "a", Offer: 1, DriverID: "d"}),
		projectiontest.In("driver-d", driver.Reserved{DriverID: "d", RideID: "a"}),
		projectiontest.In("ride-a", ride.Accepted{RideID: "a", Offer: 1, DriverID: "d"}, ride.Arrived{RideID: "a", DriverID: "d"},
			ride.Started{RideID: "a", DriverID: "d", At: time.Date(2025, 6, 2, 7, 31, 20, 0, time.UTC)}),
		projectiontest.In("driver-d", driver.Started{DriverID: "d", RideID: "a"}),
		projectiontest.In("telemetry-a", telemetry.Recorded{RideID: "a", Duplicates: 2}, telemetry.Closed{RideID: "a", Points: 60}),
		projectiontest.In("ride-a", ride.Ended{RideID: "a", DriverID: "d", Dropoff: 9, Tolls: 50, Tip: 100}),
		projectiontest.In("driver-d", driver.Finished{DriverID: "d", RideID: "a", Zone: 9}),
		projectiontest.In("ride-a", ride.FareCalculated{RideID: "a", RiderID: "p", DriverID: "d", Bill: bill, Split: split}),
		projectiontest.In("ride-a", ride.FareClosed{RideID: "a", RiderID: "p", DriverID: "d", Split: split}),
		projectiontest.In("wallet-p", wallet.Captured{RiderID: "p", RideID: "a", Amount: 1500, Rest: 50}, wallet.Charged{RiderID: "p", RideID: "a", Amount: 50, Attempt: 2}),
		projectiontest.In("earnings-d", earnings.Accrued{DriverID: "d", RideID: "a", Net: 800, Tip: 100, Tolls: 50, Batch: 1}),
		projectiontest.In("ride-a", ride.Settled{RideID: "a", RiderID: "p", Split: split}),
		projectiontest.In("earnings-d", earnings.PaidOut{DriverID: "d", Batch: 1, Amount: 950}),
	)
}

func TestReadModelsOfASettledRide(t *testing.T) {
	for name, then := range map[string]struct {
		check func(t *testing.T, c projectiontest.Case)
		rows  []projectiontest.Rows
	}{
		"rides": {func(t *testing.T, c projectiontest.Case) { projectiontest.Check(t, views.Rides, c) }, []projectiontest.Rows{
			{Query: "SELECT ride_id, driver_id, status, offers, quote, total FROM ride", Want: [][]any{{"a", "d", "settled", 1, 900, 1550}}},
			{Query: "SELECT status, rides FROM outcome ORDER BY status", Want: [][]any{{"open", 0}, {"settled", 1}}},
		}},
		"drivers": {func(t *testing.T, c projectiontest.Case) { projectiontest.Check(t, views.Drivers, c) }, []projectiontest.Rows{
			{Query: "SELECT driver_id, zone, status, ride_id, rides FROM driver", Want: [][]any{{"d", 9, "free", nil, 1}}},
		}},
		"zones": {func(t *testing.T, c projectiontest.Case) { projectiontest.Check(t, views.Zones, c) }, []projectiontest.Rows{
			{Query: "SELECT starts, key, trips, final FROM zone_minute", Want: [][]any{{time.Date(2025, 6, 2, 7, 31, 0, 0, time.UTC).UnixNano(), "4", 1, 0}}},
			{Query: "SELECT COUNT(*), MIN(trips), MAX(trips) FROM zone_fifteen", Want: [][]any{{15, 1, 1}}},
			{Query: "SELECT COUNT(*) FROM pending", Want: [][]any{{0}}},
		}},
		"wallets": {func(t *testing.T, c projectiontest.Case) { projectiontest.Check(t, views.Wallets, c) }, []projectiontest.Rows{
			{Query: "SELECT rider_id, balance, held, spent FROM wallet", Want: [][]any{{"p", 3500, 0, 1550}}},
			{Query: "SELECT COUNT(*) FROM hold", Want: [][]any{{0}}},
		}},
		"earnings": {func(t *testing.T, c projectiontest.Case) { projectiontest.Check(t, views.Earnings, c) }, []projectiontest.Rows{
			{Query: "SELECT driver_id, accrued, paid, flagged FROM earnings", Want: [][]any{{"d", 950, 950, 0}}},
		}},
		"bills": {func(t *testing.T, c projectiontest.Case) { projectiontest.Check(t, views.Bills, c) }, []projectiontest.Rows{
			{Query: "SELECT ride_id, fare, extra, taxes, tolls, tip, total FROM receipt", Want: [][]any{{"a", 1000, 0, 400, 50, 100, 1550}}},
		}},
		"fare check": {func(t *testing.T, c projectiontest.Case) { projectiontest.Check(t, views.FareCheck, c) }, []projectiontest.Rows{
			{Query: "SELECT class, ride_id, refund, fare FROM trip", Want: [][]any{{"meter", "a", 0, 1000}}},
			{Query: "SELECT ride_id, quote, fare FROM metered", Want: [][]any{{"a", 900, 1000}}},
		}},
		"money": {func(t *testing.T, c projectiontest.Case) { projectiontest.Check(t, views.Money, c) }, []projectiontest.Rows{
			{Query: "SELECT name, cents FROM account ORDER BY name", Want: [][]any{
				{"charged", 1550}, {"driver_net", 800}, {"platform_fee", 200}, {"taxes", 400}, {"tips", 100}, {"tolls", 50},
			}},
		}},
		"funnel": {func(t *testing.T, c projectiontest.Case) { projectiontest.Check(t, views.Funnel, c) }, []projectiontest.Rows{
			{Query: "SELECT SUM(n), COUNT(*) FROM counter", Want: [][]any{{8, 8}}},
		}},
		"branches": {func(t *testing.T, c projectiontest.Case) { projectiontest.Check(t, views.Branches, c) }, []projectiontest.Rows{
			{Query: "SELECT name, n FROM counter ORDER BY name", Want: [][]any{{"card_declined_then_fine", 1}, {"telemetry_duplicated", 1}}},
		}},
		"kpis": {func(t *testing.T, c projectiontest.Case) { projectiontest.Check(t, views.KPIs, c) }, []projectiontest.Rows{
			{Query: "SELECT name, n FROM counter ORDER BY name", Want: [][]any{
				{"fare_cents", 1550}, {"fares", 1}, {"paid_out_cents", 950}, {"telemetry_points", 60},
			}},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			then.check(t, projectiontest.Case{Given: settled(), Then: then.rows})
		})
	}
}

// TestMoneyOfEveryEnding adds up both sides of rides that end in other ways.
func TestMoneyOfEveryEnding(t *testing.T) {
	fee := ride.Split{DriverNet: 240, PlatformFee: 60}
	for name, events := range map[string][]projectiontest.Stream{
		"outstanding": projectiontest.Log(
			projectiontest.In("wallet-p", wallet.Captured{RiderID: "p", RideID: "a", Amount: 1000, Rest: 550}),
			projectiontest.In("earnings-d", earnings.Accrued{DriverID: "d", RideID: "a", Net: 800, Tip: 100, Tolls: 50, Batch: 1}),
			projectiontest.In("ride-a", ride.Outstanding{RideID: "a", RiderID: "p", Split: split, Receivable: 550}),
		),
		"refunded": projectiontest.Log(
			projectiontest.In("wallet-p", wallet.Captured{RiderID: "p", RideID: "a", Amount: 1550}),
			projectiontest.In("earnings-d", earnings.Accrued{DriverID: "d", RideID: "a", Net: 800, Tip: 100, Tolls: 50, Batch: 1}),
			projectiontest.In("ride-a", ride.Settled{RideID: "a", RiderID: "p", Split: split}, ride.Refunded{RideID: "a", RiderID: "p", DriverID: "d", Split: split}),
			projectiontest.In("wallet-p", wallet.Refunded{RiderID: "p", RideID: "a", Amount: 1550}),
			projectiontest.In("earnings-d", earnings.ClawedBack{DriverID: "d", RideID: "a", Net: 800, Tip: 100, Tolls: 50}),
		),
		"cancelled for a fee that could not be charged": projectiontest.Log(
			projectiontest.In("ride-a", ride.Cancelled{RideID: "a", RiderID: "p", DriverID: "d", By: ride.ByRider, Split: fee}),
			projectiontest.In("wallet-p", wallet.Captured{RiderID: "p", RideID: "a", Amount: 100, Rest: 200}),
			projectiontest.In("earnings-d", earnings.Accrued{DriverID: "d", RideID: "a", Net: 240, Batch: 1}),
			projectiontest.In("ride-a", ride.Outstanding{RideID: "a", RiderID: "p", Receivable: 200}),
		),
		"no show": projectiontest.Log(
			projectiontest.In("ride-a", ride.NoShow{RideID: "a", RiderID: "p", DriverID: "d", Split: fee}),
			projectiontest.In("wallet-p", wallet.Captured{RiderID: "p", RideID: "a", Amount: 300}),
			projectiontest.In("earnings-d", earnings.Accrued{DriverID: "d", RideID: "a", Net: 240, Batch: 1}),
		),
	} {
		t.Run(name, func(t *testing.T) {
			projectiontest.Check(t, views.Money, projectiontest.Case{Given: events, Then: []projectiontest.Rows{{
				Query: `SELECT SUM(CASE WHEN name IN ('charged', 'receivable') THEN cents ELSE -cents END) FROM account`,
				Want:  [][]any{{0}},
			}}})
		})
	}
}
