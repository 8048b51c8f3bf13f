package projection

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// machine drives a projection with random pages, redeliveries, failures,
// restarts, upgrades and rebuilds. After every step the read model is the fold
// through its own position.
type machine struct {
	dir     string
	l       *tape
	f       *faults
	version int
	p       *Projection
}

func (m *machine) def() *Definition {
	d := ledger(m.version, m.f.fail, Retries(2, always))
	d.schema += fmt.Sprintf("; CREATE TABLE v%d (x)", m.version)
	return d
}

func (m *machine) open(t *rapid.T) {
	p, err := Open(context.Background(), m.dir, m.l, m.def(), &Options{PageSize: 20, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	m.p = p
}

func (m *machine) append(t *rapid.T) {
	for range rapid.IntRange(1, 60).Draw(t, "events") {
		id := fmt.Sprint("a-", rapid.IntRange(0, 4).Draw(t, "account"))
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			m.l.add("note-1", noted{})
		default:
			at := m.l.add(id, moved{id, rapid.Int64Range(0, 100).Draw(t, "cents")})
			if rapid.IntRange(0, 15).Draw(t, "fails") == 0 {
				m.f.set(at, rapid.IntRange(1, 5).Draw(t, "times"))
			}
		}
	}
}

// apply delivers a page that may begin before the checkpoint and may fail.
func (m *machine) apply(t *rapid.T) {
	at, err := m.p.Checkpoint(context.Background())
	require.NoError(t, err)
	after := max(0, at.Position-rapid.Int64Range(0, 30).Draw(t, "again"))
	pg := page(m.l, after, rapid.IntRange(1, 50).Draw(t, "limit"))
	if rapid.Bool().Draw(t, "ahead") {
		some := pg
		some.Events = pg.Events[:rapid.IntRange(0, len(pg.Events)).Draw(t, "decoded")]
		pg.Prepared = m.p.Prepare(some, never)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if rapid.IntRange(0, 9).Draw(t, "shutdown") == 0 {
		cancel()
	}
	err = m.p.Apply(ctx, pg)
	now, err2 := m.p.Checkpoint(context.Background())
	require.NoError(t, err2)
	require.GreaterOrEqual(t, now.Position, at.Position)
	if err == nil {
		require.GreaterOrEqual(t, now.Position, pg.Through.Position)
	}
}

func (m *machine) restart(t *rapid.T) {
	require.NoError(t, m.p.Close())
	if rapid.IntRange(0, 3).Draw(t, "upgrade") == 0 {
		m.version++
	}
	m.open(t)
}

func (m *machine) rebuild(t *rapid.T) {
	got, err := m.p.Rebuild(context.Background(), nil)
	if err == nil {
		require.True(t, got.Identical, got.Difference)
	}
}

func TestTheReadModelIsAlwaysTheFold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "leat")
		require.NoError(t, err)
		defer func() { require.NoError(t, os.RemoveAll(dir)) }()
		m := &machine{dir: dir, l: newTape(), f: &faults{}, version: 1}
		m.open(t)
		defer func() { require.NoError(t, m.p.Close()) }()
		var seen int64
		t.Repeat(map[string]func(*rapid.T){
			"append":  m.append,
			"apply":   m.apply,
			"apply2":  m.apply,
			"restart": m.restart,
			"rebuild": m.rebuild,
			"": func(t *rapid.T) {
				at := requireFold(t, m.p, m.l)
				require.GreaterOrEqual(t, at, seen, "reads never go back")
				seen = at
			},
		})
		m.f.left = nil
		for deliver(t, m.p, m.l, 100) != nil {
		}
		require.Equal(t, m.l.head(), requireFold(t, m.p, m.l))
		require.Equal(t, m.version, m.p.Status().Version)
	})
}
