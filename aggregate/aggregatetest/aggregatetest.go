// Package aggregatetest tests decisions as sentences over events: given what
// happened, when this is asked, then that is decided. It needs no store.
//
//	aggregatetest.Given(t, Accounts, Opened{Owner: "ann"}, Deposited{Cents: 500}).
//		When(func(a *Account) (aggregate.Events, error) { return a.Withdraw(200) }).
//		Then(Withdrawn{Cents: 200})
//
//	aggregatetest.Given(t, Accounts, Opened{Owner: "ann"}).
//		When(func(a *Account) (aggregate.Events, error) { return a.Withdraw(200) }).
//		ThenRejected(ErrOverdrawn)
//
// Events pass through their stored form, given and decided ones alike, so that
// a field that JSON does not hold, a type that the definition does not bind or a
// broken upcast fails here and not in production. A decision that changes the
// state it was given fails as well.
package aggregatetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/eventstore"
)

// TB is what a scenario needs of a test; *testing.T and *testing.B have it.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
}

// Scenario is an aggregate to which some events have happened.
type Scenario[S any] struct {
	t       TB
	def     *aggregate.Definition[S]
	history []eventstore.Recorded
}

// Given returns a scenario in which these events have happened, none for an
// aggregate that does not exist.
func Given[S any](t TB, def *aggregate.Definition[S], events ...eventstore.Event) *Scenario[S] {
	t.Helper()
	s := &Scenario[S]{t: t, def: def}
	history, err := s.record(nil, events)
	if err != nil {
		t.Fatalf("given: %v", err)
	}
	s.history = history
	return s
}

// GivenStored adds an event as it lies in a log, to test upcasts and what
// older programs wrote. Stream, version and position are filled in.
func (s *Scenario[S]) GivenStored(eventType string, schemaVersion int, data string) *Scenario[S] {
	s.t.Helper()
	history := s.recorded(s.history, eventstore.EventData{Type: eventType, SchemaVersion: schemaVersion, Data: []byte(data)})
	s.fold(history)
	s.history = history
	return s
}

// When decides. The outcome is looked at by the methods that begin with Then.
func (s *Scenario[S]) When(decide func(*S) (aggregate.Events, error)) *Outcome[S] {
	s.t.Helper()
	state := s.fold(s.history)
	events, err := decide(state)
	o := &Outcome[S]{scenario: s, events: events, err: err}
	if err == nil && !reflect.DeepEqual(state, s.fold(s.history)) {
		s.t.Fatalf("the decision changed the state that it was given:\n got %+v\nwant %+v\nonly the functions given to aggregate.On may change it", *state, *s.fold(s.history))
	}
	return o
}

// State calls look with the state as it is now, to check what the events did.
func (s *Scenario[S]) State(look func(*S)) *Scenario[S] {
	s.t.Helper()
	look(s.fold(s.history))
	return s
}

func (s *Scenario[S]) fold(history []eventstore.Recorded) *S {
	s.t.Helper()
	state := new(S)
	if err := s.def.Fold(state, history...); err != nil {
		s.t.Fatalf("fold: %v", err)
	}
	return state
}

// record returns the history with events added, having checked that each of
// them can be stored and folded after those before, and loses nothing on the
// way.
func (s *Scenario[S]) record(history []eventstore.Recorded, events []eventstore.Event) ([]eventstore.Recorded, error) {
	s.t.Helper()
	state := s.fold(history)
	for i, e := range events {
		data, err := eventstore.Encode(e)
		if err != nil {
			return nil, fmt.Errorf("event %d: %w", i+1, err)
		}
		if err := whole(e); err != nil {
			return nil, fmt.Errorf("event %d: %w", i+1, err)
		}
		history = s.recorded(history, data)
		if err := s.def.Fold(state, history[len(history)-1]); err != nil {
			return nil, fmt.Errorf("event %d: %w", i+1, err)
		}
	}
	return history, nil
}

// whole refuses an event with a field that is not stored.
func whole(e eventstore.Event) error {
	t := reflect.TypeOf(e)
	if _, ok := reflect.New(t).Interface().(json.Unmarshaler); ok {
		return nil
	}
	for f := range t.Fields() {
		if !f.IsExported() && !f.Anonymous || f.Tag.Get("json") == "-" {
			return fmt.Errorf("the field %s of %s is not stored, JSON does not hold it: export it or take it out", f.Name, t)
		}
	}
	return nil
}

// recorded returns a copy of the history with one more event.
func (s *Scenario[S]) recorded(history []eventstore.Recorded, e eventstore.EventData) []eventstore.Recorded {
	n := int64(len(history) + 1)
	return append(history[:len(history):len(history)], eventstore.Recorded{
		Position: n, Stream: s.def.Stream("test"), Version: n, Type: e.Type, SchemaVersion: max(e.SchemaVersion, 1), Data: e.Data,
	})
}

// Outcome is what was decided.
type Outcome[S any] struct {
	scenario *Scenario[S]
	events   aggregate.Events
	err      error
}

// Then demands that exactly these events were decided, none for a decision that
// there is nothing to do. It returns the scenario in which they have happened,
// for a further When.
func (o *Outcome[S]) Then(want ...eventstore.Event) *Scenario[S] {
	t, s := o.scenario.t, o.scenario
	t.Helper()
	if o.err != nil {
		t.Fatalf("the decision was refused: %v\nwant %s", o.err, list(want))
	}
	history, err := s.record(s.history, o.events)
	if err != nil {
		t.Fatalf("the decided events cannot be stored: %v", err)
	}
	if d := diff(lines(o.events), lines(want)); d != "" {
		t.Fatalf("the decision gave other events (- missing, + not wanted):\n%s", d)
	}
	return &Scenario[S]{t: t, def: s.def, history: history}
}

// ThenRejected demands that the decision was refused with this rejection,
// anywhere in the error's chain. It returns the scenario, in which nothing has
// happened.
func (o *Outcome[S]) ThenRejected(want *aggregate.Rejection) *Scenario[S] {
	t := o.scenario.t
	t.Helper()
	got, ok := errors.AsType[*aggregate.Rejection](o.err)
	switch {
	case want == nil:
		t.Fatalf("ThenRejected needs a rejection to compare with")
	case o.err == nil:
		t.Fatalf("the decision was not rejected with %s, it gave %s", want.Code, list(o.events))
	case !ok:
		t.Fatalf("the decision failed with an error that is no rejection: %v\nwant rejection %s", o.err, want.Code)
	case got.Code != want.Code:
		t.Fatalf("the decision was rejected with another code:\n got %s (%s)\nwant %s (%s)", got.Code, got.Reason, want.Code, want.Reason)
	}
	return o.scenario
}

// ThenError demands that the decision failed with this error, found as
// errors.Is finds it. It returns the scenario, in which nothing has happened.
func (o *Outcome[S]) ThenError(want error) *Scenario[S] {
	o.scenario.t.Helper()
	if o.err == nil {
		o.scenario.t.Fatalf("the decision gave %s\nwant error %v", list(o.events), want)
	} else if !errors.Is(o.err, want) {
		o.scenario.t.Fatalf("the decision failed otherwise:\n got %v\nwant %v", o.err, want)
	}
	return o.scenario
}

// lines describes events, one a line, as they would be stored.
func lines(events []eventstore.Event) []string {
	all := make([]string, len(events))
	for i, e := range events {
		data, err := eventstore.Encode(e)
		if err != nil {
			all[i] = fmt.Sprintf("%#v: %v", e, err)
			continue
		}
		all[i] = fmt.Sprintf("%s %s", data.Type, data.Data)
		if data.SchemaVersion > 1 {
			all[i] = fmt.Sprintf("%s v%d %s", data.Type, data.SchemaVersion, data.Data)
		}
	}
	return all
}

func list(events []eventstore.Event) string {
	if len(events) == 0 {
		return "no events"
	}
	return "\n  " + strings.Join(lines(events), "\n  ")
}

// diff returns the lines of both lists along their longest common part, or
// nothing where they are the same.
func diff(got, want []string) string {
	common := make([][]int, len(got)+1) // of got[i:] and want[j:]
	for i := range common {
		common[i] = make([]int, len(want)+1)
	}
	for i := len(got) - 1; i >= 0; i-- {
		for j := len(want) - 1; j >= 0; j-- {
			if got[i] == want[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	if len(got) == len(want) && common[0][0] == len(want) {
		return ""
	}
	var out strings.Builder
	for i, j := 0, 0; i < len(got) || j < len(want); {
		switch {
		case i < len(got) && j < len(want) && got[i] == want[j]:
			fmt.Fprintf(&out, "    %s\n", got[i])
			i, j = i+1, j+1
		case j < len(want) && (i == len(got) || common[i][j+1] >= common[i+1][j]):
			fmt.Fprintf(&out, "  - %s\n", want[j])
			j++
		default:
			fmt.Fprintf(&out, "  + %s\n", got[i])
			i++
		}
	}
	return out.String()
}
