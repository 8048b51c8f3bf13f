package window_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/projection/projectiontest"
	"github.com/leat-go/leat/projection/window"
)

// clicked and bought are the two sides of the join. ID tells items apart.
type clicked struct {
	User string
	ID   string
	At   int64
}

type bought struct {
	User string
	ID   string
	At   int64
}

func (clicked) EventType() string { return "clicked" }
func (bought) EventType() string  { return "bought" }

func newPairs(within, lateness int64) (*window.Join[clicked, bought], *projection.Definition) {
	j := window.DefineJoin("path", time.Duration(within)*time.Second, &window.Options{Lateness: time.Duration(lateness) * time.Second},
		func(_ context.Context, tx *projection.Tx, p window.Pair[clicked, bought]) error {
			if p.LeftTime.Unix() != p.Left.At || p.RightTime.Unix() != p.Right.At {
				return fmt.Errorf("%v is not of %v and %v", p, p.LeftTime, p.RightTime)
			}
			_, err := tx.Exec(`INSERT INTO pair (user, click, purchase) VALUES (?, ?, ?)`, p.Key, p.Left.ID, p.Right.ID)
			return err
		})
	return j, projection.Define("paths", 1, `CREATE TABLE pair (user TEXT, click TEXT, purchase TEXT, PRIMARY KEY (user, click, purchase)) STRICT`,
		window.OnLeft(j, func(e eventstore.Of[clicked]) (window.Point, clicked, bool) {
			return window.Point{Key: e.Payload.User, Time: time.Unix(e.Payload.At, 0)}, e.Payload, true
		}),
		window.OnRight(j, func(e eventstore.Of[bought]) (window.Point, bought, bool) {
			return window.Point{Key: e.Payload.User, Time: time.Unix(e.Payload.At, 0)}, e.Payload, true
		}))
}

// touch is an event of either side.
type touch struct {
	buys bool
	user string
	id   string
	at   int64
}

func (h touch) event() eventstore.Event {
	if h.buys {
		return bought{h.user, h.id, h.at}
	}
	return clicked{h.user, h.id, h.at}
}

// pairsOf is every pair of the touches, the long way: of those that were not too
// late, and these.
func pairsOf(all []touch, within, lateness int64) (pairs []string, late int64) {
	mark := int64(noMark)
	var kept []touch
	for _, h := range all {
		if mark != noMark && h.at < mark-lateness {
			late++
		} else {
			kept = append(kept, h)
		}
		mark = max(mark, h.at)
	}
	for _, c := range kept {
		for _, b := range kept {
			if !c.buys && b.buys && c.user == b.user && max(c.at-b.at, b.at-c.at) <= within {
				pairs = append(pairs, fmt.Sprintln(c.user, c.id, b.id))
			}
		}
	}
	slices.Sort(pairs)
	for i := range pairs {
		pairs[i] = pairs[i][:len(pairs[i])-1]
	}
	return pairs, late
}

func drawTouches(t *rapid.T) (all []touch) {
	for i := range rapid.IntRange(1, 40).Draw(t, "events") {
		all = append(all, touch{
			buys: rapid.Bool().Draw(t, "buys"),
			user: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "user"),
			id:   fmt.Sprint("i", i),
			at:   rapid.Int64Range(-20, 100).Draw(t, "at"),
		})
	}
	return all
}

func recordTouches(t failer, all []touch) eventstore.LogReader {
	events := make([]eventstore.Event, len(all))
	for i, h := range all {
		events[i] = h.event()
	}
	return record(t, events, func(eventstore.Event) int64 { return 0 })
}

func TestAJoinHasEveryPairOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		within, lateness := rapid.Int64Range(0, 20).Draw(t, "within"), rapid.Int64Range(0, 20).Draw(t, "lateness")
		all := drawTouches(t)
		if rapid.Bool().Draw(t, "mostly in order") {
			slices.SortStableFunc(all, func(a, b touch) int { return cmp.Compare(a.at/5, b.at/5) })
		}
		log := recordTouches(t, all)
		withTemp(t, func(dir string) {
			j, def := newPairs(within, lateness)
			p := openIn(t, dir, log, def)
			defer func() { require.NoError(t, p.Close()) }()
			for at := int64(0); at < int64(len(all)); {
				if rapid.IntRange(0, 4).Draw(t, "restart") == 0 {
					require.NoError(t, p.Close())
					j, def = newPairs(within, lateness)
					p = openIn(t, dir, log, def)
				}
				at = deliver(t, p, log, rapid.IntRange(1, 20).Draw(t, "page"))
				want, missed := pairsOf(all[:at], within, lateness)
				require.Equal(t, want, dump(t, p, `SELECT user, click, purchase FROM pair ORDER BY user || ' ' || click || ' ' || purchase`))
				require.NoError(t, p.Read(context.Background(), 0, func(r *projection.Reader) error {
					late, err := j.Late(r)
					var events int64
					for _, l := range late {
						events += l.Events
					}
					require.Equal(t, missed, events)
					return err
				}))
			}
			requireIdentical(t, p)
		})
	})
}

func TestAnyOrderWithinTheLatenessGivesTheSamePairs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		within, lateness := rapid.Int64Range(0, 20).Draw(t, "within"), rapid.Int64Range(0, 30).Draw(t, "lateness")
		all := drawTouches(t)
		var want []string
		for range 3 {
			order := slices.Clone(all)
			delays := map[string]int64{}
			for _, h := range order {
				delays[h.id] = rapid.Int64Range(0, lateness).Draw(t, "delay")
			}
			slices.SortFunc(order, func(a, b touch) int { return cmp.Compare(a.at+delays[a.id], b.at+delays[b.id]) })
			log := recordTouches(t, order)
			withTemp(t, func(dir string) {
				_, def := newPairs(within, lateness)
				p := openIn(t, dir, log, def)
				defer func() { require.NoError(t, p.Close()) }()
				deliverAll(t, p, log, rapid.IntRange(1, 50).Draw(t, "page"))
				got := slices.Concat(dump(t, p, `SELECT * FROM pair ORDER BY user, click, purchase`),
					dump(t, p, `SELECT * FROM path_left ORDER BY key, at, item`), dump(t, p, `SELECT * FROM path_right ORDER BY key, at, item`),
					dump(t, p, `SELECT * FROM path_watermark`), dump(t, p, `SELECT * FROM path_late`))
				if want == nil {
					want = got
				}
				require.Equal(t, want, got)
			})
		}
	})
}

// TestAJoinForgets what can find no partner any more.
func TestAJoinForgets(t *testing.T) {
	var all []touch
	for i := range int64(2000) {
		all = append(all, touch{buys: i%2 == 1, user: "a", id: fmt.Sprint(i), at: i})
	}
	log := recordTouches(t, all)
	_, def := newPairs(10, 20)
	p := openIn(t, t.TempDir(), log, def)
	defer func() { require.NoError(t, p.Close()) }()
	deliverAll(t, p, log, 500)
	for _, side := range []string{"path_left", "path_right"} {
		require.LessOrEqual(t, len(dump(t, p, `SELECT * FROM `+side)), 17)
	}
}

func TestAPairWhateverTheDelivery(t *testing.T) {
	_, def := newPairs(10, 5)
	projectiontest.Check(t, def, projectiontest.Case{
		Given: projectiontest.Log(
			projectiontest.In("a", clicked{"a", "c1", 100}),
			projectiontest.In("b", bought{"b", "b1", 101}), // another key
			projectiontest.In("a", bought{"a", "b2", 110}), // just within
			projectiontest.In("a", bought{"a", "b3", 111}), // just not
			projectiontest.In("a", clicked{"a", "c2", 106}),
			projectiontest.In("a", clicked{"a", "c3", 105}), // too late
		),
		Then: []projectiontest.Rows{
			{Query: `SELECT click, purchase FROM pair ORDER BY click, purchase`, Want: [][]any{{"c1", "b2"}, {"c2", "b2"}, {"c2", "b3"}}},
			{Query: `SELECT part, events, first_position, last_position FROM path_late`, Want: [][]any{{"path", 1, 6, 6}}},
		},
	})
}

// TestManyPartners are found page by page, more than are held in memory at a
// time, those of one instant included.
func TestManyPartners(t *testing.T) {
	var all []touch
	for i := range int64(330) {
		all = append(all, touch{user: "a", id: fmt.Sprint(i), at: i / 150})
	}
	log := recordTouches(t, append(all, touch{buys: true, user: "a", id: "b", at: 2}))
	_, def := newPairs(10, 0)
	p := openIn(t, t.TempDir(), log, def)
	defer func() { require.NoError(t, p.Close()) }()
	deliverAll(t, p, log, 500)
	require.Equal(t, []string{"330"}, dump(t, p, `SELECT COUNT(*) FROM pair`))
}

// TestAnEventThatCompletesSeveralPairsAddsThemAll to a feed that folds them in
// order, under one key and time, and so in one session after another order.
func TestAnEventThatCompletesSeveralPairsAddsThemAll(t *testing.T) {
	line := window.FoldInOrder("line", func(ids []string, id string) []string { return append(ids, id) })
	feed := window.Define("paid", &window.Options{Lateness: time.Minute},
		window.Tumbling("hour", time.Hour, window.Count[string]("n"), line), window.Session("visit", time.Hour, line))
	join := window.DefineJoin("path", time.Minute, &window.Options{Lateness: time.Minute}, func(ctx context.Context, tx *projection.Tx, p window.Pair[clicked, bought]) error {
		return feed.Add(ctx, tx, p.Completed, window.Point{Key: p.Key, Time: p.RightTime}, p.Left.ID+p.Right.ID)
	})
	def := projection.Define("paid", 1, "", feed.Tables(), projection.Retries(1, 0),
		window.OnLeft(join, func(e eventstore.Of[clicked]) (window.Point, clicked, bool) {
			return window.Point{Key: e.Payload.User, Time: time.Unix(e.Payload.At, 0)}, e.Payload, true
		}),
		window.OnRight(join, func(e eventstore.Of[bought]) (window.Point, bought, bool) {
			return window.Point{Key: e.Payload.User, Time: time.Unix(e.Payload.At, 0)}, e.Payload, true
		}))
	log := recordTouches(t, []touch{
		{user: "a", id: "1", at: 100}, {user: "a", id: "2", at: 101}, {user: "a", id: "3\n", at: 102},
		{buys: true, user: "a", id: "x", at: 110}, {buys: true, user: "a", id: "w", at: 109}, // one that is folded in before
	})
	p := openIn(t, t.TempDir(), log, def)
	defer func() { require.NoError(t, p.Close()) }()
	deliverAll(t, p, log, 500)
	want := `["1w","2w","3\nw","1x","2x","3\nx"]`
	require.Equal(t, []string{"6 " + want}, dump(t, p, `SELECT n, line FROM hour`))
	require.Equal(t, []string{want}, dump(t, p, `SELECT line FROM visit`))
	requireIdentical(t, p)
}
