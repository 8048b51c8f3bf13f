package bus_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
)

// nothing is a consumer whose Apply costs nothing.
type nothing struct {
	name   string
	size   int
	filter eventstore.Filter
	at     eventstore.Anchor
}

func (n *nothing) Name() string                                          { return n.name }
func (n *nothing) Filter() eventstore.Filter                             { return n.filter }
func (n *nothing) PageSize() int                                         { return n.size }
func (n *nothing) Checkpoint(context.Context) (eventstore.Anchor, error) { return n.at, nil }
func (n *nothing) Apply(_ context.Context, p bus.Page) error             { n.at = p.Through; return nil }

func fill(b *testing.B, store eventstore.Appender, n int) {
	events := make([]eventstore.EventData, 1000)
	for i := range events {
		events[i] = event(i)
	}
	for range n / len(events) {
		appendTo(b, store, "ride-1", events...)
	}
}

// BenchmarkRouter carries a backlog to one consumer.
func BenchmarkRouter(b *testing.B) {
	const backlog = 20_000
	store := memory.New(nil)
	fill(b, store, backlog)
	for _, size := range []int{1, 100, 500} {
		b.Run(fmt.Sprintf("page=%d", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := newRouter(b, store, nil, &nothing{name: "n", size: size})
				stop := run(b, r)
				settle(b, r, backlog)
				stop()
			}
			events := float64(b.N) * backlog
			b.ReportMetric(events/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/events, "ns/event")
		})
	}
}

// BenchmarkFollow is one instant of virtual time: an append, and all consumers
// settled, of which most are not concerned.
func BenchmarkFollow(b *testing.B) {
	for _, consumers := range []int{1, 12} {
		b.Run(fmt.Sprintf("consumers=%d", consumers), func(b *testing.B) {
			store := memory.New(nil)
			r := newRouter(b, store, nil)
			for i := range consumers {
				n := &nothing{name: fmt.Sprint(i), size: bus.DefaultPageSize}
				if i >= 3 {
					n.filter.Types = []string{"never"}
				}
				if err := r.Add(n); err != nil {
					b.Fatal(err)
				}
			}
			stop := run(b, r)
			b.ReportAllocs()
			for b.Loop() {
				settle(b, r, appendTo(b, store, "ride-1"))
			}
			stop()
		})
	}
}

// BenchmarkSettle is Settle where everything is scanned.
func BenchmarkSettle(b *testing.B) {
	store := memory.New(nil)
	r := newRouter(b, store, nil)
	for i := range 12 {
		if err := r.Add(&nothing{name: fmt.Sprint(i), size: 1}); err != nil {
			b.Fatal(err)
		}
	}
	stop := run(b, r)
	head := appendTo(b, store, "ride-1")
	settle(b, r, head)
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Settle(context.Background(), head); err != nil {
			b.Fatal(err)
		}
	}
	stop()
}

// BenchmarkSubscriber carries a backlog to an ordinary Watermill subscriber.
func BenchmarkSubscriber(b *testing.B) {
	const backlog = 10_000
	store := memory.New(nil)
	fill(b, store, backlog)
	for _, group := range []string{"", "g"} {
		b.Run("group="+group, func(b *testing.B) {
			for b.Loop() {
				sub := newSubscriber(b, store, bus.NewMemoryCheckpoints(), bus.SubscriberOptions{Group: group})
				messages, err := sub.Subscribe(context.Background(), "ride-1")
				if err != nil {
					b.Fatal(err)
				}
				for range backlog {
					(<-messages).Ack()
				}
				if err := sub.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*backlog/b.Elapsed().Seconds(), "events/s")
		})
	}
}
