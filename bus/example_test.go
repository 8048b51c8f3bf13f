package bus_test

import (
	"context"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
)

// counter counts events by type. A real consumer keeps its counts and its
// checkpoint in one transaction; package projection does.
type counter struct {
	at     eventstore.Anchor
	counts map[string]int
}

func (c *counter) Name() string              { return "counter" }
func (c *counter) Filter() eventstore.Filter { return eventstore.Filter{Categories: []string{"ride"}} }

func (c *counter) Checkpoint(context.Context) (eventstore.Anchor, error) { return c.at, nil }

func (c *counter) Apply(_ context.Context, p bus.Page) error {
	for _, e := range p.Events {
		c.counts[e.Type]++
	}
	c.at = p.Through
	return nil
}

func ExampleRouter() {
	ctx, stop := context.WithCancel(context.Background())
	store := memory.New(nil)
	commit, err := store.Append(ctx, eventstore.Batch{Writes: []eventstore.Write{{
		Stream: "ride-1",
		Events: []eventstore.EventData{{Type: "ride_requested"}, {Type: "ride_moved"}, {Type: "ride_moved"}},
	}}})
	if err != nil {
		panic(err)
	}

	rides := &counter{counts: map[string]int{}}
	router, err := bus.NewRouter(store, nil)
	if err != nil {
		panic(err)
	}
	if err := router.Add(rides); err != nil {
		panic(err)
	}
	ended := make(chan error)
	go func() { ended <- router.Run(ctx) }()

	if err := router.Settle(ctx, commit.Last); err != nil {
		panic(err)
	}
	fmt.Println(rides.counts, router.Status()[0].State)
	stop()
	fmt.Println(<-ended)
	// Output:
	// map[ride_moved:2 ride_requested:1] running
	// <nil>
}

func ExampleSubscriber() {
	ctx := context.Background()
	store := memory.New(nil)
	pub, err := bus.NewPublisher(store, nil)
	if err != nil {
		panic(err)
	}
	if err := pub.Publish("mails", message.NewMessage("m-1", []byte("hello"))); err != nil {
		panic(err)
	}

	sub, err := bus.NewSubscriber(store, bus.NewMemoryCheckpoints(), &bus.SubscriberOptions{Group: "mailer"})
	if err != nil {
		panic(err)
	}
	messages, err := sub.Subscribe(ctx, "mails")
	if err != nil {
		panic(err)
	}
	msg := <-messages
	fmt.Println(msg.UUID, string(msg.Payload), msg.Metadata[bus.MetaStream], msg.Metadata[bus.MetaVersion])
	msg.Ack()
	if err := sub.Close(); err != nil {
		panic(err)
	}
	// Output: m-1 hello mails 1
}

func ExampleCommands() {
	commands := bus.NewCommands()
	err := commands.Handle("greet", func(ctx context.Context, data []byte) (eventstore.Commit, error) {
		fmt.Printf("%s %s\n", eventstore.CommandFrom(ctx).ID(), data)
		return eventstore.Commit{}, nil
	})
	if err != nil {
		panic(err)
	}
	msg := bus.CommandMessage(bus.Command{ID: "c-1", Type: "greet", Data: []byte("hello")})
	cmd, err := bus.CommandFromMessage(msg)
	if err != nil {
		panic(err)
	}
	if _, err := commands.Dispatch(context.Background(), cmd); err != nil {
		panic(err)
	}
	// Output: c-1 hello
}
