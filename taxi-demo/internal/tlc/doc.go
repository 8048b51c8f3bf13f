// Package tlc reads the trip records of the New York City Taxi & Limousine
// Commission as they are published: CSV, gzipped CSV and Parquet, yellow and
// green, by column name.
//
//	info, err := tlc.Check(path) // nothing has been changed yet
//	if err != nil {
//		return err // one line: file, line, what is wrong, what to do
//	}
//	for trip, err := range tlc.Pair(tlc.Trips(path), tlc.Window) {
//		if err != nil {
//			return err
//		}
//		verdict := tlc.Classify(trip, meter.Tariffs())
//	}
//
// # What it guarantees
//
//   - Columns are found by name, whatever their order, case, spaces and
//     underscores; Parquet columns whatever their physical type.
//   - Money is exact int64 cents, distance exact int64 micro-miles, time the
//     wall clock that the record shows. No time zone database is used.
//   - Files are read as a stream. Memory does not grow with the file, beyond
//     the pages of the row group that a Parquet writer has chosen.
//   - An unknown layout is refused before the first trip is delivered.
//   - A row never disappears and never fails the reading for what its cells say:
//     dirt is flagged on the [Trip] ([Flag]) and classified ([Classify]).
//   - Reading is deterministic: the same file gives the same rows, pairs and
//     classes.
//
// # What it does not
//
// It decides whether a standard-rate trip can be checked, not whether a meter
// can reach its fare: that takes the replay solver, which may turn
// [ClassMeter] into [ClassMeterUnreachable].
//
// # Local time
//
// Pickup and Dropoff are New York wall clocks held in the location UTC, as in
// package meter. Their difference is the duration as the data says it, also on
// the two days a year when the clocks change.
package tlc
