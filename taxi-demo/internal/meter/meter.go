package meter

import (
	"iter"
	"slices"
)

// Meter is the taximeter of one trip: a fold over its points.
//
// The zero Meter is ready to use. It is a plain value with JSON tags, so that
// it can be the state of an aggregate or part of a snapshot: [Meter.Add]
// returns a new Meter and never writes to memory that another one can see.
// It holds no more than a few integers, unless points arrive out of order.
type Meter struct {
	Units    Units `json:"units"`           // counted so far
	Distance int64 `json:"distance"`        // micro-miles counted so far
	MS       int64 `json:"ms"`              // milliseconds counted so far
	Count    int   `json:"count"`           // points counted so far
	Next     int   `json:"next,omitempty"`  // every sequence number below it is counted; 0 means 1
	Ahead    []int `json:"ahead,omitempty"` // counted ones above Next, ascending
}

// Add counts one point and returns the new meter, and true. A point that is not
// [Point.Valid], or whose sequence number was counted before, changes nothing
// and yields false: of two points with one number the first to arrive counts.
// It yields false too when 65,536 points are held beyond a gap already.
func (m Meter) Add(p Point) (Meter, bool) {
	next := max(m.Next, 1)
	if !p.Valid() || p.Seq < next || m.Units > maxTotal {
		return m, false
	}
	if p.Seq == next {
		next++
		ahead := m.Ahead
		for len(ahead) > 0 && ahead[0] == next {
			next++
			ahead = ahead[1:]
		}
		if len(ahead) == 0 {
			ahead = nil
		}
		m.Next, m.Ahead = next, ahead
		return m.count(p), true
	}
	i, seen := slices.BinarySearch(m.Ahead, p.Seq)
	if seen || len(m.Ahead) >= maxAhead {
		return m, false
	}
	ahead := make([]int, 0, len(m.Ahead)+1)
	ahead = append(ahead, m.Ahead[:i]...)
	ahead = append(ahead, p.Seq)
	m.Ahead = append(ahead, m.Ahead[i:]...)
	return m.count(p), true
}

func (m Meter) count(p Point) Meter {
	m.Units += p.Units()
	m.Distance += p.Dist
	m.MS += int64(p.MS)
	m.Count++
	return m
}

// Last returns the highest sequence number counted, 0 when there is none.
func (m Meter) Last() int {
	if n := len(m.Ahead); n > 0 {
		return m.Ahead[n-1]
	}
	return max(m.Next, 1) - 1
}

// Missing yields, ascending, the sequence numbers from 1 to last that have not
// been counted: what has to be sent again before a trip of last points closes.
func (m Meter) Missing(last int) iter.Seq[int] {
	return func(yield func(int) bool) {
		ahead := m.Ahead
		for seq := max(m.Next, 1); seq <= last; seq++ {
			if len(ahead) > 0 && ahead[0] == seq {
				ahead = ahead[1:]
				continue
			}
			if !yield(seq) {
				return
			}
		}
	}
}

// Measure returns the units of a sequence of points, each sequence number
// counted once. It is [Meter.Add] over all of them.
func Measure(points iter.Seq[Point]) Units {
	var m Meter
	for p := range points {
		m, _ = m.Add(p)
	}
	return m.Units
}
