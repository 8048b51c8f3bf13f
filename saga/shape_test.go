package saga

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type (
	base     struct{ ID, Hidden int }
	ownWrite struct{ A int }
	ownText  struct{ A int }
	tree     struct {
		Name     string
		Children []*tree
		By       map[string]tree
	}
	around struct{ *around }
	mixed  struct {
		base
		*tree
		Hidden  string
		Renamed int `json:"new_name,omitempty"`
		Odd     int `json:"a\"b"`
		Skipped int `json:"-"`
		Any     any
		Raw     json.RawMessage
		When    time.Time
		Own     ownWrite
		Text    map[string]ownText
		Bytes   []byte
		Fixed   [2]struct{ X int }
		Deep    **[]map[int]*base
	}
	twice struct {
		Same struct{ A int } `json:"same"`
		Also struct{ B int } `json:"Same"`
	}
	tagged struct {
		base `json:"meta"`
		A    int
	}
	ambiguous struct {
		time.Time
		ownWrite
		A int
	}
)

func (ownWrite) MarshalJSON() ([]byte, error) { return []byte(`{"x":1}`), nil }
func (*ownText) UnmarshalText([]byte) error   { return nil }

func forgotten(t *testing.T, typ reflect.Type, text string) []string {
	t.Helper()
	fields := []string{}
	shapeOf(typ, map[reflect.Type]*shape{}).forgets(text, func(field string) { fields = append(fields, field) })
	slices.Sort(fields)
	return fields
}

// TestAShapeKnowsWhatJSONForgets: and where it cannot know, it says nothing.
func TestAShapeKnowsWhatJSONForgets(t *testing.T) {
	for _, c := range []struct {
		typ    reflect.Type
		text   string
		forgot []string
	}{
		{reflect.TypeFor[mixed](), `{"id": 1, "hidden": "x", "NAME": "n", "new_name": 2, "Odd": 3, "children": [{"children": [{"name": ""}]}]}`, nil},
		{reflect.TypeFor[mixed](), `{"Renamed": 1, "Skipped": 2, "base": {}, "children": [{"x": {"y": 1}}, null, {"by": {"k": {"z": 1}}}]}`,
			[]string{"Renamed", "Skipped", "base", "children[].by[].z", "children[].x"}},
		{reflect.TypeFor[mixed](), `{"any": {"a": {"b": 1}}, "raw": {"a": 1}, "when": {"a": 1}, "own": {"zzz": 1}, "text": {"k": {"zzz": 1}}, "bytes": "AA=="}`, nil},
		{reflect.TypeFor[mixed](), `{"fixed": [{"X": 1}, {"Y": 1}], "deep": [{"7": {"ID": 1, "Gone": 2}}, null]}`, []string{"deep[][].Gone", "fixed[].Y"}},
		{reflect.TypeFor[mixed](), `{"hidden": {"of": "another type"}, "fixed": {"a": 1}, "ID": [1], "children": null}`, nil},
		{reflect.TypeFor[base](), `{"ıd": 1, "ID": 2}`, []string{"ıd"}},
		{reflect.TypeFor[struct{ Kiss int }](), `{"Kiſſ": 1}`, nil}, // as encoding/json folds
		{reflect.TypeFor[twice](), `{"same": {"A": 1}, "Same": {"B": 1}}`, nil},
		{reflect.TypeFor[tagged](), `{"meta": {"ID": 1, "Gone": 2}, "A": 3, "ID": 4}`, []string{"ID", "meta.Gone"}},
		{reflect.TypeFor[ambiguous](), `{"zzz": 1}`, nil},
		{reflect.TypeFor[ownWrite](), `{"x": 1}`, nil},
		{reflect.TypeFor[around](), `{"x": 1}`, []string{"x"}},
		{reflect.TypeFor[struct{}](), `[1]`, nil},
	} {
		want := c.forgot
		if want == nil {
			want = []string{}
		}
		require.Equal(t, want, forgotten(t, c.typ, c.text), "%v %s", c.typ, c.text)
	}
}

// FuzzAShapeForgetsWhatJSONForgets: what it says is forgotten is not there when
// the value was read and written, and what it does not name is.
func FuzzAShapeForgetsWhatJSONForgets(f *testing.F) {
	f.Add(`{"name": "a", "children": [{"NAME": "b", "by": {"x": {"none": 1}}}], "more": {"deep": 1}}`)
	f.Add(`{ "by" : { "a\"b" : { "\u006eame" : "\\" , "x" : [ -1.5e3 , null , { } , [ ] , true ] } } , "children" : [ ] }`)
	f.Add(`{"by": {"x"`)
	f.Fuzz(func(t *testing.T, text string) {
		forgotten(t, reflect.TypeFor[tree](), text) // whatever it is, it ends
		var value any
		var read tree
		if json.Unmarshal([]byte(text), &value) != nil || json.Unmarshal([]byte(text), &read) != nil {
			return
		}
		once, err := json.Marshal(value) // of a name that comes twice the last is left
		require.NoError(t, err)
		strict := json.NewDecoder(bytes.NewReader(once))
		strict.DisallowUnknownFields()
		forgets := strict.Decode(new(tree)) != nil
		require.Equal(t, forgets, len(forgotten(t, reflect.TypeFor[tree](), string(once))) > 0, "%s", once)
	})
}
