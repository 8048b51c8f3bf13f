// Package trip is the outside world's own book: what really happened or is
// going to happen on the road. The car and its driver read it; meter, wallet
// and settlement never do, and the recorded fare in it is read by the fare
// check alone.
package trip

import (
	"time"

	"github.com/leat-go/leat/taxi-demo/internal/replay"
	"github.com/leat-go/leat/taxi-demo/internal/tlc"
)

// Recorded: one row of a trip record, or one generated trip, with the fare that
// the meter must get back. It is stored before the ride is requested.
type Recorded struct {
	Source string    `json:"source"` // a file's digest, or "city-<seed>"
	Row    int       `json:"row"`    // from 1
	Class  tlc.Class `json:"class"`
	// RideID is the ride that replays the row; empty where the row cannot be
	// a ride. A charge and its refund share one.
	RideID string `json:"ride_id,omitempty"`
	// Refund says that this row takes the ride's charge back.
	Refund bool `json:"refund,omitempty"`
	// Fare is the recorded fare in cents, before surcharges.
	Fare int64 `json:"fare"`
}

// Planned: how the car will drive the ride.
type Planned struct {
	RideID  string         `json:"ride_id"`
	RiderID string         `json:"rider_id"`
	Pickup  int            `json:"pickup"`
	Dropoff int            `json:"dropoff"`
	Profile replay.Profile `json:"profile"`
	TickMS  int            `json:"tick_ms"`
	MeterAt *time.Time     `json:"meter_at,omitempty"` // wall clock of the start; the host's clock where nil
	Tolls   int64          `json:"tolls,omitempty"`
	Tip     int64          `json:"tip,omitempty"`
	// Refund says that the rider asks for the money back after settlement.
	Refund bool `json:"refund,omitempty"`
	// Real says that the trip was driven by somebody: chaos may disturb it but
	// must not end or change it.
	Real bool `json:"real,omitempty"`
	// Chaos names what will go wrong on the way.
	Chaos []string `json:"chaos,omitempty"`
}

// Disturbed: chaos did something that no event of the domain would show.
type Disturbed struct {
	RideID string `json:"ride_id,omitempty"`
	Kind   string `json:"kind"`
}

// Host stands for the ride of a disturbance that befell all of them at once.
const Host = "host"

// Note records a disturbance.
type Note struct {
	RideID string `json:"ride_id"`
	Kind   string `json:"kind"`
}

func (Recorded) EventType() string  { return "trip_recorded" }
func (Planned) EventType() string   { return "trip_planned" }
func (Disturbed) EventType() string { return "chaos_disturbed" }

func (Note) CommandType() string { return "note_disturbance" }
