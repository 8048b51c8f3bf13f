package earnings

import (
	"fmt"

	"github.com/leat-go/leat/aggregate"
)

// Why a driver's account refuses a command.
var (
	ErrAccrued    = aggregate.Reject("already_accrued", "the ride was accrued before with other amounts")
	ErrNotAccrued = aggregate.Reject("not_accrued", "the ride was not accrued to this driver")
	ErrNotOpen    = aggregate.Reject("payout_not_open", "the payout is not the open one")
	ErrAttempted  = aggregate.Reject("payout_attempted", "this attempt of the payout was made before")
	ErrAmount     = aggregate.Reject("invalid_amount", "an accrued amount is 0 cents or more")
)

// Account is what the decisions about a driver's earnings need to know.
type Account struct {
	// Accrued is the sum of the rides that were not taken back, Paid that of
	// the payouts; it is the greater one while the driver owes a claw-back.
	Accrued int64 `json:"accrued"`
	Paid    int64 `json:"paid"`
	// Closed is how many payouts are closed, Attempt the last attempt of the
	// open one.
	Closed  int             `json:"closed,omitempty"`
	Attempt int             `json:"attempt,omitempty"`
	Rides   map[string]Ride `json:"rides,omitempty"`
}

// Ride is what a ride earned.
type Ride struct {
	Net        int64 `json:"net"`
	Tip        int64 `json:"tip,omitempty"`
	Tolls      int64 `json:"tolls,omitempty"`
	ClawedBack bool  `json:"clawed_back,omitempty"`
}

func (r Ride) total() int64 { return r.Net + r.Tip + r.Tolls }

// Accounts is the definition of the aggregate; its streams are
// earnings-<driver>.
var Accounts = aggregate.Define("earnings",
	aggregate.On((*Account).accrued),
	aggregate.On((*Account).clawedBack),
	aggregate.On((*Account).paidOut),
	aggregate.On((*Account).payoutFailed),
	aggregate.On((*Account).payoutFlagged),
)

func (a *Account) accrued(e Accrued) {
	r := Ride{Net: e.Net, Tip: e.Tip, Tolls: e.Tolls}
	a.set(e.RideID, r)
	a.Accrued += r.total()
}

func (a *Account) clawedBack(e ClawedBack) {
	r := a.Rides[e.RideID]
	r.ClawedBack = true
	a.set(e.RideID, r)
	a.Accrued -= e.Net + e.Tip + e.Tolls
}

func (a *Account) set(rideID string, r Ride) {
	if a.Rides == nil {
		a.Rides = make(map[string]Ride, 1)
	}
	a.Rides[rideID] = r
}

func (a *Account) paidOut(e PaidOut) {
	a.Paid += e.Amount
	a.close()
}

func (a *Account) payoutFailed(e PayoutFailed) { a.Attempt = e.Attempt }
func (a *Account) payoutFlagged(PayoutFlagged) { a.close() }

func (a *Account) close() { a.Closed, a.Attempt = a.Closed+1, 0 }

// Accrue credits a ride. The same accrual again does nothing.
func (a *Account) Accrue(c Accrue) (aggregate.Events, error) {
	if c.Net < 0 || c.Tip < 0 || c.Tolls < 0 {
		return nil, fmt.Errorf("net %d, tip %d, tolls %d: %w", c.Net, c.Tip, c.Tolls, ErrAmount)
	}
	if r, ok := a.Rides[c.RideID]; ok {
		if r.Net != c.Net || r.Tip != c.Tip || r.Tolls != c.Tolls {
			return nil, ErrAccrued
		}
		return nil, nil
	}
	return aggregate.Events{Accrued{
		DriverID: c.DriverID, RideID: c.RideID,
		Net: c.Net, Tip: c.Tip, Tolls: c.Tolls, Batch: a.Closed + 1,
	}}, nil
}

// ClawBack takes a ride's accrual back. Doing so again does nothing.
func (a *Account) ClawBack(c ClawBack) (aggregate.Events, error) {
	r, ok := a.Rides[c.RideID]
	switch {
	case !ok:
		return nil, ErrNotAccrued
	case r.ClawedBack:
		return nil, nil
	}
	return aggregate.Events{ClawedBack{
		DriverID: c.DriverID, RideID: c.RideID, Net: r.Net, Tip: r.Tip, Tolls: r.Tolls,
	}}, nil
}

// PayOut pays what is due, unless the bank refused it, and closes the batch.
// Where nothing is due the bank has no say, and the batch is closed with 0.
func (a *Account) PayOut(c PayOut, refused bool) (aggregate.Events, error) {
	switch {
	case c.Batch != a.Closed+1:
		return nil, ErrNotOpen
	case c.Attempt <= a.Attempt:
		return nil, ErrAttempted
	}
	due := max(a.Accrued-a.Paid, 0)
	if refused && due > 0 {
		return aggregate.Events{PayoutFailed{DriverID: c.DriverID, Batch: c.Batch, Amount: due, Attempt: c.Attempt}}, nil
	}
	return aggregate.Events{PaidOut{DriverID: c.DriverID, Batch: c.Batch, Amount: due}}, nil
}

// Flag hands the open payout to a person and closes it.
func (a *Account) Flag(c FlagPayout) (aggregate.Events, error) {
	if c.Batch != a.Closed+1 {
		return nil, ErrNotOpen
	}
	return aggregate.Events{PayoutFlagged(c)}, nil
}
