package wallet

import "github.com/leat-go/leat/aggregate"

// Wallet is what the decisions about a wallet need to know of it.
type Wallet struct {
	Opened  bool  `json:"opened,omitempty"`
	Balance int64 `json:"balance"`
	// OnHold is the sum of what is held for rides, a part of the balance.
	OnHold int64 `json:"on_hold,omitempty"`
	// Rides are the rides that the wallet had to do with.
	Rides map[string]Payment `json:"rides,omitempty"`
}

// Payment is what a wallet has done for one ride.
type Payment struct {
	Stage Stage `json:"stage"`
	Held  int64 `json:"held,omitempty"`
	// Paid is what was captured and charged and not given back.
	Paid int64 `json:"paid,omitempty"`
	Rest int64 `json:"rest,omitempty"` // still due
	// Attempt is the number of the last attempt to charge the card.
	Attempt int `json:"attempt,omitempty"`
}

// Stage is how far the payment of a ride has come.
type Stage string

// The stages of a payment; the zero value is that of a ride not heard of.
const (
	OnHold   Stage = "held"
	Free     Stage = "released"
	Paid     Stage = "captured"
	PaidBack Stage = "refunded"
)

// Wallets is the definition of the aggregate; its streams are wallet-<rider>.
var Wallets = aggregate.Define("wallet",
	aggregate.On((*Wallet).opened),
	aggregate.On((*Wallet).toppedUp),
	aggregate.On((*Wallet).held),
	aggregate.On((*Wallet).holdReleased),
	aggregate.On((*Wallet).captured),
	aggregate.On((*Wallet).charged),
	aggregate.On((*Wallet).chargeDeclined),
	aggregate.On((*Wallet).refunded),
)

func (w *Wallet) opened(Opened) { w.Opened = true }

func (w *Wallet) toppedUp(e ToppedUp) { w.Balance += e.Amount }

func (w *Wallet) held(e Held) {
	w.OnHold += e.Amount
	w.set(e.RideID, Payment{Stage: OnHold, Held: e.Amount})
}

func (w *Wallet) holdReleased(e HoldReleased) {
	w.OnHold -= e.Amount
	w.set(e.RideID, Payment{Stage: Free})
}

func (w *Wallet) captured(e Captured) {
	w.OnHold -= w.Rides[e.RideID].Held
	w.Balance -= e.Amount
	w.set(e.RideID, Payment{Stage: Paid, Paid: e.Amount, Rest: e.Rest})
}

func (w *Wallet) charged(e Charged) {
	p := w.Rides[e.RideID]
	p.Paid, p.Rest, p.Attempt = p.Paid+e.Amount, p.Rest-e.Amount, e.Attempt
	w.set(e.RideID, p)
}

func (w *Wallet) chargeDeclined(e ChargeDeclined) {
	p := w.Rides[e.RideID]
	p.Attempt = e.Attempt
	w.set(e.RideID, p)
}

func (w *Wallet) refunded(e Refunded) {
	w.Balance += e.Amount
	w.set(e.RideID, Payment{Stage: PaidBack})
}

func (w *Wallet) set(rideID string, p Payment) {
	if w.Rides == nil {
		w.Rides = make(map[string]Payment, 1)
	}
	w.Rides[rideID] = p
}
