package eventstore_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
)

var metadataForms = []string{
	`{}`, `{"a":"b"}`, `{"a":"b","c":"d"}`, `{"c":"d","a":"b"}`, `{"a":"b","a":"c"}`, `{"a":""}`, `{"":""}`, `{"a":"b"} `, ` {"a":"b"}`, `{"a": "b"}`,
	`{"a":"\u003c"}`, `{"a":"<"}`, `{"a":"é"}`, `{"a":"\n"}`, "{\"a\":\"\n\"}", "{\"a\":\"\x7f\"}", "{\"a\":\"\xff\"}", `{"a":"b",}`, `{"a":"b"`, `{"a"}`, `{"a":1}`,
	`{"a":null}`, `null`, `{`, `}`, `{,}`, `{"a":"b"}}`, `{"a":"b"},`, `{"a":"b";"c":"d"}`, `{"a","b"}`, `{"a":"b"{`, `"a"`, `{"`, `{"a`, `{"a":"`, `{"a":`,
}

// FuzzMetadataDecodesAsJSON: the short way and encoding/json read the same, or
// both refuse.
func FuzzMetadataDecodesAsJSON(f *testing.F) {
	for _, s := range metadataForms {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) == 0 {
			return
		}
		var want map[string]string
		refused := json.Unmarshal(raw, &want) != nil || want == nil
		got, err := eventstore.RawMetadata(raw).Decode()
		require.Equal(t, refused, err != nil, "%q: %v", raw, err)
		if !refused {
			require.Equal(t, eventstore.Metadata(want), got, "%q", raw)
		}
	})
}

// FuzzMetadataEncodesAsJSON: the short way and encoding/json write the same.
func FuzzMetadataEncodesAsJSON(f *testing.F) {
	for _, s := range []string{"", "a", "é", "<b>", `"`, `\`, "\n", "\x7f", "\xff", "a&b", "z~ "} {
		f.Add(s, "k", "a", s)
		f.Add("k", s, s, "v")
	}
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string) {
		m := eventstore.Metadata{k1: v1, k2: v2, "fixed": "x"}
		want, err := json.Marshal(map[string]string(m))
		require.NoError(t, err)
		require.Equal(t, string(want), string(m.Encode()))
	})
}

func BenchmarkMetadata(b *testing.B) {
	m := eventstore.Metadata{
		eventstore.CorrelationID: "0195b0c5-7c3e-7cc0-8d2f-6c1f3f6f2f11", eventstore.CausationID: "0195b0c5-7c3e-7cc0-8d2f-6c1f3f6f2f12",
		eventstore.CommandID: "0000000000000012345-0123456789abcdef0123456789abcdef",
	}
	raw := m.Encode()
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = m.Encode()
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, err := raw.Decode()
			require.NoError(b, err)
		}
	})
}
