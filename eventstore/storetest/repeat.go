package storetest

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/leat-go/leat/eventstore"
)

var repeating = chapter{"idempotence", []clause{
	{says: "a repeated ID returns the first commit and stores nothing", check: repeated},
	{says: "a repetition is answered whatever the expectations say now", check: repeatedAgainstExpectations},
	{says: "a repetition is answered however long ago it was", byHand: true, check: repeatedLongAfter},
	{says: "expectations, guards, metadata, event ids and defaults are no content", check: noContent},
	{says: "streams, types, schema versions, data, their order and number are content", check: content},
	{says: "an ID with other content is refused and says where the first is", check: otherContent},
	{says: "an ID and nothing else is a legal batch", check: nothingButID},
	{says: "Committed says whether and where an ID was stored", check: committedSays},
	{says: "a refused batch does not use its ID", check: refusedKeepsID},
	{says: "batches without an ID are never duplicates", check: withoutID},
}}

func repeated(f *fixture) {
	b := eventstore.Batch{ID: "order-7", Writes: []eventstore.Write{{Stream: "a", Events: events(2)}, {Stream: "b", Events: events(1)}}}
	first := f.append(b)
	equal(f.T, "duplicate", first.Duplicate, false)
	for range 3 {
		again := f.append(b)
		equal(f.T, "duplicate", again.Duplicate, true)
		sameCommit(f.T, "repeated commit", again, first)
		f.append(to("a", events(1)...))
	}
	equal(f.T, "events of a", len(f.stream("a")), 5)
	equal(f.T, "head", f.head(), 6)
}

func repeatedAgainstExpectations(f *fixture) {
	b := withID("id", expecting1("s", eventstore.NoStream(), events(1)...))
	b.Guards = []eventstore.Guard{{Stream: "g", Expect: eventstore.NoStream()}}
	first := f.append(b)
	f.append(to("g", events(1)...))
	again := f.append(b)
	equal(f.T, "duplicate", again.Duplicate, true)
	sameCommit(f.T, "repeated commit", again, first)
	f.refuse(withID("id", expecting1("s", eventstore.NoStream(), events(2)...)), eventstore.ErrIDReused)
}

func repeatedLongAfter(f *fixture) {
	var first []eventstore.Commit
	batch := func(i int) eventstore.Batch {
		return withID(fmt.Sprintf("id-%d", i), to(fmt.Sprintf("s-%d", i%7), event("t", fmt.Sprint(i))))
	}
	const batches = 500
	for i := range batches {
		first = append(first, f.append(batch(i)))
		f.clock.add(24 * time.Hour)
	}
	for i := range batches {
		again := f.append(batch(i))
		equal(f.T, "duplicate", again.Duplicate, true)
		sameCommit(f.T, "repeated commit", again, first[i])
	}
	equal(f.T, "head", f.head(), batches)
}

func noContent(f *fixture) {
	b := withID("id", to("s", event("t", "d"), eventstore.EventData{Type: "t", SchemaVersion: 1}))
	first := f.append(b)
	for what, change := range map[string]func(*eventstore.Batch){
		"expectation":    func(b *eventstore.Batch) { b.Writes[0].Expect = eventstore.Exactly(99) },
		"guard":          func(b *eventstore.Batch) { b.Guards = []eventstore.Guard{{Stream: "x", Expect: eventstore.Exists()}} },
		"metadata":       func(b *eventstore.Batch) { b.Writes[0].Events[0].Metadata = eventstore.Metadata{"k": "v"} },
		"event id":       func(b *eventstore.Batch) { b.Writes[0].Events[0].ID = uuid.New() },
		"schema default": func(b *eventstore.Batch) { b.Writes[0].Events[1].SchemaVersion = 0 },
		"empty data":     func(b *eventstore.Batch) { b.Writes[0].Events[1].Data = []byte{} },
	} {
		changed := withID("id", to("s", event("t", "d"), eventstore.EventData{Type: "t", SchemaVersion: 1}))
		change(&changed)
		again := f.append(changed)
		equal(f.T, "duplicate with another "+what, again.Duplicate, true)
		sameCommit(f.T, "repeated commit with another "+what, again, first)
	}
	equal(f.T, "head", f.head(), 2)
}

func content(f *fixture) {
	base := func() eventstore.Batch {
		return eventstore.Batch{ID: "id", Writes: []eventstore.Write{
			{Stream: "a", Events: []eventstore.EventData{event("ab", "c"), event("t", "2")}},
			{Stream: "b", Events: []eventstore.EventData{event("t", "3")}},
		}}
	}
	f.append(base())
	for what, change := range map[string]func(*eventstore.Batch){
		"stream":                  func(b *eventstore.Batch) { b.Writes[1].Stream = "c" },
		"type":                    func(b *eventstore.Batch) { b.Writes[1].Events[0].Type = "u" },
		"schema version":          func(b *eventstore.Batch) { b.Writes[1].Events[0].SchemaVersion = 2 },
		"data":                    func(b *eventstore.Batch) { b.Writes[1].Events[0].Data = []byte("4") },
		"no data":                 func(b *eventstore.Batch) { b.Writes[1].Events[0].Data = nil },
		"border of type and data": func(b *eventstore.Batch) { b.Writes[0].Events[0] = event("a", "bc") },
		"order of events":         func(b *eventstore.Batch) { e := b.Writes[0].Events; e[0], e[1] = e[1], e[0] },
		"order of streams":        func(b *eventstore.Batch) { w := b.Writes; w[0], w[1] = w[1], w[0] },
		"one event more":          func(b *eventstore.Batch) { b.Writes[1].Events = append(b.Writes[1].Events, event("t", "")) },
		"one event less":          func(b *eventstore.Batch) { b.Writes[0].Events = b.Writes[0].Events[:1] },
		"one stream less":         func(b *eventstore.Batch) { b.Writes = b.Writes[:1] },
		"nothing":                 func(b *eventstore.Batch) { b.Writes = nil },
		"an event moved to stream": func(b *eventstore.Batch) {
			b.Writes[1].Events = append(b.Writes[0].Events[1:], b.Writes[1].Events...)
			b.Writes[0].Events = b.Writes[0].Events[:1]
		},
	} {
		b := base()
		change(&b)
		before := f.head()
		_, err := f.Append(f.Context(), b)
		wantErr(f.T, "the same ID with another "+what, err, eventstore.ErrIDReused)
		equal(f.T, "head", f.head(), before)
	}
}

func otherContent(f *fixture) {
	f.append(to("s", events(3)...))
	first := f.append(withID("id", to("s", events(2)...)))
	f.append(to("s", events(1)...))
	err := f.refuse(withID("id", to("s", events(3)...)), eventstore.ErrIDReused)
	reused := as[*eventstore.IDReusedError](f.T, err)
	equal(f.T, "what is reused", *reused, eventstore.IDReusedError{Kind: "batch", ID: "id", Position: first.Last})
}

func nothingButID(f *fixture) {
	f.append(to("s", events(3)...))
	c := f.append(eventstore.Batch{ID: "decided-nothing"})
	equal(f.T, "positions", [2]int64{c.First, c.Last}, [2]int64{4, 3})
	equal(f.T, "events", c.Events(), 0)
	equal(f.T, "streams", len(c.Streams), 0)
	equal(f.T, "duplicate", c.Duplicate, false)
	equal(f.T, "head", f.head(), 3)
	f.append(to("s", events(1)...))

	again := f.append(eventstore.Batch{ID: "decided-nothing"})
	equal(f.T, "duplicate", again.Duplicate, true)
	sameCommit(f.T, "repeated commit", again, c)
	found, ok := f.committed("decided-nothing")
	equal(f.T, "committed", ok, true)
	sameCommit(f.T, "commit found", found, c)
	f.refuse(withID("decided-nothing", to("s", events(1)...)), eventstore.ErrIDReused)

	guarded := eventstore.Batch{ID: "guarded", Guards: []eventstore.Guard{{Stream: "s", Expect: eventstore.Exactly(3)}}}
	f.refuse(guarded, eventstore.ErrConflict)
	guarded.Guards[0].Expect = eventstore.Exactly(4)
	equal(f.T, "last position", f.append(guarded).Last, 4)
	f.refuse(eventstore.Batch{}, eventstore.ErrInvalid)
	f.refuse(eventstore.Batch{Guards: []eventstore.Guard{{Stream: "s", Expect: eventstore.Any()}}}, eventstore.ErrInvalid)
}

func committedSays(f *fixture) {
	want := map[string]eventstore.Commit{}
	for i := range 10 {
		b := eventstore.Batch{ID: fmt.Sprintf("id-%d", i)}
		for j := range i {
			b.Writes = append(b.Writes, eventstore.Write{Stream: fmt.Sprintf("s-%d", (i*j)%10*10+j), Events: events(j + 1)})
		}
		want[b.ID] = f.append(b)
	}
	for id, c := range want {
		got, ok := f.committed(id)
		equal(f.T, id+" is committed", ok, true)
		equal(f.T, "duplicate", got.Duplicate, true)
		sameCommit(f.T, "commit of "+id, got, c)
	}
	for _, id := range []string{"id-10", "ID-1", "id-", "", "id-1 "} {
		c, ok := f.committed(id)
		equal(f.T, fmt.Sprintf("%q is committed", id), ok, false)
		equal(f.T, "commit of an unknown ID", c, eventstore.Commit{})
	}
}

func refusedKeepsID(f *fixture) {
	used := uuid.New()
	f.append(to("s", eventstore.EventData{ID: used, Type: "t"}))
	f.refuse(withID("id", expecting1("s", eventstore.NoStream(), events(1)...)), eventstore.ErrConflict)
	f.refuse(withID("id", to("s", eventstore.EventData{ID: used, Type: "t"})), eventstore.ErrIDReused)
	f.refuse(withID("id", to("", events(1)...)), eventstore.ErrInvalid)
	_, ok := f.committed("id")
	equal(f.T, "committed", ok, false)
	c := f.append(withID("id", to("s", events(2)...)))
	equal(f.T, "duplicate", c.Duplicate, false)
}

func withoutID(f *fixture) {
	for i := range 3 {
		c := f.append(to("s", event("t", "same")))
		equal(f.T, "duplicate", c.Duplicate, false)
		equal(f.T, "version", c.Streams[0].Last, int64(i+1))
	}
}
