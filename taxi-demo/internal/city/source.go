package city

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"sync/atomic"
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

// endless is the number of rides of a city that never stops.
const endless = 1 << 40

// Mode says how a city's trips are let in.
type Mode struct {
	rides   int
	ordered bool
	now     func() time.Time
}

// Once lets so many trips in, each when the seed says, one after the other, so
// that equal seeds give equal logs.
func Once(rides int) Mode { return Mode{rides: rides, ordered: true} }

// Live lets trips in without end. Where the clock is past those that were not
// let in yet, they are asked for from now on rather than all at once.
func Live(now func() time.Time) Mode { return Mode{rides: endless, now: now} }

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
	mode    Mode
	next    int           // the trip to be let in next, from 1
	late    time.Duration // how much later than the seed says trips are let in
	fleet   bool          // the drivers are online
	begun   bool
}

// NewSource returns a source of the city's trips.
func (c City) NewSource(outside Outside, tariffs []meter.Tariff, mode Mode) (*Source, error) {
	tariff, ok := meter.InForce(tariffs, Opening())
	if !ok {
		return nil, errors.New("city: no tariff is in force")
	}
	return &Source{city: c, outside: outside, tariff: tariff, mode: mode}, nil
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
	for most < s.mode.rides && known(most) {
		most *= 2
	}
	first := 1 + sort.Search(most, func(i int) bool { return !known(i + 1) })
	if failed != nil {
		return failed
	}
	s.next = max(1, first-overlap)
	s.begun = true
	if s.mode.now != nil {
		s.late = max(0, s.mode.now().Sub(At(first)).Truncate(agents.Grid))
	}
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
	if s.next > s.mode.rides {
		return time.Time{}, false, nil
	}
	return s.at(s.next), true, nil
}

func (s *Source) at(n int) time.Time { return At(n).Add(s.late) }

// Release lets in every trip that is due and returns when all are stored. After
// an error all from the first that may not be are due again.
func (s *Source) Release(ctx context.Context, until time.Time) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(inFlight)
	if s.mode.ordered {
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
	var failed atomic.Int64
	for ; s.next <= s.mode.rides && !s.at(s.next).After(until) && gctx.Err() == nil; s.next++ {
		t := s.city.Trip(s.next, s.tariff)
		g.Go(func() error {
			if err := s.outside.RequestTrip(gctx, s.id("trip", t.Number), order(s.source(), t)); err != nil {
				lower(&failed, int64(t.Number))
				return fmt.Errorf("trip %d: %w", t.Number, err)
			}
			return nil
		})
	}
	err := g.Wait()
	if n := failed.Load(); n > 0 {
		s.next = int(n)
	}
	return err
}

// lower makes n the least that was given.
func lower(least *atomic.Int64, n int64) {
	for {
		now := least.Load()
		if now != 0 && now <= n || least.CompareAndSwap(now, n) {
			return
		}
	}
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
