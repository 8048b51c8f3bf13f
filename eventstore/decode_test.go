package eventstore_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
)

// The payloads: without a version, with one, and with one that reads older ones.
type (
	plain     struct{ Name, City string }
	versioned struct{ Name string }
	upcasting struct{ Name string }
)

func (plain) EventType() string     { return "plain" }
func (versioned) EventType() string { return "versioned" }
func (versioned) EventVersion() int { return 2 }
func (upcasting) EventType() string { return "upcasting" }
func (upcasting) EventVersion() int { return 3 }

var errTooOld = errors.New("too old")

func (u upcasting) Upcast(version int, data []byte) ([]byte, error) {
	if u != (upcasting{}) {
		return nil, errors.New("not the zero value")
	}
	if version < 2 {
		return nil, errTooOld
	}
	return fmt.Appendf(nil, `{"Name":%s}`, data), nil
}

// decoded is what Decode makes of data of a schema version.
func decoded[E eventstore.Event](version int, data string) (E, error) {
	return eventstore.Decode[E](eventstore.Recorded{Position: 7, Stream: "s-1", Version: 3, Type: "t", SchemaVersion: version, Data: []byte(data)})
}

func TestDecodeReadsTheVersionThatIsStored(t *testing.T) {
	p, err := decoded[plain](1, `{"Name":"ada"}`)
	require.NoError(t, err)
	require.Equal(t, plain{Name: "ada"}, p)
	v, err := decoded[versioned](2, `{"Name":"ada"}`)
	require.NoError(t, err)
	require.Equal(t, versioned{"ada"}, v)
	u, err := decoded[upcasting](3, `{"Name":"ada"}`)
	require.NoError(t, err)
	require.Equal(t, upcasting{"ada"}, u)
	u, err = decoded[upcasting](2, `"ada"`)
	require.NoError(t, err)
	require.Equal(t, upcasting{"ada"}, u)

	refused := func(got any, err error, want string) {
		t.Helper()
		failed, ok := errors.AsType[*eventstore.DecodeError](err)
		require.True(t, ok, "%v", err)
		require.EqualValues(t, 7, failed.Position)
		require.ErrorContains(t, err, want)
		require.Zero(t, got, "nothing of a payload that cannot be read")
	}
	p, err = decoded[plain](2, `{"Name":"ada"}`)
	refused(p, err, "deploy the newer program")
	p, err = decoded[plain](0, `{"Name":"ada"}`)
	refused(p, err, "has no Upcast method")
	p, err = decoded[plain](1, `{"Name":"ada"} x`)
	refused(p, err, "invalid character")
	v, err = decoded[versioned](1, `{"Name":"ada"}`)
	refused(v, err, "has no Upcast method")
	v, err = decoded[versioned](3, `{"Name":"ada"}`)
	refused(v, err, "this program knows 2 at most")
	u, err = decoded[upcasting](1, `"ada"`)
	refused(u, err, "upcast from schema version 1")
	require.ErrorIs(t, err, errTooOld)
}

// Decode costs no memory beyond what encoding/json takes.
func TestDecodeTakesNoMemoryOfItsOwn(t *testing.T) {
	r := eventstore.Recorded{SchemaVersion: 1, Data: []byte(`{"Name":"ada"}`)}
	bare := testing.AllocsPerRun(100, func() {
		var p plain
		require.NoError(t, json.Unmarshal(r.Data, &p))
	})
	got := testing.AllocsPerRun(100, func() {
		_, err := eventstore.Decode[plain](r)
		require.NoError(t, err)
	})
	require.LessOrEqual(t, got, bare)
}
