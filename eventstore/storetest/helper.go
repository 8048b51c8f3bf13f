package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leat-go/leat/eventstore"
)

// equal fails the test where got is not want. Nil and empty slices are equal
// at the top.
func equal[T any](t testing.TB, what string, got, want T) {
	t.Helper()
	if reflect.DeepEqual(got, want) {
		return
	}
	if g, w := reflect.ValueOf(got), reflect.ValueOf(want); g.IsValid() && g.Kind() == reflect.Slice && g.Len() == 0 && w.Len() == 0 {
		return
	}
	t.Fatalf("%s:\n got %+v\nwant %+v", what, got, want)
}

// sameCommit compares commits, whether or not they are duplicates.
func sameCommit(t testing.TB, what string, got, want eventstore.Commit) {
	t.Helper()
	got.Duplicate, want.Duplicate = false, false
	if len(got.Streams) == 0 && len(want.Streams) == 0 {
		got.Streams, want.Streams = nil, nil
	}
	equal(t, what, got, want)
}

func wantErr(t testing.TB, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("%s:\n got error %v\nwant %v", what, got, want)
	}
}

// as returns the E in err's chain.
func as[E error](t testing.TB, err error) E {
	t.Helper()
	e, ok := errors.AsType[E](err)
	if !ok {
		t.Fatalf("the error %v (%T) has no %v to explain it", err, err, reflect.TypeFor[E]())
	}
	return e
}

// event returns an event with this type and data.
func event(eventType, data string) eventstore.EventData {
	return eventstore.EventData{Type: eventType, Data: []byte(data)}
}

// events returns n events of the type "happened", with their numbers as data.
func events(n int) []eventstore.EventData {
	list := make([]eventstore.EventData, n)
	for i := range list {
		list[i] = event("happened", fmt.Sprint(i+1))
	}
	return list
}

// to returns a batch without ID that writes to one stream, whatever its version.
func to(stream string, e ...eventstore.EventData) eventstore.Batch {
	return expecting1(stream, eventstore.Any(), e...)
}

func expecting1(stream string, x eventstore.Expectation, e ...eventstore.EventData) eventstore.Batch {
	return eventstore.Batch{Writes: []eventstore.Write{{Stream: stream, Expect: x, Events: e}}}
}

// withID returns the batch with this ID.
func withID(id string, b eventstore.Batch) eventstore.Batch {
	b.ID = id
	return b
}

func describe(b eventstore.Batch) string {
	var s strings.Builder
	fmt.Fprintf(&s, "batch %q", b.ID)
	for i, w := range b.Writes {
		if i == 4 {
			fmt.Fprintf(&s, " … and %d more writes", len(b.Writes)-i)
			break
		}
		fmt.Fprintf(&s, " %.40q expecting %s +%d", w.Stream, w.Expect, len(w.Events))
	}
	for _, g := range b.Guards {
		fmt.Fprintf(&s, " guard %.40q %s", g.Stream, g.Expect)
	}
	return s.String()
}

// ids returns what identifies the events in a log: position, stream, version.
func ids(list []eventstore.Recorded) []string {
	var s []string
	for _, e := range list {
		s = append(s, fmt.Sprintf("%d %s/%d %s", e.Position, e.Stream, e.Version, e.ID))
	}
	return s
}

func data(list []eventstore.Recorded) []string {
	var s []string
	for _, e := range list {
		s = append(s, string(e.Data))
	}
	return s
}

// handClock shows what it is set to, also an earlier time.
type handClock struct {
	mu  sync.Mutex // guards now
	now time.Time
}

func newHandClock() *handClock {
	return &handClock{now: time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)}
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// WaitUntil waits for ctx only: no engine waits for the time.
func (c *handClock) WaitUntil(ctx context.Context, _ time.Time) error {
	<-ctx.Done()
	return ctx.Err()
}

// sameEvent compares events; nil and empty bytes are equal.
func sameEvent(t testing.TB, what string, got, want eventstore.Recorded) {
	t.Helper()
	for _, e := range []*eventstore.Recorded{&got, &want} {
		if len(e.Data) == 0 {
			e.Data = nil
		}
		if len(e.Meta) == 0 {
			e.Meta = nil
		}
	}
	equal(t, what, got, want)
}

// sameEvents compares lists of events.
func sameEvents(t testing.TB, what string, got, want []eventstore.Recorded) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: got %d events, want %d:\n got %v\nwant %v", what, len(got), len(want), ids(got), ids(want))
	}
	for i := range want {
		sameEvent(t, fmt.Sprintf("%s, event %d", what, i+1), got[i], want[i])
	}
}
