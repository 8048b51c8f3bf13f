package functions

import (
	"context"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/taxi-demo/internal/driver"
	"github.com/leat-go/leat/taxi-demo/internal/earnings"
	"github.com/leat-go/leat/taxi-demo/internal/meter"
	"github.com/leat-go/leat/taxi-demo/internal/ride"
	"github.com/leat-go/leat/taxi-demo/internal/tariff"
	"github.com/leat-go/leat/taxi-demo/internal/telemetry"
	"github.com/leat-go/leat/taxi-demo/internal/trip"
	"github.com/leat-go/leat/taxi-demo/internal/wallet"
)

// AcceptRide takes the offered driver's yes.
func (f *Functions) AcceptRide(ctx context.Context, c ride.Accept) (eventstore.Commit, error) {
	return f.rides.Update(ctx, c.RideID, func(r *ride.Ride) (aggregate.Events, error) { return r.Accept(c) })
}

// Arrive takes the assigned driver's word that he is at the pick-up.
func (f *Functions) Arrive(ctx context.Context, c ride.Arrive) (eventstore.Commit, error) {
	return f.rides.Update(ctx, c.RideID, func(r *ride.Ride) (aggregate.Events, error) { return r.Arrive(c) })
}

// MarkSignalLost records that the car is silent.
func (f *Functions) MarkSignalLost(ctx context.Context, c ride.MarkSignalLost) (eventstore.Commit, error) {
	return f.rides.Update(ctx, c.RideID, func(r *ride.Ride) (aggregate.Events, error) { return r.MarkSignalLost(c) })
}

// CalculateFare sets the fare by the tariff in force when the trip started.
func (f *Functions) CalculateFare(ctx context.Context, c ride.CalculateFare) (eventstore.Commit, error) {
	return f.withTariff(ctx, c.RideID, func(r *ride.Ride, t meter.Tariff) (aggregate.Events, error) {
		return r.CalculateFare(c, t)
	})
}

// AdjustFare corrects the fare by the same tariff.
func (f *Functions) AdjustFare(ctx context.Context, c ride.AdjustFare) (eventstore.Commit, error) {
	return f.withTariff(ctx, c.RideID, func(r *ride.Ride, t meter.Tariff) (aggregate.Events, error) {
		return r.AdjustFare(c, t)
	})
}

// CloseFare makes the fare final.
func (f *Functions) CloseFare(ctx context.Context, c ride.CloseFare) (eventstore.Commit, error) {
	return f.rides.Update(ctx, c.RideID, func(r *ride.Ride) (aggregate.Events, error) { return r.CloseFare(c) })
}

// withTariff decides on a ride by the tariff in force when it started. Tariffs
// are only ever added with later dates, so the book may be read before the ride.
func (f *Functions) withTariff(ctx context.Context, rideID string, decide func(*ride.Ride, meter.Tariff) (aggregate.Events, error)) (eventstore.Commit, error) {
	var book tariff.Book
	_, err := f.tariffs.Update(looking(ctx), tariff.BookID, func(b *tariff.Book) (aggregate.Events, error) {
		book = *b // published tariffs never change
		return nil, nil
	})
	if err != nil {
		return eventstore.Commit{}, err
	}
	return f.rides.Update(ctx, rideID, func(r *ride.Ride) (aggregate.Events, error) {
		if r.StartedAt.IsZero() {
			return decide(r, meter.Tariff{}) // never started: the ride refuses
		}
		t, err := book.InForce(r.StartedAt)
		if err != nil {
			return nil, err
		}
		return decide(r, t)
	})
}

// SettleRide closes a ride for which everything was charged.
func (f *Functions) SettleRide(ctx context.Context, c ride.Settle) (eventstore.Commit, error) {
	return f.rides.Update(ctx, c.RideID, func(r *ride.Ride) (aggregate.Events, error) { return r.Settle(c) })
}

// MarkOutstanding closes a ride whose rider owes the rest.
func (f *Functions) MarkOutstanding(ctx context.Context, c ride.MarkOutstanding) (eventstore.Commit, error) {
	return f.rides.Update(ctx, c.RideID, func(r *ride.Ride) (aggregate.Events, error) { return r.MarkOutstanding(c) })
}

// RefundRide takes a settled ride back.
func (f *Functions) RefundRide(ctx context.Context, c ride.Refund) (eventstore.Commit, error) {
	return f.rides.Update(ctx, c.RideID, func(r *ride.Ride) (aggregate.Events, error) { return r.Refund(c) })
}

// RecordTelemetry takes a car's report.
func (f *Functions) RecordTelemetry(ctx context.Context, c telemetry.Record) (eventstore.Commit, error) {
	return f.telemetry.Update(ctx, c.RideID, func(t *telemetry.Trip) (aggregate.Events, error) { return t.Record(c) })
}

// CloseTelemetry stops the meter.
func (f *Functions) CloseTelemetry(ctx context.Context, c telemetry.Close) (eventstore.Commit, error) {
	return f.telemetry.Update(ctx, c.RideID, func(t *telemetry.Trip) (aggregate.Events, error) { return t.Close(c) })
}

// GoOnline brings a driver online.
func (f *Functions) GoOnline(ctx context.Context, c driver.GoOnline) (eventstore.Commit, error) {
	return f.drivers.Update(ctx, c.DriverID, func(d *driver.Driver) (aggregate.Events, error) { return d.GoOnline(c) })
}

// GoOffline takes a free driver offline.
func (f *Functions) GoOffline(ctx context.Context, c driver.GoOffline) (eventstore.Commit, error) {
	return f.drivers.Update(ctx, c.DriverID, func(d *driver.Driver) (aggregate.Events, error) { return d.GoOffline(c) })
}

// TopUp pays money into a wallet.
func (f *Functions) TopUp(ctx context.Context, c wallet.TopUp) (eventstore.Commit, error) {
	return f.wallets.Update(ctx, c.RiderID, func(w *wallet.Wallet) (aggregate.Events, error) { return w.TopUp(c) })
}

// HoldFunds sets money aside for a ride.
func (f *Functions) HoldFunds(ctx context.Context, c wallet.Hold) (eventstore.Commit, error) {
	return f.wallets.Update(ctx, c.RiderID, func(w *wallet.Wallet) (aggregate.Events, error) { return w.Hold(c) })
}

// ReleaseHold frees what is set aside for a ride.
func (f *Functions) ReleaseHold(ctx context.Context, c wallet.ReleaseHold) (eventstore.Commit, error) {
	return f.wallets.Update(ctx, c.RiderID, func(w *wallet.Wallet) (aggregate.Events, error) { return w.ReleaseHold(c) })
}

// CaptureFunds pays a ride from the wallet, as far as that goes.
func (f *Functions) CaptureFunds(ctx context.Context, c wallet.Capture) (eventstore.Commit, error) {
	return f.wallets.Update(ctx, c.RiderID, func(w *wallet.Wallet) (aggregate.Events, error) { return w.Capture(c) })
}

// ChargeCard charges the rest to the rider's card, if that is not declined.
func (f *Functions) ChargeCard(ctx context.Context, c wallet.Charge) (eventstore.Commit, error) {
	declined := f.deps.Card.Declines(c.RideID, c.Attempt)
	return f.wallets.Update(ctx, c.RiderID, func(w *wallet.Wallet) (aggregate.Events, error) { return w.Charge(c, declined) })
}

// RefundWallet pays back what the rider paid for a ride.
func (f *Functions) RefundWallet(ctx context.Context, c wallet.Refund) (eventstore.Commit, error) {
	return f.wallets.Update(ctx, c.RiderID, func(w *wallet.Wallet) (aggregate.Events, error) { return w.Refund(c) })
}

// AccrueEarnings credits a ride to its driver.
func (f *Functions) AccrueEarnings(ctx context.Context, c earnings.Accrue) (eventstore.Commit, error) {
	return f.accounts.Update(ctx, c.DriverID, func(a *earnings.Account) (aggregate.Events, error) { return a.Accrue(c) })
}

// ClawBackEarnings takes a refunded ride from its driver.
func (f *Functions) ClawBackEarnings(ctx context.Context, c earnings.ClawBack) (eventstore.Commit, error) {
	return f.accounts.Update(ctx, c.DriverID, func(a *earnings.Account) (aggregate.Events, error) { return a.ClawBack(c) })
}

// PayOut pays a driver what is due, if the bank does not refuse.
func (f *Functions) PayOut(ctx context.Context, c earnings.PayOut) (eventstore.Commit, error) {
	refused := f.deps.Bank.Refuses(c.DriverID, c.Attempt)
	return f.accounts.Update(ctx, c.DriverID, func(a *earnings.Account) (aggregate.Events, error) { return a.PayOut(c, refused) })
}

// FlagPayout hands a driver's payout to a person.
func (f *Functions) FlagPayout(ctx context.Context, c earnings.FlagPayout) (eventstore.Commit, error) {
	return f.accounts.Update(ctx, c.DriverID, func(a *earnings.Account) (aggregate.Events, error) { return a.Flag(c) })
}

// PublishTariff publishes the next tariff.
func (f *Functions) PublishTariff(ctx context.Context, c tariff.Publish) (eventstore.Commit, error) {
	return f.tariffs.Update(ctx, tariff.BookID, func(b *tariff.Book) (aggregate.Events, error) { return b.Publish(c) })
}

// NoteDisturbance records what chaos did to a trip.
func (f *Functions) NoteDisturbance(ctx context.Context, c trip.Note) (eventstore.Commit, error) {
	return f.trips.Update(ctx, c.RideID, func(t *trip.Trip) (aggregate.Events, error) { return t.Note(c) })
}
