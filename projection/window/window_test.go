package window_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/projection/projectiontest"
	"github.com/leat-go/leat/projection/window"
)

const shop = "a"

func at(seconds ...int64) (pieces []projectiontest.Stream) {
	for i, s := range seconds {
		pieces = append(pieces, projectiontest.In("all", sold{Shop: shop, At: s, Cents: int64(i)}))
	}
	return pieces
}

// TestSessions tells of each way that an item meets sessions, delivered in every
// way. The gap is 7 s, the lateness 20 s.
func TestSessions(t *testing.T) {
	for name, c := range map[string]struct {
		at   []int64
		want [][]any // starts, ends, final, n
	}{
		"extended at its end":        {[]int64{0, 6}, [][]any{{0, 13, 0, 2}}},
		"extended at its start":      {[]int64{6, 0}, [][]any{{0, 13, 0, 2}}},
		"in its middle":              {[]int64{0, 6, 3}, [][]any{{0, 13, 0, 3}}},
		"a whole gap apart":          {[]int64{0, 7}, [][]any{{0, 7, 0, 1}, {7, 14, 0, 1}}},
		"two become one":             {[]int64{0, 12, 6}, [][]any{{0, 19, 0, 3}}},
		"three, and the middle last": {[]int64{0, 20, 10, 5, 15}, [][]any{{0, 27, 0, 5}}},
		"final, and then another":    {[]int64{0, 27, 7}, [][]any{{0, 7, 1, 1}, {7, 14, 0, 1}, {27, 34, 0, 1}}},
		"too late for one":           {[]int64{0, 27, 6}, [][]any{{0, 7, 1, 1}, {27, 34, 0, 1}}},
		"too late to begin one":      {[]int64{27, 0}, [][]any{{27, 34, 0, 1}}},
		"not too late to begin one":  {[]int64{26, 0}, [][]any{{0, 7, 0, 1}, {26, 33, 0, 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShops(&window.Options{Lateness: 20 * time.Second})
			projectiontest.Check(t, s.define(nil), projectiontest.Case{Given: at(c.at...), Then: []projectiontest.Rows{
				{Query: `SELECT starts / 1000000000, ends / 1000000000, final, n FROM visit ORDER BY starts`, Want: c.want},
			}})
		})
	}
}

// TestFinalisingAndLateness is about a tumbling window of 10 s, with 5 s of
// lateness.
func TestFinalisingAndLateness(t *testing.T) {
	for name, c := range map[string]struct {
		at   []int64
		want [][]any // starts, final, n
		late [][]any // events, windows, first, last
	}{
		"open to the last instant":     {[]int64{3, 14, 9}, [][]any{{0, 0, 2}, {10, 0, 1}}, nil},
		"final, and too late":          {[]int64{3, 15, 9, 9}, [][]any{{0, 1, 1}, {10, 0, 1}}, [][]any{{2, 2, 3, 4}}},
		"a window begins at its start": {[]int64{10, 9, 19, 20}, [][]any{{0, 1, 1}, {10, 0, 2}, {20, 0, 1}}, nil},
		"before 1970":                  {[]int64{-6, -10, -11}, [][]any{{-20, 0, 1}, {-10, 0, 2}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShops(&window.Options{Lateness: 5 * time.Second})
			projectiontest.Check(t, s.define(nil), projectiontest.Case{Given: at(c.at...), Then: []projectiontest.Rows{
				{Query: `SELECT starts / 1000000000, final, n FROM minute ORDER BY starts`, Want: c.want},
				{Query: `SELECT events, windows, first_position, last_position FROM shop_late WHERE part = 'minute'`, Want: c.late},
			}})
		})
	}
}

// TestUnorderedItemsMoveNoWatermark: they are in their windows in any order, but
// for windows that others have made final.
func TestUnorderedItemsMoveNoWatermark(t *testing.T) {
	row := func(second int64) sold { return sold{Shop: shop, At: second, Unordered: true} }
	for name, c := range map[string]struct {
		given []sold
		want  [][]any // starts, final, n
		late  [][]any // events, windows, first, last
	}{
		"rows alone":        {[]sold{row(90), row(3), row(50), row(9), row(-7)}, [][]any{{-10, 0, 1}, {0, 0, 2}, {50, 0, 1}, {90, 0, 1}}, nil},
		"others after them": {[]sold{row(90), row(3), {Shop: shop, At: 15}}, [][]any{{0, 1, 1}, {10, 0, 1}, {90, 0, 1}}, nil},
		"rows after others": {[]sold{{Shop: shop, At: 15}, row(90), row(9), row(12)}, [][]any{{10, 0, 2}, {90, 0, 1}}, [][]any{{1, 1, 3, 3}}},
	} {
		t.Run(name, func(t *testing.T) {
			var given []projectiontest.Stream
			for _, e := range c.given {
				given = append(given, projectiontest.In("all", e))
			}
			s := newShops(&window.Options{Lateness: 5 * time.Second})
			projectiontest.Check(t, s.define(nil), projectiontest.Case{Given: given, Then: []projectiontest.Rows{
				{Query: `SELECT starts / 1000000000, final, n FROM minute ORDER BY starts`, Want: c.want},
				{Query: `SELECT events, windows, first_position, last_position FROM shop_late WHERE part = 'minute'`, Want: c.late},
			}})
		})
	}
}

// TestIdleSources holds the watermark to the slowest source until that is idle,
// by the log's time alone.
func TestIdleSources(t *testing.T) {
	events := []sold{
		{Source: "east", At: 50, Recorded: 1000},
		{Source: "west", At: 10, Recorded: 1001},
		{Source: "east", At: 60, Recorded: 1006}, // west is silent for 5 s: not yet idle
		{Source: "east", At: 61, Recorded: 1007},
		{Source: "west", At: 12, Recorded: 1008}, // back, and too late: the watermark stays
		{Source: "east", At: 70, Recorded: 1009},
	}
	want := []string{"", "10", "10", "61", "61", "61"}
	log := record(t, events, recorded)
	s := newShops(&window.Options{Sources: []string{"west", "east"}, IdleAfter: 5 * time.Second})
	p := openIn(t, t.TempDir(), log, s.define(nil))
	defer func() { require.NoError(t, p.Close()) }()
	for i := range events {
		deliver(t, p, log, 1)
		require.NoError(t, p.Read(t.Context(), 0, func(r *projection.Reader) error {
			mark, ok, err := s.feed.Watermark(r)
			got := ""
			if ok {
				got = fmt.Sprint(mark.Unix())
			}
			require.Equal(t, want[i], got, "after event %d", i)
			return err
		}))
	}
	requireIdentical(t, p)
}

// TestWhatCannotBePlacedFailsItsEvent and blocks the projection, rather than be
// left out.
func TestWhatCannotBePlacedFailsItsEvent(t *testing.T) {
	huge := string(make([]byte, window.MaxKey+1))
	for name, e := range map[string]sold{
		"no time":        {At: time.Time{}.Unix()},
		"far ahead":      {At: math.MaxInt32 * 10},
		"unknown source": {Source: "south"},
		"long key":       {Shop: huge},
	} {
		t.Run(name, func(t *testing.T) {
			log := record(t, []sold{e}, recorded)
			def := projection.Define("shops", 1, toldSchema, window.On(newShops(nil).feed, item), projection.Retries(1, 0))
			p := openIn(t, t.TempDir(), log, def)
			defer func() { require.NoError(t, p.Close()) }()
			read, err := log.ReadLog(t.Context(), 0, 1, eventstore.Filter{})
			require.NoError(t, err)
			err = p.Apply(t.Context(), bus.Page{Events: read.Events, Through: read.Through})
			require.ErrorIs(t, err, window.ErrInvalid)
			var blocked *bus.BlockedError
			require.ErrorAs(t, err, &blocked)
		})
	}
}

// TestASumThatOverflowsFailsItsEvent rather than be wrong.
func TestASumThatOverflowsFailsItsEvent(t *testing.T) {
	log := record(t, []sold{{Cents: math.MaxInt64}, {Cents: 1}}, recorded)
	s := window.Define("shop", nil, window.Tumbling("minute", time.Minute, window.Sum("cents", func(s sold) int64 { return s.Cents })))
	p := openIn(t, t.TempDir(), log, projection.Define("shops", 1, "", window.On(s, item), projection.OnFailure(projection.Skip), projection.Retries(1, 0)))
	defer func() { require.NoError(t, p.Close()) }()
	deliverAll(t, p, log, 10)
	require.Equal(t, []string{fmt.Sprint(int64(math.MaxInt64))}, dump(t, p, `SELECT cents FROM minute`))
	letters, err := p.DeadLetters(t.Context(), 0)
	require.NoError(t, err)
	require.Len(t, letters, 1)
}

// TestAFinalErrorFailsTheEvent undoes what the event did, and is tried again.
func TestAFinalErrorFailsTheEvent(t *testing.T) {
	failures := 2
	w := window.Tumbling("minute", tumbling*time.Second, window.Count[sold]("n"),
		window.OnFinal[sold](func(context.Context, *projection.Tx, window.Final) error {
			if failures--; failures >= 0 {
				return fmt.Errorf("not yet")
			}
			return nil
		}))
	log := record(t, []sold{{At: 0}, {At: 11}, {At: 12}}, recorded)
	p := openIn(t, t.TempDir(), log, projection.Define("shops", 1, "", window.On(window.Define("shop", nil, w), item)))
	defer func() { require.NoError(t, p.Close()) }()
	deliverAll(t, p, log, 10)
	require.Equal(t, []string{"0 1 1", "10000000000 0 2"}, dump(t, p, `SELECT starts, final, n FROM minute ORDER BY starts`))
}

func TestWrongDeclarationsAreRefused(t *testing.T) {
	count := window.Count[sold]("n")
	add := func(a int64, s sold) int64 { return a + s.Cents }
	one := func(parts ...window.Part[sold]) *window.Feed[sold] {
		return window.Define("shop", nil, window.Session("visit", time.Second, parts...))
	}
	opts := func(o window.Options) *window.Feed[sold] {
		return window.Define("shop", &o, window.Tumbling("minute", time.Second, count))
	}
	for want, s := range map[string]*window.Feed[sold]{
		`feed "Shop"`:          window.Define("Shop", nil, window.Tumbling("minute", time.Second, count)),
		"has no window":        window.Define[sold]("shop", nil),
		`window "a-b"`:         window.Define("shop", nil, window.Tumbling("a-b", time.Second, count)),
		"two windows":          window.Define("shop", nil, window.Tumbling("a", time.Second, count), window.Tumbling("a", time.Second, count)),
		"no aggregate":         one(),
		"the size is 0s":       window.Define("shop", nil, window.Tumbling("a", 0, count)),
		"the gap is -1s":       window.Define("shop", nil, window.Session("a", -time.Second, count)),
		"every 2s":             window.Define("shop", nil, window.Sliding("a", time.Second, 2*time.Second, count)),
		"every 1ns":            window.Define("shop", nil, window.Sliding("a", time.Second, 1, count)),
		`column "starts"`:      one(window.Count[sold]("starts")),
		`column "n" already`:   one(count, count),
		"function is nil":      one(window.Sum[sold]("total", nil)),
		"fold has no function": one(window.FoldInOrder[sold, int64]("line", nil)),
		"need a merge":         one(window.FoldAnyOrder("bag", add, nil)),
		"OnFinal takes one":    one(count, window.OnFinal[sold](nil)),
		"Lateness is -1s":      opts(window.Options{Lateness: -time.Second}),
		"source without":       opts(window.Options{Sources: []string{""}}),
		"source twice":         opts(window.Options{Sources: []string{"a", "a"}}),
		"name them in Sources": opts(window.Options{IdleAfter: time.Second}),
		"sources, 1000 are":    opts(window.Options{Sources: slices.Repeat([]string{"a"}, 1001)}),
	} {
		err := projection.Define("shops", 1, "", window.On(s, item)).Err()
		require.ErrorContains(t, err, want)
		require.ErrorIs(t, err, window.ErrInvalid, want)
		require.ErrorIs(t, err, projection.ErrInvalid, want)
	}
	j := window.DefineJoin[clicked, bought]("path", -1, nil, nil)
	err := projection.Define("paths", 1, "", j.Tables()).Err()
	require.ErrorContains(t, err, "the distance is -1ns")
	require.ErrorContains(t, err, "the function that takes pairs is nil")
}

// TestOpenWindowsAreFoundByIndex guards that making windows final does not look
// at all there ever were.
func TestOpenWindowsAreFoundByIndex(t *testing.T) {
	s := newShops(nil)
	p := openIn(t, t.TempDir(), record(t, []sold{{}}, recorded), s.define(nil))
	defer func() { require.NoError(t, p.Close()) }()
	for _, query := range []string{
		`EXPLAIN QUERY PLAN UPDATE minute SET final = 1 WHERE final = 0 AND ends <= 5`,
		`EXPLAIN QUERY PLAN UPDATE minute SET final = 1 WHERE final = 0 AND ends <= 5 AND (ends, starts, key) <= (1, 2, '3')`,
		`EXPLAIN QUERY PLAN SELECT key FROM minute WHERE final = 0 AND ends <= 5 ORDER BY ends, starts, key LIMIT 5`,
	} {
		plan := dump(t, p, query)
		require.Len(t, plan, 1, "no sorting")
		require.Contains(t, plan[0], "minute_open (ends")
	}
}

// TestAnotherDeclarationNeedsAnotherVersion also where no column changes.
func TestAnotherDeclarationNeedsAnotherVersion(t *testing.T) {
	one := func(lateness, size time.Duration, part window.Part[sold]) *projection.Definition {
		f := window.Define("shop", &window.Options{Lateness: lateness}, window.Tumbling("minute", size, part))
		return projection.Define("shops", 1, "", window.On(f, item))
	}
	log, dir := record(t, []sold{{At: 1}}, recorded), t.TempDir()
	count := window.Count[sold]("n")
	require.NoError(t, openIn(t, dir, log, one(time.Second, time.Minute, count)).Close())
	require.NoError(t, openIn(t, dir, log, one(time.Second, time.Minute, count)).Close())
	for _, def := range []*projection.Definition{
		one(2*time.Second, time.Minute, count),
		one(time.Second, time.Hour, count),
		one(time.Second, time.Minute, window.Max("n", func(s sold) int64 { return s.Cents })),
	} {
		_, err := projection.Open(t.Context(), dir, log, def, nil)
		require.ErrorIs(t, err, projection.ErrSchemaChanged)
	}
}

// TestAWindowOfOneAggregate is enough, whatever keeps it.
func TestAWindowOfOneAggregate(t *testing.T) {
	for name, part := range map[string]window.Part[sold]{
		"any":   window.FoldAnyOrder("f", func(n int64, s sold) int64 { return n + s.Cents }, func(a, b int64) int64 { return a + b }),
		"order": window.FoldInOrder("f", func(n int64, s sold) int64 { return n + s.Cents }),
		"sum":   window.Sum("f", func(s sold) int64 { return s.Cents }),
	} {
		for kind, w := range map[string]*window.Window[sold]{
			"tumbling": window.Tumbling("w", time.Minute, part),
			"session":  window.Session("w", time.Minute, part),
		} {
			t.Run(name+" "+kind, func(t *testing.T) {
				f := window.Define("shop", &window.Options{Lateness: time.Minute}, w)
				projectiontest.Check(t, projection.Define("shops", 1, "", window.On(f, item)), projectiontest.Case{
					Given: at(20, 10, 30, 40),
					Then:  []projectiontest.Rows{{Query: `SELECT CAST(f AS INTEGER) FROM w`, Want: [][]any{{6}}}},
				})
			})
		}
	}
}
