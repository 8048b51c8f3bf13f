package ride

import (
	"fmt"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/taxi-demo/internal/meter"
)

// Fees of a ride that does not take place, in cents. A rider who cancels
// before acceptance and a driver who cancels pay nothing.
const (
	FeeAccepted int64 = 300 // cancelled by the rider, the driver on the way
	FeeArrived  int64 = 500 // cancelled by the rider, the driver there
	FeeNoShow   int64 = 500
)

// platformPercent is the platform's part of fare and extra, and of fees,
// rounded down to the cent.
const platformPercent = 20

// CalculateFare sets the fare of a ride that has ended, by the tariff in force
// when it started.
func (r *Ride) CalculateFare(c CalculateFare, t meter.Tariff) (aggregate.Events, error) {
	if r.Status != StatusEnded {
		return nil, ErrNotEnded
	}
	bill := r.bill(t, c.Units)
	return aggregate.Events{FareCalculated{
		RideID: c.RideID, RiderID: r.RiderID, DriverID: r.DriverID,
		Units: c.Units, Bill: bill, Split: SplitOf(bill),
	}}, nil
}

// AdjustFare corrects the fare of a ride that is not settled yet. Units that
// are already those of the fare change nothing.
func (r *Ride) AdjustFare(c AdjustFare, t meter.Tariff) (aggregate.Events, error) {
	switch {
	case r.Status != StatusFared:
		return nil, ErrNotFared
	case c.Units == r.Units:
		return nil, nil
	}
	bill := r.bill(t, c.Units)
	return aggregate.Events{FareAdjusted{RideID: c.RideID, Units: c.Units, Bill: bill, Split: SplitOf(bill)}}, nil
}

// CloseFare makes the fare final: what comes later does not change it, so that
// what the rider pays is what the others get.
func (r *Ride) CloseFare(c CloseFare) (aggregate.Events, error) {
	if r.Status != StatusFared {
		return nil, ErrNotFared
	}
	return aggregate.Events{FareClosed{RideID: c.RideID, RiderID: r.RiderID, DriverID: r.DriverID, Split: r.Split}}, nil
}

func (r *Ride) bill(t meter.Tariff, u meter.Units) meter.Breakdown {
	terms := r.Terms
	terms.PickedUp = r.StartedAt
	b := t.Bill(terms, r.fare(t, u))
	b.Tolls, b.Tip = r.Tolls, r.Tip
	return b
}

// fare is the one agreed before the ride or that of the meter. A rate code
// whose fare is always by agreement has no other, not even where it is 0.
func (r *Ride) fare(t meter.Tariff, u meter.Units) int64 {
	if r.Agreed > 0 {
		return r.Agreed
	}
	if fare, ok := meter.FareAt(t, r.Terms.Code, u); ok {
		return fare
	}
	return r.Agreed
}

// SplitOf says who gets a bill. The total of the split is that of the bill.
func SplitOf(b meter.Breakdown) Split {
	s := splitFee(b.Fare + b.Extra)
	s.Tip, s.Taxes, s.Tolls = b.Tip, b.Taxes(), b.Tolls
	return s
}

// splitFee divides an amount of 0 or more between driver and platform.
func splitFee(amount int64) Split {
	fee := amount * platformPercent / 100
	return Split{DriverNet: amount - fee, PlatformFee: fee}
}

func cancellation(by string, stage Status) Split {
	switch {
	case by != ByRider:
		return Split{}
	case stage == StatusAccepted:
		return splitFee(FeeAccepted)
	case stage == StatusArrived:
		return splitFee(FeeArrived)
	}
	return Split{}
}

// Settle closes a ride for which everything was charged.
func (r *Ride) Settle(c Settle) (aggregate.Events, error) {
	if r.Status != StatusDue {
		return nil, ErrNotFared
	}
	return aggregate.Events{Settled{RideID: c.RideID, RiderID: r.RiderID, Split: r.Split}}, nil
}

// MarkOutstanding closes a ride whose rider owes the rest of the bill, or of
// the fee of a cancelled ride. The split of a fee was recorded with the
// cancellation, so that of the event is zero then.
func (r *Ride) MarkOutstanding(c MarkOutstanding) (aggregate.Events, error) {
	switch {
	case r.Status != StatusDue && r.Status != StatusCancelled:
		return nil, ErrNotFared
	case c.Receivable <= 0 || c.Receivable > r.Split.Total():
		return nil, fmt.Errorf("%d cents owed of %d: %w", c.Receivable, r.Split.Total(), ErrInvalid)
	}
	e := Outstanding{RideID: c.RideID, RiderID: r.RiderID, Receivable: c.Receivable}
	if r.Status == StatusDue {
		e.Split = r.Split
	}
	return aggregate.Events{e}, nil
}

// Refund takes a settled ride back.
func (r *Ride) Refund(c Refund) (aggregate.Events, error) {
	if r.Status != StatusSettled {
		return nil, ErrNotSettled
	}
	return aggregate.Events{Refunded{
		RideID: c.RideID, RiderID: r.RiderID, DriverID: r.DriverID, Split: r.Split,
	}}, nil
}
