package saga

import (
	"encoding/json"
	"strings"
)

// forgets calls report with the place of each field that the JSON has and the
// shape lacks, in its order. It reads every open instance at a start, so that it
// goes through the text and makes no values of it. Of a text that is no JSON it
// may say anything, or nothing.
func (s *shape) forgets(text string, report func(field string)) {
	r := skim{text: text, report: report}
	r.value(s, nil)
}

// skim is how far a text was read; the rest begins with what is next.
type skim struct {
	text   string
	report func(string)
}

// place is where in a text a value stands. The outermost is nil.
type place struct {
	up   *place
	name string // of a field; elements for one of several
}

const elements = "[]"

func (p *place) String() string {
	switch {
	case p.up == nil:
		return strings.Clone(p.name)
	case p.name == elements:
		return p.up.String() + p.name
	default:
		return p.up.String() + "." + p.name
	}
}

// next takes the byte where it is the next one that is not space.
func (r *skim) next(c byte) bool {
	r.text = strings.TrimLeft(r.text, " \t\r\n")
	if r.text == "" || r.text[0] != c {
		return false
	}
	r.text = r.text[1:]
	return true
}

// value reads a value. It returns false where the text cannot be read on.
func (r *skim) value(s *shape, at *place) bool {
	switch {
	case r.next('{'):
		return r.object(s, at)
	case r.next('['):
		return r.list(s, at)
	case r.next('"'):
		_, ok := r.name()
		return ok
	default: // a number, true, false or null
		end := strings.IndexAny(r.text, ",]} \t\r\n")
		if end < 0 {
			end = len(r.text)
		}
		r.text = r.text[end:]
		return end > 0
	}
}

func (r *skim) object(s *shape, at *place) bool {
	if r.next('}') {
		return true
	}
	for {
		if !r.next('"') {
			return false
		}
		name, ok := r.name()
		if !ok || !r.next(':') {
			return false
		}
		inner, of := place{at, name}, (*shape)(nil)
		switch {
		case s == nil:
		case s.fields == nil:
			inner.name, of = elements, s.elem
		default:
			if of, ok = s.field(name); !ok {
				r.report(inner.String())
			}
		}
		if !r.value(of, &inner) {
			return false
		}
		if !r.next(',') {
			return r.next('}')
		}
	}
}

func (r *skim) list(s *shape, at *place) bool {
	if r.next(']') {
		return true
	}
	inner, of := place{at, elements}, (*shape)(nil)
	if s != nil && s.fields == nil {
		of = s.elem
	}
	for {
		if !r.value(of, &inner) {
			return false
		}
		if !r.next(',') {
			return r.next(']')
		}
	}
}

// name reads a string after its first quote.
func (r *skim) name() (string, bool) {
	for n := 0; n < len(r.text); n++ {
		switch r.text[n] {
		case '\\':
			n++
		case '"':
			text := r.text[:n]
			r.text = r.text[n+1:]
			if strings.IndexByte(text, '\\') < 0 {
				return text, true
			}
			var name string
			err := json.Unmarshal([]byte(`"`+text+`"`), &name)
			return name, err == nil
		}
	}
	return "", false
}
