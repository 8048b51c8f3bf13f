package process

import (
	"time"

	"github.com/leat-go/leat/saga"
	"github.com/leat-go/leat/taxi-demo/internal/earnings"
	"github.com/leat-go/leat/taxi-demo/internal/meter"
	"github.com/leat-go/leat/taxi-demo/internal/ride"
	"github.com/leat-go/leat/taxi-demo/internal/telemetry"
	"github.com/leat-go/leat/taxi-demo/internal/wallet"
)

// grace is how long late telemetry may still adjust a fare before it is
// charged.
const grace = 30 * time.Second

// chargePauses are the waits before the card is tried again.
var chargePauses = [...]time.Duration{30 * time.Second, 2 * time.Minute, 10 * time.Minute}

// Settlement turns what the meter counted into money: fare, capture from the
// wallet, the rest from the card, the driver's earnings; a rider whose card
// stays declined owes the rest while the driver is paid. Fees of cancelled
// rides take the same way.
var Settlement = saga.Define("settlement", 1,
	saga.Starts(func(e ride.Ended) string { return e.RideID }, (*settling).ended),
	saga.Starts(func(e telemetry.Closed) string { return e.RideID }, (*settling).closed),
	saga.Starts(func(e ride.Cancelled) string { return e.RideID }, (*settling).cancelled),
	saga.Starts(func(e ride.NoShow) string { return e.RideID }, (*settling).noShow),
	saga.On(func(e telemetry.Late) string { return e.RideID }, (*settling).late),
	saga.On(func(e ride.FareCalculated) string { return e.RideID }, (*settling).calculated),
	saga.On(func(e ride.FareClosed) string { return e.RideID }, (*settling).fareClosed),
	saga.On(func(e wallet.Captured) string { return e.RideID }, (*settling).captured),
	saga.On(func(e wallet.Charged) string { return e.RideID }, (*settling).charged),
	saga.On(func(e wallet.ChargeDeclined) string { return e.RideID }, (*settling).declined),
	saga.On(func(e earnings.Accrued) string { return e.RideID }, (*settling).accrued),
	saga.On(func(e ride.Settled) string { return e.RideID }, (*settling).settled),
	saga.On(func(e ride.Outstanding) string { return e.RideID }, (*settling).outstanding),
	saga.Timer("close", (*settling).closeFare),
	saga.Timer("charge", (*settling).charge),
	saga.IgnoreRejected[settling, ride.AdjustFare](),
)

type settling struct {
	RiderID  string      `json:"rider_id,omitempty"`
	DriverID string      `json:"driver_id,omitempty"`
	Ended    bool        `json:"ended,omitempty"`
	Closed   bool        `json:"closed,omitempty"`
	Units    meter.Units `json:"units,omitempty"`
	Split    ride.Split  `json:"split"`
	Rest     int64       `json:"rest,omitempty"`    // cents still due
	Attempt  int         `json:"attempt,omitempty"` // of the card
	Fee      bool        `json:"fee,omitempty"`     // of a ride that ended without a trip
}

func (s *settling) ended(c *saga.Context, _ ride.Ended) error {
	s.Ended = true
	return s.calculate(c)
}

func (s *settling) closed(c *saga.Context, e telemetry.Closed) error {
	s.Closed, s.Units = true, e.Units
	return s.calculate(c)
}

// calculate asks for the fare once the trip has ended and the meter is closed.
func (s *settling) calculate(c *saga.Context) error {
	if s.Ended && s.Closed {
		c.Send(ride.CalculateFare{RideID: c.Key(), Units: s.Units})
	}
	return nil
}

func (s *settling) late(c *saga.Context, e telemetry.Late) error {
	s.Units = e.Units
	if s.Ended && s.Closed {
		c.Send(ride.AdjustFare{RideID: c.Key(), Units: e.Units}) // refused once the fare is final
	}
	return nil
}

func (s *settling) calculated(c *saga.Context, e ride.FareCalculated) error {
	s.RiderID, s.DriverID = e.RiderID, e.DriverID
	c.After("close", grace)
	return nil
}

// closeFare asks for the final amount rather than taking the last one heard of:
// an adjustment may be under way, and what the rider pays must be what the
// others get.
func (s *settling) closeFare(c *saga.Context) error {
	c.Send(ride.CloseFare{RideID: c.Key()})
	return nil
}

func (s *settling) fareClosed(c *saga.Context, e ride.FareClosed) error {
	s.Split = e.Split
	return s.capture(c)
}

func (s *settling) cancelled(c *saga.Context, e ride.Cancelled) error {
	return s.fee(c, e.RiderID, e.DriverID, e.Split)
}

func (s *settling) noShow(c *saga.Context, e ride.NoShow) error {
	return s.fee(c, e.RiderID, e.DriverID, e.Split)
}

func (s *settling) fee(c *saga.Context, riderID, driverID string, split ride.Split) error {
	if split.Total() == 0 {
		c.Complete()
		return nil
	}
	s.Fee, s.RiderID, s.DriverID, s.Split = true, riderID, driverID, split
	return s.capture(c)
}

func (s *settling) capture(c *saga.Context) error {
	c.Send(wallet.Capture{RiderID: s.RiderID, RideID: c.Key(), Amount: s.Split.Total()})
	return nil
}

func (s *settling) captured(c *saga.Context, e wallet.Captured) error {
	s.Rest = e.Rest
	if s.Rest > 0 {
		return s.charge(c)
	}
	return s.accrue(c)
}

func (s *settling) charge(c *saga.Context) error {
	s.Attempt++
	c.Send(wallet.Charge{RiderID: s.RiderID, RideID: c.Key(), Amount: s.Rest, Attempt: s.Attempt})
	return nil
}

func (s *settling) charged(c *saga.Context, e wallet.Charged) error {
	s.Rest -= e.Amount
	return s.accrue(c)
}

func (s *settling) declined(c *saga.Context, e wallet.ChargeDeclined) error {
	if e.Attempt <= len(chargePauses) {
		c.After("charge", chargePauses[e.Attempt-1])
		return nil
	}
	return s.accrue(c)
}

func (s *settling) accrue(c *saga.Context) error {
	c.Send(earnings.Accrue{
		DriverID: s.DriverID, RideID: c.Key(),
		Net: s.Split.DriverNet, Tip: s.Split.Tip, Tolls: s.Split.Tolls,
	})
	return nil
}

func (s *settling) accrued(c *saga.Context, _ earnings.Accrued) error {
	if s.Rest > 0 {
		c.Send(ride.MarkOutstanding{RideID: c.Key(), Receivable: s.Rest})
		return nil
	}
	if s.Fee {
		return done(c) // the ride was over before
	}
	c.Send(ride.Settle{RideID: c.Key()})
	return nil
}

func (s *settling) settled(c *saga.Context, _ ride.Settled) error         { return done(c) }
func (s *settling) outstanding(c *saga.Context, _ ride.Outstanding) error { return done(c) }
