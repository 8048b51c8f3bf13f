package ride

import (
	"testing"
	"time"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/aggregate/aggregatetest"
	"github.com/leat-go/leat/eventstore"
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
	closed    = FareClosed{RideID: "r", RiderID: "p", DriverID: "d", Split: split}
	settled   = Settled{RideID: "r", RiderID: "p", Split: split}
	split     = Split{DriverNet: 680, Tip: 200, PlatformFee: 170, Taxes: 80, Tolls: 576}
)

// life is the whole ride up to settlement; stage returns its first n events.
var life = []eventstore.Event{requested, offered, accepted, arrived, started, ended, fared, closed, settled}

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
	isDue
	isSettled
)

func given(t *testing.T, n int, more ...eventstore.Event) *aggregatetest.Scenario[Ride] {
	t.Helper()
	return aggregatetest.Given(t, Rides, append(append([]eventstore.Event{}, stage(n)...), more...)...)
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
		When(request(requested)).ThenRejected(ErrExists)
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
			given(t, isNew).When(request(e)).ThenRejected(ErrInvalid)
		})
	}
}

func TestThereIsOneOpenOfferAtMost(t *testing.T) {
	given(t, isRequested).
		When(offer(Offer{RideID: "r"}, "d")).Then(offered).
		When(offer(Offer{RideID: "r"}, "e")).ThenRejected(ErrNotOpen).
		When(decline(1, "d")).Then(OfferDeclined{RideID: "r", Offer: 1, DriverID: "d"}).
		When(offer(Offer{RideID: "r"}, "e")).Then(Offered{RideID: "r", Offer: 2, DriverID: "e"}).
		When(expire(2)).Then(OfferExpired{RideID: "r", Offer: 2, DriverID: "e"}).
		When(offer(Offer{RideID: "r"}, "d")).Then(Offered{RideID: "r", Offer: 3, DriverID: "d"})
}

func TestOnlyTheOfferedDriverAccepts(t *testing.T) {
	given(t, isOffered).
		When(accept(1, "e")).ThenRejected(ErrOtherDriver).
		When(decline(1, "e")).ThenRejected(ErrOtherDriver).
		When(accept(1, "d")).Then(accepted)
}

func TestAnOfferIsAcceptedOnce(t *testing.T) {
	given(t, isAccepted).When(accept(1, "d")).ThenRejected(ErrNoOpenOffer)
}

func TestAnExpiredOfferCannotBeAccepted(t *testing.T) {
	given(t, isOffered).
		When(expire(1)).Then(OfferExpired{RideID: "r", Offer: 1, DriverID: "d"}).
		When(accept(1, "d")).ThenRejected(ErrNoOpenOffer).
		When(offer(Offer{RideID: "r"}, "d")).Then(Offered{RideID: "r", Offer: 2, DriverID: "d"}).
		When(accept(1, "d")).ThenRejected(ErrNoOpenOffer).
		When(decline(1, "d")).ThenRejected(ErrNoOpenOffer).
		When(expire(1)).ThenRejected(ErrNoOpenOffer)
}

func TestAnAcceptedOfferDoesNotExpire(t *testing.T) {
	given(t, isAccepted).When(expire(1)).ThenRejected(ErrNoOpenOffer)
}

func TestAnUnassignedRideIsOpenAgain(t *testing.T) {
	given(t, isAccepted).
		When(unassign("e", Late)).ThenRejected(ErrOtherDriver).
		When(unassign("d", Late)).Then(Unassigned{RideID: "r", DriverID: "d", Reason: Late, Stage: StatusAccepted}).
		When(unassign("d", Late)).ThenRejected(ErrNotAssigned).
		When(arrive("d")).ThenRejected(ErrNotAccepted).
		When(offer(Offer{RideID: "r"}, "e")).Then(Offered{RideID: "r", Offer: 2, DriverID: "e"})
}

func TestADriverWhoHasArrivedIsNotLateButMayGiveTheRideBack(t *testing.T) {
	given(t, isArrived).
		When(unassign("d", Late)).ThenRejected(ErrHasArrived).
		When(unassign("d", ByDriver)).Then(Unassigned{RideID: "r", DriverID: "d", Reason: ByDriver, Stage: StatusArrived})
}

func TestOnlyTheAssignedDriverArrivesAndStartsOnce(t *testing.T) {
	given(t, isAccepted).
		When(begin("d", started.At)).ThenRejected(ErrNotArrived).
		When(arrive("e")).ThenRejected(ErrOtherDriver).
		When(arrive("d")).Then(arrived).
		When(arrive("d")).ThenRejected(ErrNotAccepted).
		When(begin("e", started.At)).ThenRejected(ErrOtherDriver).
		When(begin("d", time.Time{})).ThenRejected(ErrInvalid).
		When(begin("d", started.At)).Then(started).
		When(begin("d", started.At)).ThenRejected(ErrNotArrived)
}

func TestATripEndsOnce(t *testing.T) {
	given(t, isArrived).When(end(0, 0)).ThenRejected(ErrNotDriving)
	given(t, isDriving).
		When(end(-1, 0)).ThenRejected(ErrInvalid).
		When(end(0, -1)).ThenRejected(ErrInvalid).
		When(end(576, 200)).Then(ended).
		When(end(576, 200)).ThenRejected(ErrNotDriving)
}

func TestASignalIsLostOnlyOnTheWay(t *testing.T) {
	given(t, isArrived).When(signalLost).ThenRejected(ErrNotDriving)
	given(t, isDriving).When(signalLost).Then(SignalLost{RideID: "r"})
	given(t, isEnded).When(signalLost).ThenRejected(ErrNotDriving)
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
				When(cancel(c.by)).ThenRejected(ErrTooLate)
		})
	}
}

func TestARideCannotBeCancelledOnceItStarted(t *testing.T) {
	for n := isDriving; n <= isSettled; n++ {
		given(t, n).When(cancel(ByRider)).ThenRejected(ErrTooLate).
			When(cancel(ByDriver)).ThenRejected(ErrTooLate)
	}
	given(t, isNew).When(cancel(ByRider)).ThenRejected(ErrTooLate)
}

func TestOnlyTheTwoSidesCancelAndADriverOnlyWhatHeAccepted(t *testing.T) {
	given(t, isRequested).When(cancel("nobody")).ThenRejected(ErrInvalid).
		When(cancel(ByDriver)).ThenRejected(ErrNotAssigned)
	given(t, isOffered).When(cancel(ByDriver)).ThenRejected(ErrNotAssigned)
}

func TestARiderWhoDoesNotComePaysOnceTheDriverIsThere(t *testing.T) {
	given(t, isAccepted).When(noShow).ThenRejected(ErrNotArrived)
	given(t, isArrived).
		When(noShow).Then(NoShow{RideID: "r", RiderID: "p", DriverID: "d", Split: Split{DriverNet: 400, PlatformFee: 100}}).
		When(noShow).ThenRejected(ErrNotArrived).
		When(begin("d", started.At)).ThenRejected(ErrNotArrived)
	given(t, isDriving).When(noShow).ThenRejected(ErrNotArrived)
}

func TestOnlyARideThatNobodyAcceptedIsUnfulfilled(t *testing.T) {
	given(t, isRequested).When(unfulfilled).Then(Unfulfilled{RideID: "r", Reason: NoDriver}).
		When(unfulfilled).ThenRejected(ErrNotOpen)
	given(t, isOffered).When(unfulfilled).Then(Unfulfilled{RideID: "r", Reason: NoDriver}).
		When(accept(1, "d")).ThenRejected(ErrNoOpenOffer)
	for n := isAccepted; n <= isSettled; n++ {
		given(t, n).When(unfulfilled).ThenRejected(ErrNotOpen)
	}
}
