package serverless_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/serverless"
)

// Unheard is an event that never happens.
type Unheard struct{}

func (Unheard) EventType() string { return "unheard" }

// BenchmarkInstants moves the virtual clock from timer to timer of one saga: a
// firing, a command, an event and its step for each instant, over the embedded
// store at full durability.
func BenchmarkInstants(b *testing.B) {
	for _, idle := range []int{0, 9} {
		for _, ordered := range []bool{false, true} {
			b.Run(fmt.Sprintf("idle=%d/ordered=%v", idle, ordered), func(b *testing.B) { benchmarkInstants(b, idle, ordered) })
		}
	}
}

func benchmarkInstants(b *testing.B, idle int, ordered bool) {
	clk := clock.NewVirtual(epoch)
	bank := newBank(b, b.TempDir(), serverless.Options{Clock: clk, Ordered: ordered}, withSaving, func(bank *bank) {
		for i := range idle {
			bank.Project(projection.Define(fmt.Sprintf("idle%d", i), 1, `CREATE TABLE t (id INTEGER PRIMARY KEY) STRICT`,
				projection.On(func(context.Context, *projection.Tx, eventstore.Of[Unheard]) error { return nil })))
		}
	})
	_, err := bank.Invoke(b.Context(), "start_plan", StartPlan{Plan: "p", Rounds: 1 << 40, Every: time.Minute})
	require.NoError(b, err)
	const chunk = 100
	until, instants := epoch, 0
	for b.Loop() {
		until = until.Add(chunk * time.Minute)
		_, err := bank.Drain(b.Context(), serverless.Budget{Until: until})
		require.NoError(b, err)
		instants += chunk
	}
	b.ReportMetric(float64(instants)/b.Elapsed().Seconds(), "instants/s")
}
