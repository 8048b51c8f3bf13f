package city

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/leat-go/leat/taxi-demo/internal/agents"
	"github.com/leat-go/leat/taxi-demo/internal/driver"
	"github.com/leat-go/leat/taxi-demo/internal/functions"
	"github.com/leat-go/leat/taxi-demo/internal/meter"
	"github.com/leat-go/leat/taxi-demo/internal/ride"
	"github.com/leat-go/leat/taxi-demo/internal/tlc"
	"github.com/leat-go/leat/taxi-demo/internal/trip"
)

// Endless is the number of rides of a city that never stops.
const Endless = 1 << 40

// overlap is how many trips before the last known one may be missing in a store
// that was killed: those of one release.
const overlap = 256

// inFlight is how many requests are being stored at a time, where their order
// does not matter.
const inFlight = 64

// Outside carries out commands of the outside world, each id once.
type Outside interface {
	RequestTrip(ctx context.Context, id string, c functions.RequestTrip) error
	GoOnline(ctx context.Context, id string, c driver.GoOnline) error
	// Known tells whether the command with this id was carried out before.
	Known(ctx context.Context, id string) (bool, error)
}

// Source lets the city's trips in. It is a source of the host. It is not safe
// for concurrent use.
type Source struct {
	city    City
	outside Outside
	tariff  meter.Tariff
	rides   int
	ordered bool
	next    int  // the trip to be let in next, from 1
	fleet   bool // the drivers are online
	begun   bool
}

// NewSource returns a source of so many rides. In order, requests are stored
// one after the other, so that equal seeds give equal logs.
func (c City) NewSource(outside Outside, tariffs []meter.Tariff, rides int, ordered bool) (*Source, error) {
	tariff, ok := meter.InForce(tariffs, Opening())
	if !ok {
		return nil, errors.New("city: no tariff is in force")
	}
	return &Source{city: c, outside: outside, tariff: tariff, rides: rides, ordered: ordered}, nil
}

func (s *Source) id(what string, n int) string {
	return fmt.Sprintf("city-%d-%s-%09d", s.city.Chaos.Seed, what, n)
}

// source names the city's trips among those of other seeds.
func (s *Source) source() string { return fmt.Sprintf("city-%d", s.city.Chaos.Seed) }

// begin finds the first trip that may be missing.
func (s *Source) begin(ctx context.Context) error {
	if s.begun {
		return nil
	}
	var failed error
	most := 1
	known := func(n int) bool {
		ok, err := s.outside.Known(ctx, s.id("trip", n))
		failed = errors.Join(failed, err)
		return ok
	}
	for most < s.rides && known(most) {
		most *= 2
	}
	first := 1 + sort.Search(most, func(i int) bool { return !known(i + 1) })
	if failed != nil {
		return failed
	}
	s.next = max(1, first-overlap)
	s.begun = true
	return nil
}

// Next returns when the next trip is asked for.
func (s *Source) Next(ctx context.Context) (time.Time, bool, error) {
	if err := s.begin(ctx); err != nil {
		return time.Time{}, false, err
	}
	if !s.fleet {
		return Opening(), true, nil
	}
	if s.next > s.rides {
		return time.Time{}, false, nil
	}
	return At(s.next), true, nil
}

// Release lets in every trip that is due and returns when all are stored.
func (s *Source) Release(ctx context.Context, until time.Time) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(inFlight)
	if s.ordered {
		g.SetLimit(1)
	}
	if !s.fleet {
		for n := 1; n <= Fleet; n++ {
			id, zone := s.city.Driver(n)
			g.Go(func() error {
				return s.outside.GoOnline(gctx, s.id("driver", n), driver.GoOnline{DriverID: id, Zone: zone})
			})
		}
		if err := g.Wait(); err != nil {
			return fmt.Errorf("bring the drivers online: %w", err)
		}
		s.fleet = true
		return nil
	}
	for ; s.next <= s.rides && !At(s.next).After(until) && gctx.Err() == nil; s.next++ {
		t := s.city.Trip(s.next, s.tariff)
		g.Go(func() error {
			if err := s.outside.RequestTrip(gctx, s.id("trip", t.Number), order(s.source(), t)); err != nil {
				return fmt.Errorf("trip %d: %w", t.Number, err)
			}
			return nil
		})
	}
	return g.Wait()
}

func order(source string, t Trip) functions.RequestTrip {
	class := tlc.ClassMeter
	if t.Ends() {
		class = tlc.ClassNoCheck
	}
	return functions.RequestTrip{
		Recorded: trip.Recorded{Source: source, Row: t.Number, Class: class, RideID: t.RideID, Fare: t.Fare},
		Planned: trip.Planned{
			RideID: t.RideID, RiderID: t.RiderID, Pickup: t.Pickup, Dropoff: t.Dropoff,
			Profile: t.Profile, TickMS: int(agents.Tick.Milliseconds()),
			Tolls: t.Tolls, Tip: t.Tip, Refund: t.Refund(), Chaos: t.Disturbs,
		},
		Requested: ride.Requested{
			RideID: t.RideID, RiderID: t.RiderID, Pickup: t.Pickup, Dropoff: t.Dropoff,
			Terms: t.Terms, Quote: t.Quote,
		},
		TopUp: t.TopUp,
	}
}
