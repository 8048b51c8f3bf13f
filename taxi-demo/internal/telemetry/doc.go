// Package telemetry is what a car reports of one trip, and what the meter makes
// of it.
//
// It is a stream of its own beside the ride, so that a ride stays short
// however long the trip. A point is known by its sequence number: it counts
// once, and it does not matter in what order or how often points arrive, nor
// in how many reports. When the meter is closed the units are final; points
// that come later are recorded as late, with the units as they would be, and
// whether the fare is still adjusted is the ride's decision.
package telemetry
