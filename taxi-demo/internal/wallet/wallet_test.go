package wallet

import (
	"testing"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/aggregate/aggregatetest"
	"github.com/leat-go/leat/eventstore"
)

type decision = func(*Wallet) (aggregate.Events, error)

func topUp(cents int64) decision {
	return func(w *Wallet) (aggregate.Events, error) { return w.TopUp(TopUp{RiderID: "p", Amount: cents}) }
}

func hold(rideID string, cents int64) decision {
	return func(w *Wallet) (aggregate.Events, error) {
		return w.Hold(Hold{RiderID: "p", RideID: rideID, Amount: cents})
	}
}

func release(w *Wallet) (aggregate.Events, error) {
	return w.ReleaseHold(ReleaseHold{RiderID: "p", RideID: "r"})
}

func capture(rideID string, cents int64) decision {
	return func(w *Wallet) (aggregate.Events, error) {
		return w.Capture(Capture{RiderID: "p", RideID: rideID, Amount: cents})
	}
}

func charge(cents int64, attempt int, declined bool) decision {
	return func(w *Wallet) (aggregate.Events, error) {
		return w.Charge(Charge{RiderID: "p", RideID: "r", Amount: cents, Attempt: attempt}, declined)
	}
}

func refund(w *Wallet) (aggregate.Events, error) {
	return w.Refund(Refund{RiderID: "p", RideID: "r"})
}

// with is a wallet with so much in it.
func with(t *testing.T, cents int64, more ...eventstore.Event) *aggregatetest.Scenario[Wallet] {
	t.Helper()
	events := []eventstore.Event{Opened{RiderID: "p"}, ToppedUp{RiderID: "p", Amount: cents}}
	return aggregatetest.Given(t, Wallets, append(events, more...)...)
}

func held(rideID string, cents int64) Held { return Held{RiderID: "p", RideID: rideID, Amount: cents} }

func captured(cents, rest int64) Captured {
	return Captured{RiderID: "p", RideID: "r", Amount: cents, Rest: rest}
}

func TestTheFirstTopUpOpensTheWallet(t *testing.T) {
	aggregatetest.Given(t, Wallets).
		When(topUp(500)).Then(Opened{RiderID: "p"}, ToppedUp{RiderID: "p", Amount: 500}).
		When(topUp(100)).Then(ToppedUp{RiderID: "p", Amount: 100})
}

func TestAnAmountIsInRange(t *testing.T) {
	for _, d := range []decision{
		topUp(0), topUp(-1), topUp(MaxAmount + 1),
		hold("r", -1), hold("r", MaxAmount+1), capture("r", -1), capture("r", MaxAmount+1),
	} {
		with(t, 500).When(d).ThenRejected(ErrAmount)
	}
}

func TestNoMoreIsHeldThanIsFree(t *testing.T) {
	with(t, 1000).
		When(hold("r", 700)).Then(held("r", 700)).
		When(hold("q", 301)).ThenRejected(ErrShort).
		When(hold("q", 300)).Then(held("q", 300)).
		When(hold("s", 1)).ThenRejected(ErrShort).
		When(hold("s", 0)).Then(held("s", 0))
	aggregatetest.Given(t, Wallets).When(hold("r", 1)).ThenRejected(ErrShort)
}

func TestARideIsHeldForOnce(t *testing.T) {
	with(t, 1000, held("r", 700)).
		When(hold("r", 700)).Then().
		When(release).Then(HoldReleased{RiderID: "p", RideID: "r", Amount: 700}).
		When(release).Then().
		When(hold("r", 700)).ThenRejected(ErrTooLate).
		When(hold("q", 1000)).Then(held("q", 1000))
	with(t, 1000).When(release).Then()
}

func TestACaptureTakesTheHoldThenTheFreeBalanceAndNoMore(t *testing.T) {
	for _, c := range []struct {
		name        string
		amount      int64
		taken, rest int64
	}{
		{"less than was held", 500, 500, 0},
		{"what was held", 600, 600, 0},
		{"part of the free balance too", 700, 700, 0},
		{"all but what is held for another ride", 800, 800, 0},
		{"more than there is", 1000, 800, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			with(t, 1000, held("r", 600), held("q", 200)).
				When(capture("r", c.amount)).Then(captured(c.taken, c.rest)).
				When(hold("s", 801-c.taken)).ThenRejected(ErrShort).
				When(hold("s", 800-c.taken)).Then(held("s", 800-c.taken)).
				When(capture("q", 200)).Then(Captured{RiderID: "p", RideID: "q", Amount: 200})
		})
	}
}

func TestARideIsCapturedOnce(t *testing.T) {
	with(t, 1000, held("r", 600)).
		When(capture("r", 500)).Then(captured(500, 0)).
		When(capture("r", 500)).Then().
		When(release).Then().
		When(hold("r", 1)).ThenRejected(ErrTooLate)
}

func TestARideIsCapturedThoughItsHoldWasReleased(t *testing.T) {
	with(t, 1000, held("r", 600), HoldReleased{RiderID: "p", RideID: "r", Amount: 600}).
		When(capture("r", 300)).Then(captured(300, 0))
	aggregatetest.Given(t, Wallets).When(capture("r", 300)).Then(captured(0, 300))
}

func TestTheCardIsChargedExactlyWhatIsDue(t *testing.T) {
	charged := Charged{RiderID: "p", RideID: "r", Amount: 200, Attempt: 2}
	with(t, 100).When(charge(200, 1, false)).ThenRejected(ErrNotCaptured)
	with(t, 100, captured(100, 200)).
		When(charge(199, 1, false)).ThenRejected(ErrNotDue).
		When(charge(201, 1, false)).ThenRejected(ErrNotDue).
		When(charge(200, 0, false)).ThenRejected(ErrAttempted).
		When(charge(200, 1, true)).Then(ChargeDeclined{RiderID: "p", RideID: "r", Amount: 200, Attempt: 1}).
		When(charge(200, 1, false)).ThenRejected(ErrAttempted).
		When(charge(200, 2, false)).Then(charged).
		When(charge(200, 3, false)).ThenRejected(ErrNotDue).
		When(charge(0, 3, false)).ThenRejected(ErrNotDue)
}

func TestARefundPaysBackWhatWasCapturedAndChargedOnce(t *testing.T) {
	refunded := Refunded{RiderID: "p", RideID: "r", Amount: 300}
	with(t, 100).When(refund).ThenRejected(ErrNotCaptured)
	with(t, 100, held("r", 50)).When(refund).ThenRejected(ErrNotCaptured)
	with(t, 100, held("r", 50), captured(100, 200), Charged{RiderID: "p", RideID: "r", Amount: 200, Attempt: 1}).
		When(hold("q", 1)).ThenRejected(ErrShort).
		When(refund).Then(refunded).
		When(refund).Then().
		When(capture("r", 300)).Then().
		When(hold("q", 300)).Then(held("q", 300))
}
