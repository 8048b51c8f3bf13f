package storetest

import (
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/leat-go/leat/eventstore"
)

var naming = chapter{"event ids", []clause{
	{says: "an event without an id gets a new UUIDv7", check: newIDs},
	{says: "an event of a batch with an ID gets an id derived from both", check: derivedIDs},
	{says: "an event id that is in the log is refused and nothing stored", check: reusedIDs},
	{says: "an event id twice in a batch is refused", check: twiceInBatch},
	{says: "a derived id that is in the log is refused", check: derivedTaken},
}}

func newIDs(f *fixture) {
	seen := map[uuid.UUID]bool{}
	for range 20 {
		f.append(to("s", events(5)...))
	}
	for _, e := range f.log() {
		equal(f.T, "version of the event's id", int(e.ID.Version()), 7)
		equal(f.T, "variant of the event's id", e.ID.Variant(), uuid.RFC4122)
		equal(f.T, "the id was given before", seen[e.ID], false)
		seen[e.ID] = true
	}
}

func derivedIDs(f *fixture) {
	own := uuid.New()
	f.append(eventstore.Batch{ID: "batch", Writes: []eventstore.Write{
		{Stream: "a", Events: []eventstore.EventData{event("t", "1"), {ID: own, Type: "t"}}},
		{Stream: "b", Events: events(2)},
	}})
	var got []uuid.UUID
	for _, e := range f.log() {
		got = append(got, e.ID)
	}
	equal(f.T, "event ids", got, []uuid.UUID{
		eventstore.DeriveID("batch", 0), own, eventstore.DeriveID("batch", 2), eventstore.DeriveID("batch", 3),
	})
}

func reusedIDs(f *fixture) {
	used := uuid.New()
	f.append(to("s", events(2)...))
	f.append(to("s", eventstore.EventData{ID: used, Type: "t"}))
	fresh := uuid.New()
	for _, stream := range []string{"s", "other"} {
		err := f.refuse(to(stream, eventstore.EventData{ID: fresh, Type: "t"}, eventstore.EventData{ID: used, Type: "t"}), eventstore.ErrIDReused)
		equal(f.T, "what is reused", *as[*eventstore.IDReusedError](f.T, err), eventstore.IDReusedError{Kind: "event", ID: used.String(), Position: 3})
	}
	equal(f.T, "events of other", len(f.stream("other")), 0)
	f.append(to("s", eventstore.EventData{ID: fresh, Type: "t"}))
	generated := f.log()[0].ID
	f.refuse(to("s", eventstore.EventData{ID: generated, Type: "t"}), eventstore.ErrIDReused)
}

func twiceInBatch(f *fixture) {
	id := uuid.New()
	twice := eventstore.EventData{ID: id, Type: "t"}
	f.refuse(to("s", twice, event("t", ""), twice), eventstore.ErrIDReused)
	f.refuse(eventstore.Batch{Writes: []eventstore.Write{
		{Stream: "a", Events: []eventstore.EventData{twice}}, {Stream: "b", Events: []eventstore.EventData{twice}},
	}}, eventstore.ErrIDReused)
	f.append(to("s", twice))
}

func derivedTaken(f *fixture) {
	f.append(to("s", eventstore.EventData{ID: eventstore.DeriveID("later", 1), Type: "t"}))
	err := f.refuse(withID("later", to("s", events(3)...)), eventstore.ErrIDReused)
	equal(f.T, "kind", as[*eventstore.IDReusedError](f.T, err).Kind, "event")
	_, ok := f.committed("later")
	equal(f.T, "committed", ok, false)
	f.append(withID("later", to("s", events(1)...)))
}

var refusing = chapter{"limits", []clause{
	{says: "what breaks a limit or a rule is refused before anything is stored", check: invalid},
	{says: "an engine keeps to the limits it was opened with", limits: eventstore.Limits{Data: 10, Metadata: 20, Batch: 3, BatchBytes: 25}, check: ownLimits},
}}

func invalid(f *fixture) {
	long := strings.Repeat("n", eventstore.MaxName+1)
	one := events(1)
	bad := map[string]eventstore.Batch{
		"empty stream name":         to("", one...),
		"long stream name":          to(long, one...),
		"control character":         to("a\nb", one...),
		"zero byte":                 to("a\x00", one...),
		"stream name is not UTF-8":  to("a\xff", one...),
		"empty type":                to("s", event("", "")),
		"long type":                 to("s", event(long, "")),
		"type is not UTF-8":         to("s", event("\xc0", "")),
		"long batch ID":             withID(long, to("s", one...)),
		"batch ID is not UTF-8":     withID("\xff", to("s", one...)),
		"control in batch ID":       withID("a\tb", to("s", one...)),
		"negative schema version":   to("s", eventstore.EventData{Type: "t", SchemaVersion: -1}),
		"negative expected version": expecting1("s", eventstore.Exactly(-1), one...),
		"large data":                to("s", eventstore.EventData{Type: "t", Data: make([]byte, eventstore.MaxData+1)}),
		"large metadata":            to("s", eventstore.EventData{Type: "t", Metadata: eventstore.Metadata{"k": strings.Repeat("v", eventstore.MaxMetadata)}}),
		"empty metadata key":        to("s", eventstore.EventData{Type: "t", Metadata: eventstore.Metadata{"": "v"}}),
		"metadata is not UTF-8":     to("s", eventstore.EventData{Type: "t", Metadata: eventstore.Metadata{"k": "\xff"}}),
		"large batch":               to("s", events(eventstore.MaxBatch+1)...),
		"empty batch":               {},
		"write without events":      to("s"),
		"stream twice":              {Writes: []eventstore.Write{{Stream: "s", Events: one}, {Stream: "s", Events: one}}},
		"stream written and guarded": {
			Writes: []eventstore.Write{{Stream: "s", Events: one}}, Guards: []eventstore.Guard{{Stream: "s", Expect: eventstore.Any()}},
		},
		"empty guard": {Writes: []eventstore.Write{{Stream: "s", Events: one}}, Guards: []eventstore.Guard{{Expect: eventstore.Any()}}},
		"large batch over streams": {Writes: []eventstore.Write{
			{Stream: "s", Events: events(eventstore.MaxBatch)}, {Stream: "r", Events: one},
		}},
	}
	bad["many bytes"] = to("s", many(eventstore.MaxBatchBytes/eventstore.MaxData+1, make([]byte, eventstore.MaxData))...)
	bad["many guards"] = eventstore.Batch{ID: "guards", Guards: make([]eventstore.Guard, eventstore.MaxGuards+1)}
	for i := range bad["many guards"].Guards {
		bad["many guards"].Guards[i] = eventstore.Guard{Stream: fmt.Sprintf("g-%d", i), Expect: eventstore.Any()}
	}
	for what, b := range bad {
		_, err := f.Append(f.Context(), b)
		wantErr(f.T, what, err, eventstore.ErrInvalid)
		as[*eventstore.InvalidError](f.T, err)
		equal(f.T, "head after "+what, f.head(), 0)
	}
	equal(f.T, "events of s", len(f.stream("s")), 0)
}

// many returns events of the same data.
func many(n int, data []byte) []eventstore.EventData {
	all := make([]eventstore.EventData, n)
	for i := range all {
		all[i] = eventstore.EventData{Type: "t", Data: data}
	}
	return all
}

func ownLimits(f *fixture) {
	f.append(to("s", event("t", "1234567890")))
	f.refuse(to("s", event("t", "12345678901")), eventstore.ErrInvalid)
	f.append(to("s", eventstore.EventData{Type: "t", Metadata: eventstore.Metadata{"key": "0123456789"}}))
	f.refuse(to("s", eventstore.EventData{Type: "t", Metadata: eventstore.Metadata{"key": "01234567890"}}), eventstore.ErrInvalid)
	f.append(to("s", events(3)...))
	f.refuse(to("s", events(4)...), eventstore.ErrInvalid)
	big := event("t", "1234567890")
	f.append(to("s", big, big, event("t", "12345")))
	f.refuse(to("s", big, big, event("t", "123456")), eventstore.ErrInvalid)
	f.refuse(eventstore.Batch{Writes: []eventstore.Write{
		{Stream: "s", Events: []eventstore.EventData{big}}, {Stream: "r", Events: []eventstore.EventData{big, event("t", "123456")}},
	}}, eventstore.ErrInvalid)
}
