// Package domaintest tests a decision as a sentence: given what happened, when
// something is asked, then this is decided. It needs no store.
package domaintest

import (
	"errors"
	"reflect"
	"testing"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/eventstore"
)

// Case is an aggregate with a past and, after When, a decision.
type Case[S any] struct {
	t      testing.TB
	def    *aggregate.Definition[S]
	state  S
	past   int64
	events aggregate.Events
	err    error
}

// Given returns the aggregate to which the events happened.
func Given[S any](t testing.TB, def *aggregate.Definition[S], events ...eventstore.Event) *Case[S] {
	t.Helper()
	c := &Case[S]{t: t, def: def}
	c.fold(events)
	return c
}

// fold applies events as they come back from the log.
func (c *Case[S]) fold(events []eventstore.Event) {
	c.t.Helper()
	for _, e := range events {
		data, err := eventstore.Encode(e)
		if err == nil {
			c.past++
			err = c.def.Fold(&c.state, eventstore.Recorded{
				Stream: c.def.Stream("test"), Version: c.past,
				Type: data.Type, SchemaVersion: data.SchemaVersion, Data: data.Data,
			})
		}
		if err != nil {
			c.t.Fatalf("fold %T: %v", e, err)
		}
	}
}

// When decides.
func (c *Case[S]) When(decide func(*S) (aggregate.Events, error)) *Case[S] {
	c.events, c.err = decide(&c.state)
	return c
}

// Then demands exactly these events of the decision, none for nothing to do,
// and applies them. It returns the case for a further decision.
func (c *Case[S]) Then(events ...eventstore.Event) *Case[S] {
	c.t.Helper()
	if c.err != nil {
		c.t.Fatalf("got the error %q, want %d events", c.err, len(events))
	}
	if len(events)+len(c.events) > 0 && !reflect.DeepEqual([]eventstore.Event(c.events), events) {
		c.t.Fatalf("got %+v\nwant %+v", c.events, events)
	}
	c.fold(events)
	return c
}

// ThenRefused demands that the decision was refused for this reason.
func (c *Case[S]) ThenRefused(reason *aggregate.Rejection) *Case[S] {
	c.t.Helper()
	if !errors.Is(c.err, reason) {
		c.t.Fatalf("got %+v and the error %v, want the refusal %q", c.events, c.err, reason.Code)
	}
	if len(c.events) > 0 {
		c.t.Fatalf("refused, and decided %+v", c.events)
	}
	return c
}
