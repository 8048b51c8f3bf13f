package projection

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
)

// decodes is how often a graded payload was decoded.
var decodes atomic.Int64

// graded is a payload that reads itself, and panics where told to.
type graded struct {
	Marks []string
}

func (graded) EventType() string { return "graded" }

func (g *graded) UnmarshalJSON(data []byte) error {
	decodes.Add(1)
	if bytes.Contains(data, []byte("panic")) {
		panic("no mark")
	}
	return json.Unmarshal(data, &g.Marks)
}

// MarshalJSON writes what UnmarshalJSON reads.
func (g graded) MarshalJSON() ([]byte, error) { return json.Marshal(g.Marks) }

// marks is a read model of the marks of each graded event. fail, where
// set, is asked before each is written.
func marks(fail func(e eventstore.Of[graded]) error, opts ...Option) *Definition {
	return Define("marks", 1, `CREATE TABLE mark (position INTEGER PRIMARY KEY, mark TEXT NOT NULL) STRICT`, append([]Option{On(func(_ context.Context, tx *Tx, e eventstore.Of[graded]) error {
		if fail != nil {
			if err := fail(e); err != nil {
				return err
			}
		}
		_, err := tx.Exec(`INSERT INTO mark (position, mark) VALUES (?, ?)`, e.Position, strings.Join(e.Payload.Marks, ","))
		return err
	}), once}, opts...)...)
}

func marksOf(t *testing.T, p *Projection) map[int64]string {
	t.Helper()
	got := map[int64]string{}
	require.NoError(t, p.Read(t.Context(), 0, func(r *Reader) error {
		rows, err := r.Query(`SELECT position, mark FROM mark`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var at int64
			var mark string
			if err := rows.Scan(&at, &mark); err != nil {
				return err
			}
			got[at] = mark
		}
		return rows.Err()
	}))
	return got
}

// grades is a log of n graded events in streams of their own, "1", "2", …, with
// the data of some of them replaced.
func grades(n int, data map[int64]string) (l *tape, whole bus.Page) {
	l = newTape()
	for i := 1; i <= n; i++ {
		raw := fmt.Sprintf(`["%d"]`, i)
		if other, ok := data[int64(i)]; ok {
			raw = other
		}
		l.raw(fmt.Sprintf("g-%d", i), "graded", []byte(raw))
	}
	return l, bus.Page{Events: l.events, Through: l.at(int64(n))}
}

// never is the end of a page that is applied for ever.
var never = make(chan struct{})

// One poison payload in the midst of a page that was decoded ahead: what comes
// before it is applied, once, and it fails in its turn, as the policy says.
func TestAPoisonPayloadOfAPageThatIsDecodedAhead(t *testing.T) {
	const n, bad = 40, 23
	for name, poison := range map[string]string{"cannot be decoded": `{"Marks": 7}`, "panics": `"panic"`} {
		for _, policy := range []Policy{Block, Park, Skip} {
			t.Run(name+"/"+policy.String(), func(t *testing.T) {
				l, pg := grades(n, map[int64]string{bad: poison})
				p := openTest(t, t.TempDir(), l, marks(nil, OnFailure(policy)))
				pg.Prepared = p.Prepare(pg, never)
				err := p.Apply(t.Context(), pg)
				want := map[int64]string{}
				for i := int64(1); i <= n; i++ {
					want[i] = fmt.Sprint(i)
				}
				delete(want, bad)
				s := p.Status()
				switch policy {
				case Park:
					require.NoError(t, err)
					require.Equal(t, 1, s.ParkedEvents)
				case Skip:
					require.NoError(t, err)
					require.Equal(t, 1, s.DeadLetters)
				default:
					blocked, ok := errors.AsType[*bus.BlockedError](err)
					require.True(t, ok, "%v", err)
					require.EqualValues(t, bad, blocked.Position)
					maps.DeleteFunc(want, func(at int64, _ string) bool { return at > bad })
				}
				if name == "panics" && policy == Block {
					_, ok := errors.AsType[*bus.PanicError](err)
					require.True(t, ok, "%v", err)
				}
				require.Equal(t, want, marksOf(t, p))
			})
		}
	}
}

// A handler that is called again gets a payload that no handler has seen.
func TestAPayloadIsGivenOnce(t *testing.T) {
	const n = 30
	l, pg := grades(n, nil)
	failed := map[int64]bool{}
	var again []int64 // whose payload was given before
	p := openTest(t, t.TempDir(), l, marks(func(e eventstore.Of[graded]) error {
		mark := e.Payload.Marks[0]
		e.Payload.Marks[0] = "changed"
		if e.Position%7 == 0 && !failed[e.Position] {
			failed[e.Position] = true
			return errFault
		}
		e.Payload.Marks = []string{mark}
		if mark == "changed" {
			again = append(again, e.Position)
		}
		e.Payload.Marks[0] = mark
		return nil
	}, Retries(3, DefaultAge)))
	for pg.Events != nil {
		pg.Prepared = p.Prepare(pg, never)
		err := p.Apply(t.Context(), pg)
		if err == nil {
			break
		}
		_, retry := errors.AsType[*bus.RetryError](err)
		require.True(t, retry, "%v", err)
	}
	require.Empty(t, again)
	require.Len(t, failed, n/7)
	require.Len(t, marksOf(t, p), n)
}

// What is decoded ahead is not decoded again; what has no handler, never; and no
// more than a bound is, nor after the page before has ended.
func TestWhatIsDecodedAhead(t *testing.T) {
	decoded := func(fn func()) int64 {
		before := decodes.Load()
		fn()
		return decodes.Load() - before
	}
	const n = 20
	l, pg := grades(n, nil)
	p := openTest(t, t.TempDir(), l, marks(nil))
	require.EqualValues(t, n, decoded(func() { pg.Prepared = p.Prepare(pg, never) }))
	require.Zero(t, decoded(func() { require.NoError(t, p.Apply(t.Context(), pg)) }))
	require.Len(t, marksOf(t, p), n)

	other := openTest(t, t.TempDir(), l, ledger(1, nil))
	require.Zero(t, decoded(func() { pg.Prepared = other.Prepare(pg, never) }))
	require.NoError(t, other.Apply(t.Context(), pg))

	ended := make(chan struct{})
	close(ended)
	l, pg = grades(n, map[int64]string{3: fmt.Sprintf("[%q]", strings.Repeat("x", aheadBytes))})
	p = openTest(t, t.TempDir(), l, marks(nil))
	require.Zero(t, decoded(func() { p.Prepare(pg, ended) }))
	require.EqualValues(t, 2, decoded(func() { pg.Prepared = p.Prepare(pg, never) }))
	require.EqualValues(t, n-2, decoded(func() { require.NoError(t, p.Apply(t.Context(), pg)) }))
	require.Len(t, marksOf(t, p), n)
}

// Payloads go with their events, wherever the page is cut.
func TestAPageDecodedAheadThatBeginsBeforeTheCheckpoint(t *testing.T) {
	const n = 50
	l, whole := grades(n, nil)
	p := openTest(t, t.TempDir(), l, marks(nil))
	for _, through := range []int64{13, 14, 31, n} {
		pg := bus.Page{Events: whole.Events[:through], Through: l.at(through)}
		pg.Prepared = p.Prepare(pg, never)
		require.NoError(t, p.Apply(t.Context(), pg))
	}
	want := map[int64]string{}
	for i := int64(1); i <= n; i++ {
		want[i] = fmt.Sprint(i)
	}
	require.Equal(t, want, marksOf(t, p))
}

// Through a router: a poison payload deep in a backlog, and a stop in the midst
// of one. That no goroutine is left, TestMain holds.
func TestABacklogThroughARouterIsDecodedAhead(t *testing.T) {
	const n, bad = 5 * bus.DefaultPageSize, 3*bus.DefaultPageSize + 77
	store := memory.New(nil)
	for from := 1; from <= n; from += bus.DefaultPageSize {
		var events []eventstore.EventData
		for i := from; i < from+bus.DefaultPageSize; i++ {
			data := fmt.Appendf(nil, `["%d"]`, i)
			if i == bad {
				data = []byte(`"panic"`)
			}
			events = append(events, eventstore.EventData{Type: "graded", Data: data})
		}
		_, err := store.Append(t.Context(), eventstore.Batch{Writes: []eventstore.Write{{Stream: "g-1", Events: events}}})
		require.NoError(t, err)
	}
	halfway := make(chan struct{})
	calls := 0
	p, err := Open(t.Context(), t.TempDir(), store, marks(func(e eventstore.Of[graded]) error {
		if calls++; calls == n/2 {
			close(halfway)
		}
		require.Equal(t, fmt.Sprint(e.Position), e.Payload.Marks[0])
		return nil
	}), &Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	follow := func(until func(r *bus.Router)) {
		r, err := bus.NewRouter(store, &bus.RouterOptions{Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		require.NoError(t, r.Add(p))
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		until(r)
		stop()
		require.NoError(t, <-ended)
	}
	follow(func(*bus.Router) { <-halfway })
	require.Len(t, marksOf(t, p), int(p.Position()))
	follow(func(r *bus.Router) { require.NoError(t, r.Settle(t.Context(), n)) })
	require.Equal(t, Blocked, p.Status().State)
	require.EqualValues(t, bad, p.Status().Failed)
	require.Len(t, marksOf(t, p), bad-1)
	require.Len(t, marksOf(t, p), int(p.Position()))
}
