package serverless

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"

	"github.com/leat-go/leat/eventstore"
)

// decodeStrict reads one JSON value without unknown fields and with nothing
// behind it.
func decodeStrict(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: is empty, want JSON", ErrPayload)
		}
		return fmt.Errorf("%w: %w", ErrPayload, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: has content behind its end", ErrPayload)
	}
	return nil
}

// encodePayload returns the JSON of a payload; bytes are taken as JSON already.
func encodePayload(payload any) ([]byte, error) {
	switch p := payload.(type) {
	case []byte:
		return p, nil
	case json.RawMessage:
		return p, nil
	}
	data, err := json.Marshal(payload)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPayload, err)
	}
	return data, nil
}

// checkCommandType returns an error unless a command of type t can be read
// from JSON: it is a plain struct of what JSON can hold.
func checkCommandType(t reflect.Type) error {
	if t.Kind() != reflect.Struct {
		return fmt.Errorf("takes a %s: a command is a plain struct, not a %s", t, t.Kind())
	}
	return checkDecodable(t)
}

// checkDecodable returns an error unless values of type t can be read from
// JSON.
func checkDecodable(t reflect.Type) error {
	if t.Kind() == reflect.Pointer || t.Kind() == reflect.Interface {
		return fmt.Errorf("takes a %s: a payload is a plain value, not a pointer or an interface", t)
	}
	return eventstore.CheckJSON(t)
}
