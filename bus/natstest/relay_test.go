package natstest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
)

// jetPublisher is a message.Publisher over JetStream: the topic and the
// partition key make the subject, and each message is acknowledged by the
// broker before the next is sent.
type jetPublisher struct {
	js jetstream.JetStream
	// deduplicate has the broker drop what it has by UUID.
	deduplicate bool
	// broken, while it is above 0, is counted down by one for each message;
	// the message that brings it to 0 is stored, and reported as lost.
	broken atomic.Int64
}

func (p *jetPublisher) Publish(topic string, messages ...*message.Message) error {
	for _, m := range messages {
		msg := nats.NewMsg("leat." + topic + "." + m.Metadata[bus.MetaPartitionKey])
		msg.Data = m.Payload
		for k, v := range m.Metadata {
			msg.Header.Set(k, v)
		}
		msg.Header.Set("uuid", m.UUID)
		var opts []jetstream.PublishOpt
		if p.deduplicate {
			opts = append(opts, jetstream.WithMsgID(m.UUID))
		}
		if _, err := p.js.PublishMsg(m.Context(), msg, opts...); err != nil {
			return err
		}
		if p.broken.Load() > 0 && p.broken.Add(-1) == 0 {
			return errors.New("connection lost before the answer")
		}
	}
	return nil
}

func (p *jetPublisher) Close() error { return nil }

func startServer(t *testing.T) jetstream.JetStream {
	t.Helper()
	ns, err := server.NewServer(&server.Options{DontListen: true, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true})
	require.NoError(t, err)
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	require.True(t, ns.ReadyForConnections(10*time.Second))
	nc, err := nats.Connect("", nats.InProcessServer(ns))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	_, err = js.CreateStream(context.Background(), jetstream.StreamConfig{Name: "LEAT", Subjects: []string{"leat.>"}, Duplicates: time.Minute})
	require.NoError(t, err)
	return js
}

// stored returns the messages the broker holds, in its order.
func stored(t *testing.T, js jetstream.JetStream, subject string) []jetstream.Msg {
	t.Helper()
	ctx := context.Background()
	stream, err := js.Stream(ctx, "LEAT")
	require.NoError(t, err)
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}})
	require.NoError(t, err)
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(subject))
	require.NoError(t, err)
	var n int
	for _, count := range info.State.Subjects {
		n += int(count)
	}
	var msgs []jetstream.Msg
	for len(msgs) < n {
		batch, err := consumer.Fetch(n-len(msgs), jetstream.FetchMaxWait(5*time.Second))
		require.NoError(t, err)
		before := len(msgs)
		for msg := range batch.Messages() {
			msgs = append(msgs, msg)
		}
		require.NoError(t, batch.Error())
		require.Greater(t, len(msgs), before, "the broker holds %d, gave %d", n, len(msgs))
	}
	return msgs
}

func appendEvents(t *testing.T, store eventstore.Appender, from, n int) (head int64) {
	t.Helper()
	for i := from; i < from+n; i++ {
		commit, err := store.Append(context.Background(), eventstore.Batch{Writes: []eventstore.Write{{
			Stream: fmt.Sprintf("ride-%d", i%7),
			Events: []eventstore.EventData{{Type: "ride_moved", Data: fmt.Appendf(nil, `{"n":%d}`, i)}},
		}}})
		require.NoError(t, err)
		head = commit.Last
	}
	return head
}

// relay runs a relay until it has come through a position, and stops it.
func relay(t *testing.T, store eventstore.LogReader, pub message.Publisher, cp bus.Checkpoints, through int64) {
	t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	r, err := bus.NewRelay(store, pub, cp, &bus.RelayOptions{Logger: quiet, PageSize: 50})
	require.NoError(t, err)
	router, err := bus.NewRouter(store, &bus.RouterOptions{Logger: quiet})
	require.NoError(t, err)
	require.NoError(t, router.Add(r))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var running sync.WaitGroup
	running.Go(func() { require.NoError(t, router.Run(ctx)) })
	for router.Status()[0].Checkpoint < through {
		require.NoError(t, router.Settle(ctx, through))
		require.NoError(t, router.Resume(bus.DefaultRelayName)) // no need to wait out a backoff
	}
	cancel()
	running.Wait()
}

// check demands of each stream every event, in order where the first
// occurrences count, and returns how many came again.
func check(t *testing.T, js jetstream.JetStream, store eventstore.Store) (repeats int) {
	t.Helper()
	for i := range 7 {
		stream := fmt.Sprintf("ride-%d", i)
		events, err := store.ReadStream(context.Background(), stream, 1, eventstore.MaxPage)
		require.NoError(t, err)
		seen := map[string]bool{}
		next := 0
		for _, msg := range stored(t, js, "leat.ride."+stream) {
			id := msg.Headers().Get("uuid")
			if seen[id] {
				repeats++
				continue
			}
			seen[id] = true
			require.Less(t, next, len(events))
			require.Equal(t, events[next].ID.String(), id, "stream %s, message %d", stream, next)
			require.Equal(t, string(events[next].Data), string(msg.Data()))
			require.Equal(t, stream, msg.Headers().Get(bus.MetaStream))
			next++
		}
		require.Equal(t, len(events), next, "stream %s", stream)
	}
	return repeats
}

func TestRelayKeepsTheOrderOfEachStream(t *testing.T) {
	js, store, cp := startServer(t), memory.New(nil), bus.NewMemoryCheckpoints()
	head := appendEvents(t, store, 0, 500)
	relay(t, store, &jetPublisher{js: js}, cp, head)
	require.Zero(t, check(t, js, store))
}

func TestRelayDeliversAtLeastOnceThroughFailures(t *testing.T) {
	for _, deduplicate := range []bool{false, true} {
		t.Run(fmt.Sprintf("deduplicate=%v", deduplicate), func(t *testing.T) {
			js, store, cp := startServer(t), memory.New(nil), bus.NewMemoryCheckpoints()
			head := appendEvents(t, store, 0, 300)
			pub := &jetPublisher{js: js, deduplicate: deduplicate}
			pub.broken.Store(120) // in the middle of a page: 20 of it are stored
			relay(t, store, pub, cp, head)
			repeats := check(t, js, store)
			if deduplicate {
				require.Zero(t, repeats, "the broker knows the UUIDs")
			} else {
				require.Equal(t, 20, repeats)
			}
		})
	}
}

func TestRelayResumesAfterARestart(t *testing.T) {
	js, store, cp := startServer(t), memory.New(nil), bus.NewMemoryCheckpoints()
	for i := range 4 {
		head := appendEvents(t, store, i*100, 100)
		relay(t, store, &jetPublisher{js: js}, cp, head)
	}
	require.Zero(t, check(t, js, store), "a clean stop repeats nothing")

	// A relay that died after the broker had the messages and before it saved
	// the checkpoint.
	head := appendEvents(t, store, 400, 100)
	dying := &forgetful{Checkpoints: cp}
	r, err := bus.NewRelay(store, &jetPublisher{js: js}, dying, nil)
	require.NoError(t, err)
	ctx := context.Background()
	at, err := r.Checkpoint(ctx)
	require.NoError(t, err)
	page, err := store.ReadLog(ctx, at.Position, 30, eventstore.Filter{})
	require.NoError(t, err)
	require.Error(t, r.Apply(ctx, bus.Page{After: at.Position, Events: page.Events, Through: page.Through}))
	relay(t, store, &jetPublisher{js: js}, cp, head)
	require.Equal(t, 30, check(t, js, store))
}

type forgetful struct{ bus.Checkpoints }

func (forgetful) Save(context.Context, string, eventstore.Anchor, eventstore.Anchor) error {
	return errors.New("killed")
}
