package functions

import (
	"context"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/serverless"
)

// payload is a command that says its durable name, which is the function's.
type payload interface{ CommandType() string }

func register[C payload](h *serverless.Host, fn func(context.Context, C) (eventstore.Commit, error)) {
	var zero C
	serverless.Command(h, zero.CommandType(), fn)
}

// Register makes every function a command of the host, under the name that its
// payload says.
func (f *Functions) Register(h *serverless.Host) {
	register(h, f.RequestTrip)
	register(h, f.RecordTrip)
	register(h, f.NoteDisturbance)
	register(h, f.PublishTariff)

	register(h, f.OfferRide)
	register(h, f.DeclineOffer)
	register(h, f.ExpireOffer)
	register(h, f.AcceptRide)
	register(h, f.UnassignRide)
	register(h, f.Arrive)
	register(h, f.StartTrip)
	register(h, f.MarkSignalLost)
	register(h, f.EndTrip)
	register(h, f.CalculateFare)
	register(h, f.AdjustFare)
	register(h, f.CloseFare)
	register(h, f.CancelRide)
	register(h, f.MarkNoShow)
	register(h, f.MarkUnfulfilled)
	register(h, f.SettleRide)
	register(h, f.MarkOutstanding)
	register(h, f.RefundRide)

	register(h, f.RecordTelemetry)
	register(h, f.CloseTelemetry)

	register(h, f.GoOnline)
	register(h, f.GoOffline)

	register(h, f.TopUp)
	register(h, f.HoldFunds)
	register(h, f.ReleaseHold)
	register(h, f.CaptureFunds)
	register(h, f.ChargeCard)
	register(h, f.RefundWallet)

	register(h, f.AccrueEarnings)
	register(h, f.ClawBackEarnings)
	register(h, f.PayOut)
	register(h, f.FlagPayout)
}
