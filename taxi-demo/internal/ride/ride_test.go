package ride

import (
	"testing"
	"time"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/taxi-demo/internal/domaintest"
	"github.com/leat-go/leat/taxi-demo/internal/meter"
)

type decision = func(*Ride) (aggregate.Events, error)

// What happens to ride r of rider p, step by step.
var (
	requested = Requested{RideID: "r", RiderID: "p", Pickup: 1, Dropoff: 9, Quote: 1000, Terms: meter.Ride{Code: meter.Standard}}
	offered   = Offered{RideID: "r", Offer: 1, DriverID: "d"}
	accepted  = Accepted{RideID: "r", Offer: 1, DriverID: "d"}
	arrived   = Arrived{RideID: "r", DriverID: "d"}
	started   = Started{RideID: "r", DriverID: "d", At: time.Date(2019, time.March, 4, 11, 0, 0, 0, time.UTC)}
	ended     = Ended{RideID: "r", DriverID: "d", Dropoff: 9, Tolls: 576, Tip: 200}
	fared     = FareCalculated{RideID: "r", RiderID: "p", DriverID: "d", Units: 12 * meter.Unit, Split: split}
	settled   = Settled{RideID: "r", RiderID: "p", Split: split}
	split     = Split{DriverNet: 680, Tip: 200, PlatformFee: 170, Taxes: 80, Tolls: 576}
)

// life is the whole ride up to settlement; stage returns its first n events.
var life = []eventstore.Event{requested, offered, accepted, arrived, started, ended, fared, settled}

func stage(n int) []eventstore.Event { return life[:n] }

const (
	isNew = iota
	isRequested
	isOffered
	isAccepted
	isArrived
	isDriving
	isEnded
	isFared
	isSettled
)

func given(t *testing.T, n int, more ...eventstore.Event) *domaintest.Case[Ride] {
	t.Helper()
	return domaintest.Given(t, Rides, append(append([]eventstore.Event{}, stage(n)...), more...)...)
}

func offer(c Offer, driverID string) decision {
	return func(r *Ride) (aggregate.Events, error) { return r.Offer(c, driverID) }
}

func accept(number int, driverID string) decision {
	return func(r *Ride) (aggregate.Events, error) {
		return r.Accept(Accept{RideID: "r", Offer: number, DriverID: driverID})
	}
}

func expire(number int) decision {
	return func(r *Ride) (aggregate.Events, error) { return r.Expire(Expire{RideID: "r", Offer: number}) }
}

func decline(number int, driverID string) decision {
	return func(r *Ride) (aggregate.Events, error) {
		return r.Decline(Decline{RideID: "r", Offer: number, DriverID: driverID})
	}
}

func unassign(driverID, reason string) decision {
	return func(r *Ride) (aggregate.Events, error) {
		return r.Unassign(Unassign{RideID: "r", DriverID: driverID, Reason: reason})
	}
}

func arrive(driverID string) decision {
	return func(r *Ride) (aggregate.Events, error) { return r.Arrive(Arrive{RideID: "r", DriverID: driverID}) }
}

func begin(driverID string, at time.Time) decision {
	return func(r *Ride) (aggregate.Events, error) {
		return r.Start(Start{RideID: "r", DriverID: driverID, At: at})
	}
}

func end(tolls, tip int64) decision {
	return func(r *Ride) (aggregate.Events, error) { return r.End(End{RideID: "r", Tolls: tolls, Tip: tip}) }
}

func cancel(by string) decision {
	return func(r *Ride) (aggregate.Events, error) { return r.Cancel(Cancel{RideID: "r", By: by}) }
}

func noShow(r *Ride) (aggregate.Events, error) { return r.MarkNoShow(MarkNoShow{RideID: "r"}) }

func unfulfilled(r *Ride) (aggregate.Events, error) {
	return r.MarkUnfulfilled(MarkUnfulfilled{RideID: "r", Reason: NoDriver})
}

func signalLost(r *Ride) (aggregate.Events, error) {
	return r.MarkSignalLost(MarkSignalLost{RideID: "r"})
}

func request(e Requested) decision {
	return func(r *Ride) (aggregate.Events, error) { return r.Request(e) }
}

func TestARideIsRequestedOnce(t *testing.T) {
	given(t, isNew).When(request(requested)).Then(requested).
		When(request(requested)).ThenRefused(ErrExists)
}

func TestARequestThatMakesNoSenseIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(*Requested){
		"no ride":      func(e *Requested) { e.RideID = "" },
		"no rider":     func(e *Requested) { e.RiderID = "" },
		"no rate code": func(e *Requested) { e.Terms.Code = 99 },
		"agreed below": func(e *Requested) { e.Agreed = -1 },
		"quoted below": func(e *Requested) { e.Quote = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			e := requested
			spoil(&e)
			given(t, isNew).When(request(e)).ThenRefused(ErrInvalid)
		})
	}
}

func TestThereIsOneOpenOfferAtMost(t *testing.T) {
	given(t, isRequested).
		When(offer(Offer{RideID: "r"}, "d")).Then(offered).
		When(offer(Offer{RideID: "r"}, "e")).ThenRefused(ErrNotOpen).
		When(decline(1, "d")).Then(OfferDeclined{RideID: "r", Offer: 1, DriverID: "d"}).
		When(offer(Offer{RideID: "r"}, "e")).Then(Offered{RideID: "r", Offer: 2, DriverID: "e"}).
		When(expire(2)).Then(OfferExpired{RideID: "r", Offer: 2, DriverID: "e"}).
		When(offer(Offer{RideID: "r"}, "d")).Then(Offered{RideID: "r", Offer: 3, DriverID: "d"})
}

func TestOnlyTheOfferedDriverAccepts(t *testing.T) {
	given(t, isOffered).
		When(accept(1, "e")).ThenRefused(ErrOtherDriver).
		When(decline(1, "e")).ThenRefused(ErrOtherDriver).
		When(accept(1, "d")).Then(accepted)
}

func TestAnOfferIsAcceptedOnce(t *testing.T) {
	given(t, isAccepted).When(accept(1, "d")).ThenRefused(ErrNoOpenOffer)
}

func TestAnExpiredOfferCannotBeAccepted(t *testing.T) {
	given(t, isOffered).
		When(expire(1)).Then(OfferExpired{RideID: "r", Offer: 1, DriverID: "d"}).
		When(accept(1, "d")).ThenRefused(ErrNoOpenOffer).
		When(offer(Offer{RideID: "r"}, "d")).Then(Offered{RideID: "r", Offer: 2, DriverID: "d"}).
		When(accept(1, "d")).ThenRefused(ErrNoOpenOffer).
		When(decline(1, "d")).ThenRefused(ErrNoOpenOffer).
		When(expire(1)).ThenRefused(ErrNoOpenOffer)
}

func TestAnAcceptedOfferDoesNotExpire(t *testing.T) {
	given(t, isAccepted).When(expire(1)).ThenRefused(ErrNoOpenOffer)
}

func TestAnUnassignedRideIsOpenAgain(t *testing.T) {
	given(t, isAccepted).
		When(unassign("e", Late)).ThenRefused(ErrOtherDriver).
		When(unassign("d", Late)).Then(Unassigned{RideID: "r", DriverID: "d", Reason: Late, Stage: StatusAccepted}).
		When(unassign("d", Late)).ThenRefused(ErrNotAssigned).
		When(arrive("d")).ThenRefused(ErrNotAccepted).
		When(offer(Offer{RideID: "r"}, "e")).Then(Offered{RideID: "r", Offer: 2, DriverID: "e"})
}

func TestADriverWhoHasArrivedIsNotLateButMayGiveTheRideBack(t *testing.T) {
	given(t, isArrived).
		When(unassign("d", Late)).ThenRefused(ErrHasArrived).
		When(unassign("d", ByDriver)).Then(Unassigned{RideID: "r", DriverID: "d", Reason: ByDriver, Stage: StatusArrived})
}

func TestOnlyTheAssignedDriverArrivesAndStartsOnce(t *testing.T) {
	given(t, isAccepted).
		When(begin("d", started.At)).ThenRefused(ErrNotArrived).
		When(arrive("e")).ThenRefused(ErrOtherDriver).
		When(arrive("d")).Then(arrived).
		When(arrive("d")).ThenRefused(ErrNotAccepted).
		When(begin("e", started.At)).ThenRefused(ErrOtherDriver).
		When(begin("d", time.Time{})).ThenRefused(ErrInvalid).
		When(begin("d", started.At)).Then(started).
		When(begin("d", started.At)).ThenRefused(ErrNotArrived)
}

func TestATripEndsOnce(t *testing.T) {
	given(t, isArrived).When(end(0, 0)).ThenRefused(ErrNotDriving)
	given(t, isDriving).
		When(end(-1, 0)).ThenRefused(ErrInvalid).
		When(end(0, -1)).ThenRefused(ErrInvalid).
		When(end(576, 200)).Then(ended).
		When(end(576, 200)).ThenRefused(ErrNotDriving)
}

func TestASignalIsLostOnlyOnTheWay(t *testing.T) {
	given(t, isArrived).When(signalLost).ThenRefused(ErrNotDriving)
	given(t, isDriving).When(signalLost).Then(SignalLost{RideID: "r"})
	given(t, isEnded).When(signalLost).ThenRefused(ErrNotDriving)
}

func TestACancellationCostsByStageAndSide(t *testing.T) {
	for _, c := range []struct {
		name  string
		after int
		by    string
		want  Cancelled
	}{
		{"by the rider at once", isRequested, ByRider, Cancelled{Stage: StatusRequested}},
		{"by the rider while offered", isOffered, ByRider, Cancelled{DriverID: "d", Stage: StatusOffered}},
		{"by the rider after acceptance", isAccepted, ByRider, Cancelled{DriverID: "d", Stage: StatusAccepted, Split: Split{DriverNet: 240, PlatformFee: 60}}},
		{"by the rider at the car", isArrived, ByRider, Cancelled{DriverID: "d", Stage: StatusArrived, Split: Split{DriverNet: 400, PlatformFee: 100}}},
		{"by the driver after acceptance", isAccepted, ByDriver, Cancelled{DriverID: "d", Stage: StatusAccepted}},
		{"by the driver at the pick-up", isArrived, ByDriver, Cancelled{DriverID: "d", Stage: StatusArrived}},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := c.want
			want.RideID, want.RiderID, want.By = "r", "p", c.by
			given(t, c.after).When(cancel(c.by)).Then(want).
				When(cancel(c.by)).ThenRefused(ErrTooLate)
		})
	}
}

func TestARideCannotBeCancelledOnceItStarted(t *testing.T) {
	for n := isDriving; n <= isSettled; n++ {
		given(t, n).When(cancel(ByRider)).ThenRefused(ErrTooLate).
			When(cancel(ByDriver)).ThenRefused(ErrTooLate)
	}
	given(t, isNew).When(cancel(ByRider)).ThenRefused(ErrTooLate)
}

func TestOnlyTheTwoSidesCancelAndADriverOnlyWhatHeAccepted(t *testing.T) {
	given(t, isRequested).When(cancel("nobody")).ThenRefused(ErrInvalid).
		When(cancel(ByDriver)).ThenRefused(ErrNotAssigned)
	given(t, isOffered).When(cancel(ByDriver)).ThenRefused(ErrNotAssigned)
}

func TestARiderWhoDoesNotComePaysOnceTheDriverIsThere(t *testing.T) {
	given(t, isAccepted).When(noShow).ThenRefused(ErrNotArrived)
	given(t, isArrived).
		When(noShow).Then(NoShow{RideID: "r", RiderID: "p", DriverID: "d", Split: Split{DriverNet: 400, PlatformFee: 100}}).
		When(noShow).ThenRefused(ErrNotArrived).
		When(begin("d", started.At)).ThenRefused(ErrNotArrived)
	given(t, isDriving).When(noShow).ThenRefused(ErrNotArrived)
}

func TestOnlyARideThatNobodyAcceptedIsUnfulfilled(t *testing.T) {
	given(t, isRequested).When(unfulfilled).Then(Unfulfilled{RideID: "r", Reason: NoDriver}).
		When(unfulfilled).ThenRefused(ErrNotOpen)
	given(t, isOffered).When(unfulfilled).Then(Unfulfilled{RideID: "r", Reason: NoDriver}).
		When(accept(1, "d")).ThenRefused(ErrNoOpenOffer)
	for n := isAccepted; n <= isSettled; n++ {
		given(t, n).When(unfulfilled).ThenRefused(ErrNotOpen)
	}
}
