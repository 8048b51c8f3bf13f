package saga

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
)

var seed = flag.Uint64("seed", 0, "of the random scripts; 0 for any")

var errCrash = errors.New("crash")

// script is a random outside world: inputs at instants, and what commands make
// of them, which depends on nothing but the seed and the command.
type script struct {
	*world
	seed    uint64
	inputs  map[time.Duration][]eventstore.Event
	crash   func(point string) bool
	dead    atomic.Bool
	dying   sync.Mutex // held while crash is asked
	crashes int
	cut     context.CancelFunc // ends the Settle under way
}

// draw is a random number that depends on the seed and a purpose.
func draw(seed uint64, purpose string, n uint64) uint64 {
	h := fnv.New64a()
	fmt.Fprint(h, seed, purpose)
	return h.Sum64() % n
}

// branching is the order saga with every branch: rejections, timers moved and
// cancelled, silence, undos, several commands in a step.
func branching() *Definition {
	return Define("order", 1,
		Starts(byPlaced, func(o *order, c *Context, e placed) error {
			o.see("placed")
			c.Undo("stock", release{e.Order})
			c.Send(reserve{e.Order})
			c.Send(remind{e.Order, 0})
			c.After("late", 90*time.Second)
			return nil
		}),
		On(byReserved, func(o *order, c *Context, e reserved) error {
			o.see("reserved")
			c.Undo("money", refund{e.Order})
			c.Send(charge{e.Order})
			c.After("late", 60*time.Second)
			c.After("tick", 10*time.Second)
			return nil
		}),
		On(byPaid, func(o *order, c *Context, e paid) error {
			o.see("paid")
			c.Cancel("late")
			c.Send(ship{e.Order})
			c.Send(remind{e.Order, 1})
			return nil
		}),
		On(byShipped, func(o *order, c *Context, _ shipped) error { o.see("shipped"); c.Complete(); return nil }),
		Timer("tick", func(o *order, c *Context) error {
			if o.Tries++; o.Tries < 4 {
				c.After("tick", 10*time.Second)
			}
			c.Send(remind{c.Key(), 10 + o.Tries})
			return nil
		}),
		Timer("late", func(o *order, c *Context) error { o.see("late"); c.Compensate("late"); return nil }),
		Rejected(func(o *order, c *Context, r Rejection[charge]) error {
			o.see("rejected")
			if o.Tries > 1 {
				c.Compensate(r.Code)
				return nil
			}
			o.Tries += 2
			c.Send(charge{r.Command.Order})
			return nil
		}),
		Rejected(func(o *order, c *Context, r Rejection[reserve]) error { c.Compensate(r.Code); return nil }),
		Rejected(func(o *order, c *Context, r Rejection[remind]) error {
			o.see(fmt.Sprint("deaf", r.Command.N))
			return nil
		}),
		IgnoreRejected[order, ship]())
}

// counting is a second saga over the same events.
func counting() *Definition {
	return Define("count", 1,
		Starts(byPlaced, func(o *order, c *Context, e placed) error { o.Tries++; c.Send(remind{e.Order, 100}); return nil }),
		On(byPaid, func(o *order, c *Context, _ paid) error { o.see("paid"); return nil }),
		IgnoreRejected[order, remind]())
}

func newScript(t *testing.T, seed uint64, crash func(string) bool) *script {
	w := &world{t: t, dir: t.TempDir(), clock: clock.NewVirtual(start), defs: []*Definition{branching(), counting()},
		opts: Options{Relaxed: true, Logger: quiet, Ordered: true, MinBackoff: time.Microsecond, MaxBackoff: time.Microsecond}}
	w.log = memory.New(&memory.Options{Clock: w.clock})
	s := &script{world: w, seed: seed, inputs: map[time.Duration][]eventstore.Event{}, crash: crash}
	rnd := rand.New(rand.NewPCG(seed, 1))
	for n := range 8 {
		at := time.Duration(rnd.IntN(4)*30) * time.Second
		s.inputs[at] = append(s.inputs[at], placed{fmt.Sprint(n)})
		if rnd.IntN(3) == 0 {
			s.inputs[at+20*time.Second] = append(s.inputs[at+20*time.Second], paid{fmt.Sprint(n)})
		}
	}
	return s
}

// carry makes of a command what the seed says, once.
func (s *script) carry(ctx context.Context, cmd bus.Command) (eventstore.Commit, error) {
	if s.dead.Load() || s.boundary("before dispatch") {
		return eventstore.Commit{}, errCrash
	}
	commit, ok, err := s.log.Committed(ctx, cmd.ID)
	if err != nil || ok {
		return commit, err
	}
	key := cmd.Type + string(cmd.Data)
	// What is decided depends on all that was decided before.
	head, err := s.log.Head(ctx)
	if err != nil {
		return eventstore.Commit{}, err
	}
	events := []eventstore.Event{did{key}}
	n := string(cmd.Data[len(`{"Order":"`)])
	switch luck := draw(s.seed, fmt.Sprint(key, head), 4); {
	case cmd.Type == "reserve" && luck == 0, cmd.Type == "charge" && luck == 0, cmd.Type == "remind" && luck == 0:
		return eventstore.Commit{}, refusal{"unlucky"}
	case cmd.Type == "reserve" && luck > 1:
		events = append(events, reserved{n})
	case cmd.Type == "charge" && luck > 1:
		events = append(events, paid{n})
	case cmd.Type == "ship" && luck > 0:
		events = append(events, shipped{n})
	}
	commit, err = s.appendTo(ctx, cmd.ID, "out-"+n, cmd.Metadata, events...)
	if err == nil && s.boundary("after dispatch") {
		return eventstore.Commit{}, errCrash
	}
	if err == nil && draw(s.seed+uint64(s.crashes), "deliver"+cmd.ID, 2) == 0 {
		// The bus delivers while other commands are under way.
		if err := s.tryFeed(2); err != nil {
			return eventstore.Commit{}, err
		}
	}
	return commit, err
}

// boundary tells whether the process dies here.
func (s *script) boundary(point string) bool {
	s.dying.Lock() // outcomes are recorded while commands are carried out
	dies := s.dead.Load() || s.crash(point)
	s.dying.Unlock()
	if !dies {
		return false
	}
	s.dead.Store(true)
	if s.cut != nil {
		s.cut()
	}
	return true
}

func (s *script) start() {
	s.dead.Store(false)
	s.open()
	s.step = func(point string) error {
		if s.boundary(point) {
			return errCrash
		}
		return nil
	}
}

// alive runs fn; after a crash it opens the engine anew and runs it again.
func (s *script) alive(fn func(ctx context.Context) error) {
	s.t.Helper()
	for {
		ctx, cancel := context.WithCancel(s.t.Context())
		s.cut = cancel
		s.subscribeTo(s.carry)
		err := fn(ctx)
		cancel()
		if !s.dead.Load() {
			require.NoError(s.t, err)
			return
		}
		s.unsubscribe()
		s.crashes++ // nobody reads it now
		if err := s.Engine.Close(); err != nil {
			require.ErrorIs(s.t, err, errCrash)
		}
		s.start()
	}
}

// settleAll is what a host does until nothing is left to do at this instant.
func (s *script) settleAll(ctx context.Context) error {
	for {
		if err := s.tryFeed(int(draw(s.seed, fmt.Sprint("page", s.crashes), 4)) + 1); err != nil {
			return err
		}
		if err := s.Settle(ctx); err != nil {
			return err
		}
		head, err := s.log.Head(ctx)
		if err != nil {
			return err
		}
		if at, err := s.Checkpoint(ctx); err != nil || at.Position == head {
			return err
		}
	}
}

// run plays the script to its end.
func (s *script) run() {
	s.t.Helper()
	s.start()
	released := map[time.Duration]bool{}
	for now := time.Duration(0); ; {
		if !released[now] {
			released[now] = true
			for _, e := range s.inputs[now] {
				s.emit("in", e)
			}
		}
		s.alive(s.settleAll)
		var due time.Time
		var timers bool
		s.alive(func(ctx context.Context) (err error) {
			due, timers, err = s.NextDue(ctx)
			return err
		})
		next := time.Duration(-1)
		for at := range s.inputs {
			if !released[at] && (next < 0 || at < next) {
				next = at
			}
		}
		switch {
		case next >= 0 && (!timers || !due.Before(start.Add(next))):
			now = next
		case timers:
			now = due.Sub(start)
		default:
			s.unsubscribe()
			return
		}
		s.clock.Advance(start.Add(now))
		s.alive(func(ctx context.Context) error {
			_, err := s.FireDue(ctx)
			return err
		})
	}
}

// result is everything that must not depend on crashes.
func (s *script) result() map[string][]string {
	s.t.Helper()
	out := map[string][]string{}
	page, err := s.log.ReadLog(s.t.Context(), 0, 10_000, eventstore.Filter{})
	require.NoError(s.t, err)
	for _, e := range page.Events {
		out["log"] = append(out["log"], fmt.Sprint(e.Stream, " ", e.Type, " ", string(e.Data), " ", e.BatchID, " ", e.Time))
	}
	s.step = func(string) error { return nil }
	all, err := s.Instances(s.t.Context(), Query{})
	require.NoError(s.t, err)
	for _, i := range all {
		out[i.Saga+i.Key] = append(s.history(i.Saga, i.Key), string(i.State), string(i.Status), i.Reason, i.Created.String(), i.Completed.String())
		require.Zero(s.t, i.Waiting)
	}
	require.Empty(s.t, s.pending())
	s.audit()
	return out
}

// TestRandomCrashesChangeNothing plays random scripts in virtual time, in
// order: with crashes at any boundary they leave the same log and the same
// rows as without.
func TestRandomCrashesChangeNothing(t *testing.T) {
	first := *seed
	if first == 0 {
		first = rand.Uint64N(1 << 32)
	}
	runs := 12
	if testing.Short() {
		runs = 3
	}
	for n := range uint64(runs) {
		seed := first + n
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			calm := newScript(t, seed, func(string) bool { return false })
			calm.run()
			want := calm.result()
			calm.close()
			require.Greater(t, len(want["log"]), 20)

			rnd := rand.New(rand.NewPCG(seed, 2))
			wild := newScript(t, seed, func(string) bool { return rnd.IntN(12) == 0 })
			wild.run()
			wild.crash = func(string) bool { return false }
			got := wild.result()
			wild.close()
			require.NotZero(t, wild.crashes)
			require.Equal(t, want, got)
		})
	}
}
