package window_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/projection/window"
)

// model is what the tables must hold, worked out the long way: windows are lists
// of events, and nothing is incremental.
type model struct {
	opts    window.Options
	seen    map[string]int64 // of a source, log time
	most    map[string]int64 // of a source, event time
	began   int64
	mark    int64
	windows []*modelWindow
	told    map[string][]string
	late    map[string]window.Late
	events  int64
}

const noMark = math.MinInt64

type modelWindow struct {
	part       string
	key        string
	start, end int64
	final      bool
	events     []placed
}

type placed struct {
	sold
	position int64
}

func newModel(opts window.Options) *model {
	return &model{opts: opts, seen: map[string]int64{}, most: map[string]int64{}, mark: noMark, told: map[string][]string{}, late: map[string]window.Late{}}
}

func (m *model) closed() int64 {
	if m.mark == noMark {
		return noMark
	}
	return m.mark - int64(m.opts.Lateness/time.Second)
}

func (m *model) add(e sold, position int64) {
	p := placed{e, position}
	m.events++
	m.missed("minute", position, m.put("minute", tumbling, tumbling, p))
	m.missed("slide", position, m.put("slide", size, step, p))
	m.missed("visit", position, m.visit(p))
	if !e.Unordered {
		m.advance(e)
	}
	m.finish()
}

func (m *model) missed(part string, position, windows int64) {
	if windows == 0 {
		return
	}
	l, again := m.late[part]
	if !again {
		l = window.Late{Window: part, First: position}
	}
	l.Events, l.Windows, l.Last = l.Events+1, l.Windows+windows, position
	m.late[part] = l
}

func (m *model) put(part string, size, step int64, p placed) (missed int64) {
	for start := int64(-200); start <= p.At; start++ {
		if ((start%step)+step)%step != 0 || start+size <= p.At {
			continue
		}
		if start+size <= m.closed() {
			missed++
			continue
		}
		i := slices.IndexFunc(m.windows, func(w *modelWindow) bool { return w.part == part && w.key == p.Shop && w.start == start })
		if i < 0 {
			m.windows = append(m.windows, &modelWindow{part: part, key: p.Shop, start: start, end: start + size})
			i = len(m.windows) - 1
		}
		m.windows[i].events = append(m.windows[i].events, p)
	}
	return missed
}

func (m *model) visit(p placed) (missed int64) {
	joined := &modelWindow{part: "visit", key: p.Shop, start: p.At, end: p.At + gap, events: []placed{p}}
	var rest []*modelWindow
	alone := true
	for _, w := range m.windows {
		near := w.part == "visit" && w.key == p.Shop && slices.ContainsFunc(w.events, func(e placed) bool { return max(e.At-p.At, p.At-e.At) < gap })
		if !near {
			rest = append(rest, w)
			continue
		}
		if w.final {
			return 1
		}
		alone = false
		joined.start, joined.end = min(joined.start, w.start), max(joined.end, w.end)
		joined.events = append(joined.events, w.events...)
	}
	if alone && joined.end <= m.closed() {
		return 1
	}
	m.windows = append(rest, joined)
	return 0
}

func (m *model) advance(e sold) {
	if len(m.seen) == 0 {
		m.began = e.Recorded
	}
	if most, known := m.most[e.Source]; !known || e.At > most {
		m.most[e.Source] = e.At
	}
	m.seen[e.Source] = e.Recorded
	now := int64(math.MaxInt64)
	sources := m.opts.Sources
	if len(sources) == 0 {
		sources = []string{""}
	}
	for _, s := range sources {
		last, known := m.seen[s]
		if !known {
			last = m.began
		}
		switch {
		case m.opts.IdleAfter > 0 && e.Recorded-last > int64(m.opts.IdleAfter/time.Second): // idle
		case !known:
			return
		default:
			now = min(now, m.most[s])
		}
	}
	m.mark = max(m.mark, now)
}

func (m *model) finish() {
	var done []*modelWindow
	for _, w := range m.windows {
		if !w.final && w.end <= m.closed() {
			w.final = true
			done = append(done, w)
		}
	}
	sort.Slice(done, func(i, j int) bool {
		a, b := done[i], done[j]
		if a.end != b.end {
			return a.end < b.end
		}
		if a.start != b.start {
			return a.start < b.start
		}
		return a.key < b.key
	})
	for _, w := range done {
		n, total, lowest, highest, bag, line := w.values()
		m.told[w.part] = append(m.told[w.part], render(w.part, w.key, w.start, w.end, n, total, lowest, highest, w.quantile(0.5), bag, line))
	}
}

func (w *modelWindow) values() (n, total, lowest, highest int64, bag map[string]int, line []int64) {
	lowest, highest, bag = math.MaxInt64, math.MinInt64, map[string]int{}
	events := slices.Clone(w.events)
	sort.Slice(events, func(i, j int) bool {
		if events[i].At != events[j].At {
			return events[i].At < events[j].At
		}
		return events[i].position < events[j].position
	})
	for _, e := range events {
		n, total, lowest, highest = n+1, total+e.Cents, min(lowest, e.Cents), max(highest, e.Cents)
		bag[fmt.Sprint(e.Cents)]++
		line = append(line, e.Cents)
	}
	return n, total, lowest, highest, bag, line
}

func (w *modelWindow) quantile(q float64) int64 {
	var all []int64
	for _, e := range w.events {
		all = append(all, e.Cents)
	}
	slices.Sort(all)
	return all[max(0, int(math.Ceil(q*float64(len(all))))-1)]
}

// rows renders a kind of windows as its table has them.
func (m *model) rows(part string) (all []string) {
	for _, w := range m.windows {
		if w.part != part {
			continue
		}
		n, total, lowest, highest, bag, line := w.values()
		b, _ := json.Marshal(bag)
		l, _ := json.Marshal(line)
		final := 0
		if w.final {
			final = 1
		}
		all = append(all, strings.TrimSuffix(fmt.Sprintln(w.key, w.start*second, w.end*second, final, n, total, lowest, highest, string(b), string(l)), "\n"))
	}
	slices.Sort(all)
	return all
}

// require compares the tables with the model.
func (m *model) require(t failer, s shops, p *projection.Projection) {
	t.Helper()
	for _, part := range []string{"minute", "slide", "visit"} {
		got := dump(t, p, `SELECT key, starts, ends, final, n, total, lowest, highest, bag, line FROM `+part)
		slices.Sort(got)
		require.Equal(t, m.rows(part), got, part)
		require.Equal(t, m.told[part], dump(t, p, `SELECT what FROM told WHERE part = ? ORDER BY n`, part))
	}
	require.NoError(t, p.Read(context.Background(), 0, func(r *projection.Reader) error {
		at, ok, err := s.feed.Watermark(r)
		require.NoError(t, err)
		require.Equal(t, m.mark != noMark, ok)
		if ok {
			require.Equal(t, m.mark, at.Unix())
		}
		late, err := s.feed.Late(r)
		require.NoError(t, err)
		require.Equal(t, sortedLate(m.late), late)
		for _, w := range m.windows {
			of := map[string]*window.Window[sold]{"minute": s.tumble, "slide": s.slide, "visit": s.sessions}[w.part]
			for _, q := range []float64{0.01, 0.5, 0.9, 1} {
				got, ok, err := of.Quantile(r, "spread", w.key, time.Unix(w.start, 0), q)
				require.NoError(t, err)
				require.True(t, ok)
				require.Equal(t, w.quantile(q), got)
			}
		}
		return nil
	}))
	// Nothing is lost: every event is in a window or counted as too late.
	held := map[string]int64{}
	for _, w := range m.windows {
		held[w.part] += int64(len(w.events))
	}
	require.Equal(t, m.events, held["minute"]+m.late["minute"].Windows)
	require.Equal(t, m.events, held["visit"]+m.late["visit"].Windows)
}

func sortedLate(late map[string]window.Late) (all []window.Late) {
	for _, part := range slices.Sorted(maps.Keys(late)) {
		all = append(all, late[part])
	}
	return all
}

var sources = []string{"east", "north", "west"}

func drawOptions(t *rapid.T) window.Options {
	opts := window.Options{Lateness: time.Duration(rapid.IntRange(0, 25).Draw(t, "lateness")) * time.Second}
	if rapid.Bool().Draw(t, "several") {
		opts.Sources = sources[:rapid.IntRange(1, 3).Draw(t, "sources")]
		opts.IdleAfter = time.Duration(rapid.SampledFrom([]int{0, 5, 30}).Draw(t, "idle")) * time.Second
	}
	return opts
}

func drawSold(t *rapid.T, opts window.Options) sold {
	e := sold{
		Shop:  rapid.SampledFrom([]string{"a", "b", ""}).Draw(t, "shop"),
		At:    rapid.Int64Range(-30, 90).Draw(t, "at"),
		Cents: rapid.Int64Range(-50, 255).Draw(t, "cents"),
	}
	if len(opts.Sources) > 0 {
		e.Source = rapid.SampledFrom(opts.Sources).Draw(t, "source")
	}
	e.Unordered = rapid.IntRange(0, 4).Draw(t, "unordered") == 0
	return e
}

// TestTheTablesAreTheModels draws feeds that are mostly in order and in part
// far too late, delivers them in pages of any size, opens the read model anew
// between pages, has events fail after they were added, and compares after each
// page.
func TestTheTablesAreTheModels(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		opts := drawOptions(t)
		n := rapid.IntRange(1, 40).Draw(t, "events")
		events := make([]sold, n)
		base, logged := int64(0), int64(100)
		for i := range events {
			events[i] = drawSold(t, opts)
			if rapid.IntRange(0, 3).Draw(t, "stray") > 0 {
				base += rapid.Int64Range(0, 6).Draw(t, "on")
				events[i].At = base - rapid.Int64Range(0, 8).Draw(t, "back")
			}
			logged += rapid.Int64Range(0, 8).Draw(t, "pause")
			events[i].Recorded = logged
		}
		log := record(t, events, recorded)
		faults := map[int64]int{}
		for range rapid.IntRange(0, 3).Draw(t, "faults") {
			faults[rapid.Int64Range(1, int64(n)).Draw(t, "fails")] = 2
		}
		fail := func(e eventstore.Of[sold]) error {
			if faults[e.Position]--; faults[e.Position] >= 0 {
				return fmt.Errorf("fault at %d", e.Position)
			}
			return nil
		}
		withTemp(t, func(dir string) {
			s, m := newShops(&opts), newModel(opts)
			p := openIn(t, dir, log, s.define(fail))
			defer func() { require.NoError(t, p.Close()) }()
			for at := int64(0); at < int64(n); {
				if rapid.IntRange(0, 4).Draw(t, "restart") == 0 {
					require.NoError(t, p.Close())
					s = newShops(&opts)
					p = openIn(t, dir, log, s.define(fail))
				}
				reached := deliver(t, p, log, rapid.IntRange(1, 15).Draw(t, "page"))
				for ; at < reached; at++ {
					m.add(events[at], at+1)
				}
				m.require(t, s, p)
			}
			clear(faults)
			requireIdentical(t, p)
		})
	})
}
