package aggregate_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
)

type pointed struct{}

func (*pointed) EventType() string { return "pointed" }

type nameless struct{}

func (nameless) EventType() string { return "" }

func TestDefinePanicsOnProgrammersErrors(t *testing.T) {
	for name, c := range map[string]struct {
		define func()
		says   string
	}{
		"no name":        {func() { aggregate.Define[Account]("") }, "aggregate name is empty"},
		"dash":           {func() { aggregate.Define[Account]("big-account") }, "holds no dash"},
		"bound twice":    {func() { aggregate.Define("a", on(), on()) }, `"deposited" is bound twice`},
		"ignored, bound": {func() { aggregate.Define("a", aggregate.Ignore[Account]("deposited"), on()) }, `"deposited" is bound twice`},
		"bound, ignored": {func() { aggregate.Define("a", on(), aggregate.Ignore[Account]("deposited")) }, `"deposited" is bound twice`},
		"nil function":   {func() { aggregate.Define("a", aggregate.On[Account, Deposited](nil)) }, "is nil"},
		"pointer":        {func() { aggregate.Define("a", aggregate.On(func(*Account, *pointed) {})) }, "plain struct"},
		"nameless":       {func() { aggregate.Define("a", aggregate.On(func(*Account, nameless) {})) }, "event type is empty"},
		"ignore nothing": {func() { aggregate.Define("a", aggregate.Ignore[Account]("")) }, "event type is empty"},
		"fold version":   {func() { aggregate.Define("a", aggregate.FoldVersion[Account](0)) }, "must be 1 or more"},
		"no store":       {func() { aggregate.NewRepository(nil, Accounts, nil) }, "needs a store"},
		"no definition":  {func() { aggregate.NewRepository[Account](memory.New(nil), nil, nil) }, "a definition"},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() { require.Contains(t, recover(), c.says) }()
			c.define()
		})
	}
}

func on() aggregate.Option[Account] { return aggregate.On(func(*Account, Deposited) {}) }

func TestStreamsAreNamedAfterTheAggregate(t *testing.T) {
	require.Equal(t, "account", Accounts.Name())
	require.Equal(t, "account-7-a", Accounts.Stream("7-a"))
	require.Equal(t, "account", eventstore.Category(Accounts.Stream("7-a")))
}

func TestUnknownStoredTypeIsAnErrorUnlessIgnoredByName(t *testing.T) {
	b := newBank(t, nil)
	put := func(eventType string) {
		_, err := b.spy.Append(t.Context(), eventstore.Batch{Writes: []eventstore.Write{{
			Stream: Accounts.Stream("1"), Events: []eventstore.EventData{{Type: eventType, Data: []byte("{}")}},
		}}})
		require.NoError(t, err)
	}
	b.update("1", deposit(5))
	put("account_noted")
	b.update("1", deposit(5))
	require.Equal(t, int64(10), b.balance("1"))

	put("account_audited")
	for range 2 {
		_, err := b.Update(t.Context(), "1", deposit(5))
		var unknown *aggregate.UnknownTypeError
		require.ErrorAs(t, err, &unknown)
		require.ErrorIs(t, err, aggregate.ErrUnknownType)
		require.Equal(t, aggregate.UnknownTypeError{Aggregate: "account", Stream: "account-1", Version: 4, Type: "account_audited"}, *unknown)
	}
	_, _, err := b.Load(t.Context(), "1")
	require.ErrorIs(t, err, aggregate.ErrUnknownType)
	require.Len(t, b.stream("1"), 4)
}

func TestWhatNoLoadCouldFoldIsNotStored(t *testing.T) {
	b := newBank(t, nil)
	for name, events := range map[string]aggregate.Events{
		"unbound": {Deposited{Cents: 1}, Moved{}},
		"nil":     {nil},
		"pointer": {&Deposited{}},
	} {
		_, err := b.Update(t.Context(), "1", func(*Account) (aggregate.Events, error) { return events, nil })
		require.Error(t, err, name)
		require.Contains(t, err.Error(), "of account-1")
	}
	_, err := b.Update(t.Context(), "1", func(*Account) (aggregate.Events, error) { return aggregate.Events{Moved{}}, nil })
	require.ErrorIs(t, err, aggregate.ErrUnknownType)
	require.Empty(t, b.stream("1"))
	b.update("1", deposit(1))
}

// Moved changed its schema: it once stored a number of metres.
type Moved struct{ Where struct{ Metres int } }

func (Moved) EventType() string { return "moved" }
func (Moved) EventVersion() int { return 2 }
func (Moved) Upcast(_ int, data []byte) ([]byte, error) {
	var old struct{ Metres int }
	if err := json.Unmarshal(data, &old); err != nil {
		return nil, err
	}
	return json.Marshal(Moved{Where: old})
}

type odometer struct{ Metres int }

func TestOldEventsAreUpcast(t *testing.T) {
	store := memory.New(nil)
	put := func(version int, data string) {
		_, err := store.Append(t.Context(), eventstore.Batch{Writes: []eventstore.Write{{
			Stream: "odometer-1", Events: []eventstore.EventData{{Type: "moved", SchemaVersion: version, Data: []byte(data)}},
		}}})
		require.NoError(t, err)
	}
	repo := aggregate.NewRepository(store, aggregate.Define("odometer", aggregate.On(func(o *odometer, e Moved) { o.Metres += e.Where.Metres })), nil)
	put(1, `{"Metres":5}`)
	put(2, `{"Where":{"Metres":7}}`)
	o, version, err := repo.Load(t.Context(), "1")
	require.NoError(t, err)
	require.Equal(t, int64(2), version)
	require.Equal(t, 12, o.Metres)

	_, err = repo.Update(t.Context(), "1", func(*odometer) (aggregate.Events, error) { return aggregate.Events{Moved{}}, nil })
	require.NoError(t, err)
	events, err := store.ReadStream(t.Context(), "odometer-1", 3, 1)
	require.NoError(t, err)
	require.Equal(t, 2, events[0].SchemaVersion)

	put(3, `{}`)
	_, _, err = repo.Load(t.Context(), "1")
	var undecodable *eventstore.DecodeError
	require.ErrorAs(t, err, &undecodable)
	require.Equal(t, int64(4), undecodable.Version)
	require.Contains(t, err.Error(), "deploy the newer program")
}

type (
	hiddenField  struct{ balance int64 }
	skippedField struct {
		Balance int64 `json:"-"`
	}
	interfaceHeld struct{ Last eventstore.Event }
	deepHidden    struct{ All map[string][]*hiddenField }
	base          struct{ Balance int64 }
	fineState     struct {
		base
		At    time.Time
		Until map[time.Time]time.Duration
		Seen  map[int64]struct{}
		Next  *fineState
		Raw   json.RawMessage
		List  [][]byte
	}
)

func TestSnapshotsRefuseStateThatJSONLoses(t *testing.T) {
	opts := &aggregate.Options{SnapshotEvery: 10}
	for name, open := range map[string]func(){
		"hiddenField.balance":          func() { aggregate.NewRepository(memory.New(nil), aggregate.Define[hiddenField]("a"), opts) },
		"skippedField.Balance":         func() { aggregate.NewRepository(memory.New(nil), aggregate.Define[skippedField]("a"), opts) },
		"interfaceHeld.Last":           func() { aggregate.NewRepository(memory.New(nil), aggregate.Define[interfaceHeld]("a"), opts) },
		"deepHidden.All[].balance":     func() { aggregate.NewRepository(memory.New(nil), aggregate.Define[deepHidden]("a"), opts) },
		"map[aggregate_test.base]bool": func() { aggregate.NewRepository(memory.New(nil), aggregate.Define[map[base]bool]("a"), opts) },
	} {
		func() {
			defer func() { require.Contains(t, recover(), name) }()
			open()
		}()
	}
	aggregate.NewRepository(memory.New(nil), aggregate.Define[hiddenField]("a"), nil)
	aggregate.NewRepository(memory.New(nil), aggregate.Define[fineState]("a"), opts)
}
