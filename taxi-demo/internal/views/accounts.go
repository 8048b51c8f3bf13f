package views

import (
	"context"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/taxi-demo/internal/earnings"
	"github.com/leat-go/leat/taxi-demo/internal/ride"
	"github.com/leat-go/leat/taxi-demo/internal/wallet"
)

// Wallets is one row a rider, in cents.
var Wallets = projection.Define("wallets", 1, `
	CREATE TABLE wallet (
		rider_id TEXT PRIMARY KEY,
		balance  INTEGER NOT NULL CHECK (balance >= 0),
		held     INTEGER NOT NULL CHECK (held >= 0),
		spent    INTEGER NOT NULL
	) STRICT, WITHOUT ROWID;
	CREATE TABLE hold (
		ride_id TEXT PRIMARY KEY,
		amount  INTEGER NOT NULL
	) STRICT, WITHOUT ROWID;`,
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[wallet.Opened]) error {
		return exec(tx, `
			INSERT INTO wallet (rider_id, balance, held, spent)
			VALUES (?, 0, 0, 0)`, e.Payload.RiderID)
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[wallet.ToppedUp]) error {
		return walletAdd(tx, e.Payload.RiderID, e.Payload.Amount, 0, 0)
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[wallet.Held]) error {
		err := exec(tx, `
			INSERT INTO hold (ride_id, amount)
			VALUES (?, ?)`, e.Payload.RideID, e.Payload.Amount)
		if err != nil {
			return err
		}
		return walletAdd(tx, e.Payload.RiderID, 0, e.Payload.Amount, 0)
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[wallet.HoldReleased]) error {
		return dropHold(tx, e.Payload.RiderID, e.Payload.RideID)
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[wallet.Captured]) error {
		if err := dropHold(tx, e.Payload.RiderID, e.Payload.RideID); err != nil {
			return err
		}
		return walletAdd(tx, e.Payload.RiderID, -e.Payload.Amount, 0, e.Payload.Amount)
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[wallet.Charged]) error {
		return walletAdd(tx, e.Payload.RiderID, 0, 0, e.Payload.Amount)
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[wallet.Refunded]) error {
		return walletAdd(tx, e.Payload.RiderID, e.Payload.Amount, 0, -e.Payload.Amount)
	}),
)

func walletAdd(tx *projection.Tx, riderID string, balance, held, spent int64) error {
	return exec(tx, `
		UPDATE wallet
		SET balance = balance + ?, held = held + ?, spent = spent + ?
		WHERE rider_id = ?`,
		balance, held, spent, riderID)
}

func dropHold(tx *projection.Tx, riderID, rideID string) error {
	err := exec(tx, `
		UPDATE wallet
		SET held = held - COALESCE((SELECT amount FROM hold WHERE ride_id = ?), 0)
		WHERE rider_id = ?`, rideID, riderID)
	if err != nil {
		return err
	}
	return exec(tx, `DELETE FROM hold WHERE ride_id = ?`, rideID)
}

// Earnings is one row a driver, in cents.
var Earnings = projection.Define("earnings", 1, `
	CREATE TABLE earnings (
		driver_id TEXT PRIMARY KEY,
		accrued   INTEGER NOT NULL,
		paid      INTEGER NOT NULL,
		flagged   INTEGER NOT NULL DEFAULT 0
	) STRICT, WITHOUT ROWID;`,
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[earnings.Accrued]) error {
		return earned(tx, e.Payload.DriverID, e.Payload.Net+e.Payload.Tip+e.Payload.Tolls, 0, 0)
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[earnings.ClawedBack]) error {
		return earned(tx, e.Payload.DriverID, -(e.Payload.Net + e.Payload.Tip + e.Payload.Tolls), 0, 0)
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[earnings.PaidOut]) error {
		return earned(tx, e.Payload.DriverID, 0, e.Payload.Amount, 0)
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[earnings.PayoutFlagged]) error {
		return earned(tx, e.Payload.DriverID, 0, 0, 1)
	}),
)

func earned(tx *projection.Tx, driverID string, accrued, paid, flagged int64) error {
	return exec(tx, `
		INSERT INTO earnings (driver_id, accrued, paid, flagged)
		VALUES (?, ?, ?, ?)
		ON CONFLICT (driver_id) DO UPDATE SET
			accrued = accrued + excluded.accrued,
			paid = paid + excluded.paid,
			flagged = flagged + excluded.flagged`,
		driverID, accrued, paid, flagged)
}

// Bills is the bill of each ride that was driven, line by line, in cents.
var Bills = projection.Define("bills", 1, `
	CREATE TABLE receipt (
		ride_id     TEXT PRIMARY KEY,
		rider_id    TEXT NOT NULL,
		fare        INTEGER NOT NULL,
		extra       INTEGER NOT NULL,
		taxes       INTEGER NOT NULL,
		tolls       INTEGER NOT NULL,
		tip         INTEGER NOT NULL,
		total       INTEGER NOT NULL CHECK (total = fare + extra + taxes + tolls + tip)
	) STRICT, WITHOUT ROWID;`,
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.FareCalculated]) error {
		b := e.Payload.Bill
		return exec(tx, `
			INSERT INTO receipt (ride_id, rider_id, fare, extra, taxes, tolls, tip, total)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
			e.Payload.RideID, e.Payload.RiderID, b.Fare, b.Extra, b.Taxes(), b.Tolls, b.Tip, b.Total())
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.FareAdjusted]) error {
		b := e.Payload.Bill
		return exec(tx, `
			UPDATE receipt
			SET fare = ?, extra = ?, taxes = ?, tolls = ?, tip = ?, total = ?
			WHERE ride_id = ?`,
			b.Fare, b.Extra, b.Taxes(), b.Tolls, b.Tip, b.Total(), e.Payload.RideID)
	}),
)
