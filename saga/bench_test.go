package saga

import (
	"context"
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

// BenchmarkInstants measures virtual time: one timer, one command and one event
// an instant, each instant settled, at full durability.
func BenchmarkInstants(b *testing.B) {
	for _, ordered := range []bool{false, true} {
		b.Run(fmt.Sprint("ordered=", ordered), func(b *testing.B) {
			def := Define("bench", 1,
				Starts(byPlaced, func(o *order, c *Context, e placed) error {
					c.After("next", time.Second)
					return nil
				}),
				Timer("next", func(o *order, c *Context) error {
					c.Send(reserve{c.Key()})
					return nil
				}))
			clk := clock.NewVirtual(start)
			log := memory.New(&memory.Options{Clock: clk})
			e, err := Open(b.Context(), b.TempDir(), log, clk, []*Definition{def}, &Options{Ordered: ordered})
			require.NoError(b, err)
			ctx, cancel := context.WithCancel(b.Context())
			router, err := bus.NewRouter(log, nil)
			require.NoError(b, err)
			require.NoError(b, router.Add(e))
			placedEvent := func(id string, meta eventstore.Metadata) eventstore.Batch {
				ev, err := eventstore.Encode(placed{"1"})
				require.NoError(b, err)
				ev.Metadata = meta
				return eventstore.Batch{ID: id, Writes: []eventstore.Write{{Stream: "s", Events: []eventstore.EventData{ev}}}}
			}
			require.NoError(b, router.AddHandler("outbox", "", e.Outbox(), e.Dispatcher(func(ctx context.Context, cmd bus.Command) (eventstore.Commit, error) {
				return log.Append(ctx, placedEvent(cmd.ID, cmd.Metadata))
			})))
			ended := make(chan error, 1)
			go func() { ended <- router.Run(ctx) }()
			<-router.Running()
			_, err = log.Append(b.Context(), placedEvent("", nil))
			require.NoError(b, err)
			settle := func() {
				for {
					head, err := log.Head(ctx)
					require.NoError(b, err)
					require.NoError(b, router.Settle(ctx, head))
					require.NoError(b, e.Settle(ctx))
					again, err := log.Head(ctx)
					require.NoError(b, err)
					if again == head {
						return
					}
				}
			}
			settle()
			for b.Loop() {
				due, ok, err := e.NextDue(ctx)
				require.NoError(b, err)
				require.True(b, ok)
				clk.Advance(due)
				n, err := e.FireDue(ctx)
				require.NoError(b, err)
				require.Equal(b, 1, n)
				settle()
			}
			cancel()
			require.NoError(b, <-ended)
			require.NoError(b, e.Close())
		})
	}
}
