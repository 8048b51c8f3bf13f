package replay

import (
	"iter"
	"math/bits"
	"time"

	"github.com/leat-go/leat/taxi-demo/internal/meter"
)

// A Profile is how a ride was driven: at constant speed for MovingMS, then
// stopped until it ended.
type Profile struct {
	Distance int64   `json:"distance"`  // micro-miles (1e-6 mile), not negative
	MS       int64   `json:"ms"`        // length of the ride, milliseconds, not negative
	MovingMS int64   `json:"moving_ms"` // the first part of it, at constant speed; the rest stopped
	Landing  Landing `json:"landing,omitempty"`
}

// Landing says where in the last unit the meter stops.
type Landing string

// The landings, by preference. A profile that was not solved has none.
const (
	Above  Landing = "above"  // 0.02 units above the price step: one lost tick is cheaper
	Below  Landing = "below"  // 0.03 units below the next step: one tick twice is dearer
	Middle Landing = "middle" // half-way between the two
	Inside Landing = "inside" // anywhere between them, as the trip allows no choice
)

// Constant returns the profile of a ride of which nothing but distance and
// duration matters: constant speed throughout, or standing still. Negative
// arguments count as zero, and so does the distance of a ride without duration.
func Constant(distance int64, duration time.Duration) Profile {
	p := Profile{Distance: max(distance, 0), MS: max(duration.Milliseconds(), 0)}
	switch {
	case p.MS == 0:
		p.Distance = 0
	case p.Distance > 0:
		p.MovingMS = p.MS
	}
	return p
}

// Len returns how many points the profile has at a tick length. It panics when
// the tick is shorter than a millisecond.
func (p Profile) Len(tick time.Duration) int {
	ms := tickMS(tick)
	return int(ceilDiv(p.MovingMS, ms) + ceilDiv(p.MS-p.MovingMS, ms))
}

// At returns the point with sequence number seq, from 1 to [Profile.Len], as
// [Profile.Points] yields it: what is needed to send one point again. It yields
// false for any other number.
func (p Profile) At(tick time.Duration, seq int) (meter.Point, bool) {
	ms := tickMS(tick)
	moving := ceilDiv(p.MovingMS, ms)
	i := int64(seq) - 1
	switch {
	case i < 0 || i >= moving+ceilDiv(p.MS-p.MovingMS, ms):
		return meter.Point{}, false
	case i < moving:
		from, to := i*ms, min((i+1)*ms, p.MovingMS)
		return meter.Point{Seq: seq, MS: int32(to - from), Dist: p.odometer(to) - p.odometer(from)}, true
	}
	from := p.MovingMS + (i-moving)*ms
	return meter.Point{Seq: seq, MS: int32(min(from+ms, p.MS) - from)}, true
}

// Points yields the telemetry of the ride in its order, sequence numbers from
// 1. A point covers one tick; it is cut short where the car stops and where the
// ride ends, so that no interval is partly driven and partly stood. It panics
// when the tick is shorter than a millisecond or longer than a day.
func (p Profile) Points(tick time.Duration) iter.Seq[meter.Point] {
	ms := tickMS(tick)
	return func(yield func(meter.Point) bool) {
		seq, covered := 1, int64(0)
		for from := int64(0); from < p.MovingMS; from += ms {
			to := min(from+ms, p.MovingMS)
			odometer := p.odometer(to)
			if !yield(meter.Point{Seq: seq, MS: int32(to - from), Dist: odometer - covered}) {
				return
			}
			seq, covered = seq+1, odometer
		}
		for from := p.MovingMS; from < p.MS; from += ms {
			if !yield(meter.Point{Seq: seq, MS: int32(min(from+ms, p.MS) - from)}) {
				return
			}
			seq++
		}
	}
}

// Odometer returns the micro-miles covered at a time after the start: where on
// its way the car is.
func (p Profile) Odometer(after time.Duration) int64 {
	return p.odometer(min(max(after.Milliseconds(), 0), p.MovingMS))
}

// odometer returns floor(distance × ms / moving) for 0 <= ms <= moving. The
// product is taken in 128 bits.
func (p Profile) odometer(ms int64) int64 {
	if p.MovingMS <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(p.Distance), uint64(ms))
	quotient, _ := bits.Div64(hi, lo, uint64(p.MovingMS))
	return int64(quotient)
}

func tickMS(tick time.Duration) int64 {
	ms := tick.Milliseconds()
	if ms < 1 || ms > meter.MaxPointMS {
		panic("replay: a tick is at least a millisecond and at most a day, not " + tick.String())
	}
	return ms
}

func ceilDiv(a, b int64) int64 { return (a + b - 1) / b }
