package memory_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
)

func batchOf(stream string, events int) eventstore.Batch {
	w := eventstore.Write{Stream: stream, Events: make([]eventstore.EventData, events)}
	for i := range w.Events {
		w.Events[i] = eventstore.EventData{Type: "asked", Data: []byte(`{"ride_id":"1","fare":1250}`)}
	}
	return eventstore.Batch{Writes: []eventstore.Write{w}}
}

func BenchmarkAppend(b *testing.B) {
	for _, batch := range []int{1, 100} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			s := memory.New(nil)
			request, n := batchOf("ride-1", batch), 0
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Append(b.Context(), request); err != nil {
					b.Fatal(err)
				}
				n += batch
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

func BenchmarkReadLog(b *testing.B) {
	s := memory.New(nil)
	const events = 10_000
	for i := range events / 100 {
		_, err := s.Append(b.Context(), batchOf(fmt.Sprintf("ride-%d", i), 100))
		require.NoError(b, err)
	}
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		for after := int64(0); after < events; {
			page, err := s.ReadLog(b.Context(), after, 500, eventstore.Filter{})
			if err != nil {
				b.Fatal(err)
			}
			after = page.Through.Position
			n += len(page.Events)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}
