package bus_test

import (
	"context"
	"errors"
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

// broker keeps what is published, and fails when told, after it has kept a
// part.
type broker struct {
	mu       sync.Mutex // guards what follows
	got      []published
	failNext int // calls
	keep     int // messages of a call that fails
}

type published struct {
	topic string
	msg   *message.Message
}

func (b *broker) Publish(topic string, messages ...*message.Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, msg := range messages {
		if b.failNext > 0 && i >= b.keep {
			b.failNext--
			return errors.New("broker away")
		}
		b.got = append(b.got, published{topic, msg})
	}
	return nil
}

func (b *broker) Close() error { return nil }

func (b *broker) published() []published {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]published(nil), b.got...)
}

func (b *broker) fail(calls, keep int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failNext, b.keep = calls, keep
}

func TestRelayPublishesInOrderAndResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, checkpoints, to := memory.New(nil), bus.NewMemoryCheckpoints(), &broker{}
		for i := range 250 {
			appendTo(t, store, []string{"ride-1", "ride-2", "driver-1"}[i%3], event(i))
		}
		to.fail(3, 30)
		relay := startRelay(t, store, to, checkpoints)
		time.Sleep(time.Hour)
		relay()
		checkRelayed(t, store, to.published(), 250)
		require.Len(t, to.published(), 250+3*30, "what a failing call has published comes again")
		at, err := checkpoints.Load(context.Background(), bus.DefaultRelayName)
		require.NoError(t, err)
		require.Equal(t, int64(250), at.Position)

		for i := range 50 {
			appendTo(t, store, "ride-1", event(i))
		}
		before := len(to.published())
		relay = startRelay(t, store, to, checkpoints)
		synctest.Wait()
		relay()
		require.Len(t, to.published(), before+50, "it goes on where it was")
		checkRelayed(t, store, to.published(), 300)
	})
}

func startRelay(t *testing.T, store eventstore.LogReader, to message.Publisher, cp bus.Checkpoints) (stop func()) {
	relay, err := bus.NewRelay(store, to, cp, &bus.RelayOptions{Logger: quiet, Topic: func(eventstore.Recorded) string { return "all" }})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- relay.Run(ctx) }()
	return func() { cancel(); require.NoError(t, <-ended) }
}

// checkRelayed demands every event, first occurrences in order.
func checkRelayed(t *testing.T, log eventstore.LogReader, got []published, through int64) {
	t.Helper()
	seen := map[string]bool{}
	var first []string
	for _, p := range got {
		if !seen[p.msg.UUID] {
			seen[p.msg.UUID] = true
			first = append(first, p.msg.UUID)
		}
		require.Equal(t, p.msg.Metadata[bus.MetaStream], p.msg.Metadata[bus.MetaPartitionKey])
		require.Equal(t, "all", p.topic)
	}
	var want []string
	for e, err := range eventstore.Log(context.Background(), log, 0, eventstore.Filter{}) {
		require.NoError(t, err)
		want = append(want, e.ID.String())
	}
	require.Equal(t, want, first)
	require.Len(t, want, int(through))
}

func TestRelaySavesWhatWasPublishedBeforeAFailure(t *testing.T) {
	store, checkpoints, to := memory.New(nil), bus.NewMemoryCheckpoints(), &broker{}
	for i := range 10 {
		appendTo(t, store, fmt.Sprintf("c%d-1", i/5), event(i)) // two topics
	}
	relay, err := bus.NewRelay(store, &secondCallFails{broker: to}, checkpoints, nil)
	require.NoError(t, err)
	ctx := context.Background()
	_, err = relay.Checkpoint(ctx)
	require.NoError(t, err)
	read, err := store.ReadLog(ctx, 0, 100, eventstore.Filter{})
	require.NoError(t, err)
	require.ErrorContains(t, relay.Apply(ctx, bus.Page{Events: read.Events, Through: read.Through}), "broker away")
	at, err := relay.Checkpoint(ctx)
	require.NoError(t, err)
	require.NoError(t, eventstore.CheckAnchor(ctx, store, at))
	require.Equal(t, int64(5), at.Position)
}

type secondCallFails struct {
	*broker
	calls int
}

func (s *secondCallFails) Publish(topic string, messages ...*message.Message) error {
	if s.calls++; s.calls == 2 {
		return errors.New("broker away")
	}
	return s.broker.Publish(topic, messages...)
}

func TestTwoRelaysOfOneNameDoNotMoveTheCheckpointBack(t *testing.T) {
	store, checkpoints := memory.New(nil), bus.NewMemoryCheckpoints()
	ctx := context.Background()
	appendTo(t, store, "a")
	read, err := store.ReadLog(ctx, 0, 100, eventstore.Filter{})
	require.NoError(t, err)
	page := bus.Page{Events: read.Events, Through: read.Through}
	var relays [2]*bus.Relay
	for i := range relays {
		relays[i], err = bus.NewRelay(store, &broker{}, checkpoints, nil)
		require.NoError(t, err)
		_, err = relays[i].Checkpoint(ctx)
		require.NoError(t, err)
	}
	require.NoError(t, relays[0].Apply(ctx, page))
	require.ErrorIs(t, relays[1].Apply(ctx, page), bus.ErrCheckpointMoved)
}
