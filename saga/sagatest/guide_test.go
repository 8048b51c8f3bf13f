package sagatest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
	"github.com/leat-go/leat/saga"
	"github.com/leat-go/leat/saga/sagatest"
)

// The code of docs/sagas.md. internal/doctest holds the two to one another.

type (
	OrderPlaced   struct{ Order string }
	StockReserved struct{ Order string }
	OrderPaid     struct{ Order string }
)

func (OrderPlaced) EventType() string   { return "order_placed" }
func (StockReserved) EventType() string { return "stock_reserved" }
func (OrderPaid) EventType() string     { return "order_paid" }

type (
	ReserveStock struct{ Order string }
	ReleaseStock struct{ Order string }
	ChargeCard   struct{ Order string }
)

func (ReserveStock) CommandType() string { return "reserve_stock" }
func (ReleaseStock) CommandType() string { return "release_stock" }
func (ChargeCard) CommandType() string   { return "charge_card" }

type ordering struct{ Tries int }

var Ordering = saga.Define("ordering", 1,
	saga.Starts(func(e OrderPlaced) string { return e.Order }, (*ordering).placed),
	saga.On(func(e StockReserved) string { return e.Order }, (*ordering).reserved),
	saga.On(func(e OrderPaid) string { return e.Order }, (*ordering).paid),
	saga.Timer("unpaid", (*ordering).unpaid),
	saga.Rejected((*ordering).chargeRejected))

func (o *ordering) placed(c *saga.Context, e OrderPlaced) error {
	c.Undo("stock", ReleaseStock{e.Order}) // push before you act
	c.Send(ReserveStock{e.Order})
	return nil
}

func (o *ordering) reserved(c *saga.Context, e StockReserved) error {
	c.Send(ChargeCard{e.Order})
	c.After("unpaid", 24*time.Hour)
	return nil
}

func (o *ordering) chargeRejected(c *saga.Context, r saga.Rejection[ChargeCard]) error {
	if o.Tries++; o.Tries < 3 {
		c.Send(r.Command)
		return nil
	}
	c.Compensate(r.Code)
	return nil
}

func (o *ordering) unpaid(c *saga.Context) error {
	c.Compensate("unpaid")
	return nil
}

func (o *ordering) paid(c *saga.Context, _ OrderPaid) error {
	c.Complete()
	return nil
}

func TestOrderingGivesTheStockBackWhereNobodyPays(t *testing.T) {
	sagatest.New(t, Ordering).
		When(OrderPlaced{"7"}).Sent(ReserveStock{"7"}).Done().
		When(StockReserved{"7"}).Sent(ChargeCard{"7"}).TimerSet("unpaid", 24*time.Hour).Done().
		Advance(24 * time.Hour).Sent(ReleaseStock{"7"}).Compensating().
		Done().Compensated()
}

func TestOrderingSurvivesEveryCrash(t *testing.T) {
	sagatest.Crash(t, func(t testing.TB) {
		sagatest.New(t, Ordering).
			When(OrderPlaced{"7"}).Done().
			When(StockReserved{"7"}).
			Reject(ChargeCard{"7"}, "declined").Done().
			When(OrderPaid{"7"}).Duplicate().Completed()
	})
}

type TakePayment struct{ Order string }

func (TakePayment) CommandType() string { return "take_payment" }

type purchasing struct{ Attempts int }

var Purchasing = saga.Define("purchasing", 2,
	saga.Starts(func(e OrderPlaced) string { return e.Order }, (*purchasing).placed),
	saga.On(func(e StockReserved) string { return e.Order }, (*purchasing).reserved),
	saga.On(func(e OrderPaid) string { return e.Order }, (*purchasing).paid),
	saga.Timer("payment_due", (*purchasing).unpaid),
	saga.Rejected((*purchasing).paymentRejected),
	// What is stored under the names of before goes on under these.
	saga.Was("ordering"),
	saga.TimerWas("payment_due", "unpaid"),
	saga.CommandWas[TakePayment]("charge_card"),
	saga.Migrate[purchasing](1, func(state []byte) ([]byte, error) {
		var was struct{ Tries int }
		if err := json.Unmarshal(state, &was); err != nil {
			return nil, err
		}
		return json.Marshal(purchasing{Attempts: was.Tries})
	}))

func (p *purchasing) placed(c *saga.Context, e OrderPlaced) error {
	c.Undo("stock", ReleaseStock{e.Order})
	c.Send(ReserveStock{e.Order})
	return nil
}

func (p *purchasing) reserved(c *saga.Context, e StockReserved) error {
	c.Send(TakePayment(e))
	c.After("payment_due", 24*time.Hour)
	return nil
}

func (p *purchasing) paymentRejected(c *saga.Context, r saga.Rejection[TakePayment]) error {
	if p.Attempts++; p.Attempts < 3 {
		c.Send(r.Command)
		return nil
	}
	c.Compensate(r.Code)
	return nil
}

func (p *purchasing) unpaid(c *saga.Context) error {
	c.Compensate("unpaid")
	return nil
}

func (p *purchasing) paid(c *saga.Context, _ OrderPaid) error {
	c.Complete()
	return nil
}

func TestNothingRecordedWouldHaveBeenOtherwise(t *testing.T) {
	backup := os.Getenv("BACKUP")
	if backup == "" {
		t.Skip("BACKUP names no backup of the store")
	}
	for _, d := range sagatest.ReplayJournal(t, backup, Purchasing) {
		t.Error(d)
	}
}

// operate is what an operator does about what is stuck.
func operate(ctx context.Context, engine *saga.Engine) error {
	stuck, err := engine.Instances(ctx, saga.Query{Stuck: time.Hour})
	if err != nil {
		return err
	}
	for _, i := range stuck {
		c, err := engine.Show(ctx, i.Saga, i.Key)
		if err != nil {
			return err
		}
		fmt.Println(i.Saga, i.Key, i.Status, i.Reason)
		for _, entry := range c.History {
			fmt.Println(entry.At, entry.Kind, entry.Name, entry.Effects, entry.Who)
		}
		by := saga.By{Who: "ada@example.com", Why: "the card service is up again"}
		err = engine.Retry(ctx, i.Saga, i.Key, by)
		if errors.Is(err, saga.ErrState) {
			continue // nothing failed: it waits for an event, rightly or not
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func TestTheGuidesDefinitionsAreSound(t *testing.T) {
	require.NoError(t, Ordering.Err())
	require.NoError(t, Purchasing.Err())
}

// TestTheGuidesOperatorPassesOverWhatOnlyWaits: it was asked for what is stuck,
// and one that waits for an event is among that.
func TestTheGuidesOperatorPassesOverWhatOnlyWaits(t *testing.T) {
	ctx, now := t.Context(), clock.NewVirtual(time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC))
	log := memory.New(&memory.Options{Clock: now})
	broken := true
	paying := saga.Define("paying", 1,
		saga.Starts(func(e OrderPlaced) string { return e.Order }, func(*ordering, *saga.Context, OrderPlaced) error { return nil }),
		saga.On(func(e OrderPaid) string { return e.Order }, func(_ *ordering, c *saga.Context, _ OrderPaid) error {
			if broken {
				return errors.New("the card service is down")
			}
			c.Complete()
			return nil
		}), saga.Retries(1, time.Hour))
	engine, err := saga.Open(ctx, t.TempDir(), log, now, []*saga.Definition{paying}, &saga.Options{Relaxed: true, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer func() { require.NoError(t, engine.Close()) }()
	write := eventstore.Write{Stream: "orders"}
	for _, e := range []eventstore.Event{OrderPlaced{"waits"}, OrderPlaced{"failed"}, OrderPaid{"failed"}} {
		data, err := eventstore.Encode(e)
		require.NoError(t, err)
		write.Events = append(write.Events, data)
	}
	_, err = log.Append(ctx, eventstore.Batch{Writes: []eventstore.Write{write}})
	require.NoError(t, err)
	read, err := log.ReadLog(ctx, 0, 10, engine.Filter())
	require.NoError(t, err)
	require.NoError(t, engine.Apply(ctx, bus.Page{Events: read.Events, Through: read.Through}))
	now.Advance(now.Now().Add(2 * time.Hour))
	broken = false
	require.NoError(t, operate(ctx, engine))
	stats, err := engine.Stats(ctx)
	require.NoError(t, err)
	require.Equal(t, saga.Counts{Running: 1, Completed: 1}, stats.Counts)
}
