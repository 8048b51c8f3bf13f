package saga

import (
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// shape is what JSON knows of a type: the fields of a struct, the elements of a
// slice, an array or a map. A nil shape takes anything: a type that says itself
// how it is written or read, an interface, a scalar. It tells what decoding
// would forget, and where it is not sure it says that nothing is.
type shape struct {
	fields map[string]*shape // of a struct, by their names and those as fold has them
	elem   *shape            // of what has elements
}

// shapeOf returns the shape of a type. One that contains itself has a shape
// that contains itself.
func shapeOf(t reflect.Type, known map[reflect.Type]*shape) *shape {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if s, ok := known[t]; ok {
		return s
	}
	if opaque(t) {
		return nil
	}
	switch t.Kind() {
	case reflect.Struct:
		s := &shape{fields: map[string]*shape{}}
		known[t] = s
		if !s.addFields(t, known, nil) {
			s.fields = nil
		}
		return s
	case reflect.Map, reflect.Slice, reflect.Array:
		s := &shape{}
		known[t] = s
		s.elem = shapeOf(t.Elem(), known)
		return s
	}
	return nil
}

// opaque tells whether the type says itself how it is written or read.
func opaque(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	for _, own := range []reflect.Type{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[json.Unmarshaler](),
		reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[encoding.TextUnmarshaler]()} {
		if p.Implements(own) {
			return true
		}
	}
	return false
}

// addFields adds the fields of a struct and of those that are embedded in it,
// within being the ones around. It returns false where that cannot be told.
func (s *shape) addFields(t reflect.Type, known map[reflect.Type]*shape, within []reflect.Type) bool {
	if slices.Contains(within, t) {
		return true // it embeds itself: what is deeper is hidden
	}
	within = append(within, t)
	for f := range t.Fields() {
		tag := f.Tag.Get("json")
		if tag == "-" {
			continue
		}
		name, _, _ := strings.Cut(tag, ",")
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if f.Anonymous && name == "" && inner.Kind() == reflect.Struct {
			if opaque(inner) || !s.addFields(inner, known, within) {
				return false
			}
			continue
		}
		if !f.IsExported() && !(f.Anonymous && inner.Kind() == reflect.Struct) {
			continue // JSON goes into an embedded struct, whose name does not matter
		}
		if name == "" || strings.ContainsFunc(name, notInTags) {
			name = f.Name // JSON does not take such a tag
		}
		of := shapeOf(f.Type, known)
		s.add(name, of)
		s.add(fold(name), of)
	}
	return true
}

func (s *shape) add(name string, of *shape) {
	if before, ok := s.fields[name]; ok && before != of {
		of = nil // which of the two it is, is for JSON to say
	}
	s.fields[name] = of
}

func notInTags(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", r)
}

// field returns the shape of the field that JSON takes the name for.
func (s *shape) field(name string) (of *shape, ok bool) {
	if of, ok = s.fields[name]; !ok {
		of, ok = s.fields[fold(name)]
	}
	return of, ok
}

// fold returns what is the same for names that JSON takes for the same.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for n := unicode.SimpleFold(r); n != r; n = unicode.SimpleFold(n) {
			least = min(least, n)
		}
		return least
	}, name)
}
