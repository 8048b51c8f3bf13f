package views

import (
	"context"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/taxi-demo/internal/ride"
	"github.com/leat-go/leat/taxi-demo/internal/trip"
)

// FareCheck holds what was recorded of each trip beside what the meter made of
// its telemetry. It alone reads the recorded fare. That they agree proves the
// way from the telemetry through the log to the fare, not a prediction: the
// replay chose how long the car stood so that the recorded fare is due.
var FareCheck = projection.Define("fare_check", 1, `
	CREATE TABLE trip (
		source  TEXT NOT NULL,
		row     INTEGER NOT NULL,
		class   TEXT NOT NULL,
		ride_id TEXT,
		refund  INTEGER NOT NULL,
		fare    INTEGER NOT NULL,
		PRIMARY KEY (source, row)
	) STRICT, WITHOUT ROWID;
	CREATE TABLE metered (
		ride_id TEXT PRIMARY KEY,
		quote   INTEGER NOT NULL,
		fare    INTEGER
	) STRICT, WITHOUT ROWID;
	-- Trips that somebody drove, and so must end as they did.
	CREATE TABLE real_trip (
		ride_id TEXT PRIMARY KEY,
		lost    INTEGER NOT NULL DEFAULT 0 CHECK (lost IN (0, 1))
	) STRICT, WITHOUT ROWID;`,
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[trip.Recorded]) error {
		p := e.Payload
		var rideID any
		if p.RideID != "" {
			rideID = p.RideID
		}
		return exec(tx, `
			INSERT INTO trip (source, row, class, ride_id, refund, fare)
			VALUES (?, ?, ?, ?, ?, ?)`,
			p.Source, p.Row, string(p.Class), rideID, p.Refund, p.Fare)
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.Requested]) error {
		return exec(tx, `
			INSERT INTO metered (ride_id, quote)
			VALUES (?, ?)`,
			e.Payload.RideID, e.Payload.Quote)
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.FareCalculated]) error {
		return metered(tx, e.Payload.RideID, e.Payload.Bill.Fare)
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.FareAdjusted]) error {
		return metered(tx, e.Payload.RideID, e.Payload.Bill.Fare)
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[trip.Planned]) error {
		if !e.Payload.Real {
			return nil
		}
		return exec(tx, `
			INSERT INTO real_trip (ride_id)
			VALUES (?)`, e.Payload.RideID)
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.Cancelled]) error {
		return lost(tx, e.Payload.RideID)
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.NoShow]) error {
		return lost(tx, e.Payload.RideID)
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.Unfulfilled]) error {
		return lost(tx, e.Payload.RideID)
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.Outstanding]) error {
		return lost(tx, e.Payload.RideID)
	}),
)

// lost marks a real trip whose ride ended otherwise than it did.
func lost(tx *projection.Tx, rideID string) error {
	return exec(tx, `
		UPDATE real_trip
		SET lost = 1
		WHERE ride_id = ?`, rideID)
}

func metered(tx *projection.Tx, rideID string, fare int64) error {
	return exec(tx, `
		UPDATE metered
		SET fare = ?
		WHERE ride_id = ?`,
		fare, rideID)
}
