// Package meter is the New York City taximeter and its published tariffs, in
// integer arithmetic.
//
// It is the pure heart of a fare: telemetry goes in as a [Point] per interval,
// units come out, and a [Tariff] turns units into cents.
//
//	var m meter.Meter
//	for _, p := range points {
//		m, _ = m.Add(p)
//	}
//	tariff, ok := meter.InForce(meter.Tariffs(), pickup)
//	fare := meter.Fare(tariff, m.Units)
//
// # Units of measure
//
// Money is int64 cents. Distance is int64 micro-miles (1e-6 mile), time int64
// milliseconds. A taximeter unit is counted in 1/600000 ([Units]), in which
// one interval is worth exactly max(3·micro-miles, 10·milliseconds): a fifth of
// a mile and sixty seconds are both 600000, and 12 mph is where the two are
// equal. Nothing here uses floating point.
//
// # Local time
//
// A time.Time in this package is a New York wall clock held in the location
// UTC: 4 p.m. in New York is time.Date(…, 16, 0, 0, 0, time.UTC). Trip records
// give nothing more, and no time zone database is needed. Do not pass instants.
//
// # What it guarantees
//
//   - The order in which points arrive never matters, and a sequence number
//     counts once.
//   - A lost point loses exactly its own interval; it is never made up for by
//     the next one.
//   - The fare is initial + unit × floor(units): the recorded fares obey floor.
//
// It does not know rides, events or stores, and it does not decide which zone a
// trip touches: the caller says so in [Ride].
package meter
