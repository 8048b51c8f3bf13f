package process

import (
	"time"

	"github.com/leat-go/leat/saga"
	"github.com/leat-go/leat/taxi-demo/internal/ride"
)

const (
	lateAfter   = 15 * time.Minute // a driver who is not there by then loses the ride
	noShowAfter = 5 * time.Minute  // a rider who is not there by then pays the fee
)

// Pickup watches the way to the rider: it takes the ride from a driver who is
// late and ends it where the rider does not come.
var Pickup = saga.Define("pickup", 1,
	saga.Starts(func(e ride.Accepted) string { return e.RideID }, (*pickingUp).accepted),
	saga.On(func(e ride.Arrived) string { return e.RideID }, (*pickingUp).arrived),
	saga.On(func(e ride.Unassigned) string { return e.RideID }, (*pickingUp).unassigned),
	saga.On(func(e ride.Started) string { return e.RideID }, (*pickingUp).started),
	saga.On(func(e ride.Cancelled) string { return e.RideID }, (*pickingUp).cancelled),
	saga.On(func(e ride.NoShow) string { return e.RideID }, (*pickingUp).noShow),
	saga.On(func(e ride.Unfulfilled) string { return e.RideID }, (*pickingUp).unfulfilled),
	saga.Timer("late", (*pickingUp).late),
	saga.Timer("no_show", (*pickingUp).nobody),
	saga.IgnoreRejected[pickingUp, ride.Unassign](),
	saga.IgnoreRejected[pickingUp, ride.MarkNoShow](),
)

type pickingUp struct {
	DriverID string `json:"driver_id"`
}

func (p *pickingUp) accepted(c *saga.Context, e ride.Accepted) error {
	p.DriverID = e.DriverID
	c.After("late", lateAfter)
	return nil
}

func (p *pickingUp) late(c *saga.Context) error {
	c.Send(ride.Unassign{RideID: c.Key(), DriverID: p.DriverID, Reason: ride.Late})
	return nil
}

func (p *pickingUp) arrived(c *saga.Context, _ ride.Arrived) error {
	c.Cancel("late")
	c.After("no_show", noShowAfter)
	return nil
}

func (p *pickingUp) nobody(c *saga.Context) error {
	c.Send(ride.MarkNoShow{RideID: c.Key()})
	return nil
}

// unassigned leaves the instance open for the next driver.
func (p *pickingUp) unassigned(c *saga.Context, _ ride.Unassigned) error {
	c.Cancel("late")
	c.Cancel("no_show")
	return nil
}

func (p *pickingUp) started(c *saga.Context, _ ride.Started) error         { return done(c) }
func (p *pickingUp) cancelled(c *saga.Context, _ ride.Cancelled) error     { return done(c) }
func (p *pickingUp) noShow(c *saga.Context, _ ride.NoShow) error           { return done(c) }
func (p *pickingUp) unfulfilled(c *saga.Context, _ ride.Unfulfilled) error { return done(c) }

func done(c *saga.Context) error {
	c.Complete()
	return nil
}
