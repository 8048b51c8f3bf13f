package telemetry

import "github.com/leat-go/leat/taxi-demo/internal/meter"

// Recorded: points that the car reported and that were not known before.
type Recorded struct {
	RideID string       `json:"ride_id"`
	Points meter.Points `json:"points"`
	// Duplicates is how many reported points were known already.
	Duplicates int `json:"duplicates,omitempty"`
	// Reordered says that one of these came after a later point.
	Reordered bool `json:"reordered,omitempty"`
}

// Repeated: a report with nothing new in it.
type Repeated struct {
	RideID     string `json:"ride_id"`
	Duplicates int    `json:"duplicates"`
}

// Closed: the meter has stopped; this is what it counted.
type Closed struct {
	RideID string      `json:"ride_id"`
	Units  meter.Units `json:"units"`
	Points int         `json:"points"`
	// Missing is how many points up to the last announced one never came.
	Missing int `json:"missing,omitempty"`
}

// Late: points that came after the meter was closed, and what it counts now.
type Late struct {
	RideID string       `json:"ride_id"`
	Points meter.Points `json:"points"`
	Units  meter.Units  `json:"units"`
}

// Record reports a batch of points, in any order, any number of times.
type Record struct {
	RideID string       `json:"ride_id"`
	Points meter.Points `json:"points"`
}

// Close stops the meter. Last is the sequence number of the last point.
type Close struct {
	RideID string `json:"ride_id"`
	Last   int    `json:"last"`
}

func (Recorded) EventType() string { return "telemetry" }
func (Repeated) EventType() string { return "telemetry_repeated" }
func (Closed) EventType() string   { return "telemetry_closed" }
func (Late) EventType() string     { return "telemetry_late" }

func (Record) CommandType() string { return "record_telemetry" }
func (Close) CommandType() string  { return "close_telemetry" }
