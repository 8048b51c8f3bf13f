package projection

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
	"github.com/leat-go/leat/internal/experiment"
)

// poisonRounds is how often speeds are compared, in turn.
const poisonRounds = 5

// poisoned is a log with events that fail until they are healed.
type poisoned struct {
	t      *testing.T
	log    *memory.Store
	bad    map[int64]bool // positions
	first  int64          // the first of them
	healed bool
}

// newPoisoned makes a log of n events, some of them poison (see
// experiment.Poison).
func newPoisoned(t *testing.T, rnd *rand.Rand, n, most int) *poisoned {
	p := &poisoned{t: t, log: memory.New(nil), bad: map[int64]bool{}}
	for i, account := range experiment.Poison(rnd, n, most) {
		if experiment.Poisonous(account) {
			p.bad[int64(i+1)] = true
			if p.first == 0 {
				p.first = int64(i + 1)
			}
		}
		data, err := eventstore.Encode(moved{account, int64(rnd.IntN(100))})
		require.NoError(t, err)
		_, err = p.log.Append(t.Context(), eventstore.Batch{Writes: []eventstore.Write{{Stream: account, Events: []eventstore.EventData{data}}}})
		require.NoError(t, err)
	}
	return p
}

func (p *poisoned) def(policy Policy) *Definition {
	return ledger(1, func(e eventstore.Recorded) error {
		if p.healed || !experiment.Poisonous(e.Stream) || policy == Park && e.Version > 1 {
			return nil // where the first of a stream is parked, the others wait for it
		}
		return errFault
	}, OnFailure(policy), once)
}

// deliver applies the log through a router until all is applied or it blocks,
// and returns how much of the processors' time it took.
func (p *poisoned) deliver(view *Projection, out *bytes.Buffer) time.Duration {
	r, err := bus.NewRouter(p.log, &bus.RouterOptions{Logger: slog.New(slog.NewTextHandler(out, nil))})
	require.NoError(p.t, err)
	require.NoError(p.t, r.Add(view))
	ctx, stop := context.WithCancel(p.t.Context())
	ended := make(chan error, 1)
	began := experiment.ProcessorTime(p.t)
	go func() { ended <- r.Run(ctx) }()
	head, err := p.log.Head(p.t.Context())
	require.NoError(p.t, err)
	require.NoError(p.t, r.Settle(p.t.Context(), head))
	took := experiment.ProcessorTime(p.t) - began
	stop()
	require.NoError(p.t, <-ended)
	return took
}

func (p *poisoned) open(policy Policy, out *bytes.Buffer) *Projection {
	view, err := Open(p.t.Context(), experiment.Dir(p.t), p.log, p.def(policy), &Options{Logger: slog.New(slog.NewTextHandler(out, nil))})
	require.NoError(p.t, err)
	return view
}

// hold demands that the tables are the fold of the events that of takes.
func (p *poisoned) hold(view *Projection, of func(position int64) bool) {
	p.t.Helper()
	var events []eventstore.Recorded
	for e, err := range eventstore.Log(p.t.Context(), p.log, 0, eventstore.Filter{}) {
		require.NoError(p.t, err)
		if of(e.Position) {
			events = append(events, e)
		}
	}
	want := fold(events, 1<<62)
	require.NoError(p.t, view.Read(p.t.Context(), 0, func(r *Reader) error {
		got, err := tables(r)
		require.Equal(p.t, want, got)
		return err
	}))
}

// TestExperimentPoison: events that fail stop, wait or are given up, as the
// policy says; the others are applied.
func TestExperimentPoison(t *testing.T) {
	e := experiment.Start(t, "poison in a projection", "10,000 in 100,000: Block stops at the first with one log line; Park: 10,000 wait, 90,000 applied at ≥ 90 % of the speed, a release applies each once; Skip: 10,000 dead letters")
	n := e.N(2000, 100_000)
	p := newPoisoned(t, e.Rand(0), n, experiment.PoisonStream)
	poison := n / experiment.PoisonShare
	require.Len(t, p.bad, poison)
	e.Figure("events", n)
	e.Figure("poison", poison)

	var out bytes.Buffer
	view := p.open(Block, &out)
	p.deliver(view, &out)
	require.Equal(t, Blocked, view.Status().State)
	require.Equal(t, p.first, view.Status().Failed)
	require.Equal(t, 1, strings.Count(out.String(), "\n"), out.String())
	p.hold(view, func(at int64) bool { return at < p.first })
	require.NoError(t, view.Close())
	e.Figure("stopped at", p.first)

	view = p.open(Skip, &out)
	p.deliver(view, &out)
	require.Equal(t, poison, view.Status().DeadLetters)
	p.hold(view, func(at int64) bool { return !p.bad[at] })
	require.NoError(t, view.Close())
	e.Figure("dead letters", poison)

	view = p.open(Park, &out)
	p.deliver(view, &out)
	require.Equal(t, poison, view.Status().ParkedEvents)
	p.hold(view, func(at int64) bool { return !p.bad[at] })
	p.healed = true
	released := 0
	for list, err := view.Parked(t.Context(), 0); len(list) > 0; list, err = view.Parked(t.Context(), 0) {
		require.NoError(t, err)
		for _, s := range list {
			times, err := view.Release(t.Context(), s.Stream)
			require.NoError(t, err)
			require.Positive(t, times)
			released += times
		}
	}
	require.Equal(t, poison, released)
	require.Zero(t, view.Status().ParkedEvents)
	p.hold(view, func(int64) bool { return true })
	require.NoError(t, view.Close())
	p.healed = false
	e.Figure("parked and released", released)

	speed := p.speed(e.N(1, poisonRounds))
	e.Figure("speed of the others", fmt.Sprintf("%.2f", speed))
	worst := newPoisoned(t, e.Rand(1), n, 1).speed(1)
	e.Figure("where no two are of one stream", fmt.Sprintf("%.2f", worst))
	if experiment.Long() {
		require.GreaterOrEqual(t, speed, experiment.PoisonSpeed)
	}
}

// speed returns how fast the others are applied beside poison, as a share of
// how fast they are where nothing fails.
func (p *poisoned) speed(rounds int) float64 {
	took := map[bool]time.Duration{}
	for range rounds {
		for _, p.healed = range []bool{true, false} {
			var out bytes.Buffer
			view := p.open(Park, &out)
			took[p.healed] += p.deliver(view, &out)
			require.NoError(p.t, view.Close())
		}
	}
	return took[true].Seconds() / took[false].Seconds()
}
