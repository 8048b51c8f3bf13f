package eventstore_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
)

func FuzzMetadata(f *testing.F) {
	for _, raw := range []string{``, `{}`, `{"actor":"ann"}`, `null`, `[]`, `{"a":1}`, `{"a":"b","a":"c"}`, "{\"\xff\":\"\xff\"}", `{"a":{"b":{}}}`} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := eventstore.RawMetadata(raw).Decode()
		if err != nil {
			require.Nil(t, m)
			return
		}
		require.NotNil(t, m)
		again, err := m.Encode().Decode()
		require.NoError(t, err)
		require.Equal(t, m, again)
		m["the caller's"] = "to change"
	})
}

// FuzzBatch holds the boundary: whatever is let through is a name, and bounded.
func FuzzBatch(f *testing.F) {
	f.Add("ride-1", "b-1", "asked", "actor", "ann", []byte("{}"), int64(0), 1)
	f.Add("", "", "", "", "", []byte(nil), int64(-1), -1)
	for _, control := range []string{"a\nb", "\x00", "\u0085", "\x7f", "\t"} {
		f.Add(control, "b-1", "asked", "actor", "ann", []byte("{}"), int64(0), 1)
		f.Add("ride-1", control, "asked", "actor", "ann", []byte("{}"), int64(0), 1)
		f.Add("ride-1", "b-1", control, "actor", "ann", []byte("{}"), int64(0), 1)
		f.Add("ride-1", "b-1", "asked", control, "ann", []byte("{}"), int64(0), 1)
	}
	f.Add("a\x00b", "\u202e", "t\n", "\u0085", "\xff", []byte{0}, int64(1)<<62, 1<<30)
	f.Add(strings.Repeat("é", 127)+"x", strings.Repeat("x", 256), "\xed\xa0\x80", "k", "v", []byte("x"), int64(3), 2)
	f.Fuzz(func(t *testing.T, stream, id, typ, key, value string, data []byte, version int64, schema int) {
		b := eventstore.Batch{ID: id, Writes: []eventstore.Write{{Stream: stream, Expect: eventstore.Exactly(version), Events: []eventstore.EventData{
			{Type: typ, SchemaVersion: schema, Data: data, Metadata: eventstore.Metadata{key: value}},
		}}}}
		l := eventstore.Limits{Data: 100, Metadata: 200, Batch: 3, BatchBytes: 250}
		err := b.Check(l)
		sound := version >= 0 && schema >= 0 && len(data) <= l.Data && utf8.ValidString(value) && len(b.Writes[0].Events[0].Metadata.Encode()) <= l.Metadata
		for i, name := range []string{stream, typ, key, id} {
			if i == 3 && id == "" {
				continue
			}
			sound = sound && name != "" && len(name) <= eventstore.MaxName && utf8.ValidString(name) && !strings.ContainsFunc(name, unicode.IsControl)
		}
		if sound && len(data)+len(b.Writes[0].Events[0].Metadata.Encode()) <= l.BatchBytes {
			require.NoError(t, err)
			return
		}
		require.ErrorIs(t, err, eventstore.ErrInvalid)
		require.True(t, utf8.ValidString(err.Error()), "%q", err.Error())
	})
}
