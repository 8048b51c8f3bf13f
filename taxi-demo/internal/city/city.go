// Package city is a generated city: its drivers, riders and trips, all drawn
// from a seed. Trip n is the same in every run with the same seed, whatever
// happened before it.
//
// Zones are numbered so that near numbers are near places. Demand follows the
// hour of the city's clock.
package city

import (
	"fmt"
	"time"

	"github.com/leat-go/leat/taxi-demo/internal/agents"
	"github.com/leat-go/leat/taxi-demo/internal/chaos"
	"github.com/leat-go/leat/taxi-demo/internal/meter"
	"github.com/leat-go/leat/taxi-demo/internal/replay"
)

// Size of the city.
const (
	Side  = 8 // the city is a square of zones
	Zones = Side * Side
	Fleet = 400     // drivers
	block = 700_000 // the way through one zone, in micro-miles
)

// Opening returns when the city's clock starts: a Monday morning, New York's
// wall clock held in UTC.
func Opening() time.Time { return time.Date(2025, time.June, 2, 7, 0, 0, 0, time.UTC) }

// perHour is the demand in rides, by the hour of the day.
var perHour = [24]int{
	300, 200, 120, 80, 80, 160, 360, 600, 720, 600, 480, 480,
	540, 540, 540, 600, 660, 720, 720, 720, 660, 600, 540, 420,
}

// City draws trips. The zero value is the city of seed 0 without chaos.
type City struct {
	Chaos chaos.Config
}

// Trip is one drawn trip and all that is known of it beforehand.
type Trip struct {
	Number   int // from 1
	At       time.Time
	RideID   string
	RiderID  string
	Pickup   int
	Dropoff  int
	Terms    meter.Ride
	Quote    int64 // cents
	Fare     int64 // what the meter will make of the profile, cents
	Profile  replay.Profile
	Tolls    int64
	Tip      int64
	TopUp    int64
	Disturbs []string
}

// Driver returns the name and the first zone of driver n, from 1 to Fleet.
func (c City) Driver(n int) (id string, zone int) {
	id = fmt.Sprintf("d%d.%03d", c.Chaos.Seed, n)
	return id, 1 + int(c.Chaos.Roll(id, "zone")%Zones)
}

// At returns when trip n (from 1) is asked for: the trips of an hour are spread
// evenly over it, on the grid of the played world.
func At(n int) time.Time {
	hour, left := Opening(), n-1
	for {
		rides := perHour[hour.Hour()]
		if left < rides {
			return hour.Add(time.Duration(left) * time.Hour / time.Duration(rides)).Truncate(agents.Grid)
		}
		left -= rides
		hour = hour.Add(time.Hour)
	}
}

// Trip draws trip n, from 1, under the tariff in force.
func (c City) Trip(n int, tariff meter.Tariff) Trip {
	id := fmt.Sprintf("%d.%06d", c.Chaos.Seed, n)
	t := Trip{Number: n, At: At(n), RideID: id, RiderID: "p" + id}
	t.Disturbs = c.Chaos.Plan(id, false)
	t.Pickup = 1 + int(c.Chaos.Roll(id, "pickup")%Zones)
	t.Dropoff = 1 + int(c.Chaos.Roll(id, "dropoff")%Zones)
	t.Terms = meter.Ride{PickedUp: t.At, Code: meter.Standard, CongestionZone: central(t.Pickup) || central(t.Dropoff)}

	distance := c.distance(id, t.Pickup, t.Dropoff)
	// 9 to 20 mph while moving, and up to half of that time again standing.
	mph := 9 + int64(c.Chaos.Roll(id, "speed")%12)
	moving := distance * 36 / (mph * 10) // ms: an hour is 3.6e6 ms, a mile 1e6 micro-miles
	standing := moving * int64(c.Chaos.Roll(id, "traffic")%51) / 100
	t.Profile = replay.Profile{Distance: distance, MS: moving + standing, MovingMS: moving}
	t.Fare = meter.Fare(tariff, meter.Measure(t.Profile.Points(agents.Tick)))
	t.Quote = meter.QuoteAt(tariff, meter.Standard, distance, distance*36/(12*10)+60_000)

	t.Tip = t.Fare * int64(c.Chaos.Roll(id, "tip")%26) / 100
	if c.Chaos.Roll(id, "bridge")%20 == 0 {
		t.Tolls = 694
	}
	t.TopUp = 3*t.Quote + 100_00
	for _, kind := range t.Disturbs {
		switch kind {
		case chaos.WalletShort:
			t.TopUp = t.Quote // less than what is held
		case chaos.CardDeclined, chaos.CardStumbles:
			t.TopUp = t.Quote + t.Quote/5 // the hold and no more
			t.Tip += t.Quote              // so that the card is needed
		}
	}
	return t
}

// Ends tells whether the trip will be disturbed so that its fare, if there is
// one, is not that of the profile.
func (t Trip) Ends() bool {
	for _, kind := range t.Disturbs {
		if chaos.Ends(kind) {
			return true
		}
	}
	return false
}

// Refund tells whether the rider will ask for the money back.
func (t Trip) Refund() bool {
	for _, kind := range t.Disturbs {
		if kind == chaos.RefundAsked {
			return true
		}
	}
	return false
}

// distance is the way along the blocks between two zones with a drawn detour,
// in micro-miles.
func (c City) distance(id string, from, to int) int64 {
	fx, fy, tx, ty := (from-1)%Side, (from-1)/Side, (to-1)%Side, (to-1)/Side
	blocks := int64(max(fx-tx, tx-fx) + max(fy-ty, ty-fy))
	return (blocks+1)*block + int64(c.Chaos.Roll(id, "detour")%block)
}

// central tells whether a zone is in the middle of the city, where the
// congestion surcharge is due.
func central(zone int) bool {
	x, y := (zone-1)%Side, (zone-1)/Side
	return x >= Side/4 && x < Side*3/4 && y >= Side/4 && y < Side*3/4
}
