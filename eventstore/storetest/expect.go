package storetest

import (
	"fmt"
	"math"

	"github.com/leat-go/leat/eventstore"
)

var expecting = chapter{"expectations and guards", []clause{
	{says: "each expectation holds exactly where it says", check: fourExpectations},
	{says: "a version above the head is a conflict", check: aboveHead},
	{says: "a guard is checked and writes nothing", check: guards},
	{says: "every failing check is reported in the order of the batch", check: allReported},
	{says: "a batch with one failing check stores nothing anywhere", check: nothingAnywhere},
	{says: "expectations speak of the streams before the batch", check: beforeBatch},
	{says: "a refused append leaves no hole in positions or versions", check: noHoles},
	{says: "a conflict is gone when the expectation is mended", check: mended},
}}

func fourExpectations(f *fixture) {
	f.append(to("one", events(1)...))
	f.append(to("three", events(3)...))
	streams := map[string]int64{"none": 0, "one": 1, "three": 3}
	for _, x := range []eventstore.Expectation{
		eventstore.Any(), eventstore.NoStream(), eventstore.Exists(),
		eventstore.Exactly(0), eventstore.Exactly(1), eventstore.Exactly(2), eventstore.Exactly(3), eventstore.Exactly(4),
	} {
		for stream, version := range streams {
			guard := eventstore.Batch{Writes: []eventstore.Write{{Stream: "aside", Events: events(1)}}, Guards: []eventstore.Guard{{Stream: stream, Expect: x}}}
			write := expecting1(stream, x, events(1)...)
			if !x.Holds(version) {
				for i, b := range []eventstore.Batch{write, guard} {
					conflict := as[*eventstore.ConflictError](f.T, f.refuse(b, eventstore.ErrConflict))
					equal(f.T, "conflicts", conflict.Conflicts, []eventstore.Conflict{{Stream: stream, Expected: x, Actual: version, Guard: i == 1}})
				}
				continue
			}
			f.append(guard)
			c := f.append(write)
			equal(f.T, "streams", c.Streams, []eventstore.StreamCommit{{Stream: stream, First: version + 1, Last: version + 1}})
			streams[stream]++
		}
	}
}

func aboveHead(f *fixture) {
	f.append(to("s", events(2)...))
	for _, v := range []int64{3, 4, 1000, math.MaxInt64} {
		err := f.refuse(expecting1("s", eventstore.Exactly(v), events(1)...), eventstore.ErrConflict)
		equal(f.T, "actual version", as[*eventstore.ConflictError](f.T, err).Conflicts[0].Actual, 2)
		f.refuse(expecting1("none", eventstore.Exactly(v), events(1)...), eventstore.ErrConflict)
	}
}

func guards(f *fixture) {
	f.append(to("account", events(2)...))
	b := to("order", events(1)...)
	b.Guards = []eventstore.Guard{
		{Stream: "account", Expect: eventstore.Exactly(2)}, {Stream: "closed", Expect: eventstore.NoStream()}, {Stream: "whatever", Expect: eventstore.Any()},
	}
	c := f.append(b)
	equal(f.T, "streams of the commit", c.Streams, []eventstore.StreamCommit{{Stream: "order", First: 1, Last: 1}})
	for stream, want := range map[string]int{"account": 2, "order": 1, "closed": 0, "whatever": 0} {
		equal(f.T, "events of "+stream, len(f.stream(stream)), want)
	}
	f.append(expecting1("closed", eventstore.NoStream(), events(1)...))
	err := f.refuse(b, eventstore.ErrConflict)
	equal(f.T, "conflicts", as[*eventstore.ConflictError](f.T, err).Conflicts,
		[]eventstore.Conflict{{Stream: "closed", Expected: eventstore.NoStream(), Actual: 1, Guard: true}})
}

func allReported(f *fixture) {
	f.append(to("a", events(1)...))
	f.append(to("b", events(2)...))
	f.append(to("c", events(3)...))
	err := f.refuse(eventstore.Batch{
		Writes: []eventstore.Write{
			{Stream: "b", Expect: eventstore.Exactly(1), Events: events(1)},
			{Stream: "c", Expect: eventstore.Exactly(3), Events: events(1)},
			{Stream: "a", Expect: eventstore.NoStream(), Events: events(1)},
		},
		Guards: []eventstore.Guard{
			{Stream: "z", Expect: eventstore.Exists()},
			{Stream: "y", Expect: eventstore.NoStream()},
			{Stream: "x", Expect: eventstore.Exactly(7)},
		},
	}, eventstore.ErrConflict)
	equal(f.T, "conflicts", as[*eventstore.ConflictError](f.T, err).Conflicts, []eventstore.Conflict{
		{Stream: "b", Expected: eventstore.Exactly(1), Actual: 2},
		{Stream: "a", Expected: eventstore.NoStream(), Actual: 1},
		{Stream: "z", Expected: eventstore.Exists(), Guard: true},
		{Stream: "x", Expected: eventstore.Exactly(7), Guard: true},
	})
}

func nothingAnywhere(f *fixture) {
	f.append(to("taken", events(1)...))
	before := f.log()
	f.refuse(eventstore.Batch{ID: "whole", Writes: []eventstore.Write{
		{Stream: "first", Events: events(3)},
		{Stream: "taken", Expect: eventstore.NoStream(), Events: events(1)},
		{Stream: "last", Events: events(3)},
	}}, eventstore.ErrConflict)
	for _, s := range []string{"first", "last"} {
		equal(f.T, "events of "+s, len(f.stream(s)), 0)
	}
	equal(f.T, "events of taken", len(f.stream("taken")), 1)
	sameEvents(f.T, "log", f.log(), before)
	_, found := f.committed("whole")
	equal(f.T, "a refused batch is committed", found, false)
	f.append(expecting1("first", eventstore.NoStream(), events(1)...))
}

func beforeBatch(f *fixture) {
	c := f.append(eventstore.Batch{Writes: []eventstore.Write{
		{Stream: "a", Expect: eventstore.NoStream(), Events: events(2)},
		{Stream: "b", Expect: eventstore.NoStream(), Events: events(2)},
	}})
	equal(f.T, "events", c.Events(), 4)
	f.append(expecting1("a", eventstore.Exactly(2), events(2)...))
	f.refuse(expecting1("a", eventstore.Exactly(2), events(2)...), eventstore.ErrConflict)
}

func noHoles(f *fixture) {
	for i := range 30 {
		s := fmt.Sprintf("s-%d", i%3)
		f.append(to(s, events(2)...))
		f.refuse(expecting1(s, eventstore.NoStream(), events(5)...), eventstore.ErrConflict)
		f.refuse(eventstore.Batch{Writes: []eventstore.Write{
			{Stream: "new", Events: events(1)}, {Stream: s, Expect: eventstore.Exactly(9999), Events: events(1)},
		}}, eventstore.ErrConflict)
	}
	for i, e := range f.log() {
		equal(f.T, "position", e.Position, int64(i+1))
	}
	for i := range 3 {
		for j, e := range f.stream(fmt.Sprintf("s-%d", i)) {
			equal(f.T, "version", e.Version, int64(j+1))
		}
	}
}

func mended(f *fixture) {
	f.append(to("s", events(4)...))
	b := withID("once", expecting1("s", eventstore.Exactly(3), events(1)...))
	err := f.refuse(b, eventstore.ErrConflict)
	b.Writes[0].Expect = eventstore.Exactly(as[*eventstore.ConflictError](f.T, err).Conflicts[0].Actual)
	c := f.append(b)
	equal(f.T, "duplicate of a refused append", c.Duplicate, false)
	equal(f.T, "version", c.Streams[0].First, 5)
}
