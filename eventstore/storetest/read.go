package storetest

import (
	"context"
	"fmt"
	"slices"

	"github.com/leat-go/leat/eventstore"
)

var reading = chapter{"reading", []clause{
	{says: "pages of a stream cover it once and in order", check: streamPages},
	{says: "pages of the log cover it once and in order", check: logPages},
	{says: "pages that end inside a batch over several streams leave nothing of it out", check: batchesInPages},
	{says: "a stream that does not exist has no events", check: noStream},
	{says: "a page is bounded and its bounds are checked", check: pageBounds},
	{says: "iterators give every event and may be left early", check: iterators},
	{says: "the body of an iteration may read and append", check: iterateAndAppend},
	{says: "an iteration ends with its error", check: iterateError},
	{says: "a cancelled read returns the context's error", check: cancelledRead},
}}

func streamPages(f *fixture) {
	for range 10 {
		f.append(to("other", events(1)...))
		f.append(to("s", events(3)...))
	}
	all := f.stream("s")
	equal(f.T, "events", len(all), 30)
	for _, limit := range []int{1, 2, 7, 30, 31} {
		var got []eventstore.Recorded
		for from := int64(1); ; {
			page, err := f.ReadStream(f.Context(), "s", from, limit)
			if err != nil {
				f.Fatal(err)
			}
			if len(page) > limit {
				f.Fatalf("a page of %d events, %d were asked for", len(page), limit)
			}
			if len(page) == 0 {
				break
			}
			got = append(got, page...)
			from = page[len(page)-1].Version + 1
		}
		sameEvents(f.T, fmt.Sprintf("pages of %d", limit), got, all)
	}
	page, err := f.ReadStream(f.Context(), "s", 29, 10)
	equal(f.T, "error", err, nil)
	sameEvents(f.T, "from version 29", page, all[28:])
}

func logPages(f *fixture) {
	for i := range 30 {
		f.append(to(fmt.Sprintf("s-%d", i%4), events(1+i%3)...))
	}
	all := f.log()
	for _, limit := range []int{1, 2, 7, 60, 61} {
		var got []eventstore.Recorded
		for after := int64(0); ; {
			p := f.page(after, limit, eventstore.Filter{})
			if len(p.Events) > limit {
				f.Fatalf("a page of %d events, %d were asked for", len(p.Events), limit)
			}
			if p.Through.Position == after {
				break
			}
			equal(f.T, "scanned through", p.Through.Position, p.Events[len(p.Events)-1].Position)
			equal(f.T, "anchor of the page", p.Through, f.anchor(p.Through.Position))
			got, after = append(got, p.Events...), p.Through.Position
		}
		sameEvents(f.T, fmt.Sprintf("pages of %d", limit), got, all)
	}
	p := f.page(f.head(), 10, eventstore.Filter{})
	equal(f.T, "events after the head", len(p.Events), 0)
	equal(f.T, "scanned through", p.Through, f.anchor(f.head()))
}

func noStream(f *fixture) {
	equal(f.T, "events of a stream in an empty log", len(f.stream("s")), 0)
	equal(f.T, "head of an empty log", f.head(), 0)
	equal(f.T, "page of an empty log", f.page(0, 10, eventstore.Filter{}).Through, eventstore.Anchor{})
	f.append(to("s-1", events(2)...))
	equal(f.T, "events of a stream that does not exist", len(f.stream("s")), 0)
	past, err := f.ReadStream(f.Context(), "s-1", 3, 10)
	equal(f.T, "error", err, nil)
	equal(f.T, "events past the end", len(past), 0)
}

func pageBounds(f *fixture) {
	f.append(to("s", events(2)...))
	for _, limit := range []int{0, -1, eventstore.MaxPage + 1} {
		_, err := f.ReadStream(f.Context(), "s", 1, limit)
		wantErr(f.T, fmt.Sprintf("a stream page of %d", limit), err, eventstore.ErrInvalid)
		_, err = f.ReadLog(f.Context(), 0, limit, eventstore.Filter{})
		wantErr(f.T, fmt.Sprintf("a log page of %d", limit), err, eventstore.ErrInvalid)
	}
	for _, from := range []int64{0, -1} {
		_, err := f.ReadStream(f.Context(), "s", from, 1)
		wantErr(f.T, fmt.Sprintf("a stream from version %d", from), err, eventstore.ErrInvalid)
	}
	_, err := f.ReadLog(f.Context(), -1, 1, eventstore.Filter{})
	wantErr(f.T, "the log after position -1", err, eventstore.ErrInvalid)
	_, err = f.ReadLog(f.Context(), 3, 1, eventstore.Filter{})
	wantErr(f.T, "the log after a position past its head", err, eventstore.ErrRewound)
	_, err = f.ReadLog(f.Context(), 0, 1, eventstore.Filter{Types: make([]string, eventstore.MaxFilter), Streams: []string{"s"}})
	wantErr(f.T, "a filter of too many names", err, eventstore.ErrInvalid)
}

func iterators(f *fixture) {
	for range 3 {
		f.append(to("s-1", events(450)...))
		f.append(to("s-2", events(50)...))
	}
	var got []eventstore.Recorded
	for e, err := range eventstore.Stream(f.Context(), f, "s-1", 1) {
		if err != nil {
			f.Fatal(err)
		}
		got = append(got, e)
	}
	sameEvents(f.T, "stream", got, f.stream("s-1"))
	got = nil
	for e, err := range eventstore.Log(f.Context(), f, 0, eventstore.Filter{Categories: []string{"s"}}) {
		if err != nil {
			f.Fatal(err)
		}
		got = append(got, e)
	}
	sameEvents(f.T, "log", got, f.log())
	n := 0
	for range eventstore.Log(f.Context(), f, 0, eventstore.Filter{}) {
		if n++; n == 3 {
			break
		}
	}
	equal(f.T, "events taken from a sequence left early", n, 3)
	f.append(to("s-1", events(1)...))
}

func iterateAndAppend(f *fixture) {
	f.append(to("s", events(20)...))
	n := 0
	for e, err := range eventstore.Log(f.Context(), f, 0, eventstore.Filter{}) {
		if err != nil {
			f.Fatal(err)
		}
		n++
		f.append(to("t", event("copied", fmt.Sprint(e.Position))))
		equal(f.T, "events of t", len(f.stream("t")), n)
	}
	equal(f.T, "events up to the head at the start", n, 20)
}

func iterateError(f *fixture) {
	f.append(to("s", events(2)...))
	ctx, cancel := context.WithCancel(f.Context())
	cancel()
	n := 0
	for _, err := range eventstore.Log(ctx, f, 0, eventstore.Filter{}) {
		wantErr(f.T, "log", err, context.Canceled)
		n++
	}
	for _, err := range eventstore.Stream(ctx, f, "s", 1) {
		wantErr(f.T, "stream", err, context.Canceled)
		n++
	}
	equal(f.T, "elements of both sequences", n, 2)
}

func cancelledRead(f *fixture) {
	f.append(to("s", events(2)...))
	ctx, cancel := context.WithCancel(f.Context())
	cancel()
	for what, err := range calls(ctx, f.Store) {
		wantErr(f.T, what, err, context.Canceled)
	}
	equal(f.T, "events", data(f.log()), []string{"1", "2"})
}

var filtering = chapter{"filters", []clause{
	{says: "a filter selects what it matches and nothing else", check: filters},
	{says: "a filter that matches nothing still advances to the head", check: filterAdvances},
	{says: "a filtered page advances past more than one scan of others", check: filterScans},
	{says: "what is appended behind a page is read from where the page ended", check: behindPage},
	{says: "a filter may name very many streams and types", check: wideFilter},
}}

func filters(f *fixture) {
	streams := []string{"ride-1", "ride-2", "ride", "ride-1-2", "rides-1", "driver-1", "-1", "Ride-1"}
	for i := range 60 {
		f.append(to(streams[i%len(streams)], event(fmt.Sprintf("type_%d", i%5), fmt.Sprint(i))))
	}
	all := f.log()
	for _, filter := range []eventstore.Filter{
		{},
		{Streams: []string{"ride-1"}},
		{Streams: []string{"ride-1", "driver-1", "none", "ride-1"}},
		{Categories: []string{"ride"}},
		{Categories: []string{"ride", "driver"}},
		{Categories: []string{""}},
		{Categories: []string{"ride-1"}},
		{Types: []string{"type_3"}},
		{Types: []string{"type_3", "type_1", "none"}},
		{Types: []string{"type_0"}, Categories: []string{"ride"}},
		{Types: []string{"type_0", "type_1"}, Streams: []string{"ride", "ride-2"}},
		{Types: []string{"type_0", "type_1"}, Streams: []string{"ride", "rides-1"}, Categories: []string{"rides"}},
		{Streams: []string{"ride-1"}, Categories: []string{"driver"}},
	} {
		want := slices.DeleteFunc(slices.Clone(all), func(e eventstore.Recorded) bool { return !filter.Match(e.Stream, e.Type) })
		for _, limit := range []int{1, 3, 100} {
			var got []eventstore.Recorded
			for after, head := int64(0), f.head(); after < head; {
				p := f.page(after, limit, filter)
				if p.Through.Position <= after || p.Through.Position > head || len(p.Events) > limit {
					f.Fatalf("filter %+v: a page of %d after %d with %d events is scanned through %d of %d", filter, limit, after, len(p.Events), p.Through.Position, head)
				}
				equal(f.T, "anchor of the page", p.Through, f.anchor(p.Through.Position))
				got, after = append(got, p.Events...), p.Through.Position
			}
			sameEvents(f.T, fmt.Sprintf("filter %+v in pages of %d", filter, limit), got, want)
		}
	}
}

func filterAdvances(f *fixture) {
	for _, filter := range []eventstore.Filter{
		{Types: []string{"nothing"}}, {Streams: []string{"nothing"}}, {Categories: []string{"nothing"}},
		{Streams: []string{"s"}, Types: []string{"nothing"}}, {Streams: []string{"s"}, Categories: []string{"t"}},
	} {
		f.append(to("s", events(5)...))
		p := f.page(0, 2, filter)
		equal(f.T, "events", len(p.Events), 0)
		equal(f.T, "scanned through", p.Through, f.anchor(f.head()))
	}
}

func filterScans(f *fixture) {
	for range eventstore.MaxScan/eventstore.MaxBatch + 1 {
		f.append(to("hay", events(eventstore.MaxBatch)...))
	}
	needle := f.append(to("needle-1", event("needle", "")))
	f.append(to("hay", events(10)...))
	for _, filter := range []eventstore.Filter{
		{Types: []string{"needle"}}, {Streams: []string{"needle-1"}}, {Categories: []string{"needle"}}, {Types: []string{"happened", "needle"}, Categories: []string{"needle"}},
	} {
		var found []eventstore.Recorded
		after := int64(0)
		for pages := 0; after < f.head(); pages++ {
			p := f.page(after, 100, filter)
			if p.Through.Position <= after {
				f.Fatalf("filter %+v: page %d does not advance past %d", filter, pages, after)
			}
			found, after = append(found, p.Events...), p.Through.Position
		}
		equal(f.T, "events found", len(found), 1)
		equal(f.T, "position", found[0].Position, needle.First)
	}
}

func wideFilter(f *fixture) {
	const many = 5000
	var filter eventstore.Filter
	for i := range many {
		filter.Streams = append(filter.Streams, fmt.Sprintf("s-%d", i))
		filter.Types = append(filter.Types, fmt.Sprintf("t_%d", i))
	}
	f.append(to("s-7", event("t_9", "in"), event("u", "out")))
	f.append(to("s-none", event("t_9", "out")))
	f.append(to("s-4999", event("t_4999", "in")))
	equal(f.T, "events", data(f.page(0, 10, filter).Events), []string{"in", "in"})
}

// calls returns the error of every method of a store, but for Close.
func calls(ctx context.Context, s Store) map[string]error {
	errs := map[string]error{}
	_, errs["append"] = s.Append(ctx, to("s", events(1)...))
	_, _, errs["committed"] = s.Committed(ctx, "id")
	_, errs["read stream"] = s.ReadStream(ctx, "s", 1, 10)
	_, errs["read log"] = s.ReadLog(ctx, 0, 10, eventstore.Filter{})
	_, errs["head"] = s.Head(ctx)
	_, errs["wait"] = s.Wait(ctx, 0)
	_, errs["anchor"] = s.Anchor(ctx, 1)
	if snaps, ok := s.(eventstore.Snapshots); ok {
		errs["save snapshot"] = snaps.SaveSnapshot(ctx, eventstore.Snapshot{Stream: "s", Fold: "f", Version: 1})
		_, _, errs["load snapshot"] = snaps.LoadSnapshot(ctx, "s", "f")
	}
	return errs
}
