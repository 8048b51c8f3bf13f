package saga

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/experiment"
)

// jumping is a system's clock that somebody sets. Like a system's, what it
// waits is a length of time, whatever the clock is set to meanwhile.
type jumping struct {
	mu      sync.Mutex // guards what follows
	offset  time.Duration
	highest time.Time
}

func (c *jumping) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now().Add(c.offset)
	if now.After(c.highest) {
		c.highest = now
	}
	return now
}

func (c *jumping) WaitUntil(ctx context.Context, t time.Time) error {
	timer := time.NewTimer(t.Sub(c.Now()))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *jumping) set(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += by
}

// shown returns the latest instant it has shown.
func (c *jumping) shown() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.highest
}

// alarm is the state of an instance that waits for one timer.
type alarm struct{ Due time.Time }

// longestAlarm is how long a timer waits at most.
const longestAlarm = 2 * time.Hour

// alarms is a saga with a timer in each instance. A timer that fires before
// the clock ever showed its time is early.
func alarms(clk *jumping, early *int) *Definition {
	return Define("alarm", 1,
		Starts(byPlaced, func(a *alarm, c *Context, e placed) error {
			d := time.Second + time.Duration(draw(7, e.Order, uint64(longestAlarm)))
			a.Due = c.Now().Add(d) // its event's time, which is not after the clock's
			c.After("ring", d)
			return nil
		}),
		Timer("ring", func(a *alarm, c *Context) error {
			if clk.shown().Before(a.Due) || c.Now().Before(a.Due) {
				*early++
			}
			c.Send(remind{Order: c.Key()})
			c.Complete()
			return nil
		}))
}

// carryAlarms carries out alarms until ctx ends: what a host does.
func carryAlarms(ctx context.Context, dir string, store *sqlite.Store, clk *jumping, early *int, ready func(*Engine)) error {
	e, err := Open(ctx, dir, store, clk, []*Definition{alarms(clk, early)}, &Options{Relaxed: true, Logger: quiet})
	if err != nil {
		return err
	}
	ready(e)
	router, err := bus.NewRouter(store, &bus.RouterOptions{Logger: quiet})
	if err == nil {
		err = errors.Join(router.Add(e), router.AddHandler("outbox", "", e.Outbox(), e.Dispatcher(rung(store))))
	}
	if err == nil {
		timers := make(chan error, 1)
		go func() { timers <- e.RunTimers(ctx) }()
		err = errors.Join(router.Run(ctx), <-timers)
	}
	return errors.Join(err, e.Close())
}

// rung records a reminder, once for each command.
func rung(store eventstore.Appender) func(context.Context, bus.Command) (eventstore.Commit, error) {
	return func(ctx context.Context, cmd bus.Command) (eventstore.Commit, error) {
		data, err := eventstore.Encode(did{What: string(cmd.Data)})
		if err != nil {
			return eventstore.Commit{}, err
		}
		return store.Append(ctx, eventstore.Batch{ID: cmd.ID, Writes: []eventstore.Write{{Stream: "rung-1", Events: []eventstore.EventData{data}}}})
	}
}

// TestExperimentClockBack sets the clock back and forth while timers wait.
func TestExperimentClockBack(t *testing.T) {
	e := experiment.Start(t, "clock back 1 h and 10 years", "10,000 timers: each effect once, 0 early; recorded time never goes back")
	n := e.N(300, 10_000)
	dir := experiment.Dir(t)
	synctest.Test(t, func(t *testing.T) {
		c := &clockScene{t: t, Rand: e.Rand(0), dir: dir, clock: &jumping{}}
		began := time.Now()
		c.play(n)
		e.Figure("timers", n)
		e.Figure("jumps of the clock", c.jumps)
		e.Figure("restarts", c.restarts)
		e.Figure("virtual time", time.Since(began))
		c.check(e, n)
	})
}

// clockScene is a store whose clock jumps.
type clockScene struct {
	*rand.Rand
	t               *testing.T
	dir             string
	clock           *jumping
	store           *sqlite.Store
	engine          *Engine
	early           int
	jumps, restarts int
	stop            func()
}

func (c *clockScene) start() {
	ctx, cancel := context.WithCancel(context.Background())
	ended, ready := make(chan error, 1), make(chan *Engine, 1)
	go func() {
		ended <- carryAlarms(ctx, c.dir, c.store, c.clock, &c.early, func(e *Engine) { ready <- e })
	}()
	select {
	case c.engine = <-ready:
	case err := <-ended:
		require.NoError(c.t, err)
	}
	c.stop = func() {
		cancel()
		require.NoError(c.t, <-ended)
	}
}

// play sets n timers while the clock jumps and the engine is started again,
// and waits until all have fired.
func (c *clockScene) play(n int) {
	var err error
	c.store, err = sqlite.Open(c.t.Context(), c.dir, &sqlite.Options{Clock: c.clock, Durability: sqlite.Relaxed, Logger: quiet})
	require.NoError(c.t, err)
	c.start()
	for set := 0; set < n; {
		var b eventstore.Batch
		for range min(n-set, 1+c.IntN(40)) {
			data, err := eventstore.Encode(placed{fmt.Sprint(set)})
			require.NoError(c.t, err)
			b.Writes = append(b.Writes, eventstore.Write{Stream: fmt.Sprintf("in-%d", set), Events: []eventstore.EventData{data}})
			set++
		}
		_, err := c.store.Append(c.t.Context(), b)
		require.NoError(c.t, err)
		time.Sleep(time.Duration(c.Int64N(int64(5 * time.Minute)))) // of the bubble
		if c.IntN(4) == 0 || c.jumps == 0 && set > n/2 {
			c.jump()
		}
	}
	// However far the clock is back, it shows the time of the last timer in the
	// end.
	for {
		s, err := c.engine.Stats(c.t.Context())
		require.NoError(c.t, err)
		if s.Completed == n && s.Commands.Pending == 0 {
			break
		}
		time.Sleep(30 * 24 * time.Hour)
		synctest.Wait()
	}
	c.stop()
}

// jump sets the clock, while everything runs or while nothing does.
func (c *clockScene) jump() {
	const year = 365 * 24 * time.Hour
	by := []time.Duration{-time.Hour, -10 * year, time.Hour, 10 * year, -time.Second}[c.IntN(5)]
	restart := c.IntN(3) == 0
	if restart {
		c.stop()
		c.restarts++
	}
	c.clock.set(by)
	c.jumps++
	if restart {
		c.start()
	}
}

// check compares what happened with what was asked for.
func (c *clockScene) check(e *experiment.Experiment, n int) {
	effects := map[string]int{}
	back, last := 0, int64(0)
	for r, err := range eventstore.Log(c.t.Context(), c.store, 0, eventstore.Filter{}) {
		require.NoError(c.t, err)
		if r.Time < last {
			back++
		}
		last = r.Time
		if r.Type == (did{}).EventType() {
			effects[string(r.Data)]++
		}
	}
	require.NoError(c.t, c.store.Close())
	wrong := n - len(effects)
	for _, times := range effects {
		if times != 1 {
			wrong++
		}
	}
	e.Figure("effects lost or doubled", wrong)
	e.Figure("early", c.early)
	e.Figure("recorded times that went back", back)
	require.Zero(c.t, wrong)
	require.Zero(c.t, c.early)
	require.Zero(c.t, back)
	require.Positive(c.t, c.jumps)
}
