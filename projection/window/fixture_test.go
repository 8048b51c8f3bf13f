package window_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/projection/window"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		killChild(dir)
		return
	}
	// A default that the command line can raise.
	if err := flag.Set("rapid.checks", "30"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// sold is the event of the tests. Times are seconds.
type sold struct {
	Shop     string
	At       int64
	Cents    int64
	Source   string
	Recorded int64 // when the log records it
	// Unordered is the point's.
	Unordered bool `json:",omitempty"`
}

func (sold) EventType() string { return "sold" }

const second = int64(time.Second)

func (s sold) point() window.Point {
	return window.Point{Key: s.Shop, Time: time.Unix(s.At, 0), Source: s.Source, Unordered: s.Unordered}
}

func item(e eventstore.Of[sold]) (window.Point, sold, bool) {
	it := e.Payload
	it.Recorded = 0 // of the log, not of the item
	return it.point(), it, true
}

// The windows of the tests, in seconds.
const (
	tumbling = 10
	size     = 17 // no multiple of the step
	step     = 5
	gap      = 7
)

// parts are every aggregate, and an OnFinal that writes down what it is told in
// the order it is told.
func parts(name string) []window.Part[sold] {
	cents := func(s sold) int64 { return s.Cents }
	return []window.Part[sold]{
		window.Count[sold]("n"),
		window.Sum("total", cents),
		window.Min("lowest", cents),
		window.Max("highest", cents),
		window.Quantiles("spread", cents),
		window.FoldAnyOrder("bag", func(b map[string]int, s sold) map[string]int {
			if b == nil {
				b = map[string]int{}
			}
			b[fmt.Sprint(s.Cents)]++
			return b
		}, func(a, b map[string]int) map[string]int {
			for k, n := range b {
				a[k] += n
			}
			return a
		}),
		window.FoldInOrder("line", func(line []int64, s sold) []int64 { return append(line, s.Cents) }),
		window.OnFinal[sold](func(_ context.Context, tx *projection.Tx, f window.Final) error {
			var n, total, lowest, highest int64
			var bag map[string]int
			var line []int64
			if err := f.Scan(&n, &total, &lowest, &highest, &bag, &line); err != nil {
				return err
			}
			median, err := f.Quantile("spread", 0.5)
			if err != nil {
				return err
			}
			_, err = tx.Exec(`
				INSERT INTO told (part, n, what)
				VALUES (?, (SELECT COUNT(*) FROM told), ?)`,
				name, render(name, f.Key, f.Start.Unix(), f.End.Unix(), n, total, lowest, highest, median, bag, line))
			return err
		}),
	}
}

func render(part, key string, start, end, n, total, lowest, highest, median int64, bag map[string]int, line []int64) string {
	return fmt.Sprintf("%s %s %d-%d n=%d total=%d %d..%d median=%d bag=%v line=%v", part, key, start, end, n, total, lowest, highest, median, bag, line)
}

const toldSchema = `CREATE TABLE told (part TEXT NOT NULL, n INTEGER NOT NULL, what TEXT NOT NULL, PRIMARY KEY (part, n)) STRICT`

// shops are all kinds of windows of sold events.
type shops struct {
	feed     *window.Feed[sold]
	tumble   *window.Window[sold]
	slide    *window.Window[sold]
	sessions *window.Window[sold]
}

func newShops(opts *window.Options) shops {
	s := shops{
		tumble:   window.Tumbling("minute", tumbling*time.Second, parts("minute")...),
		slide:    window.Sliding("slide", size*time.Second, step*time.Second, parts("slide")...),
		sessions: window.Session("visit", gap*time.Second, parts("visit")...),
	}
	s.feed = window.Define("shop", opts, s.tumble, s.slide, s.sessions)
	return s
}

// define has every event added to the feed. fail, where set, is asked after.
func (s shops) define(fail func(eventstore.Of[sold]) error) *projection.Definition {
	return projection.Define("shops", 1, toldSchema, s.feed.Tables(), projection.Retries(3, time.Hour),
		projection.On(func(ctx context.Context, tx *projection.Tx, e eventstore.Of[sold]) error {
			at, it, _ := item(e)
			if err := s.feed.Add(ctx, tx, e.Recorded, at, it); err != nil || fail == nil {
				return err
			}
			return fail(e)
		}))
}

type failer interface {
	require.TestingT
	Helper()
}

// record returns a log of the events, each recorded at the time it says.
func record[E eventstore.Event](t failer, events []E, at func(E) int64) eventstore.LogReader {
	t.Helper()
	clk := clock.NewVirtual(time.Unix(0, 0))
	store := memory.New(&memory.Options{Clock: clk})
	for _, e := range events {
		clk.Advance(time.Unix(at(e), 0))
		data, err := eventstore.Encode(e)
		require.NoError(t, err)
		_, err = store.Append(context.Background(), eventstore.Batch{Writes: []eventstore.Write{{Stream: "all", Events: []eventstore.EventData{data}}}})
		require.NoError(t, err)
	}
	return store
}

func recorded(s sold) int64 { return s.Recorded }

func openIn(t failer, dir string, log eventstore.LogReader, def *projection.Definition) *projection.Projection {
	t.Helper()
	p, err := projection.Open(context.Background(), dir, log, def, &projection.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	return p
}

// deliver applies the next limit positions and returns the checkpoint.
func deliver(t failer, p *projection.Projection, log eventstore.LogReader, limit int) int64 {
	t.Helper()
	at, err := p.Checkpoint(context.Background())
	require.NoError(t, err)
	read, err := log.ReadLog(context.Background(), at.Position, limit, eventstore.Filter{})
	require.NoError(t, err)
	err = p.Apply(context.Background(), bus.Page{After: at.Position, Events: read.Events, Through: read.Through})
	if _, retry := errors.AsType[*bus.RetryError](err); !retry {
		require.NoError(t, err)
	}
	return p.Position()
}

// deliverAll applies everything, in pages.
func deliverAll(t failer, p *projection.Projection, log eventstore.LogReader, limit int) {
	t.Helper()
	head, err := log.Head(context.Background())
	require.NoError(t, err)
	for p.Position() < head {
		deliver(t, p, log, limit)
	}
}

// withTemp calls fn with a directory of its own.
func withTemp(t failer, fn func(dir string)) {
	dir, err := os.MkdirTemp("", "leat-window")
	require.NoError(t, err)
	defer func() { require.NoError(t, os.RemoveAll(dir)) }()
	fn(dir)
}

// dump returns every row of a query as text.
func dump(t failer, p *projection.Projection, query string, args ...any) (all []string) {
	t.Helper()
	require.NoError(t, p.Read(context.Background(), 0, func(r *projection.Reader) error {
		rows, err := r.Query(query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		columns, err := rows.Columns()
		if err != nil {
			return err
		}
		for rows.Next() {
			row, dest := make([]any, len(columns)), make([]any, len(columns))
			for i := range row {
				dest[i] = &row[i]
			}
			if err := rows.Scan(dest...); err != nil {
				return err
			}
			all = append(all, strings.TrimSuffix(fmt.Sprintln(row...), "\n"))
		}
		return rows.Err()
	}))
	return all
}

// tables returns everything the feed keeps, but for positions.
func tables(t failer, p *projection.Projection) (all []string) {
	t.Helper()
	for _, query := range []string{
		`SELECT 'minute', * FROM minute ORDER BY key, starts`,
		`SELECT 'slide', * FROM slide ORDER BY key, starts`,
		`SELECT 'visit', * FROM visit ORDER BY key, starts`,
		`SELECT 'minute_spread', * FROM minute_spread ORDER BY key, starts, bucket`,
		`SELECT 'slide_spread', * FROM slide_spread ORDER BY key, starts, bucket`,
		`SELECT 'visit_spread', * FROM visit_spread ORDER BY key, starts, bucket`,
		`SELECT 'minute_event', key, at, item FROM minute_event ORDER BY key, at, item`,
		`SELECT 'slide_event', key, at, item FROM slide_event ORDER BY key, at, item`,
		`SELECT 'visit_event', key, at, item FROM visit_event ORDER BY key, at, item`,
		`SELECT 'told', * FROM told ORDER BY part, n`,
		`SELECT 'watermark', * FROM shop_watermark ORDER BY source`,
		`SELECT 'late', * FROM shop_late ORDER BY part`,
	} {
		all = append(all, dump(t, p, query)...)
	}
	return all
}

// requireIdentical demands that a rebuild gives the same rows.
func requireIdentical(t failer, p *projection.Projection) {
	t.Helper()
	got, err := p.Rebuild(context.Background(), nil)
	require.NoError(t, err)
	require.True(t, got.Identical, got.Difference)
}
