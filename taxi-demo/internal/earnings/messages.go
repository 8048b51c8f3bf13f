package earnings

// Accrued: the driver earned a ride. Amounts are cents, 0 or more.
type Accrued struct {
	DriverID string `json:"driver_id"`
	RideID   string `json:"ride_id"`
	Net      int64  `json:"net"`
	Tip      int64  `json:"tip"`
	Tolls    int64  `json:"tolls"` // reimbursed: the driver paid them on the way
	// Batch is the payout that will pay it: one more than the payouts closed.
	Batch int `json:"batch"`
}

// ClawedBack: a refunded ride was taken back.
type ClawedBack struct {
	DriverID string `json:"driver_id"`
	RideID   string `json:"ride_id"`
	Net      int64  `json:"net"`
	Tip      int64  `json:"tip"`
	Tolls    int64  `json:"tolls"`
}

// PaidOut: the driver was paid everything that was due, which closes the batch.
// The amount is 0 where claw-backs left nothing due.
type PaidOut struct {
	DriverID string `json:"driver_id"`
	Batch    int    `json:"batch"`
	Amount   int64  `json:"amount"`
}

// PayoutFailed: the bank refused.
type PayoutFailed struct {
	DriverID string `json:"driver_id"`
	Batch    int    `json:"batch"`
	Amount   int64  `json:"amount"`
	Attempt  int    `json:"attempt"`
}

// PayoutFlagged: the bank refused too often; a person must look. The batch is
// closed, what is due stays due.
type PayoutFlagged struct {
	DriverID string `json:"driver_id"`
	Batch    int    `json:"batch"`
}

// Accrue credits a ride, once.
type Accrue struct {
	DriverID string `json:"driver_id"`
	RideID   string `json:"ride_id"`
	Net      int64  `json:"net"`
	Tip      int64  `json:"tip"`
	Tolls    int64  `json:"tolls"`
}

// ClawBack takes a ride's accrual back, once.
type ClawBack struct {
	DriverID string `json:"driver_id"`
	RideID   string `json:"ride_id"`
}

// PayOut pays everything accrued and not paid, and closes the open batch, which
// must be this one. Attempt counts from 1.
type PayOut struct {
	DriverID string `json:"driver_id"`
	Batch    int    `json:"batch"`
	Attempt  int    `json:"attempt"`
}

// FlagPayout hands the payout to a person and closes the open batch, which must
// be this one.
type FlagPayout struct {
	DriverID string `json:"driver_id"`
	Batch    int    `json:"batch"`
}

func (Accrued) EventType() string       { return "earnings_accrued" }
func (ClawedBack) EventType() string    { return "earnings_clawed_back" }
func (PaidOut) EventType() string       { return "payout_made" }
func (PayoutFailed) EventType() string  { return "payout_failed" }
func (PayoutFlagged) EventType() string { return "payout_flagged" }

func (Accrue) CommandType() string     { return "accrue_earnings" }
func (ClawBack) CommandType() string   { return "claw_back_earnings" }
func (PayOut) CommandType() string     { return "pay_out" }
func (FlagPayout) CommandType() string { return "flag_payout" }
