package saga

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
)

// noting is a saga that notes what it sees, and sends a reminder for each.
func noting(opts ...Option[order]) *Definition {
	all := append([]Option[order]{
		Starts(byPlaced, func(o *order, c *Context, e placed) error {
			o.see("placed")
			c.Send(remind{e.Order, len(o.Seen)})
			return nil
		}),
		On(byReserved, func(o *order, c *Context, e reserved) error {
			o.see("reserved")
			c.Send(remind{e.Order, len(o.Seen)})
			return nil
		}),
	}, opts...)
	return Define("order", 1, all...)
}

func TestTheSameEventTwiceAfterARestart(t *testing.T) {
	w := newWorld(t, noting())
	w.emit("s", placed{"1"}, reserved{"1"})
	w.settle()
	w.reopen()
	// A redelivery that the checkpoint does not catch is caught by the cursor.
	read, err := w.log.ReadLog(t.Context(), 0, 10, w.Filter())
	require.NoError(t, err)
	for _, b := range w.bindings {
		b.at = eventstore.Anchor{}
	}
	w.checkpoint.Store(&eventstore.Anchor{})
	require.NoError(t, w.Apply(t.Context(), bus.Page{Events: read.Events, Through: read.Through}))
	w.settle()
	require.Equal(t, []string{"placed", "reserved"}, stateOf(t, w.instance("order", "1")).Seen)
	require.Len(t, w.did(), 2)
	w.audit()
}

func TestAPageBeyondTheCheckpointIsRefused(t *testing.T) {
	w := newWorld(t, noting())
	w.emit("s", placed{"1"}, reserved{"1"})
	read, err := w.log.ReadLog(t.Context(), 1, 10, w.Filter())
	require.NoError(t, err)
	require.ErrorContains(t, w.Apply(t.Context(), bus.Page{After: 1, Events: read.Events, Through: read.Through}), "begins behind position 1")
	// What was applied already is passed over.
	w.feed(10)
	require.NoError(t, w.Apply(t.Context(), bus.Page{After: 1, Events: read.Events, Through: read.Through}))
	require.Equal(t, []string{"placed", "reserved"}, stateOf(t, w.instance("order", "1")).Seen)
}

func TestTwoStartsOfOneKeyAreOneInstance(t *testing.T) {
	w := newWorld(t, noting())
	w.emit("a", placed{"1"})
	w.emit("b", placed{"1"})
	w.settle()
	require.Equal(t, []string{"placed", "placed"}, stateOf(t, w.instance("order", "1")).Seen)
	require.Equal(t, 1, w.stats().Running)
}

func TestAnEventAfterCompletionNeverResurrects(t *testing.T) {
	def := Define("order", 1,
		Starts(byPlaced, func(o *order, c *Context, e placed) error {
			o.see("placed")
			c.Send(remind{e.Order, 1})
			c.Alias("alias-" + e.Order)
			c.After("late", time.Hour)
			c.Complete()
			return nil
		}),
		Timer("late", func(*order, *Context) error { return errBoom }))
	w := newWorld(t, def)
	w.emit("s", placed{"1"})
	w.settle()
	for range 2 {
		w.emit("s", placed{"1"}, placed{"alias-1"})
		w.settle()
		w.reopen()
	}
	i := w.instance("order", "1")
	require.Equal(t, Completed, i.Status)
	require.Equal(t, []string{"placed"}, stateOf(t, i).Seen)
	require.Len(t, w.did(), 1)
	require.Zero(t, w.advance(2*time.Hour), "a completed instance has no timers")
}

func TestAContinuationBeforeItsStartIsIgnored(t *testing.T) {
	w := newWorld(t, noting())
	w.emit("s", reserved{"1"}, placed{"1"})
	w.settle()
	require.Equal(t, []string{"placed"}, stateOf(t, w.instance("order", "1")).Seen)
}

func TestAContinuationThatWaitsFollowsItsStart(t *testing.T) {
	for _, page := range []int{1, 100} {
		def := noting(
			Waits(On(byPaid, func(o *order, _ *Context, _ paid) error { o.see("paid"); return nil })),
			Waits(On(byShipped, func(o *order, _ *Context, _ shipped) error { o.see("shipped"); return nil })))
		w := newWorld(t, def)
		w.emit("s", shipped{"1"}, paid{"1"}, paid{"other"})
		w.feed(page)
		w.reopen()
		w.emit("s", placed{"1"}, reserved{"1"})
		w.feed(page)
		require.Equal(t, []string{"placed", "shipped", "paid", "reserved"}, stateOf(t, w.instance("order", "1")).Seen)
		w.audit()
	}
}

func TestWhatWaitsForAStartWaitsForAFailingStartToo(t *testing.T) {
	fail := true
	def := Define("order", 1,
		Starts(byPlaced, func(o *order, _ *Context, _ placed) error {
			if fail {
				return errBoom
			}
			o.see("placed")
			return nil
		}),
		Waits(On(byPaid, func(o *order, _ *Context, _ paid) error { o.see("paid"); return nil })))
	w := newWorld(t, def)
	w.emit("s", paid{"1"}, placed{"1"})
	w.feed(10)
	require.Empty(t, stateOf(t, w.instance("order", "1")).Seen)
	fail = false
	w.retryFailing()
	require.Equal(t, []string{"placed", "paid"}, stateOf(t, w.instance("order", "1")).Seen)
	w.audit()
}

func TestAnAliasAddedAfterItsEventPassed(t *testing.T) {
	def := Define("order", 1,
		Starts(byPlaced, func(o *order, c *Context, e placed) error { o.see("placed"); return nil }),
		On(byReserved, func(o *order, c *Context, e reserved) error { c.Alias("parcel-" + e.Order); return nil }),
		On(byPaid, func(o *order, _ *Context, _ paid) error { o.see("paid"); return nil }),
		Waits(On(byShipped, func(o *order, _ *Context, _ shipped) error { o.see("shipped"); return nil })))
	w := newWorld(t, def)
	w.emit("s", placed{"1"}, paid{"parcel-1"}, shipped{"parcel-1"}, reserved{"1"}, paid{"parcel-1"})
	w.settle()
	require.Equal(t, []string{"placed", "shipped", "paid"}, stateOf(t, w.instance("order", "parcel-1")).Seen)
	w.reopen()
	w.emit("s", paid{"parcel-1"})
	w.settle()
	require.Equal(t, []string{"placed", "shipped", "paid", "paid"}, stateOf(t, w.instance("order", "1")).Seen)
}

func TestAnAliasOfAnotherInstanceParks(t *testing.T) {
	def := Define("order", 1, Starts(byPlaced, func(o *order, c *Context, e placed) error {
		c.Alias("1")
		return nil
	}))
	w := newWorld(t, def)
	w.emit("s", placed{"1"}, placed{"2"})
	w.settle()
	require.Equal(t, Running, w.instance("order", "1").Status)
	i := w.instance("order", "2")
	require.Equal(t, Parked, i.Status)
	require.Contains(t, i.Reason, `alias "1" is the key of another instance`)
}

func TestOneEventToManyInstances(t *testing.T) {
	def := noting(OnMany(func(e grouped) []string { return e.Orders }, func(o *order, _ *Context, _ grouped) error {
		o.see("grouped")
		return nil
	}))
	w := newWorld(t, def)
	w.emit("s", placed{"1"}, placed{"2"}, grouped{[]string{"2", "1", "2", "", "none"}})
	w.settle()
	require.Equal(t, []string{"placed", "grouped"}, stateOf(t, w.instance("order", "1")).Seen)
	require.Equal(t, []string{"placed", "grouped"}, stateOf(t, w.instance("order", "2")).Seen)
	require.Equal(t, 2, w.stats().Running)
}

func TestOneEventToManySagas(t *testing.T) {
	other := Define("other", 1, Starts(byPlaced, func(o *order, c *Context, e placed) error {
		c.Send(ship{e.Order})
		return nil
	}))
	w := newWorld(t, other, noting())
	w.emit("s", placed{"1"})
	w.settle()
	require.ElementsMatch(t, []string{`ship{"Order":"1"}`, `remind{"Order":"1","N":1}`}, w.did())
	require.Equal(t, 1, w.stats().Sagas["other"].Running)
	require.Equal(t, 1, w.stats().Sagas["order"].Running)
}

func TestEffectsBeforeAnErrorNeverLeak(t *testing.T) {
	for _, how := range []string{"error", "panic", "misuse"} {
		t.Run(how, func(t *testing.T) {
			fail := true
			def := Define("order", 1,
				Starts(byPlaced, func(o *order, c *Context, e placed) error {
					o.see("placed")
					c.Undo("u", release{e.Order})
					c.Send(remind{e.Order, 1})
					c.After("late", time.Minute)
					c.Alias("alias")
					c.Complete()
					switch {
					case fail && how == "error":
						return errBoom
					case fail && how == "panic":
						panic(errBoom)
					case fail:
						c.After("unknown", time.Minute)
					}
					return nil
				}),
				Timer("late", func(*order, *Context) error { return nil }),
				Retries(2, time.Hour))
			w := newWorld(t, def)
			w.emit("s", placed{"1"})
			w.feed(10)
			w.retryFailing()
			i := w.instance("order", "1")
			require.Equal(t, Parked, i.Status)
			require.Empty(t, stateOf(t, i).Seen)
			require.Empty(t, i.Undo)
			require.Empty(t, w.pending())
			require.Zero(t, w.stats().Timers)
			_, err := w.Instance(t.Context(), "order", "alias")
			require.ErrorIs(t, err, ErrNotFound)
			fail = false
			require.NoError(t, w.Retry(t.Context(), "order", "1", "mended"))
			w.settle()
			require.Equal(t, []string{`remind{"Order":"1","N":1}`}, w.did())
			require.Equal(t, Completed, w.instance("order", "1").Status)
			w.audit()
		})
	}
}

func TestAFailingInstanceBlocksNoOtherAndItsLaterEventsWait(t *testing.T) {
	fail := true
	def := noting(
		On(byPaid, func(o *order, _ *Context, e paid) error {
			if fail && e.Order == "1" {
				return errBoom
			}
			o.see("paid")
			return nil
		}),
		On(byShipped, func(o *order, _ *Context, _ shipped) error { o.see("shipped"); return nil }))
	w := newWorld(t, def)
	w.hourly()
	w.emit("s", placed{"1"}, placed{"2"}, paid{"1"}, shipped{"1"}, paid{"2"})
	w.feed(2)
	w.emit("s", shipped{"2"}, reserved{"1"})
	w.feed(2)
	require.Equal(t, []string{"placed", "paid", "shipped"}, stateOf(t, w.instance("order", "2")).Seen)
	i := w.instance("order", "1")
	require.Equal(t, []string{"placed"}, stateOf(t, i).Seen)
	require.Equal(t, 3, i.Waiting)
	require.Equal(t, 1, i.Attempts)
	require.Equal(t, 1, w.stats().BackingOff)
	require.False(t, w.stats().NextAttempt.IsZero())
	require.Contains(t, w.stats().Failure, "boom")

	w.reopen() // attempts are in the file
	require.Equal(t, 1, w.instance("order", "1").Attempts)
	fail = false
	w.retryFailing()
	require.Equal(t, []string{"placed", "paid", "shipped", "reserved"}, stateOf(t, w.instance("order", "1")).Seen)
	require.Zero(t, w.instance("order", "1").Waiting)
	require.Zero(t, w.stats().BackingOff)
	w.audit()
}

func TestAttemptsAndAgeAreLimited(t *testing.T) {
	calls := 0
	def := Define("order", 1,
		Starts(byPlaced, func(*order, *Context, placed) error { calls++; return errBoom }),
		Retries(4, time.Hour))
	w := newWorld(t, def)
	w.emit("s", placed{"1"})
	w.feed(1)
	w.retryFailing()
	require.Equal(t, 4, calls)
	require.Equal(t, Parked, w.instance("order", "1").Status)
	require.Equal(t, 1, w.stats().Parked)

	def.attempts, def.age = 1000, time.Nanosecond
	w.emit("s", placed{"2"})
	w.feed(1)
	w.retryFailing()
	require.Less(t, w.instance("order", "2").Attempts, 4)
	require.Equal(t, Parked, w.instance("order", "2").Status)
	w.audit()
}

// future is paid, as a newer program writes it.
type future struct{ Order string }

func (future) EventType() string { return "paid" }
func (future) EventVersion() int { return 7 }

func TestAnUndecodableEventParksItsStreamAlone(t *testing.T) {
	def := noting(
		On(byPaid, func(o *order, _ *Context, _ paid) error { o.see("paid"); return nil }),
		On(byShipped, func(o *order, _ *Context, _ shipped) error { o.see("shipped"); return nil }))
	w := newWorld(t, def)
	w.emit("a", placed{"1"})
	w.emit("b", placed{"2"})
	w.emit("a", future{"1"}, shipped{"1"})
	w.emit("b", shipped{"2"})
	w.settle()
	require.Equal(t, []string{"placed"}, stateOf(t, w.instance("order", "1")).Seen, "what follows in the stream waits")
	require.Equal(t, []string{"placed", "shipped"}, stateOf(t, w.instance("order", "2")).Seen)
	parked, err := w.Instances(t.Context(), Query{Status: Parked})
	require.NoError(t, err)
	require.Len(t, parked, 1)
	require.True(t, parked[0].Stream)
	require.Equal(t, "a", parked[0].Key)
	require.Contains(t, parked[0].Reason, "schema version 7")
	w.audit()

	w.reopen()
	w.emit("a", reserved{"1"})
	w.settle()
	require.NoError(t, w.Retry(t.Context(), "order", "a", "try"))
	require.Equal(t, []string{"placed"}, stateOf(t, w.instance("order", "1")).Seen, "it still cannot be read")
	require.NoError(t, w.Skip(t.Context(), "order", "a", "it is lost"))
	w.settle()
	require.Equal(t, []string{"placed", "shipped", "reserved"}, stateOf(t, w.instance("order", "1")).Seen)
	require.Zero(t, w.stats().Parked)
	w.emit("a", shipped{"1"})
	w.emit("a", future{"1"}, future{"1"})
	w.settle()
	require.Equal(t, 1, w.stats().Parked)
	require.NoError(t, w.Complete(t.Context(), "order", "a", "drop them"))
	require.Zero(t, w.stats().Parked)
	require.Equal(t, []string{"placed", "shipped", "reserved", "shipped"}, stateOf(t, w.instance("order", "1")).Seen)
	w.audit()
}

func TestAPanicOfAKeyFunctionParksTheStream(t *testing.T) {
	def := Define("order", 1,
		Starts(func(e placed) string {
			if e.Order == "bad" {
				panic("no key")
			}
			return e.Order
		}, func(*order, *Context, placed) error { return nil }))
	w := newWorld(t, def)
	w.emit("a", placed{"bad"})
	w.emit("b", placed{"1"}, placed{strings.Repeat("x", 300)})
	w.settle()
	require.Equal(t, Running, w.instance("order", "1").Status)
	require.Equal(t, 2, w.stats().Parked)
}

func TestAnUndecodableStateParksAndStaysListable(t *testing.T) {
	w := newWorld(t, noting())
	w.emit("s", placed{"1"}, placed{"2"})
	w.settle()
	w.close()
	w.open()
	_, err := w.db.Writer().Exec(`UPDATE instance SET state = '[1]' WHERE key = '1'`)
	require.NoError(t, err)
	w.emit("s", reserved{"1"}, reserved{"2"})
	w.settle()
	i := w.instance("order", "1")
	require.Equal(t, Parked, i.Status)
	require.Contains(t, i.Reason, "decode state")
	require.JSONEq(t, "[1]", string(i.State))
	require.Equal(t, Running, w.instance("order", "2").Status)
}

func TestStateIsMigratedStepByStep(t *testing.T) {
	w := newWorld(t, noting())
	w.emit("s", placed{"1"})
	w.settle()
	type newer struct{ Steps []string }
	handler := func(s *newer, _ *Context, _ reserved) error { s.Steps = append(s.Steps, "reserved"); return nil }
	rename := func(raw []byte) ([]byte, error) { return []byte(strings.Replace(string(raw), "Seen", "Was", 1)), nil }
	define := func(opts ...Option[newer]) *Definition {
		return Define("order", 3, append(opts,
			Starts(byPlaced, func(*newer, *Context, placed) error { return nil }),
			On(byReserved, handler))...)
	}
	w.close()
	w.defs = []*Definition{define(Migrate[newer](1, rename))}
	require.ErrorIs(t, w.tryOpen(), ErrStart)
	w.Engine = nil
	w.defs = []*Definition{define(Migrate[newer](1, rename), Migrate[newer](2, func(raw []byte) ([]byte, error) {
		return []byte(strings.Replace(string(raw), "Was", "Steps", 1)), nil
	}))}
	w.open()
	w.emit("s", reserved{"1"})
	w.settle()
	i := w.instance("order", "1")
	require.JSONEq(t, `{"Steps":["placed","reserved"]}`, string(i.State))
	require.Equal(t, 3, i.StateVersion)

	w.close() // the older binary again
	w.defs = []*Definition{noting()}
	err := w.tryOpen()
	w.Engine = nil
	require.ErrorIs(t, err, ErrStart)
	require.ErrorContains(t, err, "its state has version 3, this program knows 1 at most")
}

func TestTheStartCheckListsEverything(t *testing.T) {
	w := newWorld(t, shop(), Define("gone", 1, Starts(byPlaced, func(*order, *Context, placed) error { return nil })))
	w.emit("s", placed{"1"}, placed{"2"})
	w.feed(10)
	w.close()
	w.defs = []*Definition{Define("order", 1, Starts(byPlaced, func(*order, *Context, placed) error { return nil }))}
	w.opts.Handles = func(string) bool { return false }
	err := w.tryOpen()
	w.Engine = nil
	var start *StartError
	require.ErrorAs(t, err, &start)
	require.Equal(t, []string{
		`saga "gone": 2 open instances, and no definition of that name`,
		`saga "order": 2 pending commands "reserve", and no handler of that name`,
		`saga "order": 2 pending timers "late", and no saga.Timer of that name`,
	}, start.Problems)
}

func TestANewSagaStartsFromNow(t *testing.T) {
	w := newWorld(t)
	w.emit("s", placed{"1"})
	w.settle()
	w.close()
	w.defs = []*Definition{noting()}
	w.open()
	w.emit("s", placed{"2"})
	w.settle()
	require.Equal(t, []string{`remind{"Order":"2","N":1}`}, w.did())
	require.Equal(t, 1, w.stats().Running)
}

func TestANewSagaFromTheOriginSendsNothingOfThePast(t *testing.T) {
	w := newWorld(t, Define("older", 1, Starts(byPlaced, func(*order, *Context, placed) error { return nil })))
	w.emit("s", placed{"1"}, placed{"2"})
	w.settle()
	w.close()
	w.defs = append(w.defs, noting(FromOrigin()))
	w.open()
	at, err := w.Checkpoint(t.Context())
	require.NoError(t, err)
	require.Zero(t, at.Position)
	w.feed(1)
	w.reopen() // in the middle
	w.emit("s", reserved{"2"})
	w.settle()
	require.Equal(t, []string{`remind{"Order":"2","N":2}`}, w.did())
	require.Equal(t, []string{"placed"}, stateOf(t, w.instance("order", "1")).Seen)
	require.Equal(t, 2, w.stats().Sagas["older"].Running, "the other saga does not see them again")
	require.Contains(t, w.history("order", "1"), "event placed: send:remind(suppressed)")
	w.audit()
}

func TestALoopOfSagasIsStopped(t *testing.T) {
	def := Define("loop", 1, Starts(byPlaced, func(o *order, c *Context, e placed) error {
		o.Tries++
		c.Send(remind{Order: e.Order})
		return nil
	}))
	w := newWorld(t, def)
	w.close()
	w.opts.MaxHops = 10
	w.open()
	w.on("remind", func(context.Context, bus.Command) ([]eventstore.Event, error) {
		return []eventstore.Event{placed{"1"}}, nil
	})
	w.emit("s", placed{"1"})
	w.settle()
	i := w.instance("loop", "1")
	require.Equal(t, Parked, i.Status)
	require.Contains(t, i.Reason, "a chain of 10 steps")
	require.Equal(t, 10, stateOf(t, i).Tries)
}

func TestATimerThatIsDueAtOnceIsNoWayAroundTheHopLimit(t *testing.T) {
	def := Define("loop", 1,
		Starts(byPlaced, func(o *order, c *Context, e placed) error { c.After("again", 0); return nil }),
		Timer("again", func(o *order, c *Context) error { o.Tries++; c.After("again", 0); return nil }))
	w := newWorld(t, def)
	w.emit("s", placed{"1"})
	w.feed(1)
	n, err := w.FireDue(t.Context())
	require.NoError(t, err)
	require.Equal(t, MaxHops, n)
	require.Equal(t, Parked, w.instance("loop", "1").Status)
}

func TestAStepWithTooManyEffectsParks(t *testing.T) {
	def := Define("order", 1, Starts(byPlaced, func(o *order, c *Context, e placed) error {
		for n := range MaxEffects + 1 {
			c.Send(remind{e.Order, n})
		}
		return nil
	}))
	w := newWorld(t, def)
	w.emit("s", placed{"1"})
	w.settle()
	require.Contains(t, w.instance("order", "1").Reason, "more than 1000 effects")
	require.Empty(t, w.did())
}

func TestAStateThatIsTooLargeParks(t *testing.T) {
	type hoard struct{ Text string }
	def := Define("hoard", 1, Starts(func(e placed) string { return e.Order }, func(h *hoard, _ *Context, e placed) error {
		h.Text = strings.Repeat("x", MaxState)
		return nil
	}))
	w := newWorld(t, def)
	w.emit("s", placed{"1"})
	w.settle()
	require.Equal(t, Parked, w.instance("hoard", "1").Status)
	require.Contains(t, w.instance("hoard", "1").Reason, "bytes, 1048576 are allowed")
}

func TestWhatIsKeptOfAnErrorIsBounded(t *testing.T) {
	def := Define("order", 1, Starts(byPlaced, func(*order, *Context, placed) error {
		return errors.New("not UTF-8 \xff " + strings.Repeat("é", 1<<20))
	}), Retries(1, time.Hour))
	w := newWorld(t, def)
	w.emit("s", placed{"1"})
	w.settle()
	reason := w.instance("order", "1").Reason
	require.Contains(t, reason, "not UTF-8 \uFFFD é")
	require.Less(t, len(reason), 2*maxReason)
	require.True(t, utf8.ValidString(reason))
}

func TestMisuseOfTheContextParks(t *testing.T) {
	for name, misuse := range map[string]func(*Context){
		"timer":    func(c *Context) { c.Cancel("none") },
		"command":  func(c *Context) { c.Send(&remind{}) },
		"nil":      func(c *Context) { c.Send(nil) },
		"undo":     func(c *Context) { c.Undo("", remind{}) },
		"alias":    func(c *Context) { c.Alias("") },
		"far":      func(c *Context) { c.At("t", time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC)) },
		"too far":  func(c *Context) { c.After("t", 1<<63-1) },
		"two ends": func(c *Context) { c.Complete(); c.Fail("no") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Define("order", 1,
				Starts(byPlaced, func(_ *order, c *Context, _ placed) error { misuse(c); return nil }),
				Timer("t", func(*order, *Context) error { return nil })))
			w.emit("s", placed{"1"})
			w.settle()
			require.Equal(t, Parked, w.instance("order", "1").Status)
			require.Equal(t, 1, w.instance("order", "1").Attempts, "repeating would not help")
		})
	}
}

func TestDefinitionsSayEverythingThatIsWrong(t *testing.T) {
	fn := func(*order, *Context, placed) error { return nil }
	d := Define("", 0, Starts(byPlaced, fn), On(byPlaced, fn), nil, Timer[order]("", nil),
		Timer("t", func(*order, *Context) error { return nil }), Timer("t", func(*order, *Context) error { return nil }),
		IgnoreRejected[order, ship](), IgnoreRejected[order, ship](), IgnoreRejected[order, *ship](),
		Migrate[order](4, func(b []byte) ([]byte, error) { return b, nil }), Retries(0, 0), Retention(-1), Waits(Starts(byPaid, func(*order, *Context, paid) error { return nil })))
	err := d.Err()
	require.ErrorIs(t, err, ErrDefinition)
	for _, text := range []string{"saga name", "the version is 0", `"placed" is bound twice`, "an option is nil", "timer name", `timer "t" is bound twice`,
		`rejection of "ship" is bound twice`, "plain struct", "Migrate from 4", "Retries(0, 0s)", "Retention(-1ns)", "cannot wait for a start"} {
		require.ErrorContains(t, err, text)
	}
	require.ErrorContains(t, Define[order]("x", 1).Err(), "nothing starts it")
	require.ErrorContains(t, Define[int]("x", 1).Err(), "not a struct")
	_, err = Open(t.Context(), t.TempDir(), newWorld(t).log, nil, []*Definition{d, noting(), noting(), nil}, nil)
	require.ErrorIs(t, err, ErrDefinition)
	require.ErrorContains(t, err, `two sagas have the name "order"`)
}

func TestAnotherProcessOnTheFileIsNoticed(t *testing.T) {
	w := newWorld(t, noting())
	w.emit("s", placed{"1"})
	w.feed(10)
	zombie := w.Engine
	other, err := Open(t.Context(), w.dir, w.log, w.clock, w.defs, &Options{Relaxed: true, Logger: quiet})
	require.NoError(t, err)
	w.emit("s", reserved{"1"})
	w.Engine = other
	w.feed(10)
	w.Engine = zombie
	err = w.tryFeed(10)
	var blocked *bus.BlockedError
	require.ErrorAs(t, err, &blocked)
	require.ErrorIs(t, err, ErrMoved)
	w.Engine = other
	require.NoError(t, zombie.Close())
	require.Equal(t, []string{"placed", "reserved"}, stateOf(t, w.instance("order", "1")).Seen)
}

func TestARewoundLogIsRefused(t *testing.T) {
	w := newWorld(t, noting())
	w.emit("s", placed{"1"})
	w.feed(10)
	w.close()
	kept := w.log
	w.log = newWorld(t).log
	w.emit("s", placed{"1"}, placed{"2"})
	require.ErrorIs(t, w.tryOpen(), eventstore.ErrRewound)
	w.Engine, w.log = nil, kept
}

func TestEmptyPagesWriteNothing(t *testing.T) {
	w := newWorld(t, noting())
	for n := range 5 {
		w.emit("s", did{fmt.Sprint(n)})
	}
	w.step = func(string) error { return errBoom }
	w.feed(2)
	at, err := w.Checkpoint(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 5, at.Position)
	w.step = func(string) error { return nil }
	w.emit("s", placed{"1"})
	w.feed(2)
	w.reopen()
	at, err = w.Checkpoint(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 6, at.Position)
}

func TestRetentionKeepsTheTombstone(t *testing.T) {
	def := Define("order", 1,
		Starts(byPlaced, func(o *order, c *Context, e placed) error {
			o.see("placed")
			c.Complete()
			return nil
		}), Retention(time.Hour))
	w := newWorld(t, def)
	w.emit("s", placed{"1"})
	w.settle()
	w.clock.Advance(start.Add(30 * time.Minute))
	w.reopen()
	w.emit("s", placed{"2"})
	w.settle()
	require.NotEmpty(t, w.history("order", "1"))
	w.clock.Advance(start.Add(61 * time.Minute))
	w.reopen()
	w.emit("s", placed{"1"}, placed{"3"})
	w.settle()
	require.Empty(t, w.history("order", "1"))
	i := w.instance("order", "1")
	require.Equal(t, Completed, i.Status)
	require.JSONEq(t, "{}", string(i.State))
	require.NotEmpty(t, w.history("order", "2"))
}
