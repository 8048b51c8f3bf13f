package ride

import (
	"time"

	"github.com/leat-go/leat/taxi-demo/internal/meter"
)

// Requested: a rider wants a ride.
type Requested struct {
	RideID  string `json:"ride_id"`
	RiderID string `json:"rider_id"`
	Pickup  int    `json:"pickup"`  // zone
	Dropoff int    `json:"dropoff"` // zone
	// Terms are what the surcharges depend on, but for when it starts.
	Terms meter.Ride `json:"terms"`
	// Quote is the fare promised before the ride, in cents.
	Quote int64 `json:"quote"`
	// Agreed is the fare agreed before the ride in cents; 0 for a metered or
	// flat one.
	Agreed int64 `json:"agreed,omitempty"`
}

// Offered: the ride is offered to a driver, who is reserved for it.
type Offered struct {
	RideID   string `json:"ride_id"`
	Offer    int    `json:"offer"` // 1, 2, 3 …
	DriverID string `json:"driver_id"`
}

// OfferDeclined: the driver said no.
type OfferDeclined struct {
	RideID   string `json:"ride_id"`
	Offer    int    `json:"offer"`
	DriverID string `json:"driver_id"`
}

// OfferExpired: the driver said nothing in time.
type OfferExpired struct {
	RideID   string `json:"ride_id"`
	Offer    int    `json:"offer"`
	DriverID string `json:"driver_id"`
}

// Accepted: the driver is on the way.
type Accepted struct {
	RideID   string `json:"ride_id"`
	Offer    int    `json:"offer"`
	DriverID string `json:"driver_id"`
}

// Unassigned: the driver who had accepted was too late or gave the ride back;
// it is open for offers again.
type Unassigned struct {
	RideID   string `json:"ride_id"`
	DriverID string `json:"driver_id"`
	Reason   string `json:"reason"` // "late" or "driver"
	Stage    Status `json:"stage"`  // accepted or arrived
}

// Arrived: the driver is at the pick-up.
type Arrived struct {
	RideID   string `json:"ride_id"`
	DriverID string `json:"driver_id"`
}

// Started: the meter runs.
type Started struct {
	RideID   string `json:"ride_id"`
	DriverID string `json:"driver_id"`
	// At is New York's wall clock, held in UTC. It chooses the tariff.
	At time.Time `json:"at"`
}

// SignalLost: the car has been silent for too long.
type SignalLost struct {
	RideID string `json:"ride_id"`
}

// Ended: the rider has left the car.
type Ended struct {
	RideID   string `json:"ride_id"`
	DriverID string `json:"driver_id"`
	Dropoff  int    `json:"dropoff"`
	Tolls    int64  `json:"tolls"` // cents
	Tip      int64  `json:"tip"`   // cents
	// Flagged says that the watchdog ended it, for a person to look at.
	Flagged bool `json:"flagged,omitempty"`
}

// FareCalculated: what the ride costs, line by line, and who gets it.
type FareCalculated struct {
	RideID   string          `json:"ride_id"`
	RiderID  string          `json:"rider_id"`
	DriverID string          `json:"driver_id"`
	Units    meter.Units     `json:"units"`
	Bill     meter.Breakdown `json:"bill"`
	Split    Split           `json:"split"`
}

// FareAdjusted: late telemetry changed the fare before it was settled.
type FareAdjusted struct {
	RideID string          `json:"ride_id"`
	Units  meter.Units     `json:"units"`
	Bill   meter.Breakdown `json:"bill"`
	Split  Split           `json:"split"`
}

// FareClosed: the fare is final; this is what is charged and passed on.
type FareClosed struct {
	RideID   string `json:"ride_id"`
	RiderID  string `json:"rider_id"`
	DriverID string `json:"driver_id"`
	Split    Split  `json:"split"`
}

// Cancelled: the ride ends without a trip.
type Cancelled struct {
	RideID   string `json:"ride_id"`
	RiderID  string `json:"rider_id"`
	DriverID string `json:"driver_id,omitempty"`
	By       string `json:"by"`    // "rider" or "driver"
	Stage    Status `json:"stage"` // what it was
	// Split of the cancellation fee; zero where there is none.
	Split Split `json:"split"`
}

// NoShow: the rider did not come; a fee is due.
type NoShow struct {
	RideID   string `json:"ride_id"`
	RiderID  string `json:"rider_id"`
	DriverID string `json:"driver_id"`
	Split    Split  `json:"split"`
}

// Unfulfilled: no driver was found, or the rider could not pay.
type Unfulfilled struct {
	RideID string `json:"ride_id"`
	Reason string `json:"reason"` // "no_driver" or "wallet_short"
}

// Settled: everything due has been charged and passed on.
type Settled struct {
	RideID  string `json:"ride_id"`
	RiderID string `json:"rider_id"`
	Split   Split  `json:"split"`
}

// Outstanding: the driver is paid, the rider owes the rest.
type Outstanding struct {
	RideID  string `json:"ride_id"`
	RiderID string `json:"rider_id"`
	// Split of the bill; zero for a cancellation fee, whose split was recorded
	// with the cancellation.
	Split      Split `json:"split"`
	Receivable int64 `json:"receivable"` // cents
}

// Refunded: the rider got everything back, and everyone gave it back.
type Refunded struct {
	RideID   string `json:"ride_id"`
	RiderID  string `json:"rider_id"`
	DriverID string `json:"driver_id"`
	Split    Split  `json:"split"`
}

// EventType implementations: the durable names.
func (Requested) EventType() string      { return "ride_requested" }
func (Offered) EventType() string        { return "ride_offered" }
func (OfferDeclined) EventType() string  { return "offer_declined" }
func (OfferExpired) EventType() string   { return "offer_expired" }
func (Accepted) EventType() string       { return "ride_accepted" }
func (Unassigned) EventType() string     { return "ride_unassigned" }
func (Arrived) EventType() string        { return "arrival" }
func (Started) EventType() string        { return "trip_start" }
func (SignalLost) EventType() string     { return "signal_lost" }
func (Ended) EventType() string          { return "trip_end" }
func (FareCalculated) EventType() string { return "fare_calculated" }
func (FareAdjusted) EventType() string   { return "fare_adjusted" }
func (FareClosed) EventType() string     { return "fare_closed" }
func (Cancelled) EventType() string      { return "ride_cancelled" }
func (NoShow) EventType() string         { return "rider_no_show" }
func (Unfulfilled) EventType() string    { return "ride_unfulfilled" }
func (Settled) EventType() string        { return "ride_settled" }
func (Outstanding) EventType() string    { return "ride_outstanding" }
func (Refunded) EventType() string       { return "ride_refunded" }

// Split says who gets a bill, in cents. Its sum is what the rider pays.
type Split struct {
	DriverNet   int64 `json:"driver_net"`
	Tip         int64 `json:"tip"`
	PlatformFee int64 `json:"platform_fee"`
	Taxes       int64 `json:"taxes"` // taxes and surcharges passed on
	Tolls       int64 `json:"tolls"`
}

// Total returns the sum of the split.
func (s Split) Total() int64 { return s.DriverNet + s.Tip + s.PlatformFee + s.Taxes + s.Tolls }
