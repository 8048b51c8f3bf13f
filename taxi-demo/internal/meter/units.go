package meter

// Units is an amount of taximeter units, counted in 1/600000 of a unit.
//
// Both measures of the rule fit in it without a fraction: one fifth of a mile
// is 200,000 micro-miles at 3 each, sixty seconds are 60,000 ms at 10 each.
type Units int64

// Unit is one whole unit: the next price step.
const Unit Units = 600_000

const (
	perMicroMile   = 3  // 1/600000 of a unit for each micro-mile
	perMillisecond = 10 // 1/600000 of a unit for each millisecond
)

// Whole returns the number of whole units, which are those that are charged.
// It is 0 for a negative amount.
func (u Units) Whole() int64 {
	return int64(max(u, 0) / Unit)
}

// Interval returns the units of one interval: by distance at 12 mph or more,
// by time below. Distance is in micro-miles, elapsed in milliseconds; a
// negative one counts as zero.
func Interval(distance, elapsed int64) Units {
	return Units(max(perMicroMile*distance, perMillisecond*elapsed, 0))
}

// Limits of a single [Point]. A point beyond them is not a measurement, and the
// meter does not count it.
const (
	MaxPointMS       = 24 * 60 * 60 * 1000           // one day
	MaxPointDistance = int64(10_000_000) * 1_000_000 // ten million miles, in micro-miles
	maxAhead         = 1 << 16                       // sequence numbers held beyond a gap
	maxTotal         = Units(1) << 61                // far beyond any ride; keeps sums from wrapping
)

// A Point is one telemetry report: the interval since the report before it.
//
// It carries its own interval rather than a running odometer, so that a lost
// point really loses its units and a doubled one would really double them, were
// it not for its sequence number.
type Point struct {
	Seq  int   `json:"seq"`  // 1 for the first point of a trip, then without gaps
	MS   int32 `json:"ms"`   // length of the interval, milliseconds
	Dist int64 `json:"dist"` // distance covered in it, micro-miles
}

// Valid reports whether p can be a measurement: a positive sequence number and
// an interval within the limits.
func (p Point) Valid() bool {
	return p.Seq >= 1 && p.MS >= 0 && p.MS <= MaxPointMS && p.Dist >= 0 && p.Dist <= MaxPointDistance
}

// Units returns what the point's interval is worth.
func (p Point) Units() Units { return Interval(p.Dist, int64(p.MS)) }
