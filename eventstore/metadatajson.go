package eventstore

import "slices"

// plain tells whether JSON has the byte stand for itself inside a string, as
// encoding/json writes and reads it.
func plain(c byte) bool {
	switch c {
	case '"', '\\', '<', '>', '&':
		return false
	}
	return c >= ' ' && c < 0x7f
}

// appendPlain appends the metadata as a JSON object with sorted keys, just as
// encoding/json does but for a tenth of its cost. It tells whether it could: a
// string with a byte that is not plain is left to encoding/json.
func appendPlain(to []byte, m Metadata) ([]byte, bool) {
	var room [8]string
	keys := room[:0]
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	to = append(to, '{')
	for i, k := range keys {
		if i > 0 {
			to = append(to, ',')
		}
		var ok bool
		if to, ok = appendPlainString(to, k); !ok {
			return nil, false
		}
		to = append(to, ':')
		if to, ok = appendPlainString(to, m[k]); !ok {
			return nil, false
		}
	}
	return append(to, '}'), true
}

func appendPlainString(to []byte, s string) ([]byte, bool) {
	to = append(to, '"')
	for i := range len(s) {
		if !plain(s[i]) {
			return nil, false
		}
	}
	to = append(to, s...)
	return append(to, '"'), true
}

// decodePlain reads what appendPlain writes. It tells whether it could: all
// other JSON, and what is none, is left to encoding/json.
func decodePlain(raw []byte) (Metadata, bool) {
	if len(raw) < len("{}") || raw[0] != '{' {
		return nil, false
	}
	m := make(Metadata, 4)
	rest := string(raw[1:]) // one copy, which all keys and values share
	if rest == "}" {
		return m, true
	}
	for {
		var k, v string
		var ok bool
		if k, rest, ok = cutPlainString(rest); !ok || rest == "" || rest[0] != ':' {
			return nil, false
		}
		if v, rest, ok = cutPlainString(rest[1:]); !ok || rest == "" {
			return nil, false
		}
		m[k] = v
		switch {
		case rest == "}":
			return m, true
		case rest[0] != ',':
			return nil, false
		}
		rest = rest[1:]
	}
}

// cutPlainString returns the string that s begins with, and what follows it.
func cutPlainString(s string) (value, rest string, ok bool) {
	if s == "" || s[0] != '"' {
		return "", "", false
	}
	for i := 1; i < len(s); i++ {
		if s[i] == '"' {
			return s[1:i], s[i+1:], true
		}
		if !plain(s[i]) {
			return "", "", false
		}
	}
	return "", "", false
}
