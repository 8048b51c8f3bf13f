package eventstore

import (
	"slices"
	"strings"
)

// Filter selects events. Within a field the values are alternatives; fields
// that are set must all match. The zero value matches every event.
type Filter struct {
	// Streams are exact stream names.
	Streams []string
	// Categories are what Category returns of a stream name.
	Categories []string
	// Types are event types.
	Types []string
}

// Match tells whether the filter selects an event of this stream and type.
func (f Filter) Match(stream, eventType string) bool {
	return (len(f.Types) == 0 || slices.Contains(f.Types, eventType)) &&
		(len(f.Streams) == 0 || slices.Contains(f.Streams, stream)) &&
		(len(f.Categories) == 0 || slices.Contains(f.Categories, Category(stream)))
}

// All tells whether the filter selects every event.
func (f Filter) All() bool {
	return len(f.Streams) == 0 && len(f.Categories) == 0 && len(f.Types) == 0
}

// Category returns what stands before the first dash of a stream name, or the
// whole name without one: "ride" for "ride-42".
func Category(stream string) string {
	category, _, _ := strings.Cut(stream, "-")
	return category
}
