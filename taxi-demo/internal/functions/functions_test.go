package functions

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
	"github.com/leat-go/leat/taxi-demo/internal/driver"
	"github.com/leat-go/leat/taxi-demo/internal/meter"
	"github.com/leat-go/leat/taxi-demo/internal/ride"
	"github.com/leat-go/leat/taxi-demo/internal/tariff"
	"github.com/leat-go/leat/taxi-demo/internal/trip"
	"github.com/leat-go/leat/taxi-demo/internal/wallet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fleet is a read model that never learns: all drivers, as if always free,
// beginning with the one whose number is the zone.
type fleet []string

func (f fleet) nearest(_ context.Context, _ int64, zone int, exclude []string, limit int) ([]string, error) {
	var ids []string
	for i := range f {
		id := f[(zone+i)%len(f)]
		if len(ids) < limit && !slices.Contains(exclude, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

var (
	start = time.Date(2019, time.March, 4, 11, 0, 0, 0, time.UTC) // a Monday
	drove = fleet{"d0", "d1"}
)

// rideOf is the request for a metered ride.
func rideOf(rideID, riderID string) RequestTrip {
	return RequestTrip{
		Recorded: trip.Recorded{Source: "test", Row: 1, RideID: rideID, Fare: 850},
		Planned:  trip.Planned{RideID: rideID, RiderID: riderID},
		Requested: ride.Requested{
			RideID: rideID, RiderID: riderID, Pickup: 0, Dropoff: 7, Quote: 1000,
			Terms: meter.Ride{Code: meter.Standard, CongestionZone: true},
		},
		TopUp: 5000,
	}
}

// town is functions over an empty log in memory with tariffs and two drivers.
func town(t *testing.T, deps Deps) (*Functions, *memory.Store) {
	t.Helper()
	store := memory.New(nil)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	if deps.Nearest == nil {
		deps.Nearest = drove.nearest
	}
	f := New(store, deps)
	for _, tr := range meter.Tariffs() {
		_, err := f.PublishTariff(t.Context(), tariff.Publish{Tariff: tr})
		require.NoError(t, err)
	}
	for i, id := range drove {
		_, err := f.GoOnline(t.Context(), driver.GoOnline{DriverID: id, Zone: i})
		require.NoError(t, err)
	}
	return f, store
}

func command(ctx context.Context, id string) context.Context {
	ctx, _ = eventstore.WithCommand(ctx, id)
	return ctx
}

// types returns the types of the events from one position to another.
func types(t *testing.T, store eventstore.LogReader, c eventstore.Commit) []string {
	t.Helper()
	page, err := store.ReadLog(t.Context(), c.First-1, c.Events(), eventstore.Filter{})
	require.NoError(t, err)
	var names []string
	for _, e := range page.Events {
		names = append(names, e.Type)
	}
	return names
}

func ok(t *testing.T) func(eventstore.Commit, error) eventstore.Commit {
	return func(c eventstore.Commit, err error) eventstore.Commit {
		t.Helper()
		require.NoError(t, err)
		return c
	}
}

// accepted brings ride r1 so far that d0 is on the way.
func accepted(t *testing.T, f *Functions) {
	t.Helper()
	ctx, must := t.Context(), ok(t)
	must(f.RequestTrip(ctx, rideOf("r1", "p1")))
	must(f.OfferRide(ctx, ride.Offer{RideID: "r1"}))
	must(f.AcceptRide(ctx, ride.Accept{RideID: "r1", Offer: 1, DriverID: "d0"}))
}

func TestARequestedTripIsOneBatchWithTheTripBeforeTheRide(t *testing.T) {
	f, store := town(t, Deps{})
	c := rideOf("r1", "p1")
	c.DriverID, c.DriverZone = "d9", 4

	commit := ok(t)(f.RequestTrip(command(t.Context(), "row-1"), c))
	require.Equal(t, []string{"trip_recorded", "trip_planned", "wallet_opened", "wallet_topped_up", "driver_online", "ride_requested"},
		types(t, store, commit))

	again := ok(t)(f.RequestTrip(command(t.Context(), "row-1"), c))
	require.True(t, again.Duplicate)
	require.Equal(t, commit.Last, again.Last)

	_, err := f.RequestTrip(command(t.Context(), "row-2"), c)
	require.ErrorIs(t, err, trip.ErrRecorded)
}

func TestARowThatIsNotDrivenIsOnlyRecorded(t *testing.T) {
	f, store := town(t, Deps{})
	commit := ok(t)(f.RecordTrip(t.Context(), RecordTrip{Recorded: trip.Recorded{Source: "test", Row: 7}}))
	require.Equal(t, []string{"trip_recorded"}, types(t, store, commit))
	require.Equal(t, "trip-test-7", commit.Streams[0].Stream)
}

func TestAnOfferReservesItsDriverAndItsEndReleasesHimInOneBatch(t *testing.T) {
	f, store := town(t, Deps{})
	ctx, must := t.Context(), ok(t)
	must(f.RequestTrip(ctx, rideOf("r1", "p1")))
	offer := ride.Offer{RideID: "r1"}

	require.Equal(t, []string{"ride_offered", "driver_reserved"}, types(t, store, must(f.OfferRide(ctx, offer))))
	require.Equal(t, []string{"offer_declined", "driver_released"},
		types(t, store, must(f.DeclineOffer(ctx, ride.Decline{RideID: "r1", Offer: 1, DriverID: "d0"}))))

	must(f.OfferRide(ctx, offer))
	require.Equal(t, []string{"offer_expired", "driver_released"},
		types(t, store, must(f.ExpireOffer(ctx, ride.Expire{RideID: "r1", Offer: 2}))))

	must(f.OfferRide(ctx, offer))
	require.Equal(t, []string{"ride_unfulfilled", "driver_released"},
		types(t, store, must(f.MarkUnfulfilled(ctx, ride.MarkUnfulfilled{RideID: "r1", Reason: ride.NoDriver}))))
}

func TestTheDriverGoesWithTheRideUntilItsEnd(t *testing.T) {
	f, store := town(t, Deps{})
	ctx, must := t.Context(), ok(t)
	accepted(t, f)
	require.Equal(t, []string{"ride_unassigned", "driver_released"},
		types(t, store, must(f.UnassignRide(ctx, ride.Unassign{RideID: "r1", DriverID: "d0", Reason: ride.Late}))))

	must(f.OfferRide(ctx, ride.Offer{RideID: "r1", Asked: []string{"d0"}}))
	must(f.AcceptRide(ctx, ride.Accept{RideID: "r1", Offer: 2, DriverID: "d1"}))
	must(f.Arrive(ctx, ride.Arrive{RideID: "r1", DriverID: "d1"}))
	require.Equal(t, []string{"trip_start", "driver_started"},
		types(t, store, must(f.StartTrip(ctx, ride.Start{RideID: "r1", DriverID: "d1", At: start}))))
	require.Equal(t, []string{"trip_end", "driver_finished"},
		types(t, store, must(f.EndTrip(ctx, ride.End{RideID: "r1", Tip: 100}))))

	d, _, err := f.drivers.Load(ctx, "d1")
	require.NoError(t, err)
	require.Equal(t, &driver.Driver{Online: true, Zone: 7}, d, "he is free where the ride ended")
}

func TestACancelledRideReleasesTheDriverItHas(t *testing.T) {
	f, store := town(t, Deps{})
	must := ok(t)
	accepted(t, f)
	require.Equal(t, []string{"ride_cancelled", "driver_released"},
		types(t, store, must(f.CancelRide(t.Context(), ride.Cancel{RideID: "r1", By: ride.ByRider}))))

	must(f.RequestTrip(t.Context(), rideOf("r2", "p1")))
	require.Equal(t, []string{"ride_cancelled"},
		types(t, store, must(f.CancelRide(t.Context(), ride.Cancel{RideID: "r2", By: ride.ByRider}))))
}

func TestANoShowReleasesTheDriver(t *testing.T) {
	f, store := town(t, Deps{})
	accepted(t, f)
	ok(t)(f.Arrive(t.Context(), ride.Arrive{RideID: "r1", DriverID: "d0"}))
	require.Equal(t, []string{"rider_no_show", "driver_released"},
		types(t, store, ok(t)(f.MarkNoShow(t.Context(), ride.MarkNoShow{RideID: "r1"}))))
}

func TestTheNextDriverIsAskedWhereTheNearestIsTakenUnderOneCommand(t *testing.T) {
	f, _ := town(t, Deps{})
	ctx, must := t.Context(), ok(t)
	for _, id := range []string{"r1", "r2", "r3"} {
		must(f.RequestTrip(ctx, rideOf(id, "p1")))
	}
	must(f.OfferRide(command(ctx, "offer-r1"), ride.Offer{RideID: "r1"}))
	must(f.OfferRide(command(ctx, "offer-r2"), ride.Offer{RideID: "r2"}))
	r, _, err := f.rides.Load(ctx, "r2")
	require.NoError(t, err)
	require.Equal(t, "d1", r.DriverID)

	_, err = f.OfferRide(command(ctx, "offer-r3"), ride.Offer{RideID: "r3"})
	require.ErrorIs(t, err, ErrNoDriver)
}

func TestARepeatedOfferIsTheFirstOneThoughItsDriverIsNotFreeAnyMore(t *testing.T) {
	free := drove
	f, _ := town(t, Deps{Nearest: func(ctx context.Context, seen int64, zone int, exclude []string, limit int) ([]string, error) {
		return free.nearest(ctx, seen, zone, exclude, limit)
	}})
	ok(t)(f.RequestTrip(t.Context(), rideOf("r1", "p1")))
	first := ok(t)(f.OfferRide(command(t.Context(), "offer"), ride.Offer{RideID: "r1"}))
	free = nil
	again := ok(t)(f.OfferRide(command(t.Context(), "offer"), ride.Offer{RideID: "r1"}))
	require.True(t, again.Duplicate)
	require.Equal(t, first.Last, again.Last)
}

func TestAnOfferOfARideThatIsNotOpenSaysSoThoughNobodyIsFree(t *testing.T) {
	f, _ := town(t, Deps{Nearest: fleet(nil).nearest})
	ok(t)(f.RequestTrip(t.Context(), rideOf("r1", "p1")))
	ok(t)(f.CancelRide(t.Context(), ride.Cancel{RideID: "r1", By: ride.ByRider}))
	_, err := f.OfferRide(t.Context(), ride.Offer{RideID: "r1"})
	require.ErrorIs(t, err, ride.ErrNotOpen)
}

// hooked is a store that runs a function once, after it has read a stream.
type hooked struct {
	*memory.Store
	stream string
	after  func()
}

func (h *hooked) ReadStream(ctx context.Context, stream string, from int64, limit int) ([]eventstore.Recorded, error) {
	events, err := h.Store.ReadStream(ctx, stream, from, limit)
	if run := h.after; run != nil && stream == h.stream {
		h.after = nil
		run()
	}
	return events, err
}

func TestACancellationFollowsTheRideToAnotherDriver(t *testing.T) {
	other, store := town(t, Deps{})
	ctx, must := t.Context(), ok(t)
	accepted(t, other)
	h := &hooked{Store: store, stream: "ride-r1"}
	f := New(h, Deps{})
	h.after = func() { // between the look at the ride's driver and the decision
		must(other.UnassignRide(ctx, ride.Unassign{RideID: "r1", DriverID: "d0", Reason: ride.ByDriver}))
		must(other.OfferRide(ctx, ride.Offer{RideID: "r1", Asked: []string{"d0"}}))
	}

	commit := must(f.CancelRide(command(ctx, "cancel"), ride.Cancel{RideID: "r1", By: ride.ByRider}))
	require.Nil(t, h.after)
	require.Equal(t, []string{"ride_cancelled", "driver_released"}, types(t, store, commit))
	require.Equal(t, "driver-d1", commit.Streams[1].Stream)
	requireConsistent(t, f, []string{"r1"}, drove)
}

func TestTheFareIsThatOfTheTariffInForceWhenTheTripStarted(t *testing.T) {
	f, _ := town(t, Deps{})
	must := ok(t)
	for i, at := range []time.Time{start, time.Date(2022, time.December, 18, 12, 0, 0, 0, time.UTC), time.Date(2022, time.December, 19, 12, 0, 0, 0, time.UTC)} {
		id := fmt.Sprintf("r%d", i)
		ctx := t.Context()
		must(f.RequestTrip(ctx, rideOf(id, "p1")))
		must(f.OfferRide(ctx, ride.Offer{RideID: id}))
		must(f.AcceptRide(ctx, ride.Accept{RideID: id, Offer: 1, DriverID: "d0"}))
		must(f.Arrive(ctx, ride.Arrive{RideID: id, DriverID: "d0"}))
		must(f.StartTrip(ctx, ride.Start{RideID: id, DriverID: "d0", At: at}))
		must(f.EndTrip(ctx, ride.End{RideID: id}))
		must(f.CalculateFare(ctx, ride.CalculateFare{RideID: id, Units: 12*meter.Unit + 1}))
		r, _, err := f.rides.Load(ctx, id)
		require.NoError(t, err)
		fares := []int64{250 + 12*50, 250 + 12*50, 300 + 12*70}
		require.Equal(t, fares[i], r.Split.DriverNet+r.Split.PlatformFee)
	}
}

func TestARideBeforeTheFirstTariffHasNoFare(t *testing.T) {
	f, _ := town(t, Deps{})
	ctx, must := t.Context(), ok(t)
	accepted(t, f)
	must(f.Arrive(ctx, ride.Arrive{RideID: "r1", DriverID: "d0"}))
	must(f.StartTrip(ctx, ride.Start{RideID: "r1", DriverID: "d0", At: start.AddDate(-20, 0, 0)}))
	must(f.EndTrip(ctx, ride.End{RideID: "r1"}))
	_, err := f.CalculateFare(ctx, ride.CalculateFare{RideID: "r1"})
	require.ErrorIs(t, err, tariff.ErrNone)
}

type stumbling struct{}

func (stumbling) Declines(_ string, attempt int) bool { return attempt == 1 }

func TestTheCardIsAskedWhetherItIsDeclined(t *testing.T) {
	f, store := town(t, Deps{Card: stumbling{}})
	ctx, must := t.Context(), ok(t)
	must(f.TopUp(ctx, wallet.TopUp{RiderID: "p1", Amount: 100}))
	must(f.CaptureFunds(ctx, wallet.Capture{RiderID: "p1", RideID: "r1", Amount: 300}))
	require.Equal(t, []string{"card_declined"}, types(t, store,
		must(f.ChargeCard(ctx, wallet.Charge{RiderID: "p1", RideID: "r1", Amount: 200, Attempt: 1}))))
	require.Equal(t, []string{"card_charged"}, types(t, store,
		must(f.ChargeCard(ctx, wallet.Charge{RiderID: "p1", RideID: "r1", Amount: 200, Attempt: 2}))))
}

// requireConsistent checks that rides and drivers agree on who has whom.
func requireConsistent(t require.TestingT, f *Functions, rides, drivers []string) {
	ctx := context.Background()
	has := map[string]string{}
	for _, id := range rides {
		r, _, err := f.rides.Load(ctx, id)
		require.NoError(t, err)
		switch r.Status {
		case ride.StatusOffered, ride.StatusAccepted, ride.StatusArrived, ride.StatusDriving:
			require.NotContains(t, has, r.DriverID, "driver %s has two rides", r.DriverID)
			has[r.DriverID] = id
		}
	}
	for _, id := range drivers {
		d, _, err := f.drivers.Load(ctx, id)
		require.NoError(t, err)
		require.Equal(t, has[id], d.RideID, "the ride of driver %s", id)
		if d.RideID != "" {
			r, _, err := f.rides.Load(ctx, d.RideID)
			require.NoError(t, err)
			require.Equal(t, r.Status == ride.StatusDriving, d.Driving)
		}
	}
}

var _ aggregate.Store = (*hooked)(nil)
