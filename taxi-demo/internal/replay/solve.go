package replay

import (
	"errors"
	"time"

	"github.com/leat-go/leat/taxi-demo/internal/meter"
	"github.com/leat-go/leat/taxi-demo/internal/tlc"
)

// ErrUnreachable is returned by [Solve] when no ride of the trip's distance and
// duration at 65 mph or less, moving and then stopped, is charged its fare.
var ErrUnreachable = errors.New("replay: no meter reaches this fare")

// Ticks are the tick lengths at which [Solve] verifies a profile.
func Ticks() []time.Duration {
	return []time.Duration{time.Second, 5 * time.Second, 15 * time.Second}
}

// Landing points within the last unit. The margins are wider than what the
// rounding of points can add up to in four hours.
const (
	above  = meter.Unit * 2 / 100
	middle = meter.Unit / 2
	below  = meter.Unit * 97 / 100
)

// MaxMPH is the highest speed of a solved profile.
const MaxMPH = 65

// Solve finds the profile of a standard-rate trip of which the meter makes
// exactly its recorded fare, in cents, under a tariff.
//
// With distance D in micro-miles and T and the moving time m in milliseconds,
// driving at constant speed and then standing is worth
//
//	max(3·D, 10·m) + 10·(T − m)     in 1/600000 of a unit
//
// which falls as m grows, down to max(3·D, 10·T) where the car never stands or
// is never faster than 12 mph. So the fare's whole units n are reachable if the
// range from there up to the value at 65 mph meets [n, n+1), and m follows from
// the point in that range at which to land:
//
//   - n + 0.02 for even rows, n + 0.97 for odd ones,
//   - else the other of the two, else n + 0.5,
//   - else the middle of what is left.
//
// The result has been verified at every one of [Ticks]. It returns
// [ErrUnreachable] otherwise; also for a fare that is not a whole number of
// units, and for a trip without distance or duration. Solve is deterministic
// and safe for concurrent use.
func Solve(tariff meter.Tariff, t tlc.Trip) (Profile, error) {
	distance, ms := t.Distance, t.Duration().Milliseconds()
	over := t.Fare - tariff.Initial
	if distance <= 0 || distance > meter.MaxPointDistance || ms <= 0 || ms > tlc.MaxRide.Milliseconds() ||
		tariff.Unit <= 0 || over < 0 || over%tariff.Unit != 0 {
		return Profile{}, ErrUnreachable
	}
	fastest := ceilDiv(distance*36, MaxMPH*10) // ms at 65 mph: 65 miles are 65e6 micro-miles, an hour 3.6e6 ms
	if fastest > ms {
		return Profile{}, ErrUnreachable
	}
	step := meter.Unit * meter.Units(over/tariff.Unit)
	if over/tariff.Unit > 1<<40 {
		return Profile{}, ErrUnreachable
	}

	least := meter.Interval(distance, ms)
	most := meter.Interval(distance, fastest) + meter.Interval(0, ms-fastest)
	low, high := max(least, step), min(most, step+meter.Unit-1)
	if low > high {
		return Profile{}, ErrUnreachable
	}

	type target struct {
		units   meter.Units
		landing Landing
	}
	targets := []target{{step + above, Above}, {step + below, Below}, {step + middle, Middle}, {(low + high) / 2, Inside}}
	if t.Row%2 != 0 {
		targets[0], targets[1] = targets[1], targets[0]
	}
	for _, target := range targets {
		if target.units < low || target.units > high {
			continue
		}
		p := Profile{Distance: distance, MS: ms, MovingMS: moving(distance, ms, fastest, target.units), Landing: target.landing}
		if verify(p, tariff, t.Fare) {
			return p, nil
		}
	}
	return Profile{}, ErrUnreachable
}

// moving returns the moving time at which the profile is worth the units: where
// 10·(T − m) makes up what the distance is short of them.
func moving(distance, ms, fastest int64, units meter.Units) int64 {
	short := int64(units - meter.Interval(distance, 0))
	if units == meter.Interval(distance, ms) {
		return ms // never stands
	}
	return min(max(ms-short/int64(meter.Interval(0, 1)), fastest), ms)
}

// verify runs the meter over the points of the profile.
func verify(p Profile, tariff meter.Tariff, fare int64) bool {
	for _, tick := range Ticks() {
		var m meter.Meter
		for point := range p.Points(tick) {
			m, _ = m.Add(point)
		}
		if m.Distance != p.Distance || m.MS != p.MS || meter.Fare(tariff, m.Units) != fare {
			return false
		}
	}
	return true
}
