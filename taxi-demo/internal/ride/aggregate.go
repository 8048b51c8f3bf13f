package ride

import (
	"time"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/taxi-demo/internal/meter"
)

// Ride is what the decisions about a ride need to know of it.
type Ride struct {
	Status  Status     `json:"status"`
	RiderID string     `json:"rider_id"`
	Dropoff int        `json:"dropoff"` // zone
	Terms   meter.Ride `json:"terms"`
	Agreed  int64      `json:"agreed,omitempty"`

	// Offers is how many offers were made; the last one's number.
	Offers int `json:"offers,omitempty"`
	// DriverID is the driver of the open offer, then the assigned one. He is
	// reserved for the ride, or driving it, until the trip ends.
	DriverID string `json:"driver_id,omitempty"`

	StartedAt time.Time   `json:"started_at,omitzero"` // New York's wall clock
	Tolls     int64       `json:"tolls,omitempty"`
	Tip       int64       `json:"tip,omitempty"`
	Units     meter.Units `json:"units,omitempty"`

	// Split is who gets the bill, or the fee of a cancellation.
	Split Split `json:"split"`
}

// Rides is the definition of the aggregate; its streams are ride-<ride>.
var Rides = aggregate.Define("ride",
	aggregate.On((*Ride).requested),
	aggregate.On((*Ride).offered),
	aggregate.On((*Ride).offerDeclined),
	aggregate.On((*Ride).offerExpired),
	aggregate.On((*Ride).accepted),
	aggregate.On((*Ride).unassigned),
	aggregate.On((*Ride).arrived),
	aggregate.On((*Ride).started),
	aggregate.On((*Ride).ended),
	aggregate.On((*Ride).fareCalculated),
	aggregate.On((*Ride).fareAdjusted),
	aggregate.On((*Ride).fareClosed),
	aggregate.On((*Ride).cancelled),
	aggregate.On((*Ride).noShow),
	aggregate.On((*Ride).unfulfilled),
	aggregate.On((*Ride).settled),
	aggregate.On((*Ride).outstanding),
	aggregate.On((*Ride).refunded),
	aggregate.Ignore[Ride](SignalLost{}.EventType()),
)

func (r *Ride) requested(e Requested) {
	r.Status, r.RiderID, r.Dropoff = StatusRequested, e.RiderID, e.Dropoff
	r.Terms, r.Agreed = e.Terms, e.Agreed
}

func (r *Ride) offered(e Offered) {
	r.Status, r.Offers, r.DriverID = StatusOffered, e.Offer, e.DriverID
}

func (r *Ride) offerDeclined(OfferDeclined) { r.open() }
func (r *Ride) offerExpired(OfferExpired)   { r.open() }
func (r *Ride) unassigned(Unassigned)       { r.open() }

func (r *Ride) open() { r.Status, r.DriverID = StatusRequested, "" }

func (r *Ride) accepted(Accepted) { r.Status = StatusAccepted }

func (r *Ride) arrived(Arrived) { r.Status = StatusArrived }

func (r *Ride) started(e Started) { r.Status, r.StartedAt = StatusDriving, e.At }

func (r *Ride) ended(e Ended) { r.Status, r.Tolls, r.Tip = StatusEnded, e.Tolls, e.Tip }

func (r *Ride) fareCalculated(e FareCalculated) {
	r.Status, r.Units, r.Split = StatusFared, e.Units, e.Split
}

func (r *Ride) fareAdjusted(e FareAdjusted) { r.Units, r.Split = e.Units, e.Split }

func (r *Ride) fareClosed(FareClosed) { r.Status = StatusDue }

func (r *Ride) cancelled(e Cancelled) { r.Status, r.Split = StatusCancelled, e.Split }

func (r *Ride) noShow(e NoShow) { r.Status, r.Split = StatusCancelled, e.Split }

func (r *Ride) unfulfilled(Unfulfilled) { r.Status = StatusUnfulfilled }

func (r *Ride) settled(Settled) { r.Status = StatusSettled }

func (r *Ride) outstanding(Outstanding) { r.Status = StatusOutstanding }

func (r *Ride) refunded(Refunded) { r.Status = StatusRefunded }
