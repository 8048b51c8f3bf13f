package bus_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
)

func newSubscriber(t testing.TB, log eventstore.LogReader, cp bus.Checkpoints, opts bus.SubscriberOptions) *bus.Subscriber {
	t.Helper()
	opts.Logger = quiet
	sub, err := bus.NewSubscriber(log, cp, &opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sub.Close()) })
	return sub
}

func everything(string) (eventstore.Filter, error) { return eventstore.Filter{}, nil }

func TestPartitionsKeepTheOrderOfAStream(t *testing.T) {
	store := memory.New(nil)
	for i := range 400 {
		appendTo(t, store, fmt.Sprintf("s-%d", i%20), event(i))
	}
	sub := newSubscriber(t, store, bus.NewMemoryCheckpoints(), bus.SubscriberOptions{Group: "g", Filter: everything, Partitions: 4})
	messages, err := sub.Subscribe(context.Background(), "all")
	require.NoError(t, err)
	versions := map[string]int64{}
	inFlight := map[int]*message.Message{} // by partition
	for range 400 {
		msg := <-messages
		page, ok := bus.PageFrom(msg)
		require.True(t, ok)
		e := page.Events[0]
		require.Equal(t, versions[e.Stream]+1, e.Version)
		versions[e.Stream] = e.Version
		partition := bus.PartitionOf(e.Stream, 4)
		if before := inFlight[partition]; before != nil {
			select {
			case <-before.Acked():
			default:
				t.Fatal("two messages of a partition in flight")
			}
		}
		inFlight[partition] = msg
		msg.Ack()
	}
	require.Len(t, inFlight, 4)
}

func TestPartitionOfNeverChanges(t *testing.T) {
	require.Equal(t, []int{0, 5, 4, 2}, []int{bus.PartitionOf("ride-1", 1), bus.PartitionOf("ride-1", 8), bus.PartitionOf("ride-2", 8), bus.PartitionOf("", 5)})
}

func TestPagesGrowWithTheBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(nil)
		sub := newSubscriber(t, store, bus.NewMemoryCheckpoints(), bus.SubscriberOptions{Group: "g", Filter: everything, PageSize: 100})
		messages, err := sub.Subscribe(context.Background(), "all")
		require.NoError(t, err)
		var sizes []int
		appendTo(t, store, "a")
		for range 3 {
			msg := <-messages
			page, _ := bus.PageFrom(msg)
			require.Empty(t, msg.Payload)
			sizes = append(sizes, len(page.Events))
			if len(sizes) == 1 {
				for i := range 150 {
					appendTo(t, store, "a", event(i))
				}
			}
			msg.Ack()
		}
		require.Equal(t, []int{1, 100, 50}, sizes)
		require.NoError(t, sub.Close())
	})
}

// The members of a group share one lane where the checkpoints can lease it, and
// take over where it ends.
func TestGroupTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, cp := memory.New(nil), bus.NewMemoryCheckpoints()
		for i := range 4 {
			appendTo(t, store, "topic", event(i))
		}
		first := newSubscriber(t, store, cp, bus.SubscriberOptions{Group: "g"})
		second := newSubscriber(t, store, cp, bus.SubscriberOptions{Group: "g"})
		a, err := first.Subscribe(context.Background(), "topic")
		require.NoError(t, err)
		(<-a).Ack()
		b, err := second.Subscribe(context.Background(), "topic")
		require.NoError(t, err)
		msg := <-a // unanswered
		synctest.Wait()
		select {
		case <-b:
			t.Fatal("two members deliver at once")
		default:
		}
		require.NoError(t, first.Close())
		require.ErrorIs(t, msg.Context().Err(), context.Canceled)
		_, open := <-a
		require.False(t, open)
		again := <-b
		require.Equal(t, msg.UUID, again.UUID)
		again.Ack()
		require.NoError(t, second.Close())
		at, err := cp.Load(context.Background(), "g/topic")
		require.NoError(t, err)
		require.Equal(t, int64(2), at.Position, "what was acknowledged is saved, though it is closing")
	})
}

// notLeasing hides what a MemoryCheckpoints can lease.
type notLeasing struct{ bus.Checkpoints }

func TestGroupWithoutLeasesDeliversAtLeastOnce(t *testing.T) {
	store, cp := memory.New(nil), notLeasing{bus.NewMemoryCheckpoints()}
	for i := range 100 {
		appendTo(t, store, "topic", event(i))
	}
	var mu sync.Mutex
	seen := map[string]bool{}
	all := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		sub := newSubscriber(t, store, cp, bus.SubscriberOptions{Group: "g"})
		messages, err := sub.Subscribe(context.Background(), "topic")
		require.NoError(t, err)
		readers.Go(func() {
			for {
				select {
				case msg := <-messages:
					mu.Lock()
					if seen[msg.UUID] = true; len(seen) == 100 {
						select {
						case <-all:
						default:
							close(all)
						}
					}
					mu.Unlock()
					msg.Ack()
				case <-all:
					return
				}
			}
		})
	}
	readers.Wait()
	at, err := cp.Load(context.Background(), "g/topic")
	require.NoError(t, err)
	require.GreaterOrEqual(t, at.Position, int64(99))
}

// Eventuous 222, for subscribers: scanning without matches is saved, but
// rarely.
func TestSubscriberSavesWhatItScannedLazily(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, cp := memory.New(nil), &countingCheckpoints{MemoryCheckpoints: bus.NewMemoryCheckpoints()}
		sub := newSubscriber(t, store, cp, bus.SubscriberOptions{Group: "g"})
		messages, err := sub.Subscribe(context.Background(), "topic")
		require.NoError(t, err)
		many := make([]eventstore.EventData, 1000)
		for i := range many {
			many[i] = event(i)
		}
		for range 25 {
			appendTo(t, store, "other", many...)
			synctest.Wait()
		}
		require.Equal(t, 2, cp.saves)
		at, err := cp.Load(context.Background(), "g/topic")
		require.NoError(t, err)
		require.Equal(t, int64(2*bus.LazySave), at.Position)
		time.Sleep(24 * time.Hour)
		require.Equal(t, 2, cp.saves, "idling saves nothing")
		appendTo(t, store, "topic")
		(<-messages).Ack()
		require.NoError(t, sub.Close())
		require.Equal(t, 3, cp.saves)
	})
}

type countingCheckpoints struct {
	*bus.MemoryCheckpoints
	saves int
}

func (c *countingCheckpoints) Save(ctx context.Context, consumer string, from, to eventstore.Anchor) error {
	c.saves++
	return c.MemoryCheckpoints.Save(ctx, consumer, from, to)
}

func TestPublishingAgainStoresNothingTwice(t *testing.T) {
	store := memory.New(nil)
	pub, err := bus.NewPublisher(store, nil)
	require.NoError(t, err)
	msg := message.NewMessage("not-a-uuid", nil)
	msg.Metadata["k"] = "v"
	typed := message.NewMessage("2", []byte("x"))
	typed.Metadata[bus.MetaType], typed.Metadata[bus.MetaSchemaVersion] = "order_placed", "3"
	for range 3 {
		require.NoError(t, pub.Publish("orders.eu-west 1", msg, typed))
	}
	events, err := store.ReadStream(context.Background(), "orders.eu-west 1", 1, 10)
	require.NoError(t, err)
	require.Len(t, events, 2)
	require.Equal(t, bus.DefaultMessageType, events[0].Type)
	require.Empty(t, events[0].Data)
	require.Equal(t, "order_placed", events[1].Type)
	require.Equal(t, 3, events[1].SchemaVersion)
	back := bus.EventMessage(events[0])
	require.Equal(t, "not-a-uuid", back.UUID)
	require.Equal(t, "v", back.Metadata["k"])

	require.NoError(t, pub.Publish("orders.eu-west 1", message.NewMessage("", nil)))
	require.NoError(t, pub.Publish("orders.eu-west 1", message.NewMessage("", nil)), "without a UUID each is another")
	require.NoError(t, pub.Publish("copy", back), "a message of one stream can go on to another")
	events, err = store.ReadStream(context.Background(), "copy", 1, 10)
	require.NoError(t, err)
	require.Equal(t, "copy", bus.EventMessage(events[0]).Metadata[bus.MetaStream])

	require.ErrorIs(t, pub.Publish("orders.eu-west 1", message.NewMessage("not-a-uuid", []byte("other")), typed), eventstore.ErrIDReused)
	require.ErrorIs(t, pub.Publish("", msg), eventstore.ErrInvalid)
	bad := message.NewMessage("3", nil)
	bad.Metadata[bus.MetaSchemaVersion] = "three"
	require.ErrorIs(t, pub.Publish("t", bad), eventstore.ErrInvalid)
	require.NoError(t, pub.Close())
	require.NoError(t, pub.Close())
	require.ErrorIs(t, pub.Publish("t", msg), eventstore.ErrClosed)
}

func TestSubscriberRefusals(t *testing.T) {
	store := memory.New(nil)
	_, err := bus.NewSubscriber(store, nil, &bus.SubscriberOptions{Group: "g"})
	require.ErrorIs(t, err, eventstore.ErrInvalid)
	_, err = bus.NewSubscriber(store, nil, &bus.SubscriberOptions{PageSize: -1})
	require.ErrorIs(t, err, eventstore.ErrInvalid)
	sub, err := bus.NewSubscriber(store, nil, nil)
	require.NoError(t, err)
	_, err = sub.Subscribe(context.Background(), "")
	require.ErrorIs(t, err, eventstore.ErrInvalid)
	require.NoError(t, sub.Close())
	_, err = sub.Subscribe(context.Background(), "t")
	require.ErrorIs(t, err, eventstore.ErrClosed)
}

// watermill 271: a refused message comes again before its successors.
func TestRefusedMessageComesAgainFirst(t *testing.T) {
	store := memory.New(nil)
	for i := range 3 {
		appendTo(t, store, "topic", event(i))
	}
	for _, group := range []string{"", "g"} {
		sub := newSubscriber(t, store, bus.NewMemoryCheckpoints(), bus.SubscriberOptions{Group: group, MinRedelivery: 1, MaxRedelivery: 1})
		messages, err := sub.Subscribe(context.Background(), "topic")
		require.NoError(t, err)
		var got []string
		for i := range 9 {
			msg := <-messages
			got = append(got, msg.Metadata[bus.MetaVersion])
			if i%3 < 2 {
				msg.Nack()
			} else {
				msg.Ack()
			}
		}
		require.Equal(t, []string{"1", "1", "1", "2", "2", "2", "3", "3", "3"}, got)
	}
}

// lateCheckpoints saves only once its subscriber is being closed, as a store
// that heeds contexts would.
type lateCheckpoints struct {
	*bus.MemoryCheckpoints
	saving, closing chan struct{}
}

func (c *lateCheckpoints) Save(ctx context.Context, consumer string, from, to eventstore.Anchor) error {
	close(c.saving)
	<-c.closing
	if err := ctx.Err(); err != nil {
		return err
	}
	return c.MemoryCheckpoints.Save(ctx, consumer, from, to)
}

func TestWhatWasAcknowledgedIsSavedWhileClosing(t *testing.T) {
	store := memory.New(nil)
	appendTo(t, store, "topic")
	cp := &lateCheckpoints{bus.NewMemoryCheckpoints(), make(chan struct{}), make(chan struct{})}
	sub := newSubscriber(t, store, cp, bus.SubscriberOptions{Group: "g"})
	ctx, cancel := context.WithCancel(context.Background())
	messages, err := sub.Subscribe(ctx, "topic")
	require.NoError(t, err)
	(<-messages).Ack()
	<-cp.saving
	cancel()
	close(cp.closing)
	_, open := <-messages
	require.False(t, open)
	at, err := cp.Load(context.Background(), "g/topic")
	require.NoError(t, err)
	require.Equal(t, int64(1), at.Position)
}
