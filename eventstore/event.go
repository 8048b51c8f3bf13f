package eventstore

import (
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/google/uuid"
)

// Event is a payload: a plain struct that says its own durable name. The name
// must not depend on the value, and renaming the Go type changes nothing that
// is stored.
type Event interface {
	// EventType returns the durable name, for example "ride_accepted".
	EventType() string
}

// Versioned is an Event whose schema has a version, stored with each event.
// An event without it has schema version 1.
type Versioned interface {
	// EventVersion returns the schema version that Encode stores, 1 or more.
	EventVersion() int
}

// Upcaster is an Event that can read what older versions of its schema stored.
// Decode calls it, on the zero value, for a stored version below
// EventVersion.
type Upcaster interface {
	// Upcast returns data, stored at the given schema version, as the JSON of
	// the current version. It must not keep or change data.
	Upcast(version int, data []byte) ([]byte, error)
}

// EventData is an event on its way into the log.
type EventData struct {
	// ID is the event's identity. Defaults to an id derived from the batch ID
	// and the event's place in the batch, or a new UUIDv7 where the batch has
	// no ID.
	ID uuid.UUID
	// Type is the durable name of the payload. Required.
	Type string
	// SchemaVersion is the version of the payload's schema. Defaults to 1.
	SchemaVersion int
	// Data is the encoded payload, opaque to the log. Nil and empty are equal.
	Data []byte
	// Metadata travels with the event and takes no part in its content.
	Metadata Metadata
}

// Recorded is an event as the log holds it. Its byte slices belong to whoever
// received it and must not be changed, since others may have received the same.
type Recorded struct {
	// Position is the event's place in the log, from 1.
	Position int64
	// Stream is the name of the stream that holds the event.
	Stream string
	// Version is the event's place in its stream, from 1 without holes.
	Version int64
	// ID is the event's identity, unique in the log.
	ID uuid.UUID
	// Type is the durable name of the payload.
	Type string
	// SchemaVersion is the version of the payload's schema, 1 or more.
	SchemaVersion int
	// Data is the encoded payload.
	Data []byte
	// Meta is the metadata, encoded.
	Meta RawMetadata
	// Time is when the event was recorded, in Unix nanoseconds UTC. It never
	// goes back within a log.
	Time int64
	// BatchID is the ID of the batch that stored the event; empty where the
	// batch had none.
	BatchID string
}

// RecordedAt returns Time as a time.Time in UTC.
func (r Recorded) RecordedAt() time.Time { return time.Unix(0, r.Time).UTC() }

// Of is a recorded event with its payload decoded.
type Of[E Event] struct {
	Recorded
	// Payload is the decoded payload, upcast to the current schema version.
	Payload E
}

// TypeName returns the durable name that the payload type E declares.
// It returns ErrInvalid where E is not a plain struct that JSON holds whole, its
// name is no legal name, or its schema version is below 1.
func TypeName[E Event]() (string, error) {
	var zero E
	t := reflect.TypeOf(&zero).Elem()
	if t.Kind() != reflect.Struct {
		return "", &InvalidError{Field: "event type", Value: t.String(), Reason: "a payload is a plain struct, not a pointer or an interface"}
	}
	if err := CheckJSON(t); err != nil {
		return "", &InvalidError{Field: "event type", Value: t.String(), Reason: err.Error()}
	}
	return typeName(zero)
}

func typeName(zero Event) (string, error) {
	name := zero.EventType()
	if err := CheckName("event type", name); err != nil {
		return "", fmt.Errorf("%T: %w", zero, err)
	}
	if v := schemaVersion(zero); v < 1 {
		return "", &InvalidError{Field: "schema version", Value: fmt.Sprint(v), Reason: fmt.Sprintf("%T.EventVersion must be 1 or more", zero)}
	}
	return name, nil
}

func schemaVersion(e Event) int {
	if v, ok := e.(Versioned); ok {
		return v.EventVersion()
	}
	return 1
}

// Encode returns the payload as event data: its name, its schema version and
// its JSON. It returns ErrInvalid where e is not a plain struct or its name or
// version depends on its value.
func Encode(e Event) (EventData, error) {
	if e == nil {
		return EventData{}, &InvalidError{Field: "event", Reason: "is nil"}
	}
	t := reflect.TypeOf(e)
	if t.Kind() != reflect.Struct {
		return EventData{}, &InvalidError{Field: "event", Value: t.String(), Reason: "a payload is a plain struct, not a pointer or an interface"}
	}
	zero := reflect.Zero(t).Interface().(Event)
	name, err := typeName(zero)
	if err != nil {
		return EventData{}, err
	}
	if got := e.EventType(); got != name {
		return EventData{}, &InvalidError{Field: "event type", Value: got, Reason: fmt.Sprintf("the name of %s depends on its value: its zero value says %q", t, name)}
	}
	version := schemaVersion(e)
	if v := schemaVersion(zero); v != version {
		return EventData{}, &InvalidError{Field: "schema version", Value: fmt.Sprint(version), Reason: fmt.Sprintf("the version of %s depends on its value: its zero value says %d", t, v)}
	}
	data, err := json.Marshal(e)
	if err != nil {
		return EventData{}, &InvalidError{Field: "event data", Value: name, Reason: "cannot be written as JSON: " + err.Error()}
	}
	return EventData{Type: name, SchemaVersion: version, Data: data}, nil
}

// Decode returns the payload of r as an E, upcast where it was stored at an
// older schema version. The caller has matched r.Type; Decode does not look at
// it. It returns a DecodeError where the data cannot be read, where it was
// stored at a newer version than E knows, or at an older one that E does not
// upcast.
func Decode[E Event](r Recorded) (E, error) {
	var e E
	data, err := r.Data, error(nil)
	if _, versioned := any((*E)(nil)).(Versioned); versioned || r.SchemaVersion != 1 {
		data, err = upcast(e, r) // which needs memory for the zero value
	}
	if err == nil {
		err = json.Unmarshal(data, &e)
	}
	if err != nil {
		var zero E
		return zero, &DecodeError{Position: r.Position, Stream: r.Stream, Version: r.Version, Type: r.Type, Err: err}
	}
	return e, nil
}

func upcast(zero Event, r Recorded) ([]byte, error) {
	current := schemaVersion(zero)
	switch {
	case r.SchemaVersion == current:
		return r.Data, nil
	case r.SchemaVersion > current:
		return nil, fmt.Errorf("stored at schema version %d, this program knows %d at most: deploy the newer program", r.SchemaVersion, current)
	}
	u, ok := zero.(Upcaster)
	if !ok {
		return nil, fmt.Errorf("stored at schema version %d, the current one is %d and %T has no Upcast method", r.SchemaVersion, current, zero)
	}
	data, err := u.Upcast(r.SchemaVersion, r.Data)
	if err != nil {
		return nil, fmt.Errorf("upcast from schema version %d: %w", r.SchemaVersion, err)
	}
	return data, nil
}
