package meter

import (
	"math"
	"math/big"
	"math/bits"
)

// Quote returns the metered fare in cents to be expected of a trip, before the
// ride: initial + unit × floor(sqrt((5·miles)² + minutes²)). Distance is in
// micro-miles, duration in milliseconds; negative ones count as zero.
//
// It is an estimate: distance and duration do not fix a metered fare.
func Quote(t Tariff, distance, duration int64) int64 {
	a := perMicroMile * max(distance, 0)
	b := perMillisecond * max(duration, 0)
	return Fare(t, Units(hypotenuse(a, b)))
}

// QuoteAt is [Quote] at a rate code: the flat fare at [JFK], the surcharge
// added at [Newark], and the plain quote at all others.
func QuoteAt(t Tariff, code RateCode, distance, duration int64) int64 {
	switch code {
	case JFK:
		return t.JFKFlat
	case Newark:
		return Quote(t, distance, duration) + t.Newark
	}
	return Quote(t, distance, duration)
}

// hypotenuse returns floor(sqrt(a²+b²)) for a, b >= 0. The floor may be taken
// before dividing by [Unit], as floor(floor(x)/n) is floor(x/n).
func hypotenuse(a, b int64) int64 {
	if a < 1<<31 && b < 1<<31 {
		return int64(isqrt(uint64(a)*uint64(a) + uint64(b)*uint64(b)))
	}
	x, y := big.NewInt(a), big.NewInt(b)
	x.Mul(x, x)
	y.Mul(y, y)
	x.Sqrt(x.Add(x, y))
	if !x.IsInt64() {
		return math.MaxInt64
	}
	return x.Int64()
}

// isqrt returns floor(sqrt(n)), by Newton's method from above.
func isqrt(n uint64) uint64 {
	if n < 2 {
		return n
	}
	x := uint64(1) << ((bits.Len64(n) + 1) / 2)
	for {
		y := (x + n/x) / 2
		if y >= x {
			return x
		}
		x = y
	}
}
