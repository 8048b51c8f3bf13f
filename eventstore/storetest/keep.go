package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/leat-go/leat/eventstore"
)

var keeping = chapter{"persistence", []clause{
	{says: "a reopened log is the log that was closed and goes on", check: keptLog},
	{says: "a repeated ID is recognised after a reopen", check: keptIDs},
	{says: "an event id is recognised after a reopen", check: keptEventIDs},
	{says: "anchors lie on the reopened log", check: keptAnchors},
	{says: "recorded time does not go back over a reopen", byHand: true, check: keptTime},
	{says: "snapshots outlive a reopen", check: keptSnapshots},
}}

func keptLog(f *fixture) {
	for i := range 20 {
		f.append(eventstore.Batch{ID: fmt.Sprintf("id-%d", i), Writes: []eventstore.Write{
			{Stream: fmt.Sprintf("a-%d", i%3), Events: []eventstore.EventData{{Type: "t", SchemaVersion: 2, Data: []byte{0, 255}, Metadata: eventstore.Metadata{"k": "v"}}}},
			{Stream: "b", Events: events(2)},
		}})
		f.append(to("no-id", events(1)...))
	}
	all := f.log()
	for range 2 {
		f.reopen()
		sameEvents(f.T, "reopened log", f.log(), all)
		equal(f.T, "head", f.head(), int64(len(all)))
		f.refuse(expecting1("b", eventstore.NoStream(), events(1)...), eventstore.ErrConflict)
		version := int64(len(f.stream("b")))
		c := f.append(expecting1("b", eventstore.Exactly(version), events(1)...))
		equal(f.T, "first position after a reopen", c.First, int64(len(all)+1))
		equal(f.T, "streams", c.Streams, []eventstore.StreamCommit{{Stream: "b", First: version + 1, Last: version + 1}})
		equal(f.T, "events of a category", len(f.page(0, 1000, eventstore.Filter{Categories: []string{"a"}}).Events), 20)
		all = f.log()
	}
}

func keptIDs(f *fixture) {
	batch := func(i int) eventstore.Batch {
		b := eventstore.Batch{ID: fmt.Sprintf("id-%d", i)}
		for j := range i {
			b.Writes = append(b.Writes, eventstore.Write{Stream: fmt.Sprintf("s-%d", (7*j)%5), Events: events(j + 1)})
		}
		return b
	}
	var first []eventstore.Commit
	for i := range 5 {
		first = append(first, f.append(batch(i)))
	}
	f.reopen()
	head := f.head()
	for i := range 5 {
		found, ok := f.committed(fmt.Sprintf("id-%d", i))
		equal(f.T, "committed", ok, true)
		sameCommit(f.T, "commit found", found, first[i])
		again := f.append(batch(i))
		equal(f.T, "duplicate", again.Duplicate, true)
		sameCommit(f.T, "repeated commit", again, first[i])
		f.refuse(withID(fmt.Sprintf("id-%d", i), to("other", events(1)...)), eventstore.ErrIDReused)
	}
	equal(f.T, "head", f.head(), head)
}

func keptEventIDs(f *fixture) {
	id := uuid.New()
	f.append(to("s", eventstore.EventData{ID: id, Type: "t"}))
	f.reopen()
	f.refuse(to("other", eventstore.EventData{ID: id, Type: "t"}), eventstore.ErrIDReused)
}

func keptAnchors(f *fixture) {
	f.append(to("s", events(5)...))
	var before []eventstore.Anchor
	for p := range int64(6) {
		before = append(before, f.anchor(p))
	}
	f.reopen()
	f.append(to("s", events(5)...))
	for _, a := range before {
		equal(f.T, "anchor", f.anchor(a.Position), a)
		equal(f.T, "check", eventstore.CheckAnchor(f.Context(), f, a), nil)
	}
}

func keptTime(f *fixture) {
	before := f.append(to("s", events(1)...))
	f.clock.add(-time.Hour)
	f.reopen()
	equal(f.T, "recorded time", f.append(to("s", events(1)...)).Time, before.Time)
}

func (f *fixture) snapshots() eventstore.Snapshots {
	f.Helper()
	s, ok := f.Store.(eventstore.Snapshots)
	if !ok {
		f.Skip("this engine keeps no snapshots")
	}
	return s
}

func (f *fixture) save(s eventstore.Snapshot) {
	f.Helper()
	if err := f.snapshots().SaveSnapshot(f.Context(), s); err != nil {
		f.Fatalf("save snapshot: %v", err)
	}
}

func (f *fixture) wantSnapshot(stream, fold string, want eventstore.Snapshot) {
	f.Helper()
	got, ok, err := f.snapshots().LoadSnapshot(f.Context(), stream, fold)
	equal(f.T, "error of a load", err, nil)
	equal(f.T, fmt.Sprintf("there is a snapshot of %s by %s", stream, fold), ok, want.Version > 0)
	if ok {
		equal(f.T, "snapshot", got, want)
	}
}

func keptSnapshots(f *fixture) {
	s := eventstore.Snapshot{Stream: "s", Fold: "f", Version: 3, State: []byte("state")}
	f.save(s)
	f.reopen()
	f.wantSnapshot("s", "f", s)
}

var snapshotting = chapter{"snapshots", []clause{
	{says: "the latest snapshot of a stream and fold is kept", check: latestSnapshot},
	{says: "the caller may reuse a snapshot's state", check: reusedSnapshot},
}}

func latestSnapshot(f *fixture) {
	f.snapshots()
	f.wantSnapshot("s", "f", eventstore.Snapshot{})
	snapshot := func(stream, fold string, version int64, state string) eventstore.Snapshot {
		return eventstore.Snapshot{Stream: stream, Fold: fold, Version: version, State: []byte(state)}
	}
	f.save(snapshot("s", "f", 3, "three"))
	f.save(snapshot("s", "f", 2, "two"))
	f.wantSnapshot("s", "f", snapshot("s", "f", 3, "three"))
	f.save(snapshot("s", "f", 10, "ten"))
	f.save(snapshot("s", "g", 4, "four"))
	f.save(snapshot("t", "f", 5, "five"))
	f.wantSnapshot("s", "f", snapshot("s", "f", 10, "ten"))
	f.wantSnapshot("s", "g", snapshot("s", "g", 4, "four"))
	f.wantSnapshot("t", "f", snapshot("t", "f", 5, "five"))
	f.wantSnapshot("t", "g", eventstore.Snapshot{})
	equal(f.T, "head", f.head(), 0)
}

func reusedSnapshot(f *fixture) {
	state := []byte("before")
	f.save(eventstore.Snapshot{Stream: "s", Fold: "f", Version: 1, State: state})
	copy(state, "AFTER!")
	want := eventstore.Snapshot{Stream: "s", Fold: "f", Version: 1, State: []byte("before")}
	f.wantSnapshot("s", "f", want)
	got, _, err := f.snapshots().LoadSnapshot(f.Context(), "s", "f")
	equal(f.T, "error of a load", err, nil)
	copy(got.State, "AFTER!")
	f.wantSnapshot("s", "f", want)
}

var closing = chapter{"closing", []clause{
	{says: "a closed store answers everything with ErrClosed", check: closedAnswers},
	{says: "closing ends every wait", check: closingEndsWaits},
	{says: "an append during a close is stored or refused and says which", check: closingAmid},
}}

func closedAnswers(f *fixture) {
	f.append(to("s", events(2)...))
	for range 2 {
		equal(f.T, "error of a close", f.Close(), nil)
	}
	for what, err := range calls(f.Context(), f.Store) {
		wantErr(f.T, what+" of a closed store", err, eventstore.ErrClosed)
	}
}

func closingEndsWaits(f *fixture) {
	const waiters = 5
	ctx := f.patient()
	ready, done := make(chan struct{}, waiters), make(chan error, waiters)
	for range waiters {
		go func() {
			ready <- struct{}{}
			_, err := f.Wait(ctx, 0)
			done <- err
		}()
	}
	for range waiters {
		<-ready
	}
	equal(f.T, "error of a close", f.Close(), nil)
	for range waiters {
		wantErr(f.T, "a wait when the store closes", <-done, eventstore.ErrClosed)
	}
}

func closingAmid(f *fixture) {
	const workers, appends = 8, 50
	outcome := make([][]error, workers+1)
	together(workers+1, func(i int) {
		if i == workers {
			if _, err := f.Wait(f.Context(), 20); err != nil && !errors.Is(err, eventstore.ErrClosed) {
				f.Errorf("wait: %v", err)
			}
			if err := f.Close(); err != nil {
				f.Errorf("close: %v", err)
			}
			return
		}
		for j := range appends {
			_, err := f.Append(f.Context(), withID(fmt.Sprintf("%d-%d", i, j), to(fmt.Sprintf("s-%d", i), events(2)...)))
			outcome[i] = append(outcome[i], err)
		}
	})
	for i := range outcome {
		for _, err := range outcome[i] {
			if err != nil {
				wantErr(f.T, "append", err, eventstore.ErrClosed)
			}
		}
	}
	f.reopen()
	for i := range outcome {
		for j, err := range outcome[i] {
			_, found := f.committed(fmt.Sprintf("%d-%d", i, j))
			equal(f.T, "stored after answering "+fmt.Sprint(err), found, err == nil)
		}
	}
}
