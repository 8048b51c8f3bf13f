package saga

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
)

// BenchmarkSteps measures steps with one command and one timer each, four for
// an instance, at full durability.
func BenchmarkSteps(b *testing.B) {
	const page = 500
	def := Define("bench", 1,
		Starts(byPlaced, func(o *order, c *Context, e placed) error {
			o.Tries++
			c.Send(reserve{e.Order})
			c.After("late", time.Minute)
			return nil
		}),
		Timer("late", func(*order, *Context) error { return nil }))
	log := memory.New(nil)
	e, err := Open(b.Context(), b.TempDir(), log, clock.System(), []*Definition{def}, nil)
	require.NoError(b, err)
	defer func() { require.NoError(b, e.Close()) }()
	n := 0
	steps := 0
	for b.Loop() {
		batch := eventstore.Batch{}
		w := eventstore.Write{Stream: "s"}
		for range page {
			ev, err := eventstore.Encode(placed{fmt.Sprint("order-", n/4, "-", n%7)})
			require.NoError(b, err)
			w.Events = append(w.Events, ev)
			n++
		}
		batch.Writes = []eventstore.Write{w}
		_, err := log.Append(b.Context(), batch)
		require.NoError(b, err)
		at, _ := e.Checkpoint(b.Context())
		read, err := log.ReadLog(b.Context(), at.Position, page, e.Filter())
		require.NoError(b, err)
		require.NoError(b, e.Apply(b.Context(), bus.Page{After: at.Position, Events: read.Events, Through: read.Through}))
		// The commands are done at once.
		for c := e.outbox.next(1 << 30); c != nil; c = e.outbox.next(1 << 30) {
			e.outbox.ended(&result{cmd: c, outcome: outcomeDone})
		}
		steps += page
	}
	b.ReportMetric(float64(steps)/b.Elapsed().Seconds(), "steps/s")
}
