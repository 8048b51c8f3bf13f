package functions

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
	"github.com/leat-go/leat/taxi-demo/internal/driver"
	"github.com/leat-go/leat/taxi-demo/internal/ride"
)

// Fifty rides want ten drivers at once, half of them through one host and half
// through another one that caches the same drivers, each command twice.
func TestRacingOffersNeverDoubleBookADriver(t *testing.T) {
	const rides, hosts, twice = 50, 2, 2
	store := memory.New(nil)
	defer func() { require.NoError(t, store.Close()) }()
	var drivers fleet
	for i := range 10 {
		drivers = append(drivers, fmt.Sprintf("d%d", i))
	}
	var host [hosts]*Functions
	for i := range host {
		host[i] = New(store, Deps{Nearest: drivers.nearest})
	}
	for _, id := range drivers {
		ok(t)(host[0].GoOnline(t.Context(), driver.GoOnline{DriverID: id}))
	}
	var ids []string
	for i := range rides {
		id := fmt.Sprintf("r%d", i)
		ids = append(ids, id)
		ok(t)(host[0].RequestTrip(t.Context(), rideOf(id, "p"+id)))
	}

	var (
		wg   sync.WaitGroup
		errs = make(chan error, rides*twice)
	)
	for i, id := range ids {
		for n := range twice {
			wg.Go(func() {
				ctx := command(t.Context(), "offer-"+id)
				for {
					_, err := host[(i+n)%hosts].OfferRide(ctx, ride.Offer{RideID: id, Zone: i})
					if !errors.Is(err, eventstore.ErrConflict) { // too many others: the dispatcher tries again
						errs <- err
						return
					}
				}
			})
		}
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		// Nobody was free, or the command's other half was faster.
		if _, refused := errors.AsType[*aggregate.Rejection](err); !refused {
			require.NoError(t, err)
		}
	}

	requireConsistent(t, host[0], ids, drivers)
	offered := map[string]string{}
	for _, id := range ids {
		r, _, err := host[0].rides.Load(t.Context(), id)
		require.NoError(t, err)
		require.LessOrEqual(t, r.Offers, 1)
		if r.Status == ride.StatusOffered {
			offered[r.DriverID] = id
		}
	}
	require.Len(t, offered, len(drivers), "every driver has work, and no two rides the same")
}
