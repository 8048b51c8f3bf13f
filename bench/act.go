package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/saga"
	"github.com/leat-go/leat/serverless"
)

// The saga: an order is placed, its stock is reserved, and a timer waits for
// what may not come.
type placed struct{ Order string }
type reserved struct{ Order string }
type reserve struct{ Order string }

func (placed) EventType() string    { return "placed" }
func (reserved) EventType() string  { return "reserved" }
func (reserve) CommandType() string { return "reserve" }

type order struct{ Steps int }
type stock struct{ Reserved int }

// patience is so long that no timer fires while anything is measured.
const patience = 24 * time.Hour

func reserving() *saga.Definition {
	return saga.Define("reserving", 1,
		saga.Starts(func(e placed) string { return e.Order }, func(o *order, c *saga.Context, e placed) error {
			o.Steps++
			c.Send(reserve{e.Order})
			c.After("late", patience)
			return nil
		}),
		saga.Timer("late", func(*order, *saga.Context) error { return nil }),
		saga.IgnoreRejected[order, reserve]())
}

// acting is saga steps with one command and one timer each: from events in the
// log until every command is carried out and its outcome recorded.
func acting() []contender {
	settings := fmt.Sprintf("WAL FULL sagas.db and log; a host drains, %d commands in flight; state, timer, command, journal and checkpoint of each step", saga.Workers)
	return []contender{
		{name: "leat", settings: settings + "; each command appends an event under its id through Repository.Update", begin: func(ctx context.Context, dir string, s scale) (bout, error) {
			return beginActing(ctx, dir, s, true)
		}},
		{name: "leat-noappend", settings: settings + "; the command's function does nothing", begin: func(ctx context.Context, dir string, s scale) (bout, error) {
			return beginActing(ctx, dir, s, false)
		}},
	}
}

type actBout struct {
	log     *leatStore
	host    *serverless.Host
	steps   int
	appends bool
	called  atomic.Int64
}

func beginActing(ctx context.Context, dir string, s scale, appends bool) (bout, error) {
	store, err := sqlite.Open(ctx, dir, nil)
	if err != nil {
		return nil, err
	}
	b := &actBout{log: &leatStore{store}, host: serverless.New(store, &serverless.Options{Logger: quiet()}), steps: s.steps, appends: appends}
	stocks := aggregate.NewRepository(store, aggregate.Define("stock", aggregate.On(func(s *stock, _ reserved) { s.Reserved++ })), nil)
	serverless.Command(b.host, "reserve", func(ctx context.Context, c reserve) (eventstore.Commit, error) {
		b.called.Add(1)
		if !appends {
			return eventstore.Commit{}, nil
		}
		return stocks.Update(ctx, c.Order, func(*stock) (aggregate.Events, error) { return aggregate.Events{reserved(c)}, nil })
	})
	b.host.Saga(reserving())
	if err := b.place(ctx); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

// placedAtOnce is how many orders are placed in one batch.
const placedAtOnce = 500

// place opens the host, whose sagas begin from there, and appends the events
// that begin them, each in a stream of its own.
func (b *actBout) place(ctx context.Context) error {
	if err := b.host.Open(ctx); err != nil {
		return err
	}
	for from := 0; from < b.steps; from += placedAtOnce {
		var batch eventstore.Batch
		for i := from; i < min(from+placedAtOnce, b.steps); i++ {
			e, err := eventstore.Encode(placed{fmt.Sprint(i)})
			if err != nil {
				return err
			}
			batch.Writes = append(batch.Writes, eventstore.Write{Stream: fmt.Sprint("order-", i), Expect: eventstore.NoStream(), Events: []eventstore.EventData{e}})
		}
		if _, err := b.log.Append(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

func (b *actBout) round(ctx context.Context) (measure, error) {
	began := time.Now()
	_, err := b.host.Drain(ctx, serverless.Budget{})
	return measure{value: float64(b.steps) / time.Since(began).Seconds()}, err
}

// check: each step once, its timer pending, its command done, and what that
// appended once in the log.
func (b *actBout) check(ctx context.Context) error {
	st, err := b.host.Status(ctx)
	if err != nil {
		return err
	}
	if got := st.Sagas; got.Running != b.steps || got.Open() != b.steps || got.Timers != b.steps || got.Commands != (saga.CommandCounts{}) || b.called.Load() != int64(b.steps) {
		return fmt.Errorf("after %d steps: %+v; commands carried out: %d", b.steps, got, b.called.Load())
	}
	want := map[string]int64{}
	for i := range b.steps {
		want[fmt.Sprint("order-", i)] = 1
		if b.appends {
			want[fmt.Sprint("stock-", i)] = 1
		}
	}
	return checkStore(ctx, b.log, want)
}

func (b *actBout) close() error { return errors.Join(b.host.Close(), b.log.close()) }
