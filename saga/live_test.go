//go:build unix

package saga

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
	"github.com/leat-go/leat/internal/experiment"
)

// Of the experiment with many live instances:
const (
	fewLive = 1000
	// leastOfFew is the share of the steps a processor second with few instances
	// that is kept with many, where those that began last have inputs and the
	// others wait for their timers; leastOfAny where any of them may be next, so
	// that each step changes a page of the file of its own.
	leastOfFew, leastOfAny = 0.7, 0.4
	// timerRate is how many timers are due in a second, and ringAfter when the
	// first is.
	timerRate = 2000
	ringAfter = 24 * time.Hour
	livePage  = 500
)

// lateness are how late timers were.
type lateness struct {
	mu   sync.Mutex // guards late
	late []time.Duration
}

func (l *lateness) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.late = append(l.late, d)
}

// bell is the state of an instance with a timer.
type bell struct{ Steps, Rung int }

// live is a saga whose instances all have a timer; a step sets another one.
func live(clk *jumping, began time.Time, late *lateness, n int) *Definition {
	return Define("live", 1,
		Starts(byPlaced, func(r *bell, c *Context, e placed) error {
			at := time.Duration(draw(11, e.Order, uint64(n))) * time.Second / timerRate
			c.At("ring", began.Add(ringAfter+at))
			return nil
		}),
		On(byReserved, func(r *bell, c *Context, _ reserved) error {
			r.Steps++
			c.After("idle", 100*ringAfter)
			return nil
		}),
		Timer("ring", func(r *bell, c *Context) error {
			late.add(clk.Now().Sub(c.Now()))
			r.Rung++
			return nil
		}),
		Timer("idle", func(*bell, *Context) error { return nil }))
}

// liveRun is what was measured with n live instances.
type liveRun struct {
	startsPerSecond float64
	latest, any     stepRate // of steps of the instances that began last, and of all
	p50, p99, max   time.Duration
}

type stepRate struct{ second, processorSecond float64 }

// TestExperimentLiveInstances has many instances with timers alive at once, and
// compares what a step and a timer cost with few.
func TestExperimentLiveInstances(t *testing.T) {
	e := experiment.Start(t, "many live sagas", "100,000 live instances with timers: steps of the latest as fast as with 1,000, each timer fires once and none early")
	n, steps := e.N(3000, 100_000), e.N(4000, 40_000)
	few := runLive(t, e.Rand(1), fewLive, steps)
	many := runLive(t, e.Rand(2), n, steps)
	for name, r := range map[string]liveRun{fmt.Sprint(fewLive): few, fmt.Sprint(n): many} {
		e.Figure(name+" live: starts/s", int(r.startsPerSecond))
		e.Figure(name+" live: steps/s of the latest", int(r.latest.second))
		e.Figure(name+" live: steps/s of any", int(r.any.second))
		e.Figure(name+" live: timers late p50", r.p50)
		e.Figure(name+" live: timers late p99", r.p99)
		e.Figure(name+" live: timers late max", r.max)
	}
	latest, spread := many.latest.processorSecond/few.latest.processorSecond, many.any.processorSecond/few.any.processorSecond
	e.Figure("steps of the latest a processor second, many to few", fmt.Sprintf("%.2f", latest))
	e.Figure("steps of any a processor second, many to few", fmt.Sprintf("%.2f", spread))
	e.Asserted("timers early, lost or twice")
	if experiment.Long() {
		require.Greater(t, latest, leastOfFew)
		require.Greater(t, spread, leastOfAny)
	}
}

func runLive(t *testing.T, rnd *rand.Rand, n, steps int) (r liveRun) {
	t.Helper()
	ctx := t.Context()
	clk, late, began := &jumping{}, &lateness{}, time.Now()
	log := memory.New(&memory.Options{Clock: clk})
	e, err := Open(ctx, experiment.Dir(t), log, clk, []*Definition{live(clk, began, late, n)}, &Options{Relaxed: true, Logger: quiet})
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close()) }()

	appendLive(t, log, n, func(i int) eventstore.Event { return placed{fmt.Sprint(i)} })
	took, _ := applyLive(t, e, log)
	r.startsPerSecond = float64(n) / took.Seconds()
	rate := func(which func() int) stepRate {
		appendLive(t, log, steps, func(int) eventstore.Event { return reserved{fmt.Sprint(which())} })
		took, used := applyLive(t, e, log)
		return stepRate{float64(steps) / took.Seconds(), float64(steps) / used.Seconds()}
	}
	r.any = rate(func() int { return rnd.IntN(n) })
	r.latest = rate(func() int { return n - 1 - rnd.IntN(min(n, fewLive)) })
	s, err := e.Stats(ctx)
	require.NoError(t, err)
	require.Equal(t, n, s.Running)

	// The clock is set to just before the first timer.
	clk.set(ringAfter - time.Since(began) - 50*time.Millisecond)
	idle := s.Timers - n
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- e.RunTimers(running) }()
	for s.Timers > idle {
		require.NoError(t, clk.WaitUntil(ctx, clk.Now().Add(10*time.Millisecond)))
		s, err = e.Stats(ctx)
		require.NoError(t, err)
	}
	stop()
	require.NoError(t, <-ended)
	require.Len(t, late.late, n, "each timer fires once")
	slices.Sort(late.late)
	require.GreaterOrEqual(t, late.late[0], time.Duration(0), "none is early")
	r.p50, r.p99, r.max = late.late[n/2], late.late[n*99/100], late.late[n-1]
	return r
}

// appendLive records n events.
func appendLive(t *testing.T, log *memory.Store, n int, event func(int) eventstore.Event) {
	t.Helper()
	for done := 0; done < n; {
		write := eventstore.Write{Stream: "live-1"}
		for range min(n-done, livePage) {
			data, err := eventstore.Encode(event(done))
			require.NoError(t, err)
			write.Events = append(write.Events, data)
			done++
		}
		_, err := log.Append(t.Context(), eventstore.Batch{Writes: []eventstore.Write{write}})
		require.NoError(t, err)
	}
}

// applyLive gives the engine what it has not seen, and returns how long that
// took, by the clock and by the processors.
func applyLive(t *testing.T, e *Engine, log *memory.Store) (took, used time.Duration) {
	t.Helper()
	began, before := time.Now(), experiment.ProcessorTime(t)
	for {
		at, err := e.Checkpoint(t.Context())
		require.NoError(t, err)
		read, err := log.ReadLog(t.Context(), at.Position, livePage, e.Filter())
		require.NoError(t, err)
		if read.Through.Position == at.Position {
			return time.Since(began), experiment.ProcessorTime(t) - before
		}
		require.NoError(t, e.Apply(t.Context(), bus.Page{After: at.Position, Events: read.Events, Through: read.Through}))
	}
}
