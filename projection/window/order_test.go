package window_test

import (
	"cmp"
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/projection/window"
)

// drawOrder returns the events in an order in which none arrives later than the
// lateness allows: by event time plus a delay of at most that.
func drawOrder(t *rapid.T, events []sold, lateness int64) []sold {
	type arriving struct {
		sold
		at, tie int64
	}
	var all []arriving
	for _, e := range events {
		all = append(all, arriving{e, e.At + rapid.Int64Range(0, lateness).Draw(t, "delay"), rapid.Int64().Draw(t, "tie")})
	}
	slices.SortFunc(all, func(a, b arriving) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.tie, b.tie)) })
	order := make([]sold, len(all))
	for i, a := range all {
		order[i] = a.sold
		order[i].Recorded = int64(i)
	}
	return order
}

// TestAnyOrderWithinTheLatenessGivesTheSameTables records the same events in
// several orders, delivers them in pages of several sizes, and demands the same
// rows, final or not, and the same calls of OnFinal, in the same order.
func TestAnyOrderWithinTheLatenessGivesTheSameTables(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		opts := drawOptions(t)
		opts.IdleAfter = 0
		var events []sold
		instants := map[int64]bool{} // of items of one instant a fold in order sees the log's order
		for range rapid.IntRange(1, 40).Draw(t, "events") {
			e := drawSold(t, opts)
			if !instants[e.At] {
				instants[e.At] = true
				events = append(events, e)
			}
		}
		slices.SortFunc(events, func(a, b sold) int { return cmp.Compare(a.At, b.At) })
		var want []string
		for range 3 {
			log := record(t, drawOrder(t, events, int64(opts.Lateness/time.Second)), recorded)
			withTemp(t, func(dir string) {
				s := newShops(&opts)
				p := openIn(t, dir, log, s.define(nil))
				defer func() { require.NoError(t, p.Close()) }()
				deliverAll(t, p, log, rapid.IntRange(1, 50).Draw(t, "page"))
				got := tables(t, p)
				if want == nil {
					want = got
				}
				require.Equal(t, want, got)
				require.Empty(t, dump(t, p, `SELECT * FROM shop_late`))
			})
		}
	})
}

// TestEventsOfOneInstantAreFoldedInTheOrderOfTheLog also when one before them
// comes last.
func TestEventsOfOneInstantAreFoldedInTheOrderOfTheLog(t *testing.T) {
	log := record(t, []sold{{At: 5, Cents: 3}, {At: 5, Cents: 1}, {At: 5, Cents: 2}, {At: 4, Cents: 9}}, recorded)
	s := newShops(&window.Options{Lateness: time.Second})
	p := openIn(t, t.TempDir(), log, s.define(nil))
	defer func() { require.NoError(t, p.Close()) }()
	deliverAll(t, p, log, 10)
	require.Equal(t, []string{"[9,3,1,2]"}, dump(t, p, `SELECT line FROM minute`))
}

// TestALongWindowIsFoldedPageByPage folds more kept items than are held in
// memory at a time.
func TestALongWindowIsFoldedPageByPage(t *testing.T) {
	var events []sold
	for i := range int64(250) {
		events = append(events, sold{At: 9, Cents: i})
	}
	events = append(events, sold{At: 0, Cents: 1000}, sold{At: 100})
	log := record(t, events, recorded)
	s := newShops(&window.Options{Lateness: time.Minute})
	p := openIn(t, t.TempDir(), log, s.define(nil))
	defer func() { require.NoError(t, p.Close()) }()
	deliverAll(t, p, log, 100)
	require.Equal(t, []string{"1000 0 249"}, dump(t, p, `
		SELECT line ->> 0, line ->> 1, line ->> 250
		FROM minute
		WHERE starts = 0 AND json_array_length(line) = 251`))
	require.Equal(t, []string{"1"}, dump(t, p, `SELECT COUNT(*) FROM minute_event`), "what is final needs no items")
}

// TestWindowsOfOneFeedBecomeFinalTogether: their calls of OnFinal come in one
// order, also where the watermark jumps over several ends, and pages of them.
func TestWindowsOfOneFeedBecomeFinalTogether(t *testing.T) {
	const lateness = 20_000
	s := newShops(&window.Options{Lateness: lateness * time.Second})
	var first []sold // none of it final
	for i := range int64(700) {
		first = append(first, sold{At: i * tumbling})
	}
	half, all := sold{At: lateness + 3500}, sold{At: lateness + 7500}
	given := [][]sold{slices.Concat(first, []sold{half, all}), slices.Concat(first, []sold{all, half})}
	var told [2][]string
	for i := range given {
		log := record(t, given[i], recorded)
		p := openIn(t, t.TempDir(), log, s.define(nil))
		defer func() { require.NoError(t, p.Close()) }()
		deliverAll(t, p, log, 10000)
		told[i] = dump(t, p, `SELECT part, what FROM told ORDER BY n`)
		require.Greater(t, len(told[i]), 2000)
	}
	require.Equal(t, told[0], told[1])
}

// TestManyWindowsBecomeFinalAtOnce, more than are held in memory at a time, and
// each is told of once, in order.
func TestManyWindowsBecomeFinalAtOnce(t *testing.T) {
	var events []sold
	for i := range int64(1203) {
		events = append(events, sold{At: i * tumbling, Cents: i})
	}
	slices.Reverse(events)
	log := record(t, append(events, sold{At: 100_000}), recorded)
	lateness := 1203 * tumbling * time.Second
	var told []int64
	w := window.Tumbling("minute", tumbling*time.Second, window.Max("last", func(s sold) int64 { return s.Cents }),
		window.OnFinal[sold](func(_ context.Context, _ *projection.Tx, f window.Final) error {
			var last int64
			told = append(told, f.Start.Unix()/tumbling)
			return f.Scan(&last)
		}))
	s := window.Define("shop", &window.Options{Lateness: lateness}, w)
	p := openIn(t, t.TempDir(), log, projection.Define("shops", 1, "", window.On(s, item)))
	defer func() { require.NoError(t, p.Close()) }()
	deliverAll(t, p, log, 5000)
	require.Len(t, told, 1203)
	require.True(t, slices.IsSorted(told))
	require.Equal(t, len(told), len(slices.Compact(told)))
}

// TestItemsInOrderAreFoldedOnce and not anew with each.
func TestItemsInOrderAreFoldedOnce(t *testing.T) {
	var events []sold
	for i := range int64(100) {
		events = append(events, sold{At: i / 10})
	}
	log, adds := record(t, events, recorded), 0
	f := window.Define("shop", nil, window.Tumbling("minute", time.Minute, window.FoldInOrder("n", func(n int64, _ sold) int64 { adds++; return n + 1 })))
	p := openIn(t, t.TempDir(), log, projection.Define("shops", 1, "", window.On(f, item)))
	defer func() { require.NoError(t, p.Close()) }()
	deliverAll(t, p, log, 30)
	require.Equal(t, 100, adds)
	require.Equal(t, []string{"100"}, dump(t, p, `SELECT n FROM minute`))
}
