package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/saga"
	"github.com/leat-go/leat/serverless"
	"github.com/leat-go/leat/taxi-demo/internal/agents"
	"github.com/leat-go/leat/taxi-demo/internal/chaos"
	"github.com/leat-go/leat/taxi-demo/internal/driver"
	"github.com/leat-go/leat/taxi-demo/internal/functions"
	"github.com/leat-go/leat/taxi-demo/internal/meter"
	"github.com/leat-go/leat/taxi-demo/internal/origin"
	"github.com/leat-go/leat/taxi-demo/internal/process"
	"github.com/leat-go/leat/taxi-demo/internal/receipts"
	"github.com/leat-go/leat/taxi-demo/internal/tariff"
	"github.com/leat-go/leat/taxi-demo/internal/views"
)

// app is the whole demo over one store:
//
//	command ▶ aggregate ▶ the log ▶ router ─┬▶ projections ▶ read models
//	   ▲                                    └▶ sagas ▶ outbox + timers ─┐
//	   └──────────────────────── command ◀──────────────────────────────┘
type app struct {
	clock  clock.Clock
	store  *sqlite.Store
	host   *serverless.Host
	models map[string]*serverless.Model
	// blocked are the consumers that ended the last drain.
	blocked []string
	// shown is how many commands the last line of progress spoke of.
	shown int64
}

// receiptsName is the event function that sends receipts.
const receiptsName = "receipts"

// options of an app.
type options struct {
	clock   clock.Clock
	chaos   chaos.Config
	ordered bool // one command at a time: equal seeds give equal logs
	log     *slog.Logger
	source  func(*app) (serverless.Source, error) // the outside world's inputs; nil for none
	// origin decides whether the source goes with what the store is of.
	origin func(*origin.Origin) (aggregate.Events, error)
}

func openApp(ctx context.Context, dir string, o options) (*app, error) {
	if err := lostLog(dir); err != nil {
		return nil, err
	}
	store, err := sqlite.Open(ctx, dir, &sqlite.Options{Clock: o.clock, Logger: o.log})
	if err != nil {
		return nil, mayWrite(dir, err)
	}
	a := &app{clock: o.clock, store: store, models: map[string]*serverless.Model{}}
	err = a.wire(o)
	if err == nil {
		err = a.host.Open(ctx)
	}
	if err == nil && o.source != nil {
		err = a.publishTariffs(ctx)
	}
	if err == nil && o.origin != nil {
		err = a.originate(ctx, o.origin)
	}
	if err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

// wire is the picture above, in code.
func (a *app) wire(o options) error {
	h := serverless.New(a.store, &serverless.Options{Clock: o.clock, Ordered: o.ordered, Logger: o.log})
	a.host = h

	// Commands: functions over aggregates.
	f := functions.New(a.store, functions.Deps{
		Nearest: a.nearest,
		Card:    chaos.Card{Config: o.chaos},
		Bank:    chaos.Bank{Config: o.chaos},
	})
	f.Register(h)

	// Sagas: what must happen because something happened.
	for _, def := range sagas() {
		h.Saga(def)
	}

	// Projections: read models.
	for _, def := range views.All() {
		a.models[def.Name()] = h.Project(def)
	}

	// An effect on the world outside, at least once per event.
	serverless.OnEvent(h, receiptsName, receipts.Mail{Path: filepath.Join(a.store.Dir(), "receipts.txt"), Chaos: o.chaos}.Send,
		serverless.Retry(serverless.RetryPolicy{Attempts: 3, First: 20 * time.Millisecond, Longest: 100 * time.Millisecond}), serverless.OnFailure(serverless.Skip))

	if o.source == nil {
		return nil
	}
	src, err := o.source(a)
	if err != nil {
		return err
	}
	h.Source(src)
	return nil
}

// sagas are those of the program.
func sagas() []*saga.Definition {
	return []*saga.Definition{
		process.Dispatch, process.Pickup, process.Watchdog, process.Settlement, process.Refund, process.Payout,
		agents.Road, // the world outside, played
	}
}

// nearest chooses drivers from the read model, once it has seen position seen.
func (a *app) nearest(ctx context.Context, seen int64, zone int, exclude []string, limit int) ([]string, error) {
	var ids []string
	err := a.models[views.Drivers.Name()].Read(ctx, seen, func(r *projection.Reader) error {
		var err error
		ids, err = views.Nearest(r, zone, exclude, limit)
		return err
	})
	return ids, err
}

func (a *app) close() error { return errors.Join(a.host.Close(), a.store.Close()) }

// RequestTrip, RecordTrip, GoOnline and Known are the world outside's way in:
// each command id takes effect once.
func (a *app) RequestTrip(ctx context.Context, id string, c functions.RequestTrip) error {
	return a.do(ctx, id, c.CommandType(), c)
}

func (a *app) RecordTrip(ctx context.Context, id string, c functions.RecordTrip) error {
	return a.do(ctx, id, c.CommandType(), c)
}

func (a *app) GoOnline(ctx context.Context, id string, c driver.GoOnline) error {
	return a.do(ctx, id, c.CommandType(), c)
}

func (a *app) Known(ctx context.Context, id string) (bool, error) {
	_, known, err := a.store.Committed(ctx, id)
	return known, err
}

func (a *app) do(ctx context.Context, id, name string, payload any) error {
	_, err := a.host.Do(ctx, serverless.Request{Function: name, ID: id, Payload: payload})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// originate changes what the store says that it is of.
func (a *app) originate(ctx context.Context, decide func(*origin.Origin) (aggregate.Events, error)) error {
	_, err := aggregate.NewRepository(a.store, origin.Origins, nil).Update(ctx, origin.StoreID, decide)
	if errors.Is(err, origin.ErrAnother) {
		return fmt.Errorf("%s cannot be used for this: %w: name another directory with --store, or start over with --fresh", a.store.Dir(), err)
	}
	return err
}

// publishTariffs has the log know the official tariffs, once.
func (a *app) publishTariffs(ctx context.Context) error {
	for _, t := range meter.Tariffs() {
		id := "tariff-" + t.EffectiveFrom.Format("2006-01-02")
		known, err := a.Known(ctx, id)
		if err != nil {
			return err
		}
		if known {
			continue
		}
		if err := a.do(ctx, id, tariff.Publish{}.CommandType(), tariff.Publish{Tariff: t}); err != nil {
			return err
		}
	}
	return nil
}

// startOf returns when a store's clock starts: a new one's at the given
// instant, another's long ago, from where the host brings it to the instant it
// had reached.
func startOf(ctx context.Context, dir string, fresh time.Time) (time.Time, error) {
	_, used, err := lastEvent(ctx, dir)
	if err != nil || !used {
		return fresh, err
	}
	return time.Unix(0, 0), nil
}

// lastEvent returns when the last event of a store was recorded, and whether
// there is one. It creates nothing.
func lastEvent(ctx context.Context, dir string) (_ time.Time, _ bool, err error) {
	if err := lostLog(dir); err != nil {
		return time.Time{}, false, err
	}
	if _, err := os.Stat(filepath.Join(dir, "log.db")); errors.Is(err, os.ErrNotExist) {
		return time.Time{}, false, nil
	}
	store, err := sqlite.OpenReadOnly(ctx, dir)
	if err != nil {
		return time.Time{}, false, mayWrite(dir, err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	head, err := store.Head(ctx)
	if err != nil || head == 0 {
		return time.Time{}, false, err
	}
	page, err := store.ReadLog(ctx, head-1, 1, eventstore.Filter{})
	if err != nil || len(page.Events) == 0 {
		return time.Time{}, false, err
	}
	return page.Events[0].RecordedAt(), true, nil
}
