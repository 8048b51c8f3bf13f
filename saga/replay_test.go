package saga

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
)

// replayOf runs definitions on what a world, now closed, has recorded.
func replayOf(t *testing.T, w *world, defs ...*Definition) Replayed {
	t.Helper()
	w.close()
	r, err := Replay(t.Context(), w.dir, w.log, defs)
	require.NoError(t, err)
	return r
}

// TestReplayOfTheSameCodeFindsNothing: whatever happened, with every kind of
// input and effect, and crashes between.
func TestReplayOfTheSameCodeFindsNothing(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 2))
			s := newScript(t, seed, func(string) bool { return rnd.IntN(12) == 0 })
			s.run()
			s.crash = func(string) bool { return false }
			head, err := s.log.Head(t.Context())
			require.NoError(t, err)
			r := replayOf(t, s.world, branching(), counting())
			require.Empty(t, r.Differences)
			require.Equal(t, 16, r.Instances)
			require.Greater(t, r.Entries, 30)
			require.Zero(t, r.Old)
			now, err := s.log.Head(t.Context())
			require.NoError(t, err)
			require.Equal(t, head, now, "nothing is sent")
		})
	}
}

// pricing is a saga of which each variant differs in one place.
type pricing struct{ Total int }

type price struct {
	Order string
	Cents int
}

func (price) CommandType() string { return "price" }

type variant struct {
	cents      int
	wait       time.Duration
	undo       int
	onRejected func(c *Context, r Rejection[price])
	tick       func(c *Context)
	total      int
	early      func(p *pricing, c *Context) error
}

func (v variant) define(opts ...Option[pricing]) *Definition {
	return Define("pricing", 1, append(opts,
		Starts(byPlaced, func(p *pricing, c *Context, e placed) error {
			p.Total = v.total
			c.Undo("price", price{e.Order, v.undo})
			c.Send(price{e.Order, v.cents})
			c.After("tick", v.wait)
			if v.early != nil {
				return v.early(p, c)
			}
			return nil
		}),
		Timer("tick", func(_ *pricing, c *Context) error { v.tick(c); return nil }),
		Rejected(func(_ *pricing, c *Context, r Rejection[price]) error { v.onRejected(c, r); return nil }),
		IgnoreRejected[pricing, remind]())...)
}

func asItWas() variant {
	return variant{cents: 100, wait: time.Hour, undo: 1, total: 7,
		tick:       func(c *Context) { c.Send(remind{c.Key(), int(c.Position())}); c.Complete() },
		onRejected: func(c *Context, r Rejection[price]) { c.Send(remind{r.Command.Order, len(r.Code)}) }}
}

func TestReplayReportsTheFirstDifferenceOfEachInstance(t *testing.T) {
	w := newWorld(t, asItWas().define())
	w.refuse("price", "too_much")
	w.emit("s", placed{"1"}, placed{"2"})
	w.settle()
	w.advance(90 * time.Minute)
	require.Empty(t, replayOf(t, w, asItWas().define()).Differences)
	for name, c := range map[string]struct {
		change   func(*variant)
		sequence int64
		recorded string
		now      string
	}{
		"the payload of a command": {func(v *variant) { v.cents = 101 }, 1, "send:price #", `send:price {"Order":"1","Cents":101} #`},
		"the payload of an undo":   {func(v *variant) { v.undo = 2 }, 1, "undo:price #", `undo:price price {"Order":"1","Cents":2} #`},
		"the time of a timer":      {func(v *variant) { v.wait = time.Minute }, 1, "timer:tick #", "timer:tick due 2024-03-01T12:01:00Z #"},
		"one command less":         {func(v *variant) { v.onRejected = func(*Context, Rejection[price]) {} }, 2, "send:remind", "nothing"},
		"one command more": {func(v *variant) {
			v.tick = func(c *Context) { c.Send(remind{c.Key(), int(c.Position())}); c.Send(ship{c.Key()}); c.Complete() }
		}, 3, "complete", `send:ship {"Order":"1"}`},
		"what a refusal is": {func(v *variant) {
			v.onRejected = func(c *Context, r Rejection[price]) { c.Send(remind{r.Reason, len(r.Code)}) }
		}, 2, "send:remind #", `send:remind {"Order":"refused: too_much","N":8} #`},
		"another end": {func(v *variant) {
			v.tick = func(c *Context) { c.Send(remind{c.Key(), int(c.Position())}); c.Fail("x") }
		}, 3, "complete", "fail"},
		"the state": {func(v *variant) { v.total = 8 }, 3, `the state {"Total":7}`, `the state {"Total":8}`},
		"an error":  {func(v *variant) { v.early = func(*pricing, *Context) error { return errors.New("no") } }, 1, "undo:price send:price timer:tick", "the error: no"},
		"a panic":   {func(v *variant) { v.early = func(*pricing, *Context) error { panic("oh") } }, 1, "undo:price send:price timer:tick", "the error: panic: oh"},
		"an undo more": {func(v *variant) {
			v.early = func(_ *pricing, c *Context) error { c.Undo("more", remind{}); return nil }
		}, 1, "nothing", `undo:more remind {"Order":"","N":0}`},
	} {
		t.Run(name, func(t *testing.T) {
			v := asItWas()
			c.change(&v)
			r := replayOf(t, w, v.define())
			require.Len(t, r.Differences, 2, "one for each instance")
			d := r.Differences[0]
			require.Equal(t, "pricing", d.Saga)
			require.Equal(t, "1", d.Key)
			require.Equal(t, c.sequence, d.Sequence)
			require.Contains(t, d.Recorded, c.recorded)
			require.Contains(t, d.Now, c.now)
			require.Contains(t, d.String(), fmt.Sprintf(`saga "pricing" key "1", entry %d`, c.sequence))
			require.Equal(t, "2", r.Differences[1].Key)
		})
	}
}

func TestReplayKnowsFormerNames(t *testing.T) {
	w := newWorld(t, before())
	w.refuse("reserve", "none")
	w.emit("s", placed{"1"}, placed{"2"})
	w.settle()
	w.advance(time.Hour)
	now := func(opts ...Option[order]) *Definition {
		return Define("purchase", 1, append(opts,
			Starts(byPlaced, func(_ *order, c *Context, e placed) error {
				c.Undo("stock", giveBack{e.Order})
				c.Send(withhold{e.Order})
				c.After("overdue", time.Hour)
				return nil
			}),
			Timer("overdue", func(_ *order, c *Context) error { c.Compensate("late"); return nil }),
			Rejected(func(o *order, c *Context, _ Rejection[withhold]) error { o.see("refused"); return nil }))...)
	}
	r := replayOf(t, w, now(renamed()...))
	require.Equal(t, 2, r.Instances)
	require.Equal(t, 6, r.Entries)
	require.Empty(t, r.Differences)
	require.Contains(t, replayOf(t, w, now(Was("order"))).Differences[0].Recorded, "undo:stock #")
	require.Zero(t, replayOf(t, w, now()).Instances, "of a saga that is not among the definitions nothing is run")
}

// TestReplayOfAnAddedFieldFindsNothing: the chapter calls it no change. One that
// is gone is reported, and so is another value.
func TestReplayOfAnAddedFieldFindsNothing(t *testing.T) {
	type inner struct{ A int }
	type wider struct{ A, B int }
	type one struct{ In inner }
	type two struct {
		In   wider
		More []string
	}
	type none struct{ In struct{} }
	w := newWorld(t, Define("o", 1, Starts(byPlaced, func(o *one, _ *Context, _ placed) error { o.In.A++; return nil })))
	w.emit("s", placed{"1"}, placed{"2"}, placed{"2"})
	w.feed(10)
	added := func(by int) *Definition {
		return Define("o", 1, Starts(byPlaced, func(o *two, _ *Context, _ placed) error { o.In.A += by; return nil }))
	}
	require.Empty(t, replayOf(t, w, added(1)).Differences)
	require.Len(t, replayOf(t, w, added(2)).Differences, 2)
	require.Len(t, replayOf(t, w, Define("o", 1, Starts(byPlaced, func(*none, *Context, placed) error { return nil }))).Differences, 2)
}

func TestReplayNeedsTheLogOfTheJournal(t *testing.T) {
	w := newWorld(t, noting())
	w.emit("s", placed{"1"})
	w.settle()
	w.close()
	_, err := Replay(t.Context(), w.dir, memory.New(nil), w.defs)
	require.ErrorIs(t, err, eventstore.ErrCorrupt)
	_, err = Replay(t.Context(), w.dir, w.log, []*Definition{nil})
	require.ErrorIs(t, err, ErrDefinition)
}

// TestReplayEndsWhereTheJournalIsTooOld: entries of before the inputs of timers
// and rejections were journaled.
func TestReplayEndsWhereTheJournalIsTooOld(t *testing.T) {
	w := newWorld(t, asItWas().define())
	w.emit("s", placed{"1"})
	w.settle()
	w.advance(time.Hour)
	require.NoError(t, w.lock(t.Context()))
	_, err := w.db.Writer().Exec(`UPDATE journal SET input = '', digest = ''`)
	require.NoError(t, err)
	w.unlock()
	v := asItWas()
	v.cents = 5
	r := replayOf(t, w, v.define())
	require.Equal(t, 1, r.Old)
	require.Empty(t, r.Differences, "an effect without a checksum is compared by its name")
}
