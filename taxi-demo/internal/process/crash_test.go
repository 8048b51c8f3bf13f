package process_test

import (
	"testing"
	"time"

	"github.com/leat-go/leat/saga/sagatest"
	"github.com/leat-go/leat/taxi-demo/internal/earnings"
	"github.com/leat-go/leat/taxi-demo/internal/functions"
	"github.com/leat-go/leat/taxi-demo/internal/process"
	"github.com/leat-go/leat/taxi-demo/internal/ride"
	"github.com/leat-go/leat/taxi-demo/internal/telemetry"
	"github.com/leat-go/leat/taxi-demo/internal/wallet"
)

// TestEverySagaSurvivesEveryCrash takes each saga along its branches, with the
// engine killed at every boundary.
func TestEverySagaSurvivesEveryCrash(t *testing.T) {
	for name, script := range map[string]func(testing.TB){
		"dispatch: a decline, an expiry, a driver who gives back": func(t testing.TB) {
			sagatest.New(t, process.Dispatch).
				When(requested).Done().When(held).
				When(ride.Offered{RideID: "a", Offer: 1, DriverID: "d1"}, ride.OfferDeclined{RideID: "a", Offer: 1, DriverID: "d1"}).
				When(ride.Offered{RideID: "a", Offer: 2, DriverID: "d2"}).Advance(15*time.Second).Done().
				When(ride.OfferExpired{RideID: "a", Offer: 2, DriverID: "d2"}).
				When(ride.Offered{RideID: "a", Offer: 3, DriverID: "d3"}, ride.Accepted{RideID: "a", Offer: 3, DriverID: "d3"}).
				When(ride.Unassigned{RideID: "a", DriverID: "d3"}).
				When(ride.Offered{RideID: "a", Offer: 4, DriverID: "d4"}, ride.Accepted{RideID: "a", Offer: 4, DriverID: "d4"}).
				When(ride.Started{RideID: "a", DriverID: "d4"}).Completed()
		},
		"dispatch: nobody drives, and the hold is released": func(t testing.TB) {
			sagatest.New(t, process.Dispatch).
				When(requested).Done().When(held).
				Reject(ride.Offer{RideID: "a", Zone: 7, Seen: 2}, functions.ErrNoDriver.Code).
				Advance(130*time.Second).
				Reject(ride.Offer{RideID: "a", Zone: 7, Seen: 2}, functions.ErrNoDriver.Code).
				When(ride.Unfulfilled{RideID: "a", Reason: ride.NoDriver}).Done().Done().Compensated()
		},
		"dispatch: a wallet that is short": func(t testing.TB) {
			sagatest.New(t, process.Dispatch).
				When(requested).Reject(hold, "wallet_short").Done().
				When(ride.Unfulfilled{RideID: "a", Reason: ride.WalletShort}).Compensated()
		},
		"pickup: a late driver, then a rider who does not come": func(t testing.TB) {
			sagatest.New(t, process.Pickup).
				When(ride.Accepted{RideID: "a", DriverID: "d"}).Advance(15*time.Minute).Done().
				When(ride.Unassigned{RideID: "a", DriverID: "d"}, ride.Accepted{RideID: "a", DriverID: "e"}, ride.Arrived{RideID: "a", DriverID: "e"}).
				Advance(5 * time.Minute).Done().
				When(ride.NoShow{RideID: "a"}).Completed()
		},
		"watchdog: a car that vanishes": func(t testing.TB) {
			sagatest.New(t, process.Watchdog).
				When(ride.Started{RideID: "a"}, telemetry.Recorded{RideID: "a"}).
				Advance(11 * time.Minute).Done().
				When(ride.Ended{RideID: "a", Flagged: true}).Completed()
		},
		"settlement: a card that is declined for good": func(t testing.TB) {
			s := sagatest.New(t, process.Settlement).
				When(telemetry.Closed{RideID: "a", Units: 5}, ride.Ended{RideID: "a"}).
				When(fared).Advance(30*time.Second).
				When(ride.FareClosed{RideID: "a", RiderID: "p", DriverID: "d", Split: split}, wallet.Captured{RideID: "a", Amount: 600, Rest: 400})
			for n := 1; n <= 4; n++ {
				s.When(wallet.ChargeDeclined{RideID: "a", Amount: 400, Attempt: n}).Advance(10 * time.Minute)
			}
			s.Done().When(earnings.Accrued{RideID: "a"}, ride.Outstanding{RideID: "a"}).Completed()
		},
		"refund": func(t testing.TB) {
			sagatest.New(t, process.Refund).
				When(ride.Refunded{RideID: "a", RiderID: "p", DriverID: "d"}).Done().
				When(earnings.ClawedBack{RideID: "a"}).Duplicate().Running().
				When(wallet.Refunded{RideID: "a"}).Completed()
		},
		"payout: a bank that refuses": func(t testing.TB) {
			s := sagatest.New(t, process.Payout).When(earnings.Accrued{DriverID: "d", RideID: "a", Batch: 1}).Advance(time.Hour)
			for n := 1; n <= 3; n++ {
				s.Done().When(earnings.PayoutFailed{DriverID: "d", Batch: 1, Attempt: n}).Advance(10 * time.Minute)
			}
			s.Done().When(earnings.PayoutFlagged{DriverID: "d", Batch: 1}).Completed()
		},
	} {
		t.Run(name, func(t *testing.T) { sagatest.Crash(t, script) })
	}
}
