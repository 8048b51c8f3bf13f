package views

import (
	"context"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/taxi-demo/internal/ride"
)

// Rides is one row a ride: who, where, how far it has come, what it costs.
var Rides = projection.Define("rides", 1, `
	CREATE TABLE ride (
		ride_id      TEXT PRIMARY KEY,
		rider_id     TEXT NOT NULL,
		driver_id    TEXT,
		pickup       INTEGER NOT NULL,
		dropoff      INTEGER NOT NULL,
		status       TEXT NOT NULL,
		offers       INTEGER NOT NULL DEFAULT 0,
		quote        INTEGER NOT NULL,
		total        INTEGER,
		requested_at INTEGER NOT NULL,
		changed_at   INTEGER NOT NULL
	) STRICT, WITHOUT ROWID;
	CREATE TABLE outcome (
		status TEXT PRIMARY KEY,
		rides  INTEGER NOT NULL
	) STRICT, WITHOUT ROWID;`,
	projection.On(rideRequested),
	projection.On(rideOffered),
	projection.On(rideAccepted),
	projection.On(rideUnassigned),
	projection.On(rideArrived),
	projection.On(rideStarted),
	projection.On(rideEnded),
	projection.On(rideFared),
	projection.On(rideAdjusted),
	projection.On(rideDue),
	projection.On(rideDeclined),
	projection.On(rideExpired),
	projection.On(rideCancelled),
	projection.On(rideNoShow),
	projection.On(rideUnfulfilled),
	projection.On(rideSettled),
	projection.On(rideOutstanding),
	projection.On(rideRefunded),
)

// Outcomes that the check counts; every other status is an open ride.
const (
	Open        = "open"
	Settled     = "settled"
	Cancelled   = "cancelled"
	Unfulfilled = "unfulfilled"
	Outstanding = "outstanding"
	RefundedOut = "refunded"
)

func rideRequested(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.Requested]) error {
	p := e.Payload
	err := exec(tx, `
		INSERT INTO ride (ride_id, rider_id, pickup, dropoff, status, quote, requested_at, changed_at)
		VALUES (?, ?, ?, ?, 'requested', ?, ?, ?)`,
		p.RideID, p.RiderID, p.Pickup, p.Dropoff, p.Quote, e.Time, e.Time)
	if err != nil {
		return err
	}
	return count(tx, Open, 1)
}

func count(tx *projection.Tx, outcome string, n int) error {
	return exec(tx, `
		INSERT INTO outcome (status, rides)
		VALUES (?, ?)
		ON CONFLICT (status) DO UPDATE SET rides = rides + excluded.rides`,
		outcome, n)
}

func rideOffered(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.Offered]) error {
	return exec(tx, `
		UPDATE ride
		SET status = 'offered', driver_id = ?, offers = offers + 1, changed_at = ?
		WHERE ride_id = ?`,
		e.Payload.DriverID, e.Time, e.Payload.RideID)
}

// stage moves a ride on.
func stage(tx *projection.Tx, rideID, status string, at int64) error {
	return exec(tx, `
		UPDATE ride
		SET status = ?, changed_at = ?
		WHERE ride_id = ?`,
		status, at, rideID)
}

func rideAccepted(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.Accepted]) error {
	return stage(tx, e.Payload.RideID, "accepted", e.Time)
}

func rideUnassigned(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.Unassigned]) error {
	return reopen(tx, e.Payload.RideID, e.Time)
}

func rideDeclined(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.OfferDeclined]) error {
	return reopen(tx, e.Payload.RideID, e.Time)
}

func rideExpired(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.OfferExpired]) error {
	return reopen(tx, e.Payload.RideID, e.Time)
}

// reopen has a ride wait for a driver again.
func reopen(tx *projection.Tx, rideID string, at int64) error {
	return exec(tx, `
		UPDATE ride
		SET status = 'requested', driver_id = NULL, changed_at = ?
		WHERE ride_id = ?`,
		at, rideID)
}

func rideDue(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.FareClosed]) error {
	return stage(tx, e.Payload.RideID, "due", e.Time)
}

func rideArrived(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.Arrived]) error {
	return stage(tx, e.Payload.RideID, "arrived", e.Time)
}

func rideStarted(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.Started]) error {
	return stage(tx, e.Payload.RideID, "driving", e.Time)
}

func rideEnded(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.Ended]) error {
	return stage(tx, e.Payload.RideID, "ended", e.Time)
}

func rideFared(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.FareCalculated]) error {
	return total(tx, e.Payload.RideID, e.Payload.Bill.Total(), e.Time)
}

func rideAdjusted(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.FareAdjusted]) error {
	return total(tx, e.Payload.RideID, e.Payload.Bill.Total(), e.Time)
}

func total(tx *projection.Tx, rideID string, cents, at int64) error {
	return exec(tx, `
		UPDATE ride
		SET status = 'fared', total = ?, changed_at = ?
		WHERE ride_id = ?`,
		cents, at, rideID)
}

// finish moves a ride from one outcome to another.
func finish(tx *projection.Tx, rideID, from, to string, at int64) error {
	if err := stage(tx, rideID, to, at); err != nil {
		return err
	}
	if err := count(tx, from, -1); err != nil {
		return err
	}
	return count(tx, to, 1)
}

func rideCancelled(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.Cancelled]) error {
	return finish(tx, e.Payload.RideID, Open, Cancelled, e.Time)
}

// rideNoShow counts as cancelled: the ride ended without a trip, for a fee.
func rideNoShow(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.NoShow]) error {
	return finish(tx, e.Payload.RideID, Open, Cancelled, e.Time)
}

func rideUnfulfilled(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.Unfulfilled]) error {
	return finish(tx, e.Payload.RideID, Open, Unfulfilled, e.Time)
}

func rideSettled(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.Settled]) error {
	return finish(tx, e.Payload.RideID, Open, Settled, e.Time)
}

// rideOutstanding follows a fare, or the fee of a cancelled ride.
func rideOutstanding(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.Outstanding]) error {
	var status string
	err := tx.QueryRow(`SELECT status FROM ride WHERE ride_id = ?`, e.Payload.RideID).Scan(&status)
	if err != nil {
		return err
	}
	from := Open
	if status == Cancelled {
		from = Cancelled
	}
	return finish(tx, e.Payload.RideID, from, Outstanding, e.Time)
}

func rideRefunded(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.Refunded]) error {
	return finish(tx, e.Payload.RideID, Settled, RefundedOut, e.Time)
}
