package crashkit_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/internal/crashkit/bank"
	"github.com/leat-go/leat/internal/experiment"
)

const (
	// workers is how many stores are killed side by side.
	workers = 2
	// slowestOpen is what opening a store that was killed may take, at p99.
	slowestOpen = time.Second
	// lives is how many lives a store has before it is settled and thrown
	// away, checkEvery how many of them pass between two checks.
	lives, checkEvery = 9, 3
)

// reopened returns how long it took to open a store and its host after a kill,
// at a percentile.
func (f *figures) reopened(percent int) time.Duration {
	if len(f.opened) == 0 {
		return 0
	}
	slices.Sort(f.opened)
	return f.opened[min(len(f.opened)*percent/100, len(f.opened)-1)]
}

// report prints the figures, and demands that nothing was lost, doubled or
// diverged.
func (f *figures) report(t *testing.T, e *experiment.Experiment) {
	t.Helper()
	e.Figure("kills", f.kills)
	e.Figure("closed in time", f.closed)
	e.Figure("acked", f.acked)
	e.Figure("stored and not acked", f.kept)
	e.Figure("effects again", f.again)
	e.Figure("lost", f.lost)
	e.Figure("doubled", f.doubled)
	e.Figure("diverged", f.diverged)
	e.Figure("otherwise broken", f.other)
	e.Figure("checks", f.checks)
	e.Figure("read models compared", f.models)
	e.Figure("commands accounted for", f.commands)
	e.Figure("timers accounted for", f.timers)
	e.Figure("events", f.events)
	e.Figure("reopen p50", f.reopened(50))
	e.Figure("reopen p99", f.reopened(99))
	require.Empty(t, f.broken)
}

// someDeath draws how a life ends: any time after it began, or after some
// acknowledgements, in a run, a drain or while it closes.
func someDeath(r *rand.Rand) death {
	d := death{after: between(r, time.Millisecond, 400*time.Millisecond)}
	d.plan.Version = 1 + r.IntN(bank.Versions)
	d.plan.Keep = r.IntN(4) == 0
	switch r.IntN(10) {
	case 0, 1, 2:
		d.acks, d.after = 1+r.IntN(150), 2*time.Second
	case 3:
		d.plan.Drain = true
	case 4:
		d.plan.CloseAfter = between(r, time.Millisecond, d.after)
	}
	return d
}

func TestExperimentRandomKills(t *testing.T) {
	e := experiment.Start(t, "kill -9 at random under full load", "1,000 kills: 0 acked lost, 0 doubled effects, 0 diverging read models; reopen p99 < 1 s")
	kills, f := e.N(16, 1000), &figures{}
	program(t)
	t.Cleanup(func() {
		f.report(t, e)
		if experiment.Long() { // few openings beside other tests say nothing
			require.Less(t, f.reopened(99), slowestOpen, "reopen p99")
		}
	})
	for w := range workers {
		t.Run(fmt.Sprintf("worker=%d", w), func(t *testing.T) {
			t.Parallel()
			r, mine := e.Rand(w), (kills+workers-1)/workers
			for killed := 0; killed < mine && !t.Failed(); {
				s := newSubject(t, r, f)
				for s.life < lives && killed < mine && !t.Failed() {
					if s.live(someDeath(r)).killed {
						killed++
					}
					if s.life%checkEvery == 0 {
						s.check(false)
					}
				}
				if !t.Failed() {
					s.settle()
				}
			}
		})
	}
}
