package meter

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
)

// Points are a report of telemetry. Their JSON is a list of triples,
// [[seq, ms, dist], …]: a car reports thousands of points a ride, and names in
// each would be most of the log.
type Points []Point

// MarshalJSON implements json.Marshaler.
func (ps Points) MarshalJSON() ([]byte, error) {
	if ps == nil {
		return []byte("null"), nil
	}
	b := make([]byte, 0, 2+20*len(ps))
	b = append(b, '[')
	for i, p := range ps {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '[')
		b = strconv.AppendInt(b, int64(p.Seq), 10)
		b = append(b, ',')
		b = strconv.AppendInt(b, int64(p.MS), 10)
		b = append(b, ',')
		b = strconv.AppendInt(b, p.Dist, 10)
		b = append(b, ']')
	}
	return append(b, ']'), nil
}

var errPoints = errors.New("meter: points are a list of [seq, ms, dist]")

// UnmarshalJSON implements json.Unmarshaler.
func (ps *Points) UnmarshalJSON(data []byte) error {
	s := jsonScanner{b: data}
	s.space()
	if string(s.b) == "null" {
		*ps = nil
		return nil
	}
	points := make(Points, 0, max(bytes.Count(data, []byte{'['})-1, 0))
	if !s.take('[') {
		return errPoints
	}
	for !s.take(']') {
		if len(points) > 0 && !s.take(',') {
			return errPoints
		}
		seq, ok1 := s.opened()
		ms, ok2 := s.next()
		dist, ok3 := s.next()
		if !ok1 || !ok2 || !ok3 || !s.take(']') {
			return fmt.Errorf("%w: point %d is not", errPoints, len(points)+1)
		}
		if ms < math.MinInt32 || ms > math.MaxInt32 || int64(int(seq)) != seq {
			return fmt.Errorf("%w: point %d is out of range", errPoints, len(points)+1)
		}
		points = append(points, Point{Seq: int(seq), MS: int32(ms), Dist: dist})
	}
	if s.space(); len(s.b) > 0 {
		return errPoints
	}
	*ps = points
	return nil
}

// jsonScanner reads the little of JSON that points need.
type jsonScanner struct{ b []byte }

func (s *jsonScanner) space() {
	for len(s.b) > 0 && (s.b[0] == ' ' || s.b[0] == '\n' || s.b[0] == '\t' || s.b[0] == '\r') {
		s.b = s.b[1:]
	}
}

func (s *jsonScanner) take(c byte) bool {
	s.space()
	if len(s.b) == 0 || s.b[0] != c {
		return false
	}
	s.b = s.b[1:]
	return true
}

// opened reads "[ number", next ", number".
func (s *jsonScanner) opened() (int64, bool) {
	if !s.take('[') {
		return 0, false
	}
	return s.number()
}

func (s *jsonScanner) next() (int64, bool) {
	if !s.take(',') {
		return 0, false
	}
	return s.number()
}

func (s *jsonScanner) number() (int64, bool) {
	s.space()
	n := 0
	for n < len(s.b) && (s.b[n] == '-' || s.b[n] >= '0' && s.b[n] <= '9') {
		n++
	}
	v, err := strconv.ParseInt(string(s.b[:n]), 10, 64)
	s.b = s.b[n:]
	return v, err == nil
}
