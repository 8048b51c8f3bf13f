package tlc

import (
	"math"
	"strconv"
	"time"
)

// Scales of decimal cells.
const (
	scaleWhole = 0 // integers, also written "1.0"
	scaleCents = 2 // dollars to cents
	scaleMicro = 6 // miles to micro-miles
)

// Bounds of what a cell may hold, after scaling; beyond them it is unreadable.
const (
	maxWhole = 1 << 31
	maxCents = int64(1e12)
	maxMicro = int64(10_000_000) * 1_000_000 // as far as a telemetry point goes
)

var pow10 = [...]int64{1, 10, 100, 1_000, 10_000, 100_000, 1_000_000}

func bound(scale int) int64 {
	switch scale {
	case scaleWhole:
		return maxWhole
	case scaleCents:
		return maxCents
	}
	return maxMicro
}

// cell is what became of one cell.
type cell uint8

const (
	cellValue cell = iota
	cellEmpty
	cellUnreadable
)

// isEmpty reports whether a text cell stands for no value.
func isEmpty(b []byte) bool {
	switch len(b) {
	case 0:
		return true
	case 2:
		return b[0] == '\\' && b[1] == 'N'
	case 3:
		return equalFold(b, "nan")
	case 4:
		return equalFold(b, "null") || equalFold(b, "none")
	}
	return false
}

func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i := range b {
		c := b[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t' || b[len(b)-1] == '\r') {
		b = b[:len(b)-1]
	}
	return b
}

// parseDecimal reads a decimal number exactly and returns it times 10^scale,
// rounded half away from zero.
func parseDecimal(b []byte, scale int) (int64, cell) {
	b = trim(b)
	if isEmpty(b) {
		return 0, cellEmpty
	}
	text := b
	negative := false
	if b[0] == '-' || b[0] == '+' {
		negative = b[0] == '-'
		b = b[1:]
	}
	var v int64
	digits, fraction, point, up := 0, 0, false, false
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			digits++
			switch {
			case !point:
				v = v*10 + int64(c-'0')
			case fraction < scale:
				v = v*10 + int64(c-'0')
				fraction++
			case fraction == scale:
				up = c >= '5'
				fraction++
			}
			if v > maxMicro {
				return 0, cellUnreadable
			}
		case c == '.' && !point:
			point = true
		case (c == 'e' || c == 'E') && digits > 0:
			return parseScientific(text, scale)
		default:
			return 0, cellUnreadable
		}
	}
	if digits == 0 {
		return 0, cellUnreadable
	}
	if fraction < scale {
		factor := pow10[scale-fraction]
		if v > maxMicro/factor {
			return 0, cellUnreadable
		}
		v *= factor
	}
	if up {
		v++
	}
	if v > bound(scale) {
		return 0, cellUnreadable
	}
	if negative {
		v = -v
	}
	return v, cellValue
}

// parseScientific reads what some writers make of tiny numbers, such as 1e-05.
func parseScientific(b []byte, scale int) (int64, cell) {
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil {
		return 0, cellUnreadable
	}
	return fromFloat(f, scale)
}

// fromFloat returns a binary fraction times 10^scale, rounded: the decimal
// number that it was written for.
func fromFloat(f float64, scale int) (int64, cell) {
	if math.IsNaN(f) {
		return 0, cellEmpty
	}
	f = math.Round(f * float64(pow10[scale]))
	if math.Abs(f) > float64(bound(scale)) {
		return 0, cellUnreadable
	}
	return int64(f), cellValue
}

// fromInteger returns an integer with a number of decimals already in it, times
// 10^scale, rounded half away from zero.
func fromInteger(v int64, decimals, scale int) (int64, cell) {
	negative := v < 0
	if negative {
		v = -v
	}
	if v < 0 {
		return 0, cellUnreadable
	}
	for ; decimals > scale+1; decimals-- {
		v /= 10
	}
	if decimals == scale+1 {
		v = v/10 + (v%10)/5
		decimals--
	}
	for ; decimals < scale; decimals++ {
		if v > maxMicro {
			return 0, cellUnreadable
		}
		v *= 10
	}
	if v > bound(scale) {
		return 0, cellUnreadable
	}
	if negative {
		v = -v
	}
	return v, cellValue
}

// parseTime reads a wall clock time, of which two forms are in use:
//
//	2019-03-23 20:21:09        also with T, a fraction, or a zone that is ignored
//	01/02/2017 03:04:05 PM     month first; also without seconds, or in 24 hours
func parseTime(b []byte) (time.Time, cell) {
	b = trim(b)
	if isEmpty(b) {
		return time.Time{}, cellEmpty
	}
	s := scanner{b: b}
	var year, month, day int
	var ok bool
	if len(b) > 4 && b[4] == '-' {
		year, month, day, ok = s.triple('-', 4, 2, 2)
	} else {
		month, day, year, ok = s.triple('/', 2, 2, 4)
	}
	if !ok || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) || year < 1 {
		return time.Time{}, cellUnreadable
	}
	var hour, minute, second, nanos int
	if len(s.b) > 0 {
		if hour, minute, second, nanos, ok = s.clock(); !ok {
			return time.Time{}, cellUnreadable
		}
	}
	return time.Date(year, time.Month(month), day, hour, minute, second, nanos, time.UTC), cellValue
}

func daysIn(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// scanner consumes the bytes of a time.
type scanner struct{ b []byte }

func (s *scanner) take(c byte) bool {
	if len(s.b) == 0 || s.b[0] != c {
		return false
	}
	s.b = s.b[1:]
	return true
}

// number takes between 1 and width digits.
func (s *scanner) number(width int) (n int, ok bool) {
	i := 0
	for i < width && i < len(s.b) && s.b[i] >= '0' && s.b[i] <= '9' {
		n = n*10 + int(s.b[i]-'0')
		i++
	}
	s.b = s.b[i:]
	return n, i > 0
}

func (s *scanner) triple(sep byte, a, b, c int) (x, y, z int, ok bool) {
	if x, ok = s.number(a); !ok || !s.take(sep) {
		return 0, 0, 0, false
	}
	if y, ok = s.number(b); !ok || !s.take(sep) {
		return 0, 0, 0, false
	}
	z, ok = s.number(c)
	return x, y, z, ok
}

// clock takes the time of day and all that follows it.
func (s *scanner) clock() (hour, minute, second, nanos int, ok bool) {
	if !s.take(' ') && !s.take('T') {
		return
	}
	for s.take(' ') {
	}
	if hour, ok = s.number(2); !ok || !s.take(':') {
		return 0, 0, 0, 0, false
	}
	if minute, ok = s.number(2); !ok {
		return
	}
	if s.take(':') {
		if second, ok = s.number(2); !ok {
			return
		}
		if s.take('.') {
			width := len(s.b)
			if nanos, ok = s.number(9); !ok {
				return
			}
			for width -= len(s.b); width < 9; width++ {
				nanos *= 10
			}
		}
	}
	for s.take(' ') {
	}
	if equalFold(s.b, "am") || equalFold(s.b, "pm") {
		if hour < 1 || hour > 12 {
			return 0, 0, 0, 0, false
		}
		hour %= 12
		if s.b[0] == 'P' || s.b[0] == 'p' {
			hour += 12
		}
		s.b = nil
	}
	ok = hour < 24 && minute < 60 && second < 60 && s.zone()
	return hour, minute, second, nanos, ok
}

// zone takes a zone suffix, which says nothing: the records show wall clocks.
func (s *scanner) zone() bool {
	if len(s.b) == 0 || equalFold(s.b, "z") || equalFold(s.b, "utc") {
		return true
	}
	if !s.take('+') && !s.take('-') {
		return false
	}
	if _, ok := s.number(2); !ok {
		return false
	}
	s.take(':')
	s.number(2)
	return len(s.b) == 0
}
