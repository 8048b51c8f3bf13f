package saga_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
	"github.com/leat-go/leat/saga"
)

type (
	orderPlaced   struct{ Order string }
	orderReminded struct{ Order string }
	sendReminder  struct{ Order string }
)

func (orderPlaced) EventType() string    { return "order_placed" }
func (orderReminded) EventType() string  { return "order_reminded" }
func (sendReminder) CommandType() string { return "send_reminder" }

// reminding reminds the customer of an unpaid order.
type reminding struct{ Reminders int }

func (r *reminding) placed(c *saga.Context, _ orderPlaced) error {
	c.After("unpaid", 24*time.Hour)
	return nil
}

func (r *reminding) unpaid(c *saga.Context) error {
	r.Reminders++
	c.Send(sendReminder{c.Key()})
	return nil
}

func (r *reminding) reminded(c *saga.Context, _ orderReminded) error {
	c.Complete()
	return nil
}

var remindSaga = saga.Define("remind", 1,
	saga.Starts(func(e orderPlaced) string { return e.Order }, (*reminding).placed),
	saga.On(func(e orderReminded) string { return e.Order }, (*reminding).reminded),
	saga.Timer("unpaid", (*reminding).unpaid))

func record(ctx context.Context, store eventstore.Appender, id string, e eventstore.Event) (eventstore.Commit, error) {
	data, err := eventstore.Encode(e)
	if err != nil {
		return eventstore.Commit{}, err
	}
	return store.Append(ctx, eventstore.Batch{ID: id, Writes: []eventstore.Write{{Stream: "order-7", Events: []eventstore.EventData{data}}}})
}

// A saga by hand, in virtual time; package serverless does the same for you.
func ExampleEngine() {
	ctx, cancel := context.WithCancel(context.Background())
	dir, err := os.MkdirTemp("", "saga")
	check(err)
	defer os.RemoveAll(dir)
	now := clock.NewVirtual(time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC))
	store := memory.New(&memory.Options{Clock: now})
	engine, err := saga.Open(ctx, dir, store, now, []*saga.Definition{remindSaga}, nil)
	check(err)

	commands := bus.NewCommands()
	check(commands.Handle("send_reminder", func(ctx context.Context, data []byte) (eventstore.Commit, error) {
		fmt.Println("carry out", string(data))
		// The command's id makes the append happen once.
		return record(ctx, store, eventstore.CommandFrom(ctx).ID(), orderReminded{"7"})
	}))
	router, err := bus.NewRouter(store, nil)
	check(err)
	check(router.Add(engine))
	check(router.AddHandler("outbox", "outbox", engine.Outbox(), engine.Dispatcher(commands.Dispatch)))
	ended := make(chan error)
	go func() { ended <- router.Run(ctx) }()

	commit, err := record(ctx, store, "", orderPlaced{"7"})
	check(err)
	check(router.Settle(ctx, commit.Last))
	due, _, err := engine.NextDue(ctx)
	check(err)
	fmt.Println("due", due.Format(time.DateTime))

	now.Advance(due)
	_, err = engine.FireDue(ctx)
	check(err)
	check(engine.Settle(ctx))
	check(router.Settle(ctx, commit.Last+1))
	instance, err := engine.Instance(ctx, "remind", "7")
	check(err)
	fmt.Println(instance.Status, string(instance.State))

	cancel()
	check(<-ended)
	check(engine.Close())
	// Output:
	// due 2024-03-02 12:00:00
	// carry out {"Order":"7"}
	// completed {"Reminders":1}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

type (
	basketSent  struct{ Basket, Card, Voucher string }
	partPaid    struct{ Basket, Means string }
	takePart    struct{ Basket, Means string }
	sendBasket  struct{ Basket string }
	basketPayer struct{ Parts saga.Gather }
)

func (basketSent) EventType() string   { return "basket_sent" }
func (partPaid) EventType() string     { return "part_paid" }
func (takePart) CommandType() string   { return "take_part" }
func (sendBasket) CommandType() string { return "send_basket" }

// A saga that waits for all of several payments. Each may be reported twice,
// and in any order.
func ExampleGather() {
	pay := saga.Define("pay_basket", 1,
		saga.Starts(func(e basketSent) string { return e.Basket }, func(p *basketPayer, c *saga.Context, e basketSent) error {
			p.Parts.Expect(e.Card, e.Voucher)
			for _, means := range p.Parts.Missing() {
				c.Send(takePart{e.Basket, means})
			}
			return nil
		}),
		saga.On(func(e partPaid) string { return e.Basket }, func(p *basketPayer, c *saga.Context, e partPaid) error {
			if p.Parts.Got(e.Means) { // once, with the last of them
				c.Send(sendBasket{e.Basket})
				c.Complete()
			}
			return nil
		}))
	fmt.Println(pay.Name(), pay.Err())

	var first saga.Gather // the first of three
	first.Enough(1)
	first.Expect("ada", "bob", "cyd")
	fmt.Println(first.Lost("ada"), first.Got("bob"), first.Got("bob"), first.Got("cyd"))
	// Output:
	// pay_basket <nil>
	// false true false false
}
