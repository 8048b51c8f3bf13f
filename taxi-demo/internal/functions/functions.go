package functions

import (
	"context"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/taxi-demo/internal/driver"
	"github.com/leat-go/leat/taxi-demo/internal/earnings"
	"github.com/leat-go/leat/taxi-demo/internal/ride"
	"github.com/leat-go/leat/taxi-demo/internal/tariff"
	"github.com/leat-go/leat/taxi-demo/internal/telemetry"
	"github.com/leat-go/leat/taxi-demo/internal/trip"
	"github.com/leat-go/leat/taxi-demo/internal/wallet"
)

// Deps is what the functions need of the world beside the log.
type Deps struct {
	// Nearest returns the ids of the free drivers nearest to a zone, nearest
	// first, at most limit, without the excluded ones, from a read model that
	// has seen the log at least to position seen. That one of them is free no
	// more is found out when he is reserved. Defaults to nobody.
	Nearest func(ctx context.Context, seen int64, zone int, exclude []string, limit int) ([]string, error)
	// Card answers for the riders' cards. Defaults to one that is always fine.
	Card Card
	// Bank answers for the payouts. Defaults to one that is always fine.
	Bank Bank
}

// Card tells whether a rider's card is declined. The answer for an attempt,
// counted from 1, is always the same.
type Card interface {
	Declines(rideID string, attempt int) bool
}

// Bank tells whether the bank refuses to pay a driver. The answer for an
// attempt, counted from 1, is always the same.
type Bank interface {
	Refuses(driverID string, attempt int) bool
}

type fine struct{}

func (fine) Declines(string, int) bool { return false }
func (fine) Refuses(string, int) bool  { return false }

// Functions is the commands over one store.
type Functions struct {
	deps Deps

	rides     *aggregate.Repository[ride.Ride]
	telemetry *aggregate.Repository[telemetry.Trip]
	drivers   *aggregate.Repository[driver.Driver]
	wallets   *aggregate.Repository[wallet.Wallet]
	accounts  *aggregate.Repository[earnings.Account]
	tariffs   *aggregate.Repository[tariff.Book]
	trips     *aggregate.Repository[trip.Trip]
}

// snapshotEvery is how many events a stream that may grow for years is folded
// from at most: those of wallets, drivers and their earnings.
const snapshotEvery = 200

// New returns the commands over a store.
func New(store aggregate.Store, deps Deps) *Functions {
	if deps.Nearest == nil {
		deps.Nearest = func(context.Context, int64, int, []string, int) ([]string, error) { return nil, nil }
	}
	if deps.Card == nil {
		deps.Card = fine{}
	}
	if deps.Bank == nil {
		deps.Bank = fine{}
	}
	long := &aggregate.Options{SnapshotEvery: snapshotEvery}
	return &Functions{
		deps:      deps,
		rides:     aggregate.NewRepository(store, ride.Rides, nil),
		telemetry: aggregate.NewRepository(store, telemetry.Trips, nil),
		drivers:   aggregate.NewRepository(store, driver.Drivers, long),
		wallets:   aggregate.NewRepository(store, wallet.Wallets, long),
		accounts:  aggregate.NewRepository(store, earnings.Accounts, long),
		tariffs:   aggregate.NewRepository(store, tariff.Books, nil),
		trips:     aggregate.NewRepository(store, trip.Trips, nil),
	}
}

// looking returns a context under which an update that decides no events looks
// at the state as the log has it now, through the cache and without spending
// the command of ctx.
func looking(ctx context.Context) context.Context {
	ctx, _ = eventstore.WithCommand(ctx, "")
	return ctx
}
