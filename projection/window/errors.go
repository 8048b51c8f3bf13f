package window

import (
	"errors"
	"fmt"
	"regexp"
	"time"
)

// ErrInvalid: a definition is wrong, which projection.Open then says, or what a
// handler gave to Add, Left or Right, which fails the event. The text says what.
var ErrInvalid = errors.New("window: invalid")

// Limits.
const (
	// MaxKey is the length of a key, in bytes.
	MaxKey = 1024
	// MaxItem is the length of an item that is kept until its window is final or
	// its partners have had their time, and of the value of a fold, as JSON, in
	// bytes.
	MaxItem = 1 << 20
	// MaxOverlap is how many sliding windows hold one instant at most.
	MaxOverlap = 1000
	// MaxSources is how many sources a feed has at most. Each event of a feed
	// of several looks at all of them.
	MaxSources = 1000
	// MaxName is the length of a name of a feed, a window, a join or a column,
	// in bytes.
	MaxName = 48
	// MaxDuration bounds sizes, gaps, distances and lateness.
	MaxDuration = 10 * 366 * 24 * time.Hour
	// page is how many windows that become final are held in memory at a
	// time.
	page = 500
	// foldPage is how many kept items are held in memory at a time.
	foldPage = 100
)

// Event times lie between these, so that adding a MaxDuration or two never
// overflows.
var (
	// MinTime is the first event time.
	MinTime = time.Date(1700, time.January, 1, 0, 0, 0, 0, time.UTC)
	// MaxTime is the last event time.
	MaxTime = time.Date(2200, time.January, 1, 0, 0, 0, 0, time.UTC)
)

var nameRule = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrInvalid, fmt.Errorf(format, args...))
}

// checkName refuses what cannot be the name of a table or column, in SQL text
// as it is.
func checkName(what, name string) error {
	if len(name) > MaxName || !nameRule.MatchString(name) {
		return invalid("%s %q: a name has 1 to %d characters of a-z, 0-9 and _, a letter first", what, name, MaxName)
	}
	return nil
}

func checkDuration(what string, d, least time.Duration) error {
	if d < least || d > MaxDuration {
		return invalid("%s is %v: give %v to %v", what, d, least, MaxDuration)
	}
	return nil
}

// floor returns the greatest multiple of step that is at most t.
func floor(t, step int64) int64 {
	r := t % step
	if r < 0 {
		r += step
	}
	return t - r
}

func instant(ns int64) time.Time { return time.Unix(0, ns).UTC() }
