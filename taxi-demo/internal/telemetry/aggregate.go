package telemetry

import (
	"fmt"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/taxi-demo/internal/meter"
)

// MaxPoints is the highest sequence number of a trip: 18 hours of one point a
// second. It bounds the state of a trip whose points come out of order.
const MaxPoints = 1 << 16

// Why a trip's telemetry refuses a command.
var (
	ErrClosed       = aggregate.Reject("telemetry_closed", "the meter is closed already")
	ErrInvalidPoint = aggregate.Reject("invalid_point", "the report holds what cannot be a measurement")
)

// Trip is the meter of one trip.
type Trip struct {
	Meter  meter.Meter `json:"meter"`
	Closed bool        `json:"closed,omitempty"`
}

// Trips is the definition of the aggregate; its streams are telemetry-<ride>.
var Trips = aggregate.Define("telemetry",
	aggregate.On((*Trip).recorded),
	aggregate.On((*Trip).closed),
	aggregate.On((*Trip).late),
	aggregate.Ignore[Trip](Repeated{}.EventType()),
)

func (t *Trip) recorded(e Recorded) { t.count(e.Points) }
func (t *Trip) late(e Late)         { t.count(e.Points) }
func (t *Trip) closed(Closed)       { t.Closed = true }

func (t *Trip) count(points []meter.Point) {
	for _, p := range points {
		t.Meter, _ = t.Meter.Add(p)
	}
}

// Record takes a report: the points in it that are new, in the order in which
// they came. A report without points records nothing.
func (t *Trip) Record(c Record) (aggregate.Events, error) {
	if len(c.Points) == 0 {
		return nil, nil
	}
	var (
		m         = t.Meter
		fresh     = make([]meter.Point, 0, len(c.Points))
		reordered bool
	)
	for _, p := range c.Points {
		if !p.Valid() || p.Seq > MaxPoints {
			return nil, fmt.Errorf("point %+v: %w", p, ErrInvalidPoint)
		}
		overtaken := p.Seq < m.Last()
		next, counted := m.Add(p)
		if !counted {
			continue
		}
		m = next
		fresh = append(fresh, p)
		reordered = reordered || overtaken
	}
	duplicates := len(c.Points) - len(fresh)
	switch {
	case len(fresh) == 0:
		return aggregate.Events{Repeated{RideID: c.RideID, Duplicates: duplicates}}, nil
	case t.Closed:
		return aggregate.Events{Late{RideID: c.RideID, Points: fresh, Units: m.Units}}, nil
	}
	return aggregate.Events{Recorded{
		RideID: c.RideID, Points: fresh, Duplicates: duplicates, Reordered: reordered,
	}}, nil
}

// Close stops the meter, once.
func (t *Trip) Close(c Close) (aggregate.Events, error) {
	switch {
	case t.Closed:
		return nil, ErrClosed
	case c.Last < 0 || c.Last > MaxPoints:
		return nil, fmt.Errorf("last point %d: %w", c.Last, ErrInvalidPoint)
	}
	missing := 0
	for range t.Meter.Missing(c.Last) {
		missing++
	}
	return aggregate.Events{Closed{
		RideID: c.RideID, Units: t.Meter.Units, Points: t.Meter.Count, Missing: missing,
	}}, nil
}
