package functions

import (
	"context"
	"errors"
	"fmt"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/taxi-demo/internal/driver"
	"github.com/leat-go/leat/taxi-demo/internal/ride"
)

const (
	// maxCandidates is how many drivers are tried for one offer.
	maxCandidates = 8
	// maxRegroups is how often a command follows a ride from driver to driver.
	maxRegroups = 10
)

// ErrNoDriver refuses an offer that can be made to nobody at the moment.
var ErrNoDriver = aggregate.Reject("no_driver", "no driver is free for the ride")

// errRegroup: the ride has another driver than when the command looked.
var errRegroup = errors.New("functions: the ride has changed drivers")

type (
	onRide   func(*ride.Ride) (aggregate.Events, error)
	onDriver func(d *driver.Driver, driverID string) (aggregate.Events, error)
)

// OfferRide offers the ride to the nearest driver who is really free, and
// reserves him.
func (f *Functions) OfferRide(ctx context.Context, c ride.Offer) (eventstore.Commit, error) {
	candidates, err := f.deps.Nearest(ctx, c.Seen, c.Zone, c.Asked, maxCandidates)
	if err != nil {
		return eventstore.Commit{}, fmt.Errorf("nearest drivers to zone %d: %w", c.Zone, err)
	}
	for _, driverID := range candidates {
		commit, err := f.offerTo(ctx, c, driverID)
		if !errors.Is(err, driver.ErrNotFree) {
			return commit, err
		}
	}
	// Decided on the ride all the same: it may not be open any more, or the
	// command may have reserved the driver before who is missing now.
	return f.rides.Update(ctx, c.RideID, func(r *ride.Ride) (aggregate.Events, error) {
		if _, err := r.Offer(c, ""); err != nil {
			return nil, err
		}
		return nil, ErrNoDriver
	})
}

func (f *Functions) offerTo(ctx context.Context, c ride.Offer, driverID string) (eventstore.Commit, error) {
	return f.both(ctx, c.RideID, driverID,
		func(r *ride.Ride) (aggregate.Events, error) { return r.Offer(c, driverID) },
		func(d *driver.Driver, id string) (aggregate.Events, error) { return d.Reserve(id, c.RideID) })
}

// DeclineOffer ends the offer and releases its driver.
func (f *Functions) DeclineOffer(ctx context.Context, c ride.Decline) (eventstore.Commit, error) {
	return f.both(ctx, c.RideID, c.DriverID,
		func(r *ride.Ride) (aggregate.Events, error) { return r.Decline(c) }, release(c.RideID))
}

// ExpireOffer ends the offer and releases its driver.
func (f *Functions) ExpireOffer(ctx context.Context, c ride.Expire) (eventstore.Commit, error) {
	return f.withItsDriver(ctx, c.RideID,
		func(r *ride.Ride) (aggregate.Events, error) { return r.Expire(c) }, release(c.RideID))
}

// UnassignRide opens the ride again and releases its driver.
func (f *Functions) UnassignRide(ctx context.Context, c ride.Unassign) (eventstore.Commit, error) {
	return f.both(ctx, c.RideID, c.DriverID,
		func(r *ride.Ride) (aggregate.Events, error) { return r.Unassign(c) }, release(c.RideID))
}

// StartTrip starts the trip of the ride and of its driver.
func (f *Functions) StartTrip(ctx context.Context, c ride.Start) (eventstore.Commit, error) {
	return f.both(ctx, c.RideID, c.DriverID,
		func(r *ride.Ride) (aggregate.Events, error) { return r.Start(c) },
		func(d *driver.Driver, id string) (aggregate.Events, error) { return d.Start(id, c.RideID) })
}

// EndTrip ends the trip and frees the driver where it ended.
func (f *Functions) EndTrip(ctx context.Context, c ride.End) (eventstore.Commit, error) {
	var zone int // set by the ride's decision, which comes first
	return f.withItsDriver(ctx, c.RideID,
		func(r *ride.Ride) (aggregate.Events, error) { zone = r.Dropoff; return r.End(c) },
		func(d *driver.Driver, id string) (aggregate.Events, error) { return d.Finish(id, c.RideID, zone) })
}

// CancelRide ends the ride without a trip and releases the driver it has.
func (f *Functions) CancelRide(ctx context.Context, c ride.Cancel) (eventstore.Commit, error) {
	return f.withItsDriver(ctx, c.RideID,
		func(r *ride.Ride) (aggregate.Events, error) { return r.Cancel(c) }, release(c.RideID))
}

// MarkNoShow ends the ride without a trip and releases its driver.
func (f *Functions) MarkNoShow(ctx context.Context, c ride.MarkNoShow) (eventstore.Commit, error) {
	return f.withItsDriver(ctx, c.RideID,
		func(r *ride.Ride) (aggregate.Events, error) { return r.MarkNoShow(c) }, release(c.RideID))
}

// MarkUnfulfilled ends a ride that nobody accepted and releases the driver of
// an open offer.
func (f *Functions) MarkUnfulfilled(ctx context.Context, c ride.MarkUnfulfilled) (eventstore.Commit, error) {
	return f.withItsDriver(ctx, c.RideID,
		func(r *ride.Ride) (aggregate.Events, error) { return r.MarkUnfulfilled(c) }, release(c.RideID))
}

func release(rideID string) onDriver {
	return func(d *driver.Driver, driverID string) (aggregate.Events, error) { return d.Release(driverID, rideID) }
}

// both decides on the ride, then on the driver, in one batch.
func (f *Functions) both(ctx context.Context, rideID, driverID string, decideRide onRide, decideDriver onDriver) (eventstore.Commit, error) {
	return aggregate.UpdateAll(ctx,
		f.rides.Change(rideID, decideRide),
		f.drivers.Change(driverID, func(d *driver.Driver) (aggregate.Events, error) { return decideDriver(d, driverID) }))
}

// withItsDriver is both for the driver that the ride has, or for the ride alone
// where it has none. Where the ride changes drivers between the look and the
// decision, it looks again.
func (f *Functions) withItsDriver(ctx context.Context, rideID string, decideRide onRide, decideDriver onDriver) (eventstore.Commit, error) {
	for range maxRegroups {
		driverID, err := f.driverOf(ctx, rideID)
		if err != nil {
			return eventstore.Commit{}, err
		}
		same := func(r *ride.Ride) (aggregate.Events, error) {
			if r.DriverID != driverID {
				return nil, errRegroup
			}
			return decideRide(r)
		}
		var commit eventstore.Commit
		if driverID == "" {
			commit, err = f.rides.Update(ctx, rideID, same)
		} else {
			commit, err = f.both(ctx, rideID, driverID, same, decideDriver)
		}
		if !errors.Is(err, errRegroup) {
			return commit, err
		}
	}
	return eventstore.Commit{}, fmt.Errorf("ride %s, %d times: %w", rideID, maxRegroups, errRegroup)
}

func (f *Functions) driverOf(ctx context.Context, rideID string) (string, error) {
	var driverID string
	_, err := f.rides.Update(looking(ctx), rideID, func(r *ride.Ride) (aggregate.Events, error) {
		driverID = r.DriverID
		return nil, nil
	})
	return driverID, err
}
