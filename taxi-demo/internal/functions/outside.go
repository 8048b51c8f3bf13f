package functions

import (
	"context"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/taxi-demo/internal/driver"
	"github.com/leat-go/leat/taxi-demo/internal/ride"
	"github.com/leat-go/leat/taxi-demo/internal/trip"
	"github.com/leat-go/leat/taxi-demo/internal/wallet"
)

// RequestTrip is all that the world outside does for a ride to begin: the trip
// is recorded and planned, the rider's wallet topped up, the car that will drive
// it online, and the ride requested.
type RequestTrip struct {
	Recorded  trip.Recorded  `json:"recorded"`
	Planned   trip.Planned   `json:"planned"`
	Requested ride.Requested `json:"requested"`
	// TopUp is paid into the rider's wallet, in cents; 0 for nothing.
	TopUp int64 `json:"top_up,omitempty"`
	// DriverID is the driver who comes online for it in DriverZone; empty for
	// none.
	DriverID   string `json:"driver_id,omitempty"`
	DriverZone int    `json:"driver_zone,omitempty"`
}

// RecordTrip records a row that is not driven.
type RecordTrip struct {
	Recorded trip.Recorded `json:"recorded"`
}

// CommandType implementations: the durable names.
func (RequestTrip) CommandType() string { return "request_trip" }
func (RecordTrip) CommandType() string  { return "record_trip" }

// RequestTrip carries out everything in one batch.
func (f *Functions) RequestTrip(ctx context.Context, c RequestTrip) (eventstore.Commit, error) {
	rideID, riderID := c.Requested.RideID, c.Requested.RiderID
	changes := make([]aggregate.Change, 0, 4)
	changes = append(changes, f.trips.Change(rideID, func(t *trip.Trip) (aggregate.Events, error) {
		if c.Planned.RideID != rideID || c.Planned.RiderID != riderID {
			return nil, trip.ErrInvalid
		}
		return t.Plan(c.Recorded, c.Planned)
	}))
	if c.TopUp != 0 {
		changes = append(changes, f.wallets.Change(riderID, func(w *wallet.Wallet) (aggregate.Events, error) {
			return w.TopUp(wallet.TopUp{RiderID: riderID, Amount: c.TopUp})
		}))
	}
	if c.DriverID != "" {
		changes = append(changes, f.drivers.Change(c.DriverID, func(d *driver.Driver) (aggregate.Events, error) {
			return d.GoOnline(driver.GoOnline{DriverID: c.DriverID, Zone: c.DriverZone})
		}))
	}
	changes = append(changes, f.rides.Change(rideID, func(r *ride.Ride) (aggregate.Events, error) {
		return r.Request(c.Requested)
	}))
	return aggregate.UpdateAll(ctx, changes...)
}

// RecordTrip records a row that is not driven.
func (f *Functions) RecordTrip(ctx context.Context, c RecordTrip) (eventstore.Commit, error) {
	return f.trips.Update(ctx, trip.RowID(c.Recorded), func(t *trip.Trip) (aggregate.Events, error) {
		return t.Record(c.Recorded)
	})
}
