// Package replay turns a recorded trip into a ride that can be driven again, so
// that the meter gets the recorded fare back from telemetry alone.
//
// Distance and duration do not fix a metered fare: it depends on how much of
// the ride was slow. The replay solves that one unknown, the stopped time, from
// the recorded fare:
//
//	plan := replay.NewPlan(trip, tariffs)
//	if plan.Driven {
//		for point := range plan.Profile.Points(5 * time.Second) {
//			… // telemetry
//		}
//	}
//
// # What it proves
//
// It proves the pipeline, not a prediction. The fare goes into the profile and
// comes out of the meter: what lies between, the log, router, projections and
// sagas, must not lose, double or change a single point. Where a share of exact
// fares is shown, say so.
//
// To make the check sharp, trips of even rows land just above a price step and
// those of odd rows just below the next: a lost tick lowers the one, a doubled
// tick raises the other.
//
// # What it guarantees
//
//   - [Solve] returns a profile only after running the meter over the very
//     points it generates, in ticks of 1, 5 and 15 seconds, with the recorded
//     fare as result.
//   - The points of a profile are the same on every run; their distances add up
//     to the recorded distance and their intervals to the duration, exactly.
//   - A profile is three integers and a code. It is small enough to be stored in
//     an event, and the points need not be.
//   - No floating point.
package replay
