package driver

import (
	"testing"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/aggregate/aggregatetest"
)

type decision = func(*Driver) (aggregate.Events, error)

var (
	online   = Online{DriverID: "d", Zone: 3}
	reserved = Reserved{DriverID: "d", RideID: "r"}
	started  = Started{DriverID: "d", RideID: "r"}
	released = Released{DriverID: "d", RideID: "r"}
	finished = Finished{DriverID: "d", RideID: "r", Zone: 8}
)

func goOnline(zone int) decision {
	return func(d *Driver) (aggregate.Events, error) { return d.GoOnline(GoOnline{DriverID: "d", Zone: zone}) }
}

func goOffline(d *Driver) (aggregate.Events, error) { return d.GoOffline(GoOffline{DriverID: "d"}) }

func reserve(rideID string) decision {
	return func(d *Driver) (aggregate.Events, error) { return d.Reserve("d", rideID) }
}

func release(rideID string) decision {
	return func(d *Driver) (aggregate.Events, error) { return d.Release("d", rideID) }
}

func start(rideID string) decision {
	return func(d *Driver) (aggregate.Events, error) { return d.Start("d", rideID) }
}

func finish(rideID string) decision {
	return func(d *Driver) (aggregate.Events, error) { return d.Finish("d", rideID, 8) }
}

func TestOnlyADriverOnlineIsReserved(t *testing.T) {
	aggregatetest.Given(t, Drivers).
		When(reserve("r")).ThenRejected(ErrNotFree).
		When(goOnline(3)).Then(online).
		When(reserve("r")).Then(reserved)
	aggregatetest.Given(t, Drivers, online, Offline{DriverID: "d"}).When(reserve("r")).ThenRejected(ErrNotFree)
}

func TestADriverHasOneRideAtMost(t *testing.T) {
	aggregatetest.Given(t, Drivers, online, reserved).
		When(reserve("q")).ThenRejected(ErrNotFree).
		When(reserve("r")).ThenRejected(ErrNotFree).
		When(start("r")).Then(started).
		When(reserve("q")).ThenRejected(ErrNotFree).
		When(finish("r")).Then(finished).
		When(reserve("q")).Then(Reserved{DriverID: "d", RideID: "q"})
}

func TestADriverIsReleasedAndDrivesOnlyForHisOwnRide(t *testing.T) {
	aggregatetest.Given(t, Drivers, online, reserved).
		When(release("q")).ThenRejected(ErrNotReserved).
		When(start("q")).ThenRejected(ErrNotReserved).
		When(finish("r")).ThenRejected(ErrNotDriving).
		When(release("r")).Then(released).
		When(release("r")).ThenRejected(ErrNotReserved).
		When(start("r")).ThenRejected(ErrNotReserved)
}

func TestADriverOnTheRoadIsFreedByTheEndOfTheRideAlone(t *testing.T) {
	aggregatetest.Given(t, Drivers, online, reserved, started).
		When(start("r")).ThenRejected(ErrNotReserved).
		When(release("r")).ThenRejected(ErrNotReserved).
		When(finish("q")).ThenRejected(ErrNotDriving).
		When(finish("r")).Then(finished).
		When(finish("r")).ThenRejected(ErrNotDriving)
}

func TestADriverWithARideStaysOnlineAndWhereHeIs(t *testing.T) {
	aggregatetest.Given(t, Drivers, online, reserved).
		When(goOffline).ThenRejected(ErrNotFree).
		When(goOnline(4)).ThenRejected(ErrNotFree)
}

func TestAFreeDriverComesGoesAndMoves(t *testing.T) {
	aggregatetest.Given(t, Drivers).
		When(goOffline).Then().
		When(goOnline(3)).Then(online).
		When(goOnline(3)).Then().
		When(goOnline(5)).Then(Online{DriverID: "d", Zone: 5}).
		When(goOffline).Then(Offline{DriverID: "d"}).
		When(goOnline(5)).Then(Online{DriverID: "d", Zone: 5})
}

func TestAfterARideADriverIsWhereItEnded(t *testing.T) {
	aggregatetest.Given(t, Drivers, online, reserved, started, finished).
		When(goOnline(8)).Then()
}
