package eventstore

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
)

// CheckJSON returns an error, naming the place, where a value of type t,
// written as JSON and read back, could lose a part: an unexported field, say,
// which a program would miss without a word. A type that reads itself
// (UnmarshalJSON, UnmarshalText) is taken at its word; an empty interface keeps
// its value, though not its Go type.
func CheckJSON(t reflect.Type) error {
	return checkJSON(t, t.String(), make(map[reflect.Type]bool))
}

func checkJSON(t reflect.Type, path string, seen map[reflect.Type]bool) error {
	if seen[t] || readsItself(t) {
		return nil
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Struct:
		for f := range t.Fields() {
			if f.Name == "_" {
				continue
			}
			at := path + "." + f.Name
			if !f.IsExported() && (!f.Anonymous || f.Type.Kind() != reflect.Struct) || f.Tag.Get("json") == "-" {
				return fmt.Errorf("JSON does not hold the field %s: export it, or give the type that has it MarshalJSON and UnmarshalJSON", at)
			}
			if err := checkJSON(f.Type, at, seen); err != nil {
				return err
			}
		}
	case reflect.Map:
		if k := t.Key(); !readsItself(k) && k.Kind() != reflect.String && !k.ConvertibleTo(reflect.TypeFor[int64]()) {
			return fmt.Errorf("JSON does not hold the keys of %s, which are %s", path, k)
		}
		return checkJSON(t.Elem(), path+"[]", seen)
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return checkJSON(t.Elem(), path, seen)
	case reflect.Interface:
		if t.NumMethod() > 0 {
			return fmt.Errorf("JSON cannot be read into %s, which is the interface %s", path, t)
		}
	case reflect.Chan, reflect.Func, reflect.UnsafePointer, reflect.Complex64, reflect.Complex128:
		return fmt.Errorf("JSON does not hold %s, which is %s", path, t)
	}
	return nil
}

// readsItself tells whether the type says how it is read back.
func readsItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[json.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}
