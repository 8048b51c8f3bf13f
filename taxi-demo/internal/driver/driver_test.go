package driver

import (
	"testing"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/taxi-demo/internal/domaintest"
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
	domaintest.Given(t, Drivers).
		When(reserve("r")).ThenRefused(ErrNotFree).
		When(goOnline(3)).Then(online).
		When(reserve("r")).Then(reserved)
	domaintest.Given(t, Drivers, online, Offline{DriverID: "d"}).When(reserve("r")).ThenRefused(ErrNotFree)
}

func TestADriverHasOneRideAtMost(t *testing.T) {
	domaintest.Given(t, Drivers, online, reserved).
		When(reserve("q")).ThenRefused(ErrNotFree).
		When(reserve("r")).ThenRefused(ErrNotFree).
		When(start("r")).Then(started).
		When(reserve("q")).ThenRefused(ErrNotFree).
		When(finish("r")).Then(finished).
		When(reserve("q")).Then(Reserved{DriverID: "d", RideID: "q"})
}

func TestADriverIsReleasedAndDrivesOnlyForHisOwnRide(t *testing.T) {
	domaintest.Given(t, Drivers, online, reserved).
		When(release("q")).ThenRefused(ErrNotReserved).
		When(start("q")).ThenRefused(ErrNotReserved).
		When(finish("r")).ThenRefused(ErrNotDriving).
		When(release("r")).Then(released).
		When(release("r")).ThenRefused(ErrNotReserved).
		When(start("r")).ThenRefused(ErrNotReserved)
}

func TestADriverOnTheRoadIsFreedByTheEndOfTheRideAlone(t *testing.T) {
	domaintest.Given(t, Drivers, online, reserved, started).
		When(start("r")).ThenRefused(ErrNotReserved).
		When(release("r")).ThenRefused(ErrNotReserved).
		When(finish("q")).ThenRefused(ErrNotDriving).
		When(finish("r")).Then(finished).
		When(finish("r")).ThenRefused(ErrNotDriving)
}

func TestADriverWithARideStaysOnlineAndWhereHeIs(t *testing.T) {
	domaintest.Given(t, Drivers, online, reserved).
		When(goOffline).ThenRefused(ErrNotFree).
		When(goOnline(4)).ThenRefused(ErrNotFree)
}

func TestAFreeDriverComesGoesAndMoves(t *testing.T) {
	domaintest.Given(t, Drivers).
		When(goOffline).Then().
		When(goOnline(3)).Then(online).
		When(goOnline(3)).Then().
		When(goOnline(5)).Then(Online{DriverID: "d", Zone: 5}).
		When(goOffline).Then(Offline{DriverID: "d"}).
		When(goOnline(5)).Then(Online{DriverID: "d", Zone: 5})
}

func TestAfterARideADriverIsWhereItEnded(t *testing.T) {
	domaintest.Given(t, Drivers, online, reserved, started, finished).
		When(goOnline(8)).Then()
}
