package earnings

import (
	"testing"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/aggregate/aggregatetest"
)

type decision = func(*Account) (aggregate.Events, error)

func accrue(rideID string, net, tip, tolls int64) decision {
	return func(a *Account) (aggregate.Events, error) {
		return a.Accrue(Accrue{DriverID: "d", RideID: rideID, Net: net, Tip: tip, Tolls: tolls})
	}
}

func clawBack(rideID string) decision {
	return func(a *Account) (aggregate.Events, error) {
		return a.ClawBack(ClawBack{DriverID: "d", RideID: rideID})
	}
}

func payOut(batch, attempt int, refused bool) decision {
	return func(a *Account) (aggregate.Events, error) {
		return a.PayOut(PayOut{DriverID: "d", Batch: batch, Attempt: attempt}, refused)
	}
}

func flag(batch int) decision {
	return func(a *Account) (aggregate.Events, error) { return a.Flag(FlagPayout{DriverID: "d", Batch: batch}) }
}

func accrued(rideID string, net int64, batch int) Accrued {
	return Accrued{DriverID: "d", RideID: rideID, Net: net, Batch: batch}
}

func paid(cents int64, batch int) PaidOut { return PaidOut{DriverID: "d", Batch: batch, Amount: cents} }

func TestARideIsAccruedOnce(t *testing.T) {
	e := Accrued{DriverID: "d", RideID: "r", Net: 700, Tip: 200, Tolls: 576, Batch: 1}
	aggregatetest.Given(t, Accounts).
		When(accrue("r", 700, 200, 576)).Then(e).
		When(accrue("r", 700, 200, 576)).Then().
		When(accrue("r", 701, 200, 576)).ThenRejected(ErrAccrued).
		When(payOut(1, 1, false)).Then(paid(1476, 1))
}

func TestNothingBelowZeroIsAccrued(t *testing.T) {
	for _, d := range []decision{accrue("r", -1, 0, 0), accrue("r", 0, -1, 0), accrue("r", 0, 0, -1)} {
		aggregatetest.Given(t, Accounts).When(d).ThenRejected(ErrAmount)
	}
}

func TestARideIsClawedBackOnceAndOnlyWhereItWasAccrued(t *testing.T) {
	aggregatetest.Given(t, Accounts, Accrued{DriverID: "d", RideID: "r", Net: 7, Tip: 2, Tolls: 5, Batch: 1}).
		When(clawBack("q")).ThenRejected(ErrNotAccrued).
		When(clawBack("r")).Then(ClawedBack{DriverID: "d", RideID: "r", Net: 7, Tip: 2, Tolls: 5}).
		When(clawBack("r")).Then().
		When(accrue("r", 7, 2, 5)).Then(). // a ride taken back is not accrued again
		When(payOut(1, 1, true)).Then(paid(0, 1))
}

func TestAPayoutPaysEverythingDueAndClosesItsBatch(t *testing.T) {
	aggregatetest.Given(t, Accounts, accrued("r", 700, 1), accrued("q", 300, 1)).
		When(payOut(2, 1, false)).ThenRejected(ErrNotOpen).
		When(payOut(1, 1, false)).Then(paid(1000, 1)).
		When(payOut(1, 2, false)).ThenRejected(ErrNotOpen).
		When(accrue("s", 50, 0, 0)).Then(accrued("s", 50, 2)).
		When(payOut(2, 1, false)).Then(paid(50, 2)).
		When(payOut(3, 1, false)).Then(paid(0, 3))
}

func TestNoMoreIsPaidThanWasAccrued(t *testing.T) {
	aggregatetest.Given(t, Accounts, accrued("r", 700, 1), paid(700, 1)).
		When(clawBack("r")).Then(ClawedBack{DriverID: "d", RideID: "r", Net: 700}).
		When(payOut(2, 1, false)).Then(paid(0, 2)).
		When(accrue("q", 500, 0, 0)).Then(accrued("q", 500, 3)).
		When(payOut(3, 1, false)).Then(paid(0, 3)). // 200 are still owed by the driver
		When(accrue("s", 300, 0, 0)).Then(accrued("s", 300, 4)).
		When(payOut(4, 1, false)).Then(paid(100, 4))
}

func TestARefusedPayoutIsTriedAgainThenFlaggedAndStaysDue(t *testing.T) {
	failed := func(attempt int) PayoutFailed {
		return PayoutFailed{DriverID: "d", Batch: 1, Amount: 700, Attempt: attempt}
	}
	aggregatetest.Given(t, Accounts, accrued("r", 700, 1)).
		When(payOut(1, 1, true)).Then(failed(1)).
		When(payOut(1, 1, true)).ThenRejected(ErrAttempted).
		When(payOut(1, 2, true)).Then(failed(2)).
		When(flag(2)).ThenRejected(ErrNotOpen).
		When(flag(1)).Then(PayoutFlagged{DriverID: "d", Batch: 1}).
		When(flag(1)).ThenRejected(ErrNotOpen).
		When(accrue("q", 50, 0, 0)).Then(accrued("q", 50, 2)).
		When(payOut(2, 1, false)).Then(paid(750, 2))
}
