package projection

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		child(dir, os.Getenv(childStep))
		return
	}
	if dir := os.Getenv(rebuildDir); dir != "" {
		rebuildChild(dir, os.Getenv(rebuildVersion))
		return
	}
	// A default that the command line can raise.
	if err := flag.Set("rapid.checks", "40"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// tape is a log that is the same in every process that records the same.
type tape struct {
	mu       sync.Mutex
	epoch    string
	events   []eventstore.Recorded
	versions map[string]int64
	scan     int // events one read looks at
}

func newTape() *tape {
	return &tape{epoch: "tape", versions: map[string]int64{}, scan: eventstore.MaxScan}
}

func (l *tape) add(stream string, e eventstore.Event) int64 {
	data, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	return l.raw(stream, e.EventType(), data)
}

func (l *tape) raw(stream, typ string, data []byte) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.versions[stream]++
	r := eventstore.Recorded{Position: int64(len(l.events) + 1), Stream: stream, Version: l.versions[stream], Type: typ, SchemaVersion: 1, Data: data}
	l.events = append(l.events, r)
	return r.Position
}

func (l *tape) at(position int64) eventstore.Anchor {
	if position == 0 {
		return eventstore.Anchor{}
	}
	return eventstore.Anchor{Epoch: l.epoch, Position: position, Hash: sha256.Sum256(fmt.Append(nil, position))}
}

func (l *tape) ReadLog(_ context.Context, after int64, limit int, f eventstore.Filter) (eventstore.Page, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var p eventstore.Page
	at := after
	for ; at < int64(len(l.events)) && len(p.Events) < limit && at < after+int64(l.scan); at++ {
		if e := l.events[at]; f.Match(e.Stream, e.Type) {
			p.Events = append(p.Events, e)
		}
	}
	p.Through = l.at(at)
	return p, nil
}

func (l *tape) Head(context.Context) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(len(l.events)), nil
}

func (l *tape) Wait(context.Context, int64) (int64, error) { return 0, errors.ErrUnsupported }

func (l *tape) Anchor(_ context.Context, position int64) (eventstore.Anchor, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if position > int64(len(l.events)) {
		return eventstore.Anchor{}, eventstore.ErrRewound
	}
	return l.at(position), nil
}

func (l *tape) head() int64 {
	h, _ := l.Head(context.Background())
	return h
}

// The events of the tests. What moved does to an account depends on its order.
type moved struct {
	Account string
	Cents   int64
}

func (moved) EventType() string { return "moved" }

type noted struct{ Text string }

func (noted) EventType() string { return "noted" }

const ledgerSchema = `
	CREATE TABLE account (id TEXT PRIMARY KEY, mix INTEGER NOT NULL, moves INTEGER NOT NULL) STRICT;
	CREATE TABLE line (account TEXT NOT NULL REFERENCES account (id) DEFERRABLE INITIALLY DEFERRED, cents INTEGER NOT NULL) STRICT;`

func mix(before, cents int64) int64 { return (before*31 + cents) % 1_000_000_007 }

// ledger is a fold in SQL. fail, where set, is asked before each event.
func ledger(version int, fail func(e eventstore.Recorded) error, opts ...Option) *Definition {
	return Define("ledger", version, ledgerSchema, append([]Option{On(func(ctx context.Context, tx *Tx, e eventstore.Of[moved]) error {
		var m int64
		err := tx.QueryRow(`SELECT COALESCE((SELECT mix FROM account WHERE id = ?), 0)`, e.Payload.Account).Scan(&m)
		if err != nil {
			return err
		}
		_, err = tx.Exec(`
			INSERT INTO account (id, mix, moves)
			VALUES (?, ?, 1)
			ON CONFLICT (id) DO UPDATE SET mix = excluded.mix, moves = moves + 1`, e.Payload.Account, mix(m, e.Payload.Cents))
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`INSERT INTO line (account, cents) VALUES (?, ?)`, e.Payload.Account, e.Payload.Cents); err != nil {
			return err
		}
		if fail != nil { // after the writes: they must be undone
			return fail(e.Recorded)
		}
		return nil
	})}, opts...)...)
}

type account struct{ mix, moves int64 }

// fold is the model of ledger: what the tables hold after these events.
func fold(events []eventstore.Recorded, through int64) map[string]account {
	all := map[string]account{}
	for _, e := range events {
		if e.Type != "moved" || e.Position > through {
			continue
		}
		var m moved
		if err := json.Unmarshal(e.Data, &m); err != nil {
			panic(err)
		}
		a := all[m.Account]
		all[m.Account] = account{mix(a.mix, m.Cents), a.moves + 1}
	}
	return all
}

func tables(r *Reader) (map[string]account, error) {
	all := map[string]account{}
	rows, err := r.Query(`SELECT id, mix, moves, (SELECT COUNT(*) FROM line WHERE account = id) FROM account`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		var a account
		var lines int64
		if err := rows.Scan(&id, &a.mix, &a.moves, &lines); err != nil {
			return nil, err
		}
		if lines != a.moves {
			return nil, fmt.Errorf("account %s: %d moves, %d lines", id, a.moves, lines)
		}
		all[id] = a
	}
	return all, rows.Err()
}

type failer interface {
	Helper()
	Errorf(format string, args ...any)
	FailNow()
}

// requireFold compares the tables with the fold through their own position.
func requireFold(t failer, p *Projection, l *tape) int64 {
	t.Helper()
	var got map[string]account
	var at int64
	require.NoError(t, p.Read(context.Background(), 0, func(r *Reader) (err error) {
		if at, err = r.Position(); err != nil {
			return err
		}
		got, err = tables(r)
		return err
	}))
	l.mu.Lock()
	defer l.mu.Unlock()
	want := fold(l.events, at)
	require.True(t, maps.Equal(want, got), "at %d: want %v, got %v", at, want, got)
	return at
}

func page(l *tape, after int64, limit int) bus.Page {
	read, err := l.ReadLog(context.Background(), after, limit, eventstore.Filter{Types: []string{"moved"}})
	if err != nil {
		panic(err)
	}
	return bus.Page{After: after, Events: read.Events, Through: read.Through}
}

// deliver is a router in one goroutine: to the head, or to the first error.
func deliver(t failer, p *Projection, l *tape, limit int) error {
	t.Helper()
	for {
		at, err := p.Checkpoint(context.Background())
		require.NoError(t, err)
		if at.Position >= l.head() {
			return nil
		}
		if err := p.Apply(context.Background(), page(l, at.Position, limit)); err != nil {
			return err
		}
	}
}

func openTest(t *testing.T, dir string, l *tape, d *Definition) *Projection {
	t.Helper()
	p, err := Open(t.Context(), dir, l, d, &Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, p.Close())
		if exists(p.files.pointerPath()) {
			sound(t, dir)
		}
	})
	return p
}

// sound demands that Inspect finds nothing.
func sound(t testing.TB, dir string) {
	t.Helper()
	list, err := Inspect(context.Background(), dir)
	require.NoError(t, err)
	for _, in := range list {
		require.Empty(t, in.Findings)
	}
}

// someMoves records n moves on a few accounts, with noise between.
func someMoves(l *tape, n int) {
	for i := range n {
		id := fmt.Sprint("a-", i%7)
		if i%5 == 4 {
			l.add("note-1", noted{"x"})
		}
		l.add(id, moved{id, int64(i * i % 101)})
	}
}

// faults fails chosen positions as often as told.
type faults struct {
	mu    sync.Mutex
	left  map[int64]int
	calls atomic.Int64
	order []int64
}

var errFault = errors.New("fault")

func (f *faults) set(position int64, times int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left == nil {
		f.left = map[int64]int{}
	}
	f.left[position] = times
}

func (f *faults) fail(e eventstore.Recorded) error {
	f.calls.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left[e.Position] > 0 {
		f.left[e.Position]--
		return fmt.Errorf("%w at %d", errFault, e.Position)
	}
	f.order = append(f.order, e.Position)
	return nil
}

const always = 1 << 30

var once = Retries(1, time.Minute)
