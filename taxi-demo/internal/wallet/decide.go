package wallet

import (
	"fmt"

	"github.com/leat-go/leat/aggregate"
)

// Why a wallet refuses a command.
var (
	ErrShort       = aggregate.Reject("wallet_short", "the wallet's free balance does not cover the hold")
	ErrTooLate     = aggregate.Reject("hold_too_late", "the ride's hold was released or captured already")
	ErrNotCaptured = aggregate.Reject("not_captured", "the ride was not captured from this wallet")
	ErrNotDue      = aggregate.Reject("not_due", "the amount is not what is still due for the ride")
	ErrAttempted   = aggregate.Reject("charge_attempted", "this attempt to charge the card was made before")
	ErrAmount      = aggregate.Reject("invalid_amount", "the amount is out of range")
)

// MaxAmount is the most that one command can move, in cents: ten million
// dollars. It keeps sums from wrapping.
const MaxAmount int64 = 1_000_000_000

// free is the balance that is not held.
func (w *Wallet) free() int64 { return w.Balance - w.OnHold }

// TopUp pays money in, opening the wallet first where there is none.
func (w *Wallet) TopUp(c TopUp) (aggregate.Events, error) {
	if c.Amount <= 0 || c.Amount > MaxAmount {
		return nil, amountError(c.Amount)
	}
	in := ToppedUp(c)
	if w.Opened {
		return aggregate.Events{in}, nil
	}
	return aggregate.Events{Opened{RiderID: c.RiderID}, in}, nil
}

// Hold sets an amount of 0 or more aside for a ride, once.
func (w *Wallet) Hold(c Hold) (aggregate.Events, error) {
	if c.Amount < 0 || c.Amount > MaxAmount {
		return nil, amountError(c.Amount)
	}
	switch w.Rides[c.RideID].Stage {
	case OnHold:
		return nil, nil
	case Free, Paid, PaidBack:
		return nil, ErrTooLate
	}
	if c.Amount > w.free() {
		return nil, ErrShort
	}
	return aggregate.Events{Held(c)}, nil
}

// ReleaseHold frees what is held for a ride.
func (w *Wallet) ReleaseHold(c ReleaseHold) (aggregate.Events, error) {
	p := w.Rides[c.RideID]
	if p.Stage != OnHold {
		return nil, nil
	}
	return aggregate.Events{HoldReleased{RiderID: c.RiderID, RideID: c.RideID, Amount: p.Held}}, nil
}

// Capture pays a ride, once: what its hold and the free balance cover.
func (w *Wallet) Capture(c Capture) (aggregate.Events, error) {
	if c.Amount < 0 || c.Amount > MaxAmount {
		return nil, amountError(c.Amount)
	}
	p := w.Rides[c.RideID]
	if p.Stage == Paid || p.Stage == PaidBack {
		return nil, nil
	}
	taken := min(c.Amount, p.Held+w.free())
	return aggregate.Events{Captured{
		RiderID: c.RiderID, RideID: c.RideID, Amount: taken, Rest: c.Amount - taken,
	}}, nil
}

// Charge charges what a captured ride still costs to the card, which may have
// declined it. Attempts are numbered upwards.
func (w *Wallet) Charge(c Charge, declined bool) (aggregate.Events, error) {
	p := w.Rides[c.RideID]
	switch {
	case p.Stage != Paid:
		return nil, ErrNotCaptured
	case c.Amount <= 0 || c.Amount != p.Rest:
		return nil, fmt.Errorf("%d cents, %d are due: %w", c.Amount, p.Rest, ErrNotDue)
	case c.Attempt <= p.Attempt:
		return nil, ErrAttempted
	case declined:
		return aggregate.Events{ChargeDeclined(c)}, nil
	}
	return aggregate.Events{Charged(c)}, nil
}

// Refund pays back what the rider paid for a captured ride, once.
func (w *Wallet) Refund(c Refund) (aggregate.Events, error) {
	p := w.Rides[c.RideID]
	switch p.Stage {
	case Paid:
		return aggregate.Events{Refunded{RiderID: c.RiderID, RideID: c.RideID, Amount: p.Paid}}, nil
	case PaidBack:
		return nil, nil
	}
	return nil, ErrNotCaptured
}

func amountError(amount int64) error { return fmt.Errorf("%d cents: %w", amount, ErrAmount) }
