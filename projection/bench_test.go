package projection

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
)

func upserts() *Definition {
	return Define("counts", 1, `CREATE TABLE count (id TEXT PRIMARY KEY, n INTEGER NOT NULL) STRICT, WITHOUT ROWID`,
		On(func(_ context.Context, tx *Tx, e eventstore.Of[moved]) error {
			_, err := tx.Exec(`
				INSERT INTO count (id, n)
				VALUES (?, 1)
				ON CONFLICT (id) DO UPDATE SET n = n + 1`, e.Payload.Account)
			return err
		}))
}

// One upsert per event, in pages, decoding included.
func BenchmarkApply(b *testing.B) {
	for _, size := range []int{1, 10, 100, 500} {
		b.Run(fmt.Sprintf("page=%d", size), func(b *testing.B) {
			l := newTape()
			for i := range size {
				id := fmt.Sprint("a-", i%1000)
				l.add(id, moved{id, 1})
			}
			p, err := Open(b.Context(), b.TempDir(), l, upserts(), nil)
			require.NoError(b, err)
			defer func() { require.NoError(b, p.Close()) }()
			events := l.events
			at := int64(0)
			for b.Loop() {
				for i := range events {
					events[i].Position = at + int64(i) + 1
				}
				next := l.at(at + int64(size))
				if err := p.Apply(b.Context(), bus.Page{After: at, Events: events, Through: next}); err != nil {
					b.Fatal(err)
				}
				at = next.Position
			}
			b.ReportMetric(float64(at)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

func BenchmarkRebuild(b *testing.B) {
	l := newTape()
	const n = 50_000
	for i := range n {
		id := fmt.Sprint("a-", i%1000)
		l.add(id, moved{id, 1})
	}
	p, err := Open(b.Context(), b.TempDir(), l, upserts(), nil)
	require.NoError(b, err)
	defer func() { require.NoError(b, p.Close()) }()
	require.NoError(b, deliver(b, p, l, 5000))
	rebuilds := 0
	for b.Loop() {
		got, err := p.Rebuild(b.Context(), nil)
		if err != nil || !got.Identical {
			b.Fatal(got, err)
		}
		rebuilds++
	}
	b.ReportMetric(float64(rebuilds*n)/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkRead(b *testing.B) {
	l := newTape()
	someMoves(l, 1000)
	p, err := Open(b.Context(), b.TempDir(), l, ledger(1, nil), nil)
	require.NoError(b, err)
	defer func() { require.NoError(b, p.Close()) }()
	require.NoError(b, deliver(b, p, l, 5000))
	for b.Loop() {
		err := p.Read(b.Context(), 1000, func(r *Reader) error {
			return r.QueryRow(`SELECT mix FROM account WHERE id = ?`, "a-1").Scan(new(int64))
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
