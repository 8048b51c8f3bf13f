// Package agents is the world outside the platform, played: drivers who answer
// and drive, cars that report, riders who change their mind. Each ride has one
// agent, a saga over the ride's plan, so that a killed demo goes on exactly
// where it was. The platform does not know that it is played to.
package agents

import (
	"slices"
	"time"

	"github.com/leat-go/leat/saga"
	"github.com/leat-go/leat/taxi-demo/internal/chaos"
	"github.com/leat-go/leat/taxi-demo/internal/meter"
	"github.com/leat-go/leat/taxi-demo/internal/ride"
	"github.com/leat-go/leat/taxi-demo/internal/telemetry"
	"github.com/leat-go/leat/taxi-demo/internal/trip"
)

// Grid is the step of the played world: whatever an agent does falls on a
// multiple of it, so that much happens at one instant and is stored together.
const Grid = 5 * time.Second

// RealGrid is Grid for replayed records, at which nobody looks on: three times
// as much falls together.
const RealGrid = 3 * Grid

// Tick is the length of the interval that a car's points cover.
const Tick = 5 * time.Second

const (
	answerAfter = 5 * time.Second  // a driver answers an offer
	lateAnswer  = 25 * time.Second // a slow one, when the offer has expired
	driveMin    = 60 * time.Second // to the pick-up
	driveMax    = 240 * time.Second
	boardAfter  = 20 * time.Second
	changeMind  = 10 * time.Second // into the stage that a rider or driver cancels in
	reportEvery = 55 * time.Second // a car reports what it has driven since
	straggle    = 10 * time.Second // late telemetry after the meter has closed
	refundAfter = 2 * time.Minute
)

// Road plays the ride's driver, car and rider.
var Road = saga.Define("road", 1,
	saga.Starts(func(e trip.Planned) string { return e.RideID }, (*road).planned),
	saga.On(func(e ride.Offered) string { return e.RideID }, (*road).offered),
	saga.On(func(e ride.OfferDeclined) string { return e.RideID }, (*road).offerDeclined),
	saga.On(func(e ride.OfferExpired) string { return e.RideID }, (*road).offerExpired),
	saga.On(func(e ride.Accepted) string { return e.RideID }, (*road).accepted),
	saga.On(func(e ride.Unassigned) string { return e.RideID }, (*road).unassigned),
	saga.On(func(e ride.Arrived) string { return e.RideID }, (*road).arrived),
	saga.On(func(e ride.Started) string { return e.RideID }, (*road).started),
	saga.On(func(e ride.Settled) string { return e.RideID }, (*road).settled),
	saga.On(func(e ride.Refunded) string { return e.RideID }, (*road).refunded),
	saga.On(func(e ride.Outstanding) string { return e.RideID }, (*road).outstanding),
	saga.On(func(e ride.Cancelled) string { return e.RideID }, (*road).cancelled),
	saga.On(func(e ride.NoShow) string { return e.RideID }, (*road).noShow),
	saga.On(func(e ride.Unfulfilled) string { return e.RideID }, (*road).unfulfilled),
	saga.Timer("accept", (*road).accept),
	saga.Timer("decline", (*road).decline),
	saga.Timer("late_accept", (*road).acceptLate),
	saga.Timer("rider_cancels", (*road).riderCancels),
	saga.Timer("driver_cancels", (*road).driverCancels),
	saga.Timer("give_back", (*road).giveBack),
	saga.Timer("arrive", (*road).arrive),
	saga.Timer("board", (*road).board),
	saga.Timer("report", (*road).report),
	saga.Timer("straggle", (*road).sendLate),
	saga.Timer("refund", (*road).refund),
	saga.Rejected((*road).acceptRejected),
	saga.Rejected((*road).arriveRejected),
	saga.IgnoreRejected[road, ride.Decline](),
	saga.IgnoreRejected[road, ride.Cancel](),
	saga.IgnoreRejected[road, ride.Unassign](),
	saga.IgnoreRejected[road, ride.Start](),
	saga.IgnoreRejected[road, ride.End](),
	saga.IgnoreRejected[road, telemetry.Close](),
)

type road struct {
	Plan     trip.Planned `json:"plan"`
	DriverID string       `json:"driver_id,omitempty"` // offered, then assigned
	Offer    int          `json:"offer,omitempty"`
	Slow     int          `json:"slow,omitempty"` // the offer that is answered late
	SlowID   string       `json:"slow_id,omitempty"`
	Done     []string     `json:"done,omitempty"` // disturbances already played
	StartAt  time.Time    `json:"start_at,omitzero"`
	Sent     int          `json:"sent,omitempty"` // points driven and reported or set aside
	Lost     meter.Points `json:"lost,omitempty"` // in transit: resent before the trip closes
	Late     meter.Points `json:"late,omitempty"` // to arrive after it
	Reported bool         `json:"reported,omitempty"`
}

func (r *road) planned(c *saga.Context, e trip.Planned) error {
	r.Plan = e
	switch {
	case r.has(chaos.RiderCancelsFirst):
		return r.riderCancels(c)
	case r.has(chaos.RiderCancelsEarly):
		c.After("rider_cancels", changeMind)
	}
	return nil
}

// grid is the step of the world that the ride is played in.
func (r *road) grid() time.Duration {
	if r.Plan.Real {
		return RealGrid
	}
	return Grid
}

// has tells whether the plan holds a disturbance.
func (r *road) has(kind string) bool { return slices.Contains(r.Plan.Chaos, kind) }

// once tells whether the plan holds a disturbance that was not played yet, and
// marks it as played.
func (r *road) once(kind string) bool {
	if !r.has(kind) || slices.Contains(r.Done, kind) {
		return false
	}
	r.Done = append(r.Done, kind)
	return true
}

func (r *road) note(c *saga.Context, kind string) {
	c.Send(trip.Note{RideID: r.Plan.RideID, Kind: kind})
}

func (r *road) offered(c *saga.Context, e ride.Offered) error {
	r.Offer, r.DriverID = e.Offer, e.DriverID
	switch {
	case r.has(chaos.NobodyTakesIt), r.once(chaos.Declines):
		c.After("decline", answerAfter)
	case r.has(chaos.RiderCancelsEarly), r.once(chaos.Ignores): // no answer
	case r.once(chaos.AnswersLate):
		r.Slow, r.SlowID = e.Offer, e.DriverID
		c.After("late_accept", lateAnswer)
	default:
		c.After("accept", answerAfter)
	}
	return nil
}

func (r *road) accept(c *saga.Context) error {
	c.Send(ride.Accept{RideID: r.Plan.RideID, Offer: r.Offer, DriverID: r.DriverID})
	return nil
}

func (r *road) acceptLate(c *saga.Context) error {
	c.Send(ride.Accept{RideID: r.Plan.RideID, Offer: r.Slow, DriverID: r.SlowID})
	return nil
}

func (r *road) decline(c *saga.Context) error {
	c.Send(ride.Decline{RideID: r.Plan.RideID, Offer: r.Offer, DriverID: r.DriverID})
	return nil
}

func (r *road) acceptRejected(c *saga.Context, e saga.Rejection[ride.Accept]) error {
	if e.Command.Offer == r.Slow {
		r.note(c, "driver_race")
	}
	return nil
}

func (r *road) offerDeclined(c *saga.Context, _ ride.OfferDeclined) error { return r.free(c) }
func (r *road) offerExpired(c *saga.Context, _ ride.OfferExpired) error   { return r.free(c) }

func (r *road) free(c *saga.Context) error {
	c.Cancel("accept")
	c.Cancel("decline")
	return nil
}

func (r *road) accepted(c *saga.Context, e ride.Accepted) error {
	r.DriverID = e.DriverID
	switch {
	case r.once(chaos.RiderCancelsLate):
		c.After("rider_cancels", changeMind)
	case r.once(chaos.DriverCancels):
		c.After("driver_cancels", changeMind)
	case r.once(chaos.DriverGivesBack):
		c.After("give_back", changeMind)
	case r.once(chaos.DriverLate): // never arrives
	default:
		span := uint64((driveMax - driveMin) / r.grid())
		steps := chaos.Roll(0, r.Plan.RideID+r.DriverID, "drive") % span
		c.After("arrive", driveMin+time.Duration(steps)*r.grid())
	}
	return nil
}

func (r *road) unassigned(c *saga.Context, _ ride.Unassigned) error {
	c.Cancel("arrive")
	c.Cancel("board")
	return nil
}

func (r *road) riderCancels(c *saga.Context) error {
	c.Send(ride.Cancel{RideID: r.Plan.RideID, By: ride.ByRider})
	return nil
}

func (r *road) driverCancels(c *saga.Context) error {
	c.Send(ride.Cancel{RideID: r.Plan.RideID, By: ride.ByDriver})
	return nil
}

func (r *road) giveBack(c *saga.Context) error {
	c.Send(ride.Unassign{RideID: r.Plan.RideID, DriverID: r.DriverID, Reason: ride.ByDriver})
	return nil
}

func (r *road) arrive(c *saga.Context) error {
	arrive := ride.Arrive{RideID: r.Plan.RideID, DriverID: r.DriverID}
	c.Send(arrive)
	if r.once(chaos.SaysTwice) {
		c.Send(arrive)
	}
	return nil
}

// arriveRejected sees the second report of one arrival refused.
func (r *road) arriveRejected(c *saga.Context, _ saga.Rejection[ride.Arrive]) error {
	if slices.Contains(r.Done, chaos.SaysTwice) {
		r.note(c, chaos.SaysTwice)
	}
	return nil
}

func (r *road) arrived(c *saga.Context, _ ride.Arrived) error {
	switch {
	case r.once(chaos.RiderCancelsAtCar):
		c.After("rider_cancels", changeMind)
	case r.once(chaos.DriverCancelsThen):
		c.After("driver_cancels", changeMind)
	case r.once(chaos.NoShow): // nobody comes
	default:
		c.After("board", boardAfter)
	}
	return nil
}

func (r *road) board(c *saga.Context) error {
	at := c.Now().UTC()
	if r.Plan.MeterAt != nil {
		at = *r.Plan.MeterAt
	}
	c.Send(ride.Start{RideID: r.Plan.RideID, DriverID: r.DriverID, At: at})
	return nil
}

func (r *road) settled(c *saga.Context, _ ride.Settled) error {
	if !r.Plan.Refund {
		c.Complete()
		return nil
	}
	c.After("refund", refundAfter)
	return nil
}

func (r *road) refund(c *saga.Context) error {
	c.Send(ride.Refund{RideID: r.Plan.RideID})
	return nil
}

func (r *road) refunded(c *saga.Context, _ ride.Refunded) error       { return over(c) }
func (r *road) outstanding(c *saga.Context, _ ride.Outstanding) error { return over(c) }
func (r *road) cancelled(c *saga.Context, _ ride.Cancelled) error     { return over(c) }
func (r *road) noShow(c *saga.Context, _ ride.NoShow) error           { return over(c) }
func (r *road) unfulfilled(c *saga.Context, _ ride.Unfulfilled) error { return over(c) }

func over(c *saga.Context) error {
	c.Complete()
	return nil
}
