package saga

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/experiment"
)

// Of the changed order: bill was charge.
type bill struct{ Order string }

func (bill) CommandType() string { return "bill" }

// older is a saga as it was when its instances began. One order in seven meets
// a bug in it.
func older() *Definition {
	return Define("order", 1,
		Starts(byPlaced, func(o *order, c *Context, e placed) error {
			o.see("placed")
			c.Undo("stock", release{e.Order})
			c.Send(reserve{e.Order})
			return nil
		}),
		On(byReserved, func(o *order, c *Context, e reserved) error {
			if draw(0, "bug"+e.Order, 7) == 0 {
				return errBoom
			}
			o.see("reserved")
			c.After("pay", time.Minute)
			return nil
		}),
		Timer("pay", func(o *order, c *Context) error { o.Tries++; c.Send(charge{c.Key()}); return nil }),
		On(byPaid, func(o *order, c *Context, e paid) error { o.see("paid"); c.Send(ship{e.Order}); return nil }),
		On(byShipped, func(o *order, c *Context, _ shipped) error { c.Complete(); return nil }),
		Rejected(func(o *order, c *Context, r Rejection[charge]) error { c.Compensate(r.Code); return nil }),
		Retries(1, time.Hour))
}

// purchase is the state of the changed saga.
type purchase struct {
	Steps    []string
	Payments int
}

// newer is the same saga after a change of everything: its name, its state, a
// timer, three commands, and what it does once it is paid.
func newer() *Definition {
	return Define("purchase", 2,
		Starts(byPlaced, func(o *purchase, c *Context, e placed) error {
			o.Steps = append(o.Steps, "placed")
			c.Undo("stock", giveBack{e.Order})
			c.Send(withhold{e.Order})
			return nil
		}),
		On(byReserved, func(o *purchase, c *Context, e reserved) error {
			o.Steps = append(o.Steps, "reserved")
			c.After("payment", time.Minute)
			return nil
		}),
		Timer("payment", func(o *purchase, c *Context) error { o.Payments++; c.Send(bill{c.Key()}); return nil }),
		On(byPaid, func(o *purchase, c *Context, e paid) error {
			o.Steps = append(o.Steps, "paid")
			c.Send(ship{e.Order})
			c.Send(remind{e.Order, 1})
			return nil
		}),
		On(byShipped, func(o *purchase, c *Context, _ shipped) error { c.Complete(); return nil }),
		Rejected(func(o *purchase, c *Context, r Rejection[bill]) error { c.Compensate(r.Code); return nil }),
		Migrate[purchase](1, func(state []byte) ([]byte, error) {
			var was order
			if err := json.Unmarshal(state, &was); err != nil {
				return nil, err
			}
			return json.Marshal(purchase{Steps: was.Seen, Payments: was.Tries})
		}),
		Was("order"), TimerWas("payment", "pay"),
		CommandWas[withhold]("reserve"), CommandWas[giveBack]("release"), CommandWas[bill]("charge"))
}

// market carries out the commands of both.
type market struct {
	mu     sync.Mutex
	left   map[string]int // how many commands of an order are carried out before the change
	change bool
	last   chan struct{} // gets a token for each command of the last orders before the change
}

// meaning is what a command is called in both programs.
var meaning = map[string]string{"reserve": "withhold", "release": "give_back", "charge": "bill"}

func (m *market) carry(w *world) func(context.Context, bus.Command) (eventstore.Commit, error) {
	return func(ctx context.Context, cmd bus.Command) (eventstore.Commit, error) {
		var of struct{ Order string }
		if err := json.Unmarshal(cmd.Data, &of); err != nil {
			return eventstore.Commit{}, err
		}
		m.mu.Lock()
		before := !m.change
		allowed := m.left[of.Order] > 0
		m.left[of.Order]--
		m.mu.Unlock()
		if before && !allowed {
			return eventstore.Commit{}, errBoom // it backs off
		}
		name := cmd.Type
		if now, ok := meaning[name]; ok {
			name = now
		}
		events := []eventstore.Event{did{name + " " + of.Order}}
		switch name {
		case "withhold":
			events = append(events, reserved{of.Order})
		case "bill":
			if draw(0, "card"+of.Order, 4) == 0 {
				return eventstore.Commit{}, refusal{"declined"}
			}
			events = append(events, paid{of.Order})
		case "ship":
			events = append(events, shipped{of.Order})
		}
		if c, ok, err := w.log.Committed(ctx, cmd.ID); err != nil || ok {
			return c, err
		}
		c, err := w.appendTo(ctx, cmd.ID, "out-"+of.Order, cmd.Metadata, events...)
		if before && strings.HasPrefix(of.Order, "last") {
			m.last <- struct{}{}
		}
		return c, err
	}
}

// TestExperimentChangeInFlight changes a saga while its instances are at every
// stage, some of them parked, backing off, compensating or with outcomes that
// were never recorded.
func TestExperimentChangeInFlight(t *testing.T) {
	e := experiment.Start(t, "a saga that changes in flight", "1,000 instances: all finish, none sends twice, nothing is lost")
	n, rnd := e.N(1000, 20_000)-lastOrders, e.Rand(0)
	w := newWorld(t, older())
	w.close()
	w.dir = experiment.Dir(t)
	w.opts.MinBackoff, w.opts.MaxBackoff = time.Hour, time.Hour // what fails before the change fails once
	w.open()
	m := &market{left: map[string]int{}, last: make(chan struct{}, lastOrders*10)}
	before := inFlight(t, e, w, m, n, rnd)
	n += lastOrders

	m.change = true
	w.defs = []*Definition{newer()}
	w.opts.Handles = func(name string) bool {
		return name == "withhold" || name == "give_back" || name == "bill" || name == "ship" || name == "remind"
	}
	began := time.Now()
	w.open()
	e.Figure("start with the changed saga", time.Since(began))
	for _, i := range all(t, w, Query{Status: Parked}) {
		require.NoError(t, w.Retry(t.Context(), "purchase", i.Key, by("the bug is mended")))
	}
	w.subscribeTo(m.carry(w))
	for rounds := 0; w.stats().Open() > 0 || w.stats().Commands.Pending > 0; rounds++ {
		require.Less(t, rounds, 100, "they all finish: %+v", w.stats())
		require.NoError(t, w.retryDue(t.Context()))
		w.advance(time.Minute)
	}
	checkChanged(t, e, w, n, before)
	w.close()
}

// lastOrders are those whose commands were carried out when the engine died
// before it could record that.
const lastOrders = 20

// inFlight has n orders go on to any stage, and kills the engine.
func inFlight(t *testing.T, e *experiment.Experiment, w *world, m *market, n int, rnd *rand.Rand) map[string]Instance {
	t.Helper()
	for i := range n {
		m.left[fmt.Sprint(i)] = rnd.IntN(5)
		if rnd.IntN(10) == 0 {
			m.left[fmt.Sprint(i)] = 100 // it may finish
		}
	}
	w.subscribeTo(m.carry(w))
	for i := 0; i < n; {
		for range min(n-i, 1+rnd.IntN(n/10+1)) {
			w.emit(fmt.Sprint("in-", i), placed{fmt.Sprint(i)})
			i++
		}
		w.feed(1 + rnd.IntN(100))
		require.NoError(t, w.Settle(t.Context()))
		w.advanceOnly(time.Duration(rnd.IntN(40)) * time.Second)
	}
	// What is carried out of the last orders is not recorded.
	w.unsubscribe()
	for i := range lastOrders {
		m.left[fmt.Sprint("last", i)] = 100
		w.emit("in-last", placed{fmt.Sprint("last", i)})
	}
	w.feed(100)
	w.step = func(string) error { return errBoom }
	w.subscribeTo(m.carry(w))
	for range lastOrders {
		<-m.last
	}
	w.unsubscribe()
	require.ErrorIs(t, w.Engine.Close(), errBoom)
	w.open()
	s := w.stats()
	n += lastOrders
	e.Figure("instances", n)
	e.Figure("running", s.Running)
	e.Figure("compensating", s.Compensating)
	e.Figure("parked", s.Parked)
	e.Figure("finished", n-s.Open())
	e.Figure("timers set", s.Timers)
	e.Figure("commands not done", s.Commands.Pending)
	e.Figure("commands backing off", s.Commands.BackingOff)
	for what, many := range map[string]int{"running": s.Running, "parked": s.Parked, "finished": n - s.Open(), "timers": s.Timers, "commands": s.Commands.Pending} {
		require.Positive(t, many, "instances are at every stage: %s", what)
	}
	byKey := map[string]Instance{}
	for _, i := range all(t, w, Query{}) {
		byKey[i.Key] = i
	}
	_, err := w.db.Writer().Exec(`UPDATE outbox SET next_attempt = 1 WHERE next_attempt > 0`) // an hour passes
	require.NoError(t, err)
	require.NoError(t, w.Engine.Close())
	w.Engine = nil
	return byKey
}

// all returns every instance of a query.
func all(t *testing.T, w *world, q Query) (list []Instance) {
	t.Helper()
	for {
		page, err := w.Instances(t.Context(), q)
		require.NoError(t, err)
		list = append(list, page...)
		if len(page) < MaxInstances {
			return list
		}
		q.After = page[len(page)-1].ID
	}
}

// checkChanged compares what was done with what each order calls for.
func checkChanged(t *testing.T, e *experiment.Experiment, w *world, n int, before map[string]Instance) {
	t.Helper()
	done := map[string]int{}
	for r, err := range eventstore.Log(t.Context(), w.log, 0, eventstore.Filter{Types: []string{"did"}}) {
		require.NoError(t, err)
		d, err := eventstore.Decode[did](r)
		require.NoError(t, err)
		done[d.What]++
	}
	finished := 0
	for _, i := range all(t, w, Query{Saga: "purchase"}) {
		want := map[string]int{"withhold": 1, "bill": 1, "ship": 1, "give_back": 0}
		status := Completed
		steps := []string{"placed", "reserved", "paid"}
		if draw(0, "card"+i.Key, 4) == 0 {
			want["bill"], want["ship"], want["give_back"] = 0, 0, 1
			status, steps = Compensated, steps[:2]
		}
		for what, times := range want {
			require.Equal(t, times, done[what+" "+i.Key], "%s of %s", what, i.Key)
		}
		require.LessOrEqual(t, done["remind "+i.Key], 1)
		require.Equal(t, status, i.Status, "%s: %s", i.Key, i.Reason)
		finished++
		was := before[i.Key]
		if was.Status == Completed || was.Status == Compensated || was.Status == Compensating || i.StateVersion == 1 {
			continue // no input reached it any more
		}
		var state purchase
		require.NoError(t, json.Unmarshal(i.State, &state))
		require.Equal(t, strings.Join(steps, " "), strings.Join(state.Steps, " "), "what was seen before the change is kept: %s", i.Key)
		require.Equal(t, 1, state.Payments)
	}
	require.Equal(t, n, finished)
	e.Figure("finished with the changed saga", finished)
	e.Asserted("commands sent twice")
	e.Asserted("commands lost")
}
