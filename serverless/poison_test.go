package serverless_test

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

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
	"github.com/leat-go/leat/internal/experiment"
	"github.com/leat-go/leat/serverless"
)

// poisoned is a log with events that fail until they are healed, and what a
// function did with it.
type poisoned struct {
	t      *testing.T
	log    *memory.Store
	bad    map[int64]string // streams by position
	first  int64            // position of the first
	policy serverless.Policy
	healed bool
	did    map[int64]int    // how often the function succeeded, by position
	last   map[string]int64 // its last success in each stream, by version
	jumps  int              // successes out of the order of their stream
}

// newPoisoned makes a log of n events, some of them poison (see
// experiment.Poison).
func newPoisoned(t *testing.T, rnd *rand.Rand, n int) *poisoned {
	p := &poisoned{t: t, log: memory.New(nil), bad: map[int64]string{}}
	for i, account := range experiment.Poison(rnd, n, experiment.PoisonStream) {
		if experiment.Poisonous(account) {
			p.bad[int64(i+1)] = account
			if p.first == 0 {
				p.first = int64(i + 1)
			}
		}
		data, err := eventstore.Encode(Deposited{Account: account, Cents: int64(i)})
		require.NoError(t, err)
		_, err = p.log.Append(t.Context(), eventstore.Batch{Writes: []eventstore.Write{{Stream: account, Events: []eventstore.EventData{data}}}})
		require.NoError(t, err)
	}
	return p
}

// handle is the function. Of a stream that is parked only the first event
// fails by itself: the others wait for it.
func (p *poisoned) handle(_ context.Context, e eventstore.Of[Deposited]) error {
	if !p.healed && experiment.Poisonous(e.Stream) && (p.policy != serverless.Park || e.Version == 1) {
		return errBoom
	}
	p.did[e.Position]++
	if e.Version <= p.last[e.Stream] {
		p.jumps++
	}
	p.last[e.Stream] = e.Version
	return nil
}

// deliver drains a new host over the log, and returns how much of the
// processors' time that took, and what it was answered.
func (p *poisoned) deliver(policy serverless.Policy, out *bytes.Buffer) (*serverless.Host, time.Duration, error) {
	p.policy, p.did, p.last = policy, map[int64]int{}, map[string]int64{}
	logger := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelWarn}))
	h := serverless.New(p.log, &serverless.Options{Dir: experiment.Dir(p.t), Logger: logger})
	serverless.OnEvent(h, "receipt", p.handle, append(once(policy), serverless.FromStart())...)
	began := experiment.ProcessorTime(p.t)
	_, err := h.Drain(p.t.Context(), serverless.Budget{})
	return h, experiment.ProcessorTime(p.t) - began, err
}

// hold demands that the function succeeded once with each event that of takes,
// and with no other.
func (p *poisoned) hold(of func(position int64) bool) {
	p.t.Helper()
	head, err := p.log.Head(p.t.Context())
	require.NoError(p.t, err)
	for at := int64(1); at <= head; at++ {
		want := 0
		if of(at) {
			want = 1
		}
		require.Equal(p.t, want, p.did[at], "position %d", at)
	}
	require.Zero(p.t, p.jumps, "events of one stream out of order")
}

// TestExperimentPoison: events that a function fails with stop it, wait or are
// given up, as its policy says; it is called with the others.
func TestExperimentPoison(t *testing.T) {
	e := experiment.Start(t, "poison in an event function", "10,000 in 100,000: Block stops at the first with one log line; Park: 10,000 wait, 90,000 applied at ≥ 90 % of the speed, a release applies each once; Skip: 10,000 dead letters")
	n := e.N(1000, 100_000)
	p := newPoisoned(t, e.Rand(0), n)
	poison := n / experiment.PoisonShare
	require.Len(t, p.bad, poison)
	e.Figure("events", n)
	e.Figure("poison", poison)

	var out bytes.Buffer
	h, _, err := p.deliver(serverless.Block, &out)
	require.ErrorIs(t, err, serverless.ErrBlocked)
	require.Equal(t, 1, strings.Count(out.String(), "\n"), out.String())
	p.hold(func(at int64) bool { return at < p.first })
	require.NoError(t, h.Close())
	e.Figure("stopped at", p.first)

	h, _, err = p.deliver(serverless.Skip, &out)
	require.NoError(t, err)
	s, err := h.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, poison, s.DeadLetters)
	p.hold(func(at int64) bool { return p.bad[at] == "" })
	require.NoError(t, h.Close())
	e.Figure("dead letters", poison)

	h, _, err = p.deliver(serverless.Park, &out)
	require.NoError(t, err)
	p.hold(func(at int64) bool { return p.bad[at] == "" })
	p.healed = true
	parked := p.release(h)
	require.Equal(t, poison, parked)
	p.hold(func(int64) bool { return true })
	require.NoError(t, h.Close())
	e.Figure("parked and released", parked)
	p.compareSpeeds(e)
}

// release retries the letters of all parked streams, and returns how many
// events waited.
func (p *poisoned) release(h *serverless.Host) (parked int) {
	for {
		letters, err := h.DeadLetters(p.t.Context(), "receipt", 0, 1000)
		require.NoError(p.t, err)
		if len(letters) == 0 {
			return parked
		}
		for _, l := range letters {
			require.True(p.t, l.Parked)
			parked += 1 + l.Waiting
			require.NoError(p.t, h.RetryDeadLetter(p.t.Context(), "receipt", l.Position))
		}
	}
}

// compareSpeeds compares how fast the others are applied beside poison with how
// fast they are where nothing fails.
func (p *poisoned) compareSpeeds(e *experiment.Experiment) {
	took := map[bool]time.Duration{}
	for range e.N(1, 2) {
		for _, p.healed = range []bool{true, false} {
			var out bytes.Buffer
			h, spent, err := p.deliver(serverless.Park, &out)
			require.NoError(p.t, err)
			require.NoError(p.t, h.Close())
			took[p.healed] += spent
		}
	}
	speed := took[true].Seconds() / took[false].Seconds()
	e.Figure("speed of the others", fmt.Sprintf("%.2f", speed))
	if experiment.Long() {
		require.GreaterOrEqual(p.t, speed, experiment.PoisonSpeed)
	}
}
