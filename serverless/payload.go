package serverless

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
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

var (
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

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
	return undecodable(t, t.String(), map[reflect.Type]bool{})
}

func undecodable(t reflect.Type, path string, seen map[reflect.Type]bool) error {
	if seen[t] || reflect.PointerTo(t).Implements(jsonUnmarshaler) || reflect.PointerTo(t).Implements(textUnmarshaler) {
		return nil
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		return fmt.Errorf("%s is a %s, which JSON cannot hold", path, t)
	case reflect.Interface:
		if t.NumMethod() > 0 {
			return fmt.Errorf("%s is the interface %s, which JSON cannot be read into", path, t)
		}
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return undecodable(t.Elem(), path, seen)
	case reflect.Map:
		if k := t.Key(); !mapKey(k) {
			return fmt.Errorf("%s is a map with keys of type %s, which JSON cannot hold", path, k)
		}
		return undecodable(t.Elem(), path+"[]", seen)
	case reflect.Struct:
		var errs []error
		for f := range structFields(t) {
			errs = append(errs, undecodable(f.Type, path+"."+f.Name, seen))
		}
		return errors.Join(errs...)
	}
	return nil
}

func mapKey(k reflect.Type) bool {
	switch k.Kind() {
	case reflect.String, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return true
	}
	return reflect.PointerTo(k).Implements(textUnmarshaler)
}

// structFields yields the fields that JSON sees.
func structFields(t reflect.Type) func(yield func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			f := t.Field(i)
			if f.Tag.Get("json") == "-" || !f.IsExported() && !f.Anonymous {
				continue
			}
			if !yield(f) {
				return
			}
		}
	}
}
