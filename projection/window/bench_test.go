package window_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/projection/window"
)

// plainCount is what windows are measured against: one upsert for an event.
func plainCount() *projection.Definition {
	return projection.Define("bench", 1, `CREATE TABLE minute (key TEXT, starts INTEGER, n INTEGER NOT NULL, PRIMARY KEY (key, starts)) STRICT, WITHOUT ROWID`,
		projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[sold]) error {
			_, err := tx.Exec(`
				INSERT INTO minute (key, starts, n)
				VALUES (?, ?, 1)
				ON CONFLICT (key, starts) DO UPDATE SET n = n + 1`, e.Payload.Shop, e.Payload.At/60)
			return err
		}))
}

func benchFeed(windows ...*window.Window[sold]) *projection.Definition {
	return projection.Define("bench", 1, "", window.On(window.Define("shop", &window.Options{Lateness: 2 * time.Minute}, windows...), item))
}

// BenchmarkAdd adds events of 100 keys, one a second and out of order by up to
// a minute, in pages of 500, decoding included.
func BenchmarkAdd(b *testing.B) {
	count, cents := window.Count[sold]("n"), func(s sold) int64 { return s.Cents }
	for _, bench := range []struct {
		name string
		def  *projection.Definition
	}{
		{"plain-upsert", plainCount()},
		{"tumbling", benchFeed(window.Tumbling("w", time.Minute, count))},
		{"tumbling-all", benchFeed(window.Tumbling("w", time.Minute, count, window.Sum("total", cents), window.Min("lowest", cents), window.Max("highest", cents), window.Quantiles("spread", cents)))},
		{"sliding=5", benchFeed(window.Sliding("w", 5*time.Minute, time.Minute, count))},
		{"sliding=15", benchFeed(window.Sliding("w", 15*time.Minute, time.Minute, count))},
		{"session", benchFeed(window.Session("w", 3*time.Minute, count))},
		{"fold-any-order", benchFeed(window.Tumbling("w", time.Minute, window.FoldAnyOrder("f", func(n int64, s sold) int64 { return n + s.Cents }, nil)))},
		{"fold-in-order", benchFeed(window.Tumbling("w", time.Minute, window.FoldInOrder("f", func(n int64, s sold) int64 { return n*31 + s.Cents })))},
	} {
		b.Run(bench.name, func(b *testing.B) { run(b, bench.def) })
	}
	b.Run("join", func(b *testing.B) {
		j := window.DefineJoin("j", time.Minute, &window.Options{Lateness: 2 * time.Minute}, func(context.Context, *projection.Tx, window.Pair[sold, sold]) error { return nil })
		run(b, projection.Define("bench", 1, "", j.Tables(), projection.On(func(ctx context.Context, tx *projection.Tx, e eventstore.Of[sold]) error {
			if e.Position%2 == 0 {
				return j.Left(ctx, tx, e.Recorded, e.Payload.point(), e.Payload)
			}
			return j.Right(ctx, tx, e.Recorded, e.Payload.point(), e.Payload)
		})))
	})
}

func run(b *testing.B, def *projection.Definition) {
	const size = 500
	p := openIn(b, b.TempDir(), record[sold](b, nil, recorded), def)
	defer func() { require.NoError(b, p.Close()) }()
	events := make([]eventstore.Recorded, size)
	at := int64(0)
	for b.Loop() {
		b.StopTimer()
		for i := range events {
			n := at + int64(i) + 1
			data, err := eventstore.Encode(sold{Shop: fmt.Sprint("shop-", n%100), At: n - n*7919%60, Cents: n * 31 % 5000})
			require.NoError(b, err)
			events[i] = eventstore.Recorded{Position: n, Stream: "all", Version: n, Type: data.Type, SchemaVersion: 1, Data: data.Data}
		}
		page := bus.Page{After: at, Events: events, Through: eventstore.Anchor{Epoch: "bench", Position: at + size}}
		b.StartTimer()
		if err := p.Apply(b.Context(), page); err != nil {
			b.Fatal(err)
		}
		at += size
	}
	b.ReportMetric(float64(at)/b.Elapsed().Seconds(), "events/s")
}
