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

var (
	requested = ride.Requested{RideID: "a", RiderID: "p", Pickup: 7, Quote: 1000}
	hold      = wallet.Hold{RiderID: "p", RideID: "a", Amount: 1200}
	held      = wallet.Held{RiderID: "p", RideID: "a", Amount: 1200}
	split     = ride.Split{DriverNet: 800, PlatformFee: 200}
)

// searching is a dispatch that has held the money and asked for a driver.
func searching(t *testing.T) *sagatest.Script {
	return sagatest.New(t, process.Dispatch).
		When(requested).Sent(hold).TimerSet("deadline", 2*time.Minute).Done(hold).
		When(held).Sent(ride.Offer{RideID: "a", Zone: 7, Seen: 2})
}

func TestDispatchOffersUntilSomebodyAccepts(t *testing.T) {
	searching(t).
		When(ride.Offered{RideID: "a", Offer: 1, DriverID: "d1"}).TimerSet("offer", 15*time.Second).
		When(ride.OfferDeclined{RideID: "a", Offer: 1, DriverID: "d1"}).TimerNotSet("offer").
		Sent(ride.Offer{RideID: "a", Zone: 7, Asked: []string{"d1"}, Seen: 4}).
		When(ride.Offered{RideID: "a", Offer: 2, DriverID: "d2"}).
		Advance(15*time.Second).Sent(ride.Expire{RideID: "a", Offer: 2}).
		When(ride.Accepted{RideID: "a", Offer: 2, DriverID: "d2"}).
		Reject(ride.Expire{RideID: "a", Offer: 2}, "no_open_offer"). // accepted before: it stays accepted
		TimerNotSet("deadline").
		When(ride.Started{RideID: "a", DriverID: "d2"}).Completed()
}

func TestDispatchReleasesTheHoldWhereNobodyDrives(t *testing.T) {
	s := searching(t).Reject(ride.Offer{RideID: "a", Zone: 7, Seen: 2}, functions.ErrNoDriver.Code).TimerSet("again", 10*time.Second)
	s.Advance(10*time.Second).Sent(ride.Offer{RideID: "a", Zone: 7, Seen: 2}).
		Reject(ride.Offer{RideID: "a", Zone: 7, Seen: 2}, functions.ErrNoDriver.Code).
		When(ride.Cancelled{RideID: "a", By: ride.ByRider, Stage: ride.StatusRequested}).
		Sent(wallet.ReleaseHold{RiderID: "p", RideID: "a"}).Compensating().
		Done(wallet.ReleaseHold{RiderID: "p", RideID: "a"}).Compensated()
}

func TestDispatchEndsARideThatCannotBePaid(t *testing.T) {
	sagatest.New(t, process.Dispatch).
		When(requested).Sent(hold).
		Reject(hold, "wallet_short").Sent(ride.MarkUnfulfilled{RideID: "a", Reason: ride.WalletShort}).
		Done(ride.MarkUnfulfilled{RideID: "a", Reason: ride.WalletShort}).
		When(ride.Unfulfilled{RideID: "a", Reason: ride.WalletShort}).Compensated()
}

func TestDispatchGivesUpAfterFiveOffers(t *testing.T) {
	s := searching(t)
	var asked []string
	seen := int64(2)
	for n := 1; n <= 5; n++ {
		driver := string(rune('0' + n))
		asked = append(asked, driver)
		s.When(ride.Offered{RideID: "a", Offer: n, DriverID: driver}, ride.OfferDeclined{RideID: "a", Offer: n, DriverID: driver})
		seen += 2
		if n < 5 {
			s.Sent(ride.Offer{RideID: "a", Zone: 7, Asked: append([]string{}, asked...), Seen: seen})
		}
	}
	s.Sent(ride.MarkUnfulfilled{RideID: "a", Reason: ride.NoDriver})
}

func TestDispatchSearchesAgainAfterTheDriverGaveUp(t *testing.T) {
	searching(t).
		When(ride.Offered{RideID: "a", Offer: 1, DriverID: "d1"}, ride.Accepted{RideID: "a", Offer: 1, DriverID: "d1"}).
		When(ride.Unassigned{RideID: "a", DriverID: "d1", Reason: ride.Late}).
		Sent(ride.Offer{RideID: "a", Zone: 7, Asked: []string{"d1"}, Seen: 5}).TimerSet("deadline", 2*time.Minute)
}

func TestPickupWatchesDriverAndRider(t *testing.T) {
	accepted := ride.Accepted{RideID: "a", DriverID: "d"}
	sagatest.New(t, process.Pickup).When(accepted).TimerSet("late", 15*time.Minute).
		Advance(15 * time.Minute).Sent(ride.Unassign{RideID: "a", DriverID: "d", Reason: ride.Late})
	sagatest.New(t, process.Pickup).When(accepted).
		When(ride.Arrived{RideID: "a", DriverID: "d"}).TimerNotSet("late").
		Advance(5 * time.Minute).Sent(ride.MarkNoShow{RideID: "a"}).
		When(ride.NoShow{RideID: "a"}).Completed()
	sagatest.New(t, process.Pickup).When(accepted).
		When(ride.Unassigned{RideID: "a", DriverID: "d"}).Running().
		When(ride.Accepted{RideID: "a", DriverID: "e"}).TimerSet("late", 15*time.Minute).
		When(ride.Arrived{RideID: "a", DriverID: "e"}, ride.Started{RideID: "a", DriverID: "e"}).Completed()
}

func TestWatchdogEndsTheTripOfASilentCar(t *testing.T) {
	sagatest.New(t, process.Watchdog).
		When(ride.Started{RideID: "a"}).TimerSet("silent", time.Minute).
		Advance(50*time.Second).
		When(telemetry.Recorded{RideID: "a"}).TimerSet("silent", time.Minute).
		Advance(time.Minute).Sent(ride.MarkSignalLost{RideID: "a"}).TimerSet("lost", 10*time.Minute).
		When(telemetry.Repeated{RideID: "a"}).TimerNotSet("lost").
		Advance(time.Minute).Sent(ride.MarkSignalLost{RideID: "a"}).
		Advance(10*time.Minute).Sent(telemetry.Close{RideID: "a"}, ride.End{RideID: "a", Flagged: true}).
		When(ride.Ended{RideID: "a", Flagged: true}).Completed()
}

var fared = ride.FareCalculated{RideID: "a", RiderID: "p", DriverID: "d", Split: split}

// captured is a settlement that has asked the wallet.
func captured(t *testing.T) *sagatest.Script {
	capture := wallet.Capture{RiderID: "p", RideID: "a", Amount: 1000}
	return sagatest.New(t, process.Settlement).
		When(telemetry.Closed{RideID: "a", Units: 5}).
		When(ride.Ended{RideID: "a"}).Sent(ride.CalculateFare{RideID: "a", Units: 5}).
		When(fared).Advance(30 * time.Second).Sent(ride.CloseFare{RideID: "a"}).
		When(ride.FareClosed{RideID: "a", RiderID: "p", DriverID: "d", Split: split}).Sent(capture)
}

func TestSettlementPaysFromTheWallet(t *testing.T) {
	captured(t).
		When(wallet.Captured{RideID: "a", Amount: 1000}).
		Sent(earnings.Accrue{DriverID: "d", RideID: "a", Net: 800}).
		When(earnings.Accrued{RideID: "a"}).Sent(ride.Settle{RideID: "a"}).
		When(ride.Settled{RideID: "a"}).Completed()
}

func TestSettlementTriesTheCardThreeTimesAgain(t *testing.T) {
	s := captured(t).When(wallet.Captured{RideID: "a", Amount: 600, Rest: 400})
	for n, wait := range []time.Duration{30 * time.Second, 2 * time.Minute, 10 * time.Minute} {
		s.Sent(wallet.Charge{RiderID: "p", RideID: "a", Amount: 400, Attempt: n + 1}).
			When(wallet.ChargeDeclined{RideID: "a", Amount: 400, Attempt: n + 1}).TimerSet("charge", wait).Advance(wait)
	}
	s.Sent(wallet.Charge{RiderID: "p", RideID: "a", Amount: 400, Attempt: 4}).
		When(wallet.ChargeDeclined{RideID: "a", Amount: 400, Attempt: 4}).
		Sent(earnings.Accrue{DriverID: "d", RideID: "a", Net: 800}). // the driver is paid all the same
		When(earnings.Accrued{RideID: "a"}).Sent(ride.MarkOutstanding{RideID: "a", Receivable: 400}).
		When(ride.Outstanding{RideID: "a"}).Completed()
}

// An adjustment that is under way when the fare is closed must not part what
// the rider pays from what the others get.
func TestSettlementChargesTheFareThatWasClosed(t *testing.T) {
	final := ride.Split{DriverNet: 880, PlatformFee: 220}
	sagatest.New(t, process.Settlement).
		When(ride.Ended{RideID: "a"}, telemetry.Closed{RideID: "a", Units: 5}).Sent(ride.CalculateFare{RideID: "a", Units: 5}).
		When(fared).
		When(telemetry.Late{RideID: "a", Units: 6}).Sent(ride.AdjustFare{RideID: "a", Units: 6}).
		Advance(30*time.Second).Sent(ride.CloseFare{RideID: "a"}).
		When(ride.FareClosed{RideID: "a", RiderID: "p", DriverID: "d", Split: final}).
		Sent(wallet.Capture{RiderID: "p", RideID: "a", Amount: 1100}).
		When(telemetry.Late{RideID: "a", Units: 7}).Sent(ride.AdjustFare{RideID: "a", Units: 7}).
		Reject(ride.AdjustFare{RideID: "a", Units: 7}, ride.ErrNotFared.Code).
		When(wallet.Captured{RideID: "a", Amount: 1100}).
		Sent(earnings.Accrue{DriverID: "d", RideID: "a", Net: 880})
}

func TestSettlementTakesTheFeeOfARideThatWasCancelled(t *testing.T) {
	fee := ride.Split{DriverNet: 240, PlatformFee: 60}
	sagatest.New(t, process.Settlement).
		When(ride.Cancelled{RideID: "a", RiderID: "p", DriverID: "d", By: ride.ByRider, Split: fee}).
		Sent(wallet.Capture{RiderID: "p", RideID: "a", Amount: 300}).
		When(wallet.Captured{RideID: "a", Amount: 300}).Sent(earnings.Accrue{DriverID: "d", RideID: "a", Net: 240}).
		When(earnings.Accrued{RideID: "a"}).Completed()
	sagatest.New(t, process.Settlement).
		When(ride.Cancelled{RideID: "a", RiderID: "p", By: ride.ByRider}).Sent().Completed()
}

func TestRefundTakesBackFromBothSides(t *testing.T) {
	sagatest.New(t, process.Refund).
		When(ride.Refunded{RideID: "a", RiderID: "p", DriverID: "d"}).
		Sent(wallet.Refund{RiderID: "p", RideID: "a"}, earnings.ClawBack{DriverID: "d", RideID: "a"}).
		When(wallet.Refunded{RideID: "a"}).Running().
		When(earnings.ClawedBack{RideID: "a"}).Completed()
}

func TestPayoutCollectsAnHourAndAsksTheBankThreeTimes(t *testing.T) {
	s := sagatest.New(t, process.Payout).
		When(earnings.Accrued{DriverID: "d", RideID: "a", Batch: 1}).TimerSet("pay", time.Hour).
		Advance(30*time.Minute).
		When(earnings.Accrued{DriverID: "d", RideID: "b", Batch: 1}).TimerSet("pay", 30*time.Minute).
		Advance(30 * time.Minute)
	for n := 1; n <= 3; n++ {
		s.Sent(earnings.PayOut{DriverID: "d", Batch: 1, Attempt: n}).
			When(earnings.PayoutFailed{DriverID: "d", Batch: 1, Attempt: n})
		if n < 3 {
			s.TimerSet("pay", 10*time.Minute).Advance(10 * time.Minute)
		}
	}
	s.Sent(earnings.FlagPayout{DriverID: "d", Batch: 1}).
		When(earnings.PayoutFlagged{DriverID: "d", Batch: 1}).Completed()
}
