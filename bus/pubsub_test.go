package bus_test

import (
	"context"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
	"github.com/leat-go/leat/eventstore/sqlite"
)

// TestPubSub runs Watermill's own conformance suite over both engines: as
// consumer groups, as broadcast without groups, and with the demand that
// nothing comes twice. Its topics are streams; all tests of a mode share one
// log and one set of checkpoints, as the parts of a program do. The race
// detector makes SQLite's runs slow, so there they are the suite's short ones.
func TestPubSub(t *testing.T) {
	engines := map[string]func(t *testing.T) eventstore.Store{
		"memory": func(*testing.T) eventstore.Store { return memory.New(nil) },
		"sqlite": openSQLite,
	}
	for name, open := range engines {
		t.Run(name, func(t *testing.T) {
			t.Run("groups", func(t *testing.T) {
				testPubSub(t, open(t), true, tests.Features{ConsumerGroups: true, GuaranteedOrder: true, Persistent: true})
			})
			t.Run("broadcast", func(t *testing.T) {
				testPubSub(t, open(t), false, tests.Features{GuaranteedOrder: true, Persistent: true, NewSubscriberReceivesOldMessages: true})
			})
			t.Run("exactly once", func(t *testing.T) {
				testPubSub(t, open(t), true, tests.Features{ConsumerGroups: true, GuaranteedOrder: true, Persistent: true, ExactlyOnceDelivery: true})
			})
		})
	}
}

func openSQLite(t *testing.T) eventstore.Store {
	store, err := sqlite.Open(context.Background(), t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

func testPubSub(t *testing.T, store eventstore.Store, groups bool, features tests.Features) {
	_, inMemory := store.(*memory.Store)
	features.ForceShort = raceEnabled && !inMemory
	checkpoints := bus.NewMemoryCheckpoints()
	make := func(t *testing.T, group string) (message.Publisher, message.Subscriber) {
		pub, err := bus.NewPublisher(store, nil)
		require.NoError(t, err)
		sub, err := bus.NewSubscriber(store, checkpoints, &bus.SubscriberOptions{
			Group: group, Logger: quiet, MinRedelivery: time.Millisecond, MaxRedelivery: 2 * time.Millisecond, // the suite refuses hundreds
		})
		require.NoError(t, err)
		// Some tests of the suite leave subscribers open.
		t.Cleanup(func() { require.NoError(t, sub.Close()) })
		return pub, sub
	}
	group := ""
	if groups {
		group = "group-" + watermill.NewShortUUID()
	}
	tests.TestPubSub(t, features,
		func(t *testing.T) (message.Publisher, message.Subscriber) { return make(t, group) },
		make)
}
