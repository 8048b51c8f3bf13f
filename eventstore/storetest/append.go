package storetest

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/leat-go/leat/eventstore"
)

var appending = chapter{"append", []clause{
	{says: "a batch is stored at consecutive positions and dense versions", check: storedInOrder},
	{says: "a batch over several streams is stored whole in the order of its writes", check: severalStreams},
	{says: "what is stored is what was given", check: storedAsGiven},
	{says: "data may be nil or empty or any bytes", check: anyBytes},
	{says: "names may be any UTF-8 and differ by a single byte", check: anyNames},
	{says: "metadata comes back as it was given", check: metadataRoundTrip},
	{says: "the largest of everything is accepted", check: largest},
	{says: "the caller may reuse all that it handed over", check: reusedByCaller},
	{says: "the caller may change the commit it received", check: changedCommit},
	{says: "recorded time is the clock's and never goes back", byHand: true, check: timeNeverBack},
	{says: "an acknowledged append is seen by every read at once", check: readAfterWrite},
}}

func storedInOrder(f *fixture) {
	for i := range 5 {
		before := f.head()
		c := f.append(to("ride-1", events(3)...))
		equal(f.T, "first position", c.First, before+1)
		equal(f.T, "last position", c.Last, before+3)
		equal(f.T, "number of events", c.Events(), 3)
		equal(f.T, "streams", c.Streams, []eventstore.StreamCommit{{Stream: "ride-1", First: int64(3*i + 1), Last: int64(3*i + 3)}})
		equal(f.T, "duplicate", c.Duplicate, false)
		equal(f.T, "head", f.head(), c.Last)
	}
	equal(f.T, "the first position of a log", f.log()[0].Position, 1)
	for i, e := range f.stream("ride-1") {
		equal(f.T, "version", e.Version, int64(i+1))
		equal(f.T, "position", e.Position, int64(i+1))
	}
}

func severalStreams(f *fixture) {
	f.append(to("b", events(2)...))
	c := f.append(eventstore.Batch{ID: "several", Writes: []eventstore.Write{
		{Stream: "c", Events: events(1)},
		{Stream: "a", Events: events(2)},
		{Stream: "b", Events: events(3)},
	}})
	equal(f.T, "commit", c, eventstore.Commit{
		ID: "several", First: 3, Last: 8, Time: c.Time,
		Streams: []eventstore.StreamCommit{{Stream: "c", First: 1, Last: 1}, {Stream: "a", First: 1, Last: 2}, {Stream: "b", First: 3, Last: 5}},
	})
	var got []string
	for _, e := range f.log()[2:] {
		got = append(got, fmt.Sprintf("%d %s/%d", e.Position, e.Stream, e.Version))
		equal(f.T, "time of every event of a batch", e.Time, c.Time)
		equal(f.T, "batch ID of every event of a batch", e.BatchID, "several")
	}
	equal(f.T, "log", got, []string{"3 c/1", "4 a/1", "5 a/2", "6 b/3", "7 b/4", "8 b/5"})
}

func storedAsGiven(f *fixture) {
	id := uuid.New()
	c := f.append(withID("b-1", to("ride-7", eventstore.EventData{
		ID: id, Type: "ride_accepted", SchemaVersion: 3, Data: []byte(`{"x":1}`),
		Metadata: eventstore.Metadata{eventstore.Actor: "ann"},
	}, event("ride_ended", "bye"))))
	got := f.stream("ride-7")
	want := []eventstore.Recorded{{
		Position: c.First, Stream: "ride-7", Version: 1, ID: id, Type: "ride_accepted", SchemaVersion: 3,
		Data: []byte(`{"x":1}`), Meta: eventstore.RawMetadata(`{"actor":"ann"}`), Time: c.Time, BatchID: "b-1",
	}, {
		Position: c.Last, Stream: "ride-7", Version: 2, ID: eventstore.DeriveID("b-1", 1), Type: "ride_ended", SchemaVersion: 1,
		Data: []byte("bye"), Time: c.Time, BatchID: "b-1",
	}}
	equal(f.T, "number of events", len(got), len(want))
	for i := range want {
		sameEvent(f.T, "stream", got[i], want[i])
		sameEvent(f.T, "log", f.log()[i], want[i])
	}
}

func anyBytes(f *fixture) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for _, d := range [][]byte{nil, {}, {0}, []byte("null"), {0xff, 0xfe}, every} {
		c := f.append(to("bytes", eventstore.EventData{Type: "t", Data: d}))
		e := f.page(c.First-1, 1, eventstore.Filter{}).Events[0]
		if !bytes.Equal(e.Data, d) {
			f.Fatalf("data %q came back as %q", d, e.Data)
		}
		equal(f.T, "metadata of an event without any", len(e.Meta), 0)
		equal(f.T, "batch ID of a batch without any", e.BatchID, "")
	}
}

func anyNames(f *fixture) {
	names := []string{
		"ride-1", "Ride-1", "ride-1 ", " ride-1", "ride", "ride-", "-ride", "-", "ride-1-2", "ride_1", "ride%", "ri*e", "'; DROP TABLE events; --",
		`"quoted"`, "caf\u00e9", "cafe\u0301", "日本-語", "🚕-1", "\u202eltr", "0", "1", "1.0", "null", strings.Repeat("n", eventstore.MaxName),
	}
	for i, name := range names {
		c := f.append(withID(name, expecting1(name, eventstore.NoStream(), event(name, fmt.Sprint(i)))))
		equal(f.T, "streams", c.Streams, []eventstore.StreamCommit{{Stream: name, First: 1, Last: 1}})
	}
	for i, name := range names {
		got := f.stream(name)
		equal(f.T, fmt.Sprintf("stream %q", name), data(got), []string{fmt.Sprint(i)})
		equal(f.T, "stream name", got[0].Stream, name)
		equal(f.T, "type", got[0].Type, name)
		equal(f.T, "batch ID", got[0].BatchID, name)
		for what, filter := range map[string]eventstore.Filter{"stream": {Streams: []string{name}}, "type": {Types: []string{name}}} {
			equal(f.T, fmt.Sprintf("log filtered by %s %q", what, name), data(f.page(0, 100, filter).Events), []string{fmt.Sprint(i)})
		}
		commit, ok := f.committed(name)
		equal(f.T, fmt.Sprintf("batch %q is committed", name), ok, true)
		equal(f.T, "its position", commit.First, int64(i+1))
	}
}

func metadataRoundTrip(f *fixture) {
	for i, m := range []eventstore.Metadata{
		nil, {}, {"a": ""}, {"b": "2", "a": "1"}, {eventstore.CorrelationID: "c", eventstore.CausationID: "d", eventstore.CommandID: "e"},
		{`"quoted"`: `\ " < > & ' /`}, {"ünïcödé": "🚕\u2028\n\x00"},
	} {
		f.append(to("m", eventstore.EventData{Type: "t", Metadata: m}))
		e := f.stream("m")[i]
		got, err := e.Meta.Decode()
		if err != nil {
			f.Fatalf("decode metadata %v: %v", m, err)
		}
		equal(f.T, "number of keys", len(got), len(m))
		for k := range m {
			equal(f.T, fmt.Sprintf("metadata %q", k), got[k], m[k])
		}
		equal(f.T, "encoded metadata", string(e.Meta), string(m.Encode()))
	}
}

func largest(f *fixture) {
	big := bytes.Repeat([]byte{0xa5}, eventstore.MaxData)
	meta := eventstore.Metadata{"k": strings.Repeat("v", eventstore.MaxMetadata-len(`{"k":""}`))}
	f.append(to("big", eventstore.EventData{Type: "t", Data: big, Metadata: meta}))
	e := f.stream("big")[0]
	equal(f.T, "data", bytes.Equal(e.Data, big), true)
	equal(f.T, "size of metadata", len(e.Meta), eventstore.MaxMetadata)
	c := f.append(to("many", events(eventstore.MaxBatch)...))
	equal(f.T, "events of the largest batch", c.Events(), eventstore.MaxBatch)
	got := f.stream("many")
	equal(f.T, "events of the largest page", len(got), eventstore.MaxPage)
	equal(f.T, "last version", got[len(got)-1].Version, int64(eventstore.MaxBatch))
}

func reusedByCaller(f *fixture) {
	payload := []byte("before")
	meta := eventstore.Metadata{"k": "before"}
	list := []eventstore.EventData{{Type: "t", Data: payload, Metadata: meta}}
	writes := []eventstore.Write{{Stream: "s", Events: list}}
	f.append(eventstore.Batch{ID: "one", Writes: writes})
	copy(payload, "AFTER!")
	meta["k"], meta["other"] = "after", "after"
	list[0].Type, writes[0].Stream = "other", "other"

	e := f.stream("s")[0]
	equal(f.T, "data", string(e.Data), "before")
	equal(f.T, "metadata", string(e.Meta), `{"k":"before"}`)
	equal(f.T, "type", e.Type, "t")
	again := f.append(withID("one", to("s", event("t", "before"))))
	equal(f.T, "the batch's content is what was given at first", again.Duplicate, true)
}

func changedCommit(f *fixture) {
	b := withID("one", to("s", events(2)...))
	c := f.append(b)
	c.Streams[0] = eventstore.StreamCommit{Stream: "changed"}
	found, _ := f.committed("one")
	found.Streams[0].Stream = "changed again"
	equal(f.T, "streams", f.append(b).Streams, []eventstore.StreamCommit{{Stream: "s", First: 1, Last: 2}})
}

func timeNeverBack(f *fixture) {
	clk := f.clock
	last := int64(0)
	for _, step := range []time.Duration{0, 1, time.Hour, -time.Minute, -24 * 365 * time.Hour, time.Second, 3 * 24 * 365 * time.Hour} {
		clk.add(step)
		c := f.append(to("s", events(2)...))
		equal(f.T, "recorded time", c.Time, max(last, clk.Now().UnixNano()))
		for _, e := range f.page(c.First-1, 2, eventstore.Filter{}).Events {
			equal(f.T, "recorded time of the event", e.Time, c.Time)
		}
		last = c.Time
	}
}

func readAfterWrite(f *fixture) {
	for i := range 50 {
		c := f.append(to("s", event("t", fmt.Sprint(i))))
		equal(f.T, "head", f.head(), c.Last)
		equal(f.T, "log", data(f.page(c.First-1, 10, eventstore.Filter{}).Events), []string{fmt.Sprint(i)})
		equal(f.T, "stream", len(f.stream("s")), i+1)
		head, err := f.Wait(f.patient(), c.Last-1)
		if err != nil || head != c.Last {
			f.Fatalf("wait for a position that is there: got %d, %v, want %d", head, err, c.Last)
		}
	}
}
