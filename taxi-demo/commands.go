package main

import (
	"context"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/saga"
	"github.com/leat-go/leat/serverless"
	"github.com/leat-go/leat/taxi-demo/internal/functions"
)

// commands registers every command function under the durable name that its
// payload says.
func commands(h *serverless.Host, f *functions.Functions) {
	// The world outside.
	command(h, f.RequestTrip)
	command(h, f.RecordTrip)
	command(h, f.NoteDisturbance)
	command(h, f.PublishTariff)

	// A ride, from the search for a driver to its end.
	command(h, f.OfferRide)
	command(h, f.DeclineOffer)
	command(h, f.ExpireOffer)
	command(h, f.AcceptRide)
	command(h, f.UnassignRide)
	command(h, f.Arrive)
	command(h, f.StartTrip)
	command(h, f.MarkSignalLost)
	command(h, f.EndTrip)
	command(h, f.CancelRide)
	command(h, f.MarkNoShow)
	command(h, f.MarkUnfulfilled)

	// The meter.
	command(h, f.RecordTelemetry)
	command(h, f.CloseTelemetry)

	// Money.
	command(h, f.CalculateFare)
	command(h, f.AdjustFare)
	command(h, f.SettleRide)
	command(h, f.MarkOutstanding)
	command(h, f.RefundRide)
	command(h, f.TopUp)
	command(h, f.HoldFunds)
	command(h, f.ReleaseHold)
	command(h, f.CaptureFunds)
	command(h, f.ChargeCard)
	command(h, f.RefundWallet)
	command(h, f.AccrueEarnings)
	command(h, f.ClawBackEarnings)
	command(h, f.PayOut)
	command(h, f.FlagPayout)

	// Drivers.
	command(h, f.GoOnline)
	command(h, f.GoOffline)
}

func command[C saga.Command](h *serverless.Host, fn func(context.Context, C) (eventstore.Commit, error)) {
	var c C
	serverless.Command(h, c.CommandType(), fn)
}
