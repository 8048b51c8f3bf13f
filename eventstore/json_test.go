package eventstore_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
)

type hidden struct{ id string }

func (hidden) EventType() string { return "hidden" }

type node struct {
	Next  *node
	At    time.Time
	ID    uuid.UUID
	Raw   json.RawMessage
	Any   any
	ByDay map[int][]string
	_     struct{}
}

func TestWhatJSONWouldLoseIsSaid(t *testing.T) {
	for typ, want := range map[reflect.Type]string{
		reflect.TypeFor[hidden]():                               "hidden.id",
		reflect.TypeFor[struct{ A []map[string]hidden }]():      "A[].id",
		reflect.TypeFor[struct{ Wait time.Timer }]():            "Wait",
		reflect.TypeFor[struct{ Err error }]():                  "Err",
		reflect.TypeFor[struct{ C chan int }]():                 "C",
		reflect.TypeFor[struct{ M map[struct{ A int }]bool }](): "keys of",
		reflect.TypeFor[struct {
			A int `json:"-"`
		}](): "A",
	} {
		require.ErrorContains(t, eventstore.CheckJSON(typ), want, typ)
	}
	require.NoError(t, eventstore.CheckJSON(reflect.TypeFor[node]()))
}

func TestAnEventThatJSONWouldLoseIsRefused(t *testing.T) {
	_, err := eventstore.TypeName[hidden]()
	require.ErrorIs(t, err, eventstore.ErrInvalid)
	require.ErrorContains(t, err, "hidden.id")
	require.NotEmpty(t, hidden{id: "x"}.id)
}
