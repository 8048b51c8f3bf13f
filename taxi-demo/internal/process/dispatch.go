package process

import (
	"time"

	"github.com/leat-go/leat/saga"
	"github.com/leat-go/leat/taxi-demo/internal/functions"
	"github.com/leat-go/leat/taxi-demo/internal/ride"
	"github.com/leat-go/leat/taxi-demo/internal/wallet"
)

// Limits of the search for a driver.
const (
	offerTime   = 15 * time.Second  // an offer stands this long
	searchTime  = 120 * time.Second // the search ends after this, once no offer stands
	searchPause = 10 * time.Second  // between two looks when nobody is free
	maxOffers   = 5                 // drivers asked at most
)

// Dispatch finds a driver for a ride: it holds 1.2 times the quote, offers the
// ride to the nearest free drivers one after the other, and releases the hold
// where none takes it.
var Dispatch = saga.Define("dispatch", 1,
	saga.Starts(func(e ride.Requested) string { return e.RideID }, (*dispatching).requested),
	saga.On(func(e wallet.Held) string { return e.RideID }, (*dispatching).held),
	saga.On(func(e ride.Offered) string { return e.RideID }, (*dispatching).offered),
	saga.On(func(e ride.OfferDeclined) string { return e.RideID }, (*dispatching).declined),
	saga.On(func(e ride.OfferExpired) string { return e.RideID }, (*dispatching).expired),
	saga.On(func(e ride.Accepted) string { return e.RideID }, (*dispatching).accepted),
	saga.On(func(e ride.Unassigned) string { return e.RideID }, (*dispatching).unassigned),
	saga.On(func(e ride.Started) string { return e.RideID }, (*dispatching).started),
	saga.On(func(e ride.Cancelled) string { return e.RideID }, (*dispatching).cancelled),
	saga.On(func(e ride.NoShow) string { return e.RideID }, (*dispatching).noShow),
	saga.On(func(e ride.Unfulfilled) string { return e.RideID }, (*dispatching).unfulfilled),
	saga.Timer("offer", (*dispatching).offerOver),
	saga.Timer("again", (*dispatching).search),
	saga.Timer("deadline", (*dispatching).searchOver),
	saga.Rejected((*dispatching).holdRejected),
	saga.Rejected((*dispatching).offerRejected),
	saga.IgnoreRejected[dispatching, ride.Expire](),
	saga.IgnoreRejected[dispatching, ride.MarkUnfulfilled](),
)

type dispatching struct {
	RideID  string   `json:"ride_id"`
	Zone    int      `json:"zone"`
	Asked   []string `json:"asked,omitempty"`
	Offer   int      `json:"offer,omitempty"`   // the one that stands; 0 for none
	Offers  int      `json:"offers,omitempty"`  // made since the search began
	Expired bool     `json:"expired,omitempty"` // the search time is over
}

func (d *dispatching) requested(c *saga.Context, e ride.Requested) error {
	d.RideID, d.Zone = e.RideID, e.Pickup
	c.Undo("hold", wallet.ReleaseHold{RiderID: e.RiderID, RideID: e.RideID})
	c.Send(wallet.Hold{RiderID: e.RiderID, RideID: e.RideID, Amount: e.Quote + e.Quote/5})
	c.After("deadline", searchTime)
	return nil
}

func (d *dispatching) held(c *saga.Context, _ wallet.Held) error { return d.search(c) }

func (d *dispatching) search(c *saga.Context) error {
	c.Send(ride.Offer{RideID: d.RideID, Zone: d.Zone, Asked: d.Asked, Seen: c.Position()})
	return nil
}

func (d *dispatching) offered(c *saga.Context, e ride.Offered) error {
	d.Asked = append(d.Asked, e.DriverID)
	d.Offer, d.Offers = e.Offer, d.Offers+1
	c.After("offer", offerTime)
	return nil
}

func (d *dispatching) offerOver(c *saga.Context) error {
	c.Send(ride.Expire{RideID: d.RideID, Offer: d.Offer})
	return nil
}

func (d *dispatching) declined(c *saga.Context, _ ride.OfferDeclined) error { return d.next(c) }
func (d *dispatching) expired(c *saga.Context, _ ride.OfferExpired) error   { return d.next(c) }

func (d *dispatching) next(c *saga.Context) error {
	c.Cancel("offer")
	d.Offer = 0
	if d.Expired || d.Offers >= maxOffers {
		return d.giveUp(c)
	}
	return d.search(c)
}

func (d *dispatching) searchOver(c *saga.Context) error {
	d.Expired = true
	if d.Offer != 0 {
		return nil // its answer or its end comes first
	}
	return d.giveUp(c)
}

func (d *dispatching) giveUp(c *saga.Context) error {
	c.Cancel("again")
	c.Send(ride.MarkUnfulfilled{RideID: d.RideID, Reason: ride.NoDriver})
	return nil
}

func (d *dispatching) accepted(c *saga.Context, _ ride.Accepted) error {
	c.Cancel("offer")
	c.Cancel("again")
	c.Cancel("deadline")
	d.Offer = 0
	return nil
}

func (d *dispatching) unassigned(c *saga.Context, _ ride.Unassigned) error {
	d.Offers, d.Expired = 0, false
	c.After("deadline", searchTime)
	return d.search(c)
}

func (d *dispatching) holdRejected(c *saga.Context, _ saga.Rejection[wallet.Hold]) error {
	c.Send(ride.MarkUnfulfilled{RideID: d.RideID, Reason: ride.WalletShort})
	return nil
}

func (d *dispatching) offerRejected(c *saga.Context, r saga.Rejection[ride.Offer]) error {
	if r.Code == functions.ErrNoDriver.Code && !d.Expired {
		c.After("again", searchPause)
	}
	return nil
}

func (d *dispatching) started(c *saga.Context, _ ride.Started) error {
	c.Complete()
	return nil
}

func (d *dispatching) noShow(c *saga.Context, _ ride.NoShow) error {
	c.Complete() // settlement takes the fee from the hold
	return nil
}

func (d *dispatching) cancelled(c *saga.Context, e ride.Cancelled) error {
	if e.Split.Total() > 0 {
		c.Complete() // settlement takes the fee from the hold
		return nil
	}
	c.Compensate("cancelled by the " + e.By)
	return nil
}

func (d *dispatching) unfulfilled(c *saga.Context, e ride.Unfulfilled) error {
	c.Compensate(e.Reason)
	return nil
}
