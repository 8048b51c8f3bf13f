// Package importer replays trip records as rides: the outside world of an
// import, in virtual time.
//
// Every row is one command with an id made of the file's digest and the row's
// number, so an import that was killed goes on where it was, and a file that is
// imported twice is imported once. Rows are let in at a steady pace, whatever
// their dates: the meter's time is in the events, the host's clock only drives
// the sagas.
package importer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/leat-go/leat/taxi-demo/internal/agents"
	"github.com/leat-go/leat/taxi-demo/internal/chaos"
	"github.com/leat-go/leat/taxi-demo/internal/driver"
	"github.com/leat-go/leat/taxi-demo/internal/functions"
	"github.com/leat-go/leat/taxi-demo/internal/meter"
	"github.com/leat-go/leat/taxi-demo/internal/replay"
	"github.com/leat-go/leat/taxi-demo/internal/ride"
	"github.com/leat-go/leat/taxi-demo/internal/tlc"
	"github.com/leat-go/leat/taxi-demo/internal/trip"
)

const (
	// pace is how many rows are let in at one instant of the grid that replayed
	// rides are played on.
	pace = 60
	// inFlight is how many rows are being stored at a time.
	inFlight = 64
	// mostCents is the highest amount of a row that is taken for real.
	mostCents = 100_000_00
	// spares is how many taxis without a record wait beside the others where
	// drivers decline, ignore or give back rides.
	spares = 20
	// digestLen is how much of a file's digest names it, in hexadecimal digits.
	digestLen = 12
)

// Outside carries out commands of the outside world, each id once.
type Outside interface {
	RequestTrip(ctx context.Context, id string, c functions.RequestTrip) error
	RecordTrip(ctx context.Context, id string, c functions.RecordTrip) error
	GoOnline(ctx context.Context, id string, c driver.GoOnline) error
	// Known tells whether the command with this id was carried out before.
	Known(ctx context.Context, id string) (bool, error)
}

// Importer lets the rows of one file in. It is a source of the host. It is not
// safe for concurrent use.
type Importer struct {
	source  string
	outside Outside
	tariffs []meter.Tariff
	chaos   chaos.Config
	start   func() time.Time

	next func() (tlc.Trip, error, bool)
	stop func()

	queue  []row              // read and to be let in, in order
	half   map[int64]tlc.Trip // halves of refund pairs whose other half is not read yet
	begun  time.Time
	spared bool // the spare taxis are online
	let    int  // rows let in since begun
	rows   atomic.Int64
}

// row is a trip and, where it is a refund, the charge it takes back.
type row struct {
	trip   tlc.Trip
	charge *tlc.Trip
}

// New returns the importer of a checked file. now tells when the first row is
// let in, once asked.
func New(info tlc.Info, outside Outside, tariffs []meter.Tariff, disturb chaos.Config, now func() time.Time) *Importer {
	im := &Importer{
		source: info.SHA256[:digestLen], outside: outside, tariffs: tariffs, chaos: disturb, start: now,
		half: map[int64]tlc.Trip{},
	}
	im.next, im.stop = iter.Pull2(tlc.Pair(tlc.Trips(info.Path), tlc.Window))
	return im
}

// Close ends the reading of the file.
func (im *Importer) Close() { im.stop() }

func (im *Importer) id(row int64) string { return fmt.Sprintf("import-%s-%09d", im.source, row) }

// Rows returns how many rows are let in or were known before. It may be called
// at any time.
func (im *Importer) Rows() int64 { return im.rows.Load() }

// Next returns when the next row that is not known yet is let in.
func (im *Importer) Next(ctx context.Context) (time.Time, bool, error) {
	for len(im.queue) == 0 {
		t, err, ok := im.next()
		if err != nil || !ok {
			return time.Time{}, false, err
		}
		for _, r := range im.whole(t) {
			known, err := im.outside.Known(ctx, im.id(r.trip.Row))
			if err != nil {
				return time.Time{}, false, err
			}
			if known {
				im.rows.Add(1)
				continue
			}
			im.queue = append(im.queue, r)
		}
	}
	if im.begun.IsZero() {
		// On the grid, so that what follows falls together.
		im.begun = im.start().Truncate(agents.RealGrid).Add(agents.RealGrid)
	}
	return im.begun.Add(time.Duration(im.let/pace) * agents.RealGrid), true, nil
}

// whole returns what is complete with a row: the row, or both halves of a
// refund pair with the charge first, or nothing yet.
func (im *Importer) whole(t tlc.Trip) []row {
	if t.Twin == 0 {
		return []row{{trip: t}}
	}
	other, ok := im.half[t.Twin]
	if !ok {
		im.half[t.Row] = t
		return nil
	}
	delete(im.half, t.Twin)
	charge, refund := t, other
	if t.Fare < 0 {
		charge, refund = other, t
	}
	return []row{{trip: charge}, {trip: refund, charge: &charge}}
}

// Release lets in every row that is due and returns when all are stored. After
// an error those that may not be are due again.
func (im *Importer) Release(ctx context.Context, until time.Time) (err error) {
	if err := im.bringSpares(ctx); err != nil {
		return fmt.Errorf("bring spare taxis online: %w", err)
	}
	var released []row
	var stored []*atomic.Bool // of each
	defer func() {
		if err == nil {
			return
		}
		var again []row
		for i, r := range released {
			if !stored[i].Load() {
				again = append(again, r)
			}
		}
		im.queue = append(again, im.queue...)
		im.let -= len(again)
	}()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(inFlight)
	for {
		at, ok, err := im.Next(ctx)
		if err != nil {
			return errors.Join(err, g.Wait())
		}
		if !ok || at.After(until) || gctx.Err() != nil {
			return g.Wait()
		}
		r := im.queue[0]
		im.queue = im.queue[1:]
		im.let++
		done := &atomic.Bool{}
		released, stored = append(released, r), append(stored, done)
		g.Go(func() error {
			if err := im.letIn(gctx, r); err != nil {
				return fmt.Errorf("row %d: %w", r.trip.Row, err)
			}
			im.rows.Add(1)
			done.Store(true)
			return nil
		})
	}
}

// bringSpares has the spare taxis online, once.
func (im *Importer) bringSpares(ctx context.Context) error {
	if im.chaos.Level == 0 || im.spared {
		return nil
	}
	for n := 1; n <= spares; n++ {
		name := fmt.Sprintf("%s-spare-%02d", im.source, n)
		id := "import-" + name
		known, err := im.outside.Known(ctx, id)
		if err == nil && !known {
			err = im.outside.GoOnline(ctx, id, driver.GoOnline{DriverID: "t" + name, Zone: 1 + (n-1)*zones/spares})
		}
		if err != nil {
			return err
		}
	}
	im.spared = true
	return nil
}

func (im *Importer) letIn(ctx context.Context, r row) error {
	t := r.trip
	plan := replay.NewPlan(t, im.tariffs)
	lines, _ := t.Lines()
	recorded := trip.Recorded{Source: im.source, Row: int(t.Row), Class: plan.Class, Fare: t.Fare}
	if beyond(t, lines) {
		plan.Driven, recorded.Class = false, tlc.ClassNoCheck
	}
	if !plan.Driven {
		if r.charge != nil && im.drives(*r.charge) {
			recorded.RideID, recorded.Refund = im.rideID(t.Twin), true
		}
		return im.outside.RecordTrip(ctx, im.id(t.Row), functions.RecordTrip{Recorded: recorded})
	}
	rideID := im.rideID(t.Row)
	recorded.RideID = rideID
	tariff, ok := meter.InForce(im.tariffs, t.Pickup)
	if !ok {
		return fmt.Errorf("no tariff in force on %s", t.Pickup.Format(time.DateOnly))
	}
	quote := plan.Agreed
	if plan.Pricing != replay.Agreed {
		quote = meter.QuoteAt(tariff, t.RateCode, t.Distance, t.Duration().Milliseconds())
	}
	order := functions.RequestTrip{
		Recorded: recorded,
		Planned: trip.Planned{
			RideID: rideID, RiderID: "p" + rideID, Pickup: t.PickupZone, Dropoff: t.DropoffZone,
			Profile: plan.Profile, TickMS: int(tick(t).Milliseconds()), MeterAt: &t.Pickup,
			Tolls: lines.Tolls, Tip: lines.Tip, Refund: t.Twin != 0, Real: true,
			Chaos: im.chaos.Plan(rideID, true),
		},
		Requested: ride.Requested{
			RideID: rideID, RiderID: "p" + rideID, Pickup: t.PickupZone, Dropoff: t.DropoffZone,
			Terms: terms(t, lines), Quote: quote, Agreed: plan.Agreed,
		},
		// Enough for the fare, whatever the quote said.
		TopUp:      2*max(quote, t.Fare) + lines.Tolls + lines.Tip + 100_00,
		DriverID:   "t" + rideID, // the taxi that drove it
		DriverZone: t.PickupZone,
	}
	return im.outside.RequestTrip(ctx, im.id(t.Row), order)
}

// beyond tells whether a row holds an amount that nobody pays for a taxi: a
// slip of the keyboard, which is counted and not driven.
func beyond(t tlc.Trip, lines meter.Breakdown) bool {
	return max(t.Fare, lines.Tolls, lines.Tip, lines.Extra) > mostCents
}

// drives tells whether a row becomes a ride.
func (im *Importer) drives(t tlc.Trip) bool {
	lines, _ := t.Lines()
	return tlc.Classify(t, im.tariffs).Driven && !beyond(t, lines)
}

func (im *Importer) rideID(row int64) string { return fmt.Sprintf("%s.%d", im.source, row) }

// A ride of longTrip or more, which no meter is checked on, reports a point in
// longTick: seldom enough to stay small, often enough for the watchdog.
const (
	longTrip = 4 * time.Hour
	longTick = 15 * time.Second
)

func tick(t tlc.Trip) time.Duration {
	if t.Duration() >= longTrip {
		return longTick
	}
	return agents.Tick
}

// zones is how many zones the city has.
const zones = 263

// Zones of the two airports in the city whose trips have their own surcharges.
const (
	zoneJFK       = 132
	zoneLaGuardia = 138
)

// terms are what the surcharges of the replayed ride depend on. That it touched
// the congestion zone is taken from the record, which knows the way.
func terms(t tlc.Trip, lines meter.Breakdown) meter.Ride {
	return meter.Ride{
		PickedUp: t.Pickup, Code: t.RateCode, Green: t.Color == tlc.Green,
		CongestionZone: lines.Congestion > 0, ReliefZone: lines.CBDCongestion > 0,
		FromLaGuardia: t.PickupZone == zoneLaGuardia, ToLaGuardia: t.DropoffZone == zoneLaGuardia,
		FromJFK: t.PickupZone == zoneJFK,
	}
}
