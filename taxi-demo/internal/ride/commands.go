package ride

import (
	"time"

	"github.com/leat-go/leat/taxi-demo/internal/meter"
)

// Offer asks for the ride to be offered to the nearest free driver that has
// not been asked yet. Refused with no_driver where there is none.
type Offer struct {
	RideID string `json:"ride_id"`
	Zone   int    `json:"zone"`
	// Asked are the drivers that were offered the ride before.
	Asked []string `json:"asked,omitempty"`
	// Seen is the log position that the choice of the driver must know of.
	Seen int64 `json:"seen"`
}

// Decline is the offered driver's no.
type Decline struct {
	RideID   string `json:"ride_id"`
	Offer    int    `json:"offer"`
	DriverID string `json:"driver_id"`
}

// Expire ends an offer that nobody answered.
type Expire struct {
	RideID string `json:"ride_id"`
	Offer  int    `json:"offer"`
}

// Accept is the offered driver's yes.
type Accept struct {
	RideID   string `json:"ride_id"`
	Offer    int    `json:"offer"`
	DriverID string `json:"driver_id"`
}

// Unassign takes the ride from the driver who accepted it and opens it again.
type Unassign struct {
	RideID   string `json:"ride_id"`
	DriverID string `json:"driver_id"`
	Reason   string `json:"reason"` // "late" or "driver"
}

// Arrive reports the driver at the pick-up.
type Arrive struct {
	RideID   string `json:"ride_id"`
	DriverID string `json:"driver_id"`
}

// Start starts the meter.
type Start struct {
	RideID   string    `json:"ride_id"`
	DriverID string    `json:"driver_id"`
	At       time.Time `json:"at"` // New York's wall clock, held in UTC
}

// MarkSignalLost records that the car is silent.
type MarkSignalLost struct {
	RideID string `json:"ride_id"`
}

// End ends the trip and frees the driver.
type End struct {
	RideID  string `json:"ride_id"`
	Tolls   int64  `json:"tolls"`
	Tip     int64  `json:"tip"`
	Flagged bool   `json:"flagged,omitempty"`
}

// CalculateFare sets the fare from what the meter counted.
type CalculateFare struct {
	RideID string      `json:"ride_id"`
	Units  meter.Units `json:"units"`
}

// AdjustFare corrects the fare of a ride that is not settled yet.
type AdjustFare struct {
	RideID string      `json:"ride_id"`
	Units  meter.Units `json:"units"`
}

// CloseFare makes the fare final, before it is charged.
type CloseFare struct {
	RideID string `json:"ride_id"`
}

// Cancel ends the ride without a trip, by its rider or its driver.
type Cancel struct {
	RideID string `json:"ride_id"`
	By     string `json:"by"` // "rider" or "driver"
}

// MarkNoShow ends the ride because the rider did not come.
type MarkNoShow struct {
	RideID string `json:"ride_id"`
}

// MarkUnfulfilled ends a ride that cannot be.
type MarkUnfulfilled struct {
	RideID string `json:"ride_id"`
	Reason string `json:"reason"` // "no_driver" or "wallet_short"
}

// Settle closes a ride for which everything was charged.
type Settle struct {
	RideID string `json:"ride_id"`
}

// MarkOutstanding closes a ride whose rider owes the rest.
type MarkOutstanding struct {
	RideID     string `json:"ride_id"`
	Receivable int64  `json:"receivable"` // cents
}

// Refund gives everything back for a settled ride.
type Refund struct {
	RideID string `json:"ride_id"`
}

// CommandType implementations: the durable names, which are the functions'.
func (Offer) CommandType() string           { return "offer_ride" }
func (Decline) CommandType() string         { return "decline_offer" }
func (Expire) CommandType() string          { return "expire_offer" }
func (Accept) CommandType() string          { return "accept_ride" }
func (Unassign) CommandType() string        { return "unassign_ride" }
func (Arrive) CommandType() string          { return "arrive" }
func (Start) CommandType() string           { return "start_trip" }
func (MarkSignalLost) CommandType() string  { return "mark_signal_lost" }
func (End) CommandType() string             { return "end_trip" }
func (CalculateFare) CommandType() string   { return "calculate_fare" }
func (AdjustFare) CommandType() string      { return "adjust_fare" }
func (CloseFare) CommandType() string       { return "close_fare" }
func (Cancel) CommandType() string          { return "cancel_ride" }
func (MarkNoShow) CommandType() string      { return "mark_no_show" }
func (MarkUnfulfilled) CommandType() string { return "mark_unfulfilled" }
func (Settle) CommandType() string          { return "settle_ride" }
func (MarkOutstanding) CommandType() string { return "mark_outstanding" }
func (Refund) CommandType() string          { return "refund_ride" }
