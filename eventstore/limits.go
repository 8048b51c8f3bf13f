package eventstore

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of what an append accepts and a read returns. An engine's options may
// set lower or higher ones.
const (
	// MaxData is the size of one event's data, in bytes.
	MaxData = 1 << 20
	// MaxMetadata is the size of one event's encoded metadata, in bytes.
	MaxMetadata = 64 << 10
	// MaxBatch is the number of events of one batch.
	MaxBatch = 10_000
	// MaxBatchBytes is the size of one batch's data and encoded metadata
	// together, in bytes: what one append may hold in memory, and one
	// transaction write.
	MaxBatchBytes = 64 << 20
	// MaxGuards is the number of guards of one batch.
	MaxGuards = 10_000
	// MaxFilter is the number of names in a filter.
	MaxFilter = 10_000
	// MaxName is the length of a stream name, an event type or a batch ID, in
	// bytes.
	MaxName = 255
	// MaxPage is the number of events of one page.
	MaxPage = 10_000
	// MaxScan is the number of events that one page of a filtered read looks
	// at before it returns what it has.
	MaxScan = 50_000
)

// Limits bound what an append accepts.
type Limits struct {
	// Data is the size of one event's data in bytes. Defaults to MaxData.
	Data int
	// Metadata is the size of one event's encoded metadata in bytes. Defaults
	// to MaxMetadata.
	Metadata int
	// Batch is the number of events of a batch. Defaults to MaxBatch.
	Batch int
	// BatchBytes is the size of a batch's data and encoded metadata together.
	// Defaults to MaxBatchBytes.
	BatchBytes int
}

// WithDefaults returns l with every unset field at its default.
func (l Limits) WithDefaults() Limits {
	if l.Data == 0 {
		l.Data = MaxData
	}
	if l.Metadata == 0 {
		l.Metadata = MaxMetadata
	}
	if l.Batch == 0 {
		l.Batch = MaxBatch
	}
	if l.BatchBytes == 0 {
		l.BatchBytes = MaxBatchBytes
	}
	return l
}

// CheckName returns ErrInvalid unless name is 1 to MaxName bytes of UTF-8
// without control characters. The field names it in the error.
func CheckName(field, name string) error {
	switch {
	case name == "":
		return &InvalidError{Field: field, Reason: "is empty"}
	case len(name) > MaxName:
		return &InvalidError{Field: field, Value: shorten(name), Reason: fmt.Sprintf("has %d bytes, %d are allowed", len(name), MaxName)}
	case !utf8.ValidString(name):
		return &InvalidError{Field: field, Value: shorten(name), Reason: "is not UTF-8"}
	case strings.ContainsFunc(name, unicode.IsControl):
		return &InvalidError{Field: field, Value: shorten(name), Reason: "has a control character"}
	}
	return nil
}

// CheckPage returns ErrInvalid unless limit is 1 to MaxPage.
func CheckPage(limit int) error {
	if limit < 1 || limit > MaxPage {
		return &InvalidError{Field: "page limit", Value: fmt.Sprint(limit), Reason: fmt.Sprintf("must be 1 to %d", MaxPage)}
	}
	return nil
}

// Check returns ErrInvalid where the filter has more than MaxFilter names.
// Engines call it before anything else.
func (f Filter) Check() error {
	if n := len(f.Streams) + len(f.Categories) + len(f.Types); n > MaxFilter {
		return &InvalidError{Field: "filter", Reason: fmt.Sprintf("has %d names, %d are allowed", n, MaxFilter)}
	}
	return nil
}

// Check returns ErrInvalid where the batch breaks a limit or a rule of its
// shape. Engines call it before anything else.
func (b Batch) Check(l Limits) error {
	if b.ID != "" {
		if err := CheckName("batch ID", b.ID); err != nil {
			return err
		}
	}
	if len(b.Writes) == 0 && b.ID == "" {
		return &InvalidError{Field: "batch", Reason: "has neither events nor an ID"}
	}
	streams := make(map[string]struct{}, len(b.Writes)+len(b.Guards))
	claim := func(stream string, e Expectation) error {
		if err := CheckName("stream name", stream); err != nil {
			return err
		}
		if _, ok := streams[stream]; ok {
			return &InvalidError{Field: "stream name", Value: stream, Reason: "stands twice in the batch"}
		}
		streams[stream] = struct{}{}
		if e.kind == expectExactly && e.version < 0 {
			return &InvalidError{Field: "expectation", Value: e.String(), Reason: "a version is 0 or more"}
		}
		return nil
	}
	if len(b.Guards) > MaxGuards {
		return &InvalidError{Field: "batch", Reason: fmt.Sprintf("has %d guards, %d are allowed", len(b.Guards), MaxGuards)}
	}
	events, bytes := 0, 0
	for _, w := range b.Writes {
		if err := claim(w.Stream, w.Expect); err != nil {
			return err
		}
		if len(w.Events) == 0 {
			return &InvalidError{Field: "write", Value: w.Stream, Reason: "has no events: use a guard"}
		}
		if events += len(w.Events); events > l.Batch {
			return &InvalidError{Field: "batch", Reason: fmt.Sprintf("has more than the %d events allowed", l.Batch)}
		}
		for _, e := range w.Events {
			size, err := e.check(l)
			if err != nil {
				return err
			}
			if bytes += size; bytes > l.BatchBytes {
				return &InvalidError{Field: "batch", Reason: fmt.Sprintf("has more than the %d bytes of data and metadata allowed: divide it", l.BatchBytes)}
			}
		}
	}
	for _, g := range b.Guards {
		if err := claim(g.Stream, g.Expect); err != nil {
			return err
		}
	}
	return nil
}

// check returns the size of the event's data and encoded metadata.
func (e EventData) check(l Limits) (size int, err error) {
	if err := CheckName("event type", e.Type); err != nil {
		return 0, err
	}
	if e.SchemaVersion < 0 {
		return 0, &InvalidError{Field: "schema version", Value: fmt.Sprint(e.SchemaVersion), Reason: "must be 1 or more"}
	}
	if len(e.Data) > l.Data {
		return 0, &InvalidError{Field: "event data", Value: e.Type, Reason: fmt.Sprintf("has %d bytes, %d are allowed", len(e.Data), l.Data)}
	}
	for k := range e.Metadata {
		if err := CheckName("metadata key", k); err != nil {
			return 0, err
		}
		if !utf8.ValidString(e.Metadata[k]) {
			return 0, &InvalidError{Field: "metadata", Value: k, Reason: "is not UTF-8"}
		}
	}
	encoded := len(e.Metadata.Encode())
	if encoded > l.Metadata {
		return 0, &InvalidError{Field: "metadata", Value: e.Type, Reason: fmt.Sprintf("has %d bytes encoded, %d are allowed", encoded, l.Metadata)}
	}
	return len(e.Data) + encoded, nil
}

func shorten(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
