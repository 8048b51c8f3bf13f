package ride

import (
	"fmt"

	"github.com/leat-go/leat/aggregate"
)

// Why a ride refuses a command.
var (
	ErrExists      = aggregate.Reject("ride_exists", "the ride was requested before")
	ErrNotOpen     = aggregate.Reject("ride_not_open", "the ride is not open for an offer")
	ErrNoOpenOffer = aggregate.Reject("no_open_offer", "the ride has no such open offer")
	ErrOtherDriver = aggregate.Reject("other_driver", "the ride is another driver's")
	ErrNotAssigned = aggregate.Reject("ride_not_assigned", "the ride has no driver who accepted it and waits for its start")
	ErrNotAccepted = aggregate.Reject("ride_not_accepted", "no driver is on the way to the ride")
	ErrNotArrived  = aggregate.Reject("driver_not_arrived", "the driver is not at the pick-up")
	ErrHasArrived  = aggregate.Reject("driver_arrived", "the driver is at the pick-up: too late to call it late")
	ErrNotDriving  = aggregate.Reject("ride_not_driving", "the trip is not under way")
	ErrNotEnded    = aggregate.Reject("ride_not_ended", "the ride does not wait for its fare")
	ErrNotFared    = aggregate.Reject("ride_not_fared", "the ride does not wait for settlement")
	ErrNotSettled  = aggregate.Reject("ride_not_settled", "only a settled ride can be refunded")
	ErrTooLate     = aggregate.Reject("not_cancellable", "the trip has started or the ride is over")
	ErrInvalid     = aggregate.Reject("invalid_ride", "the command makes no sense for any ride")
)

// Request opens the ride, as e says.
func (r *Ride) Request(e Requested) (aggregate.Events, error) {
	if r.Status != "" {
		return nil, ErrExists
	}
	switch {
	case e.RideID == "" || e.RiderID == "":
		return nil, fmt.Errorf("a ride without its own or its rider's id: %w", ErrInvalid)
	case !e.Terms.Code.Usable():
		return nil, fmt.Errorf("rate code %d: %w", e.Terms.Code, ErrInvalid)
	case e.Agreed < 0 || e.Quote < 0:
		return nil, fmt.Errorf("fare agreed at %d, quoted at %d cents: %w", e.Agreed, e.Quote, ErrInvalid)
	}
	return aggregate.Events{e}, nil
}

// Offer offers the open ride to a driver.
func (r *Ride) Offer(c Offer, driverID string) (aggregate.Events, error) {
	if r.Status != StatusRequested {
		return nil, ErrNotOpen
	}
	return aggregate.Events{Offered{RideID: c.RideID, Offer: r.Offers + 1, DriverID: driverID}}, nil
}

// Decline takes the offered driver's no.
func (r *Ride) Decline(c Decline) (aggregate.Events, error) {
	if err := r.offeredTo(c.Offer, c.DriverID); err != nil {
		return nil, err
	}
	return aggregate.Events{OfferDeclined(c)}, nil
}

// Expire ends an offer that is still open.
func (r *Ride) Expire(c Expire) (aggregate.Events, error) {
	if err := r.offeredTo(c.Offer, r.DriverID); err != nil {
		return nil, err
	}
	return aggregate.Events{OfferExpired{RideID: c.RideID, Offer: c.Offer, DriverID: r.DriverID}}, nil
}

// Accept takes the offered driver's yes.
func (r *Ride) Accept(c Accept) (aggregate.Events, error) {
	if err := r.offeredTo(c.Offer, c.DriverID); err != nil {
		return nil, err
	}
	return aggregate.Events{Accepted(c)}, nil
}

func (r *Ride) offeredTo(offer int, driverID string) error {
	switch {
	case r.Status != StatusOffered || offer != r.Offers:
		return ErrNoOpenOffer
	case driverID != r.DriverID:
		return ErrOtherDriver
	}
	return nil
}

// Unassign opens the ride again. A driver who has arrived is late no more.
func (r *Ride) Unassign(c Unassign) (aggregate.Events, error) {
	switch {
	case !r.assigned():
		return nil, ErrNotAssigned
	case c.DriverID != r.DriverID:
		return nil, ErrOtherDriver
	case c.Reason == Late && r.Status == StatusArrived:
		return nil, ErrHasArrived
	}
	return aggregate.Events{Unassigned{RideID: c.RideID, DriverID: c.DriverID, Reason: c.Reason, Stage: r.Status}}, nil
}

// assigned tells whether a driver accepted the ride and the trip has not begun.
func (r *Ride) assigned() bool { return r.Status == StatusAccepted || r.Status == StatusArrived }

// Arrive takes the assigned driver's word that he is there.
func (r *Ride) Arrive(c Arrive) (aggregate.Events, error) {
	switch {
	case r.Status != StatusAccepted:
		return nil, ErrNotAccepted
	case c.DriverID != r.DriverID:
		return nil, ErrOtherDriver
	}
	return aggregate.Events{Arrived(c)}, nil
}

// Start begins the trip of an assigned driver who has arrived.
func (r *Ride) Start(c Start) (aggregate.Events, error) {
	switch {
	case r.Status != StatusArrived:
		return nil, ErrNotArrived
	case c.DriverID != r.DriverID:
		return nil, ErrOtherDriver
	case c.At.IsZero():
		return nil, fmt.Errorf("a start without a time: %w", ErrInvalid)
	}
	return aggregate.Events{Started(c)}, nil
}

// MarkSignalLost records that the car under way is silent.
func (r *Ride) MarkSignalLost(c MarkSignalLost) (aggregate.Events, error) {
	if r.Status != StatusDriving {
		return nil, ErrNotDriving
	}
	return aggregate.Events{SignalLost(c)}, nil
}

// End ends the trip, once.
func (r *Ride) End(c End) (aggregate.Events, error) {
	switch {
	case r.Status != StatusDriving:
		return nil, ErrNotDriving
	case c.Tolls < 0 || c.Tip < 0:
		return nil, fmt.Errorf("tolls of %d and a tip of %d cents: %w", c.Tolls, c.Tip, ErrInvalid)
	}
	return aggregate.Events{Ended{
		RideID: c.RideID, DriverID: r.DriverID, Dropoff: r.Dropoff,
		Tolls: c.Tolls, Tip: c.Tip, Flagged: c.Flagged,
	}}, nil
}

// Cancel ends the ride before its trip starts: by its rider at any stage, by
// its driver once he has accepted it.
func (r *Ride) Cancel(c Cancel) (aggregate.Events, error) {
	switch {
	case c.By != ByRider && c.By != ByDriver:
		return nil, fmt.Errorf("cancelled by %q: %w", c.By, ErrInvalid)
	case r.Status != StatusRequested && r.Status != StatusOffered && !r.assigned():
		return nil, ErrTooLate
	case c.By == ByDriver && !r.assigned():
		return nil, ErrNotAssigned
	}
	return aggregate.Events{Cancelled{
		RideID: c.RideID, RiderID: r.RiderID, DriverID: r.DriverID,
		By: c.By, Stage: r.Status, Split: cancellation(c.By, r.Status),
	}}, nil
}

// MarkNoShow ends a ride whose driver waits at the pick-up for nobody.
func (r *Ride) MarkNoShow(c MarkNoShow) (aggregate.Events, error) {
	if r.Status != StatusArrived {
		return nil, ErrNotArrived
	}
	return aggregate.Events{NoShow{
		RideID: c.RideID, RiderID: r.RiderID, DriverID: r.DriverID, Split: splitFee(FeeNoShow),
	}}, nil
}

// MarkUnfulfilled ends a ride that no driver has accepted.
func (r *Ride) MarkUnfulfilled(c MarkUnfulfilled) (aggregate.Events, error) {
	if r.Status != StatusRequested && r.Status != StatusOffered {
		return nil, ErrNotOpen
	}
	return aggregate.Events{Unfulfilled(c)}, nil
}
