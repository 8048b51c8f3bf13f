package verify_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/verify"
)

func BenchmarkDir(b *testing.B) {
	dir := b.TempDir()
	store := open(b, dir)
	const events = 20_000
	for i := range events / 100 {
		w := eventstore.Write{Stream: fmt.Sprintf("desk-%d", i), Events: make([]eventstore.EventData, 100)}
		for j := range w.Events {
			w.Events[j] = eventstore.EventData{Type: "asked", Data: fmt.Appendf(nil, `{"ID":"%d"}`, j)}
		}
		_, err := store.Append(b.Context(), eventstore.Batch{Writes: []eventstore.Write{w}})
		require.NoError(b, err)
	}
	require.NoError(b, store.Close())
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		report, err := verify.Dir(b.Context(), dir)
		if err != nil || !report.OK() {
			b.Fatal(report, err)
		}
		n += events
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}
