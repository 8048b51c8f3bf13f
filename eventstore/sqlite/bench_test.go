package sqlite_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
)

func payload() eventstore.EventData {
	return eventstore.EventData{
		Type: "ride_requested", Data: []byte(`{"pad":"` + strings.Repeat("x", 240) + `"}`),
		Metadata: eventstore.Metadata{"correlation_id": strings.Repeat("c", 36), "actor": strings.Repeat("a", 30)},
	}
}

func batchOf(stream string, events int) eventstore.Batch {
	w := eventstore.Write{Stream: stream, Events: make([]eventstore.EventData, events)}
	for i := range w.Events {
		w.Events[i] = payload()
	}
	return eventstore.Batch{Writes: []eventstore.Write{w}}
}

func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct{ writers, batch int }{{1, 1}, {1, 100}, {8, 1}, {64, 1}, {256, 1}} {
		b.Run(fmt.Sprintf("writers=%d/batch=%d", c.writers, c.batch), func(b *testing.B) {
			benchmarkAppend(b, nil, c.writers, c.batch)
		})
	}
	b.Run("writers=64/batch=1/relaxed", func(b *testing.B) {
		benchmarkAppend(b, &sqlite.Options{Durability: sqlite.Relaxed}, 64, 1)
	})
}

func benchmarkAppend(b *testing.B, opts *sqlite.Options, writers, batch int) {
	s, err := sqlite.Open(b.Context(), b.TempDir(), opts)
	require.NoError(b, err)
	defer func() { require.NoError(b, s.Close()) }()
	var next atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			request := batchOf(fmt.Sprintf("ride-%d", w), batch)
			for next.Add(1) <= int64(b.N) {
				if _, err := s.Append(context.Background(), request); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkAppendToNewStreams(b *testing.B) {
	s, err := sqlite.Open(b.Context(), b.TempDir(), nil)
	require.NoError(b, err)
	defer func() { require.NoError(b, s.Close()) }()
	const streams = 1000
	n := 0
	for b.Loop() {
		var batch eventstore.Batch
		for range streams {
			batch.Writes = append(batch.Writes, eventstore.Write{
				Stream: fmt.Sprintf("ride-%016x", rand.Uint64()), Events: []eventstore.EventData{payload()},
			})
		}
		if _, err := s.Append(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		n += streams
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkReadLog(b *testing.B) {
	s, err := sqlite.Open(b.Context(), b.TempDir(), nil)
	require.NoError(b, err)
	defer func() { require.NoError(b, s.Close()) }()
	const events = 100_000
	for i := range events / 1000 {
		batch := batchOf(fmt.Sprintf("ride-%d", i), 1000)
		_, err := s.Append(b.Context(), batch)
		require.NoError(b, err)
	}
	for name, f := range map[string]eventstore.Filter{"all": {}, "category": {Categories: []string{"ride"}}, "none": {Categories: []string{"x"}}} {
		b.Run("filter="+name, func(b *testing.B) {
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				for after := int64(0); after < events; {
					page, err := s.ReadLog(b.Context(), after, 500, f)
					if err != nil {
						b.Fatal(err)
					}
					after = page.Through.Position
				}
				n += events
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
		})
	}
	b.Run("stream=100", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.ReadStream(b.Context(), "ride-7", 1, 100); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkReadStream(b *testing.B) {
	for _, moved := range []bool{false, true} {
		b.Run(fmt.Sprintf("events=100/moved=%t", moved), func(b *testing.B) {
			opts := &sqlite.Options{}
			if moved {
				opts.IndexEvents = 1
			}
			s, err := sqlite.Open(b.Context(), b.TempDir(), opts)
			require.NoError(b, err)
			defer func() { require.NoError(b, s.Close()) }()
			const streams = 100
			for i := range 10 * streams { // ten times ten, as streams of a busy log lie
				_, err := s.Append(b.Context(), batchOf(fmt.Sprintf("ride-%d", i%streams), 10))
				require.NoError(b, err)
			}
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				events, err := s.ReadStream(b.Context(), fmt.Sprintf("ride-%d", rand.IntN(streams)), 1, 500)
				if err != nil || len(events) != 100 {
					b.Fatal(len(events), err)
				}
				n += len(events)
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, events := range []int{1000, 19_000} {
		b.Run(fmt.Sprintf("unindexed=%d", events), func(b *testing.B) {
			dir := b.TempDir()
			s, err := sqlite.Open(b.Context(), dir, nil)
			require.NoError(b, err)
			for i := range events / 1000 {
				_, err := s.Append(b.Context(), batchOf(fmt.Sprintf("ride-%d", i), 1000))
				require.NoError(b, err)
			}
			require.NoError(b, s.Close())
			b.ReportAllocs()
			for b.Loop() {
				s, err := sqlite.Open(b.Context(), dir, nil)
				if err != nil {
					b.Fatal(err)
				}
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	s, err := sqlite.Open(b.Context(), b.TempDir(), nil)
	require.NoError(b, err)
	defer func() { require.NoError(b, s.Close()) }()
	const events = 50_000
	for i := range events / 1000 {
		_, err := s.Append(b.Context(), batchOf(fmt.Sprintf("ride-%d", i), 1000))
		require.NoError(b, err)
	}
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		r, err := s.Verify(b.Context())
		if err != nil || !r.OK() {
			b.Fatal(r.Findings, err)
		}
		n += events
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}
