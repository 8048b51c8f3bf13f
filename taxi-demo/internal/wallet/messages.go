package wallet

// Opened: a rider has a wallet.
type Opened struct {
	RiderID string `json:"rider_id"`
}

// ToppedUp: money came in from outside. Amounts are cents, above 0.
type ToppedUp struct {
	RiderID string `json:"rider_id"`
	Amount  int64  `json:"amount"`
}

// Held: part of the balance is set aside for a ride.
type Held struct {
	RiderID string `json:"rider_id"`
	RideID  string `json:"ride_id"`
	Amount  int64  `json:"amount"`
}

// HoldReleased: what was set aside is free again.
type HoldReleased struct {
	RiderID string `json:"rider_id"`
	RideID  string `json:"ride_id"`
	Amount  int64  `json:"amount"`
}

// Captured: the ride was paid from the wallet, as far as the balance goes
// (what was held first); the hold is gone.
type Captured struct {
	RiderID string `json:"rider_id"`
	RideID  string `json:"ride_id"`
	// Amount was taken, 0 or more.
	Amount int64 `json:"amount"`
	// Rest is still due.
	Rest int64 `json:"rest"`
}

// Charged: the rest was charged to the rider's card.
type Charged struct {
	RiderID string `json:"rider_id"`
	RideID  string `json:"ride_id"`
	Amount  int64  `json:"amount"`
	Attempt int    `json:"attempt"`
}

// ChargeDeclined: the card was declined.
type ChargeDeclined struct {
	RiderID string `json:"rider_id"`
	RideID  string `json:"ride_id"`
	Amount  int64  `json:"amount"`
	Attempt int    `json:"attempt"`
}

// Refunded: everything paid for the ride was given back.
type Refunded struct {
	RiderID string `json:"rider_id"`
	RideID  string `json:"ride_id"`
	Amount  int64  `json:"amount"`
}

// TopUp brings money in, opening the wallet where there is none.
type TopUp struct {
	RiderID string `json:"rider_id"`
	Amount  int64  `json:"amount"`
}

// Hold sets money aside for a ride. Refused with wallet_short.
type Hold struct {
	RiderID string `json:"rider_id"`
	RideID  string `json:"ride_id"`
	Amount  int64  `json:"amount"`
}

// ReleaseHold frees what was set aside for a ride; nothing where nothing was.
type ReleaseHold struct {
	RiderID string `json:"rider_id"`
	RideID  string `json:"ride_id"`
}

// Capture pays a ride from its hold, then from the free balance, as far as
// they go.
type Capture struct {
	RiderID string `json:"rider_id"`
	RideID  string `json:"ride_id"`
	Amount  int64  `json:"amount"`
}

// Charge charges the rest of a ride to the card. Attempt counts from 1.
type Charge struct {
	RiderID string `json:"rider_id"`
	RideID  string `json:"ride_id"`
	Amount  int64  `json:"amount"`
	Attempt int    `json:"attempt"`
}

// Refund gives back what the rider paid for a ride.
type Refund struct {
	RiderID string `json:"rider_id"`
	RideID  string `json:"ride_id"`
}

func (Opened) EventType() string         { return "wallet_opened" }
func (ToppedUp) EventType() string       { return "wallet_topped_up" }
func (Held) EventType() string           { return "funds_held" }
func (HoldReleased) EventType() string   { return "hold_released" }
func (Captured) EventType() string       { return "funds_captured" }
func (Charged) EventType() string        { return "card_charged" }
func (ChargeDeclined) EventType() string { return "card_declined" }
func (Refunded) EventType() string       { return "wallet_refunded" }

func (TopUp) CommandType() string       { return "top_up" }
func (Hold) CommandType() string        { return "hold_funds" }
func (ReleaseHold) CommandType() string { return "release_hold" }
func (Capture) CommandType() string     { return "capture_funds" }
func (Charge) CommandType() string      { return "charge_card" }
func (Refund) CommandType() string      { return "refund_wallet" }
