package trip

import (
	"fmt"

	"github.com/leat-go/leat/aggregate"
)

// Why the book refuses an entry.
var (
	ErrRecorded   = aggregate.Reject("trip_recorded", "the trip was recorded before")
	ErrInvalid    = aggregate.Reject("invalid_trip", "the row and the ride it belongs to do not fit")
	ErrNotPlanned = aggregate.Reject("trip_not_planned", "nobody plans to drive this trip")
)

// Trip is what is known of one trip.
type Trip struct {
	Recorded bool `json:"recorded,omitempty"`
	Planned  bool `json:"planned,omitempty"`
}

// Trips is the definition of the aggregate; its streams are trip-<ride>, and
// trip-<source>-<row> for a row that is not driven (see RowID).
var Trips = aggregate.Define("trip",
	aggregate.On((*Trip).recorded),
	aggregate.On((*Trip).planned),
	aggregate.Ignore[Trip](Disturbed{}.EventType()),
)

// RowID returns the id of a row that is not driven.
func RowID(row Recorded) string { return fmt.Sprintf("%s-%d", row.Source, row.Row) }

func (t *Trip) recorded(Recorded) { t.Recorded = true }
func (t *Trip) planned(Planned)   { t.Planned = true }

// Plan records the row of a trip and how it will be driven.
func (t *Trip) Plan(row Recorded, p Planned) (aggregate.Events, error) {
	switch {
	case t.Recorded:
		return nil, ErrRecorded
	case row.Refund || p.RideID == "" || row.RideID != p.RideID:
		return nil, ErrInvalid
	}
	return aggregate.Events{row, p}, nil
}

// Record records a row that is not driven: it cannot be a ride, or is the
// refund of one that another row stands for.
func (t *Trip) Record(row Recorded) (aggregate.Events, error) {
	switch {
	case t.Recorded:
		return nil, ErrRecorded
	case row.Source == "" || row.Refund != (row.RideID != ""):
		return nil, ErrInvalid
	}
	return aggregate.Events{row}, nil
}

// Note records a disturbance of a trip that is driven, or of the host.
func (t *Trip) Note(c Note) (aggregate.Events, error) {
	if !t.Planned && c.RideID != Host {
		return nil, ErrNotPlanned
	}
	return aggregate.Events{Disturbed(c)}, nil
}
