package storetest

import (
	"fmt"
	"slices"

	"github.com/leat-go/leat/eventstore"
)

// batchesInPages is what readers of KurrentDB got wrong (#627, PR 4251): writes
// to several streams at once were missing from reads of the whole log where a
// page ended among them, or a filter looked further than its page could hold.
func batchesInPages(f *fixture) {
	for i := range 12 {
		var b eventstore.Batch
		for j := range 1 + i%4 {
			w := eventstore.Write{Stream: fmt.Sprintf("s%d-%d", (i+j)%3, j)}
			for k := range 1 + (i+j)%3 {
				w.Events = append(w.Events, event(fmt.Sprintf("type_%d", k), fmt.Sprintf("%d/%d/%d", i, j, k)))
			}
			b.Writes = append(b.Writes, w)
		}
		f.append(b)
	}
	all := f.log()
	for _, filter := range []eventstore.Filter{
		{}, {Types: []string{"type_0"}}, {Types: []string{"type_2"}}, {Streams: []string{"s1-0", "s2-1"}}, {Categories: []string{"s0"}},
	} {
		want := slices.DeleteFunc(slices.Clone(all), func(e eventstore.Recorded) bool { return !filter.Match(e.Stream, e.Type) })
		for limit := range 9 {
			var got []eventstore.Recorded
			for after, head := int64(0), f.head(); after < head; {
				p := f.page(after, limit+1, filter)
				if p.Through.Position <= after {
					f.Fatalf("filter %+v: a page of %d after %d does not advance", filter, limit+1, after)
				}
				got, after = append(got, p.Events...), p.Through.Position
			}
			sameEvents(f.T, fmt.Sprintf("filter %+v in pages of %d", filter, limit+1), got, want)
		}
	}
}

// behindPage is what readers of KurrentDB (#4970) and Marten (#4964) got wrong:
// a page said that it was scanned further than it was, or did not see what came
// right above a place that its filter passes over.
func behindPage(f *fixture) {
	rare := eventstore.Filter{Types: []string{"rare"}}
	f.append(to("s", event("rare", ""), event("noise", ""), event("rare", ""), event("noise", "")))
	for _, filter := range []eventstore.Filter{{}, rare} {
		for limit := 1; limit <= 3; limit++ {
			for _, before := range []int{0, 1, 2} { // noise before the next that matches
				after := int64(0)
				for after < f.head() {
					after = f.page(after, limit, filter).Through.Position
				}
				var batch []eventstore.EventData
				for range before {
					batch = append(batch, event("noise", ""))
				}
				c := f.append(to("s", append(batch, event("rare", ""), event("noise", ""))...))
				var found []int64
				for after < f.head() {
					p := f.page(after, limit, filter)
					for _, e := range p.Events {
						if e.Type == "rare" {
							found = append(found, e.Position)
						}
					}
					after = p.Through.Position
				}
				equal(f.T, fmt.Sprintf("rare events behind pages of %d, filter %+v", limit, filter), found, []int64{c.Last - 1})
			}
		}
	}
}
