package saga

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

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
	w := newWorld(t, shop(), Define("gone", 1, Starts(byPlaced, func(_ *order, c *Context, _ placed) error { c.After("late", time.Hour); return nil }),
		Timer("late", func(*order, *Context) error { return nil })))
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
		`saga "gone": 2 pending timers "late", and no definition of that name`,
		`saga "order": 2 pending commands "reserve", and no handler of that name`,
		`saga "order": 2 pending timers "late", and no saga.Timer of that name`,
		`saga "order": 2 pending undos "release", and no handler of that name`,
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

// TestTimersOfThePastCountFromTheirEvents: a deadline is where it would be if
// the saga had always been there. What is over fires when all was seen.
func TestTimersOfThePastCountFromTheirEvents(t *testing.T) {
	w := newWorld(t, Define("older", 1, Starts(byShipped, func(*order, *Context, shipped) error { return nil })))
	w.emit("s", placed{"old"}, placed{"paid"})
	w.clock.Advance(start.Add(30 * 24 * time.Hour))
	w.emit("s", paid{"paid"}, placed{"recent"})
	w.clock.Advance(start.Add(30*24*time.Hour + time.Hour))
	w.close()
	w.defs = append(w.defs, Define("order", 1,
		Starts(byPlaced, func(_ *order, c *Context, e placed) error {
			c.Send(reserve{e.Order})
			c.After("deadline", 24*time.Hour)
			return nil
		}),
		On(byPaid, func(_ *order, c *Context, _ paid) error { c.Cancel("deadline"); return nil }),
		Timer("deadline", func(_ *order, c *Context) error {
			c.Send(remind{Order: c.Key()})
			c.After("deadline", 24*time.Hour)
			return nil
		}), FromOrigin()))
	w.open()
	w.emit("s", placed{"new"})
	w.settle()
	due := func() map[string]time.Duration {
		list, err := w.Timers(t.Context(), 10)
		require.NoError(t, err)
		all := map[string]time.Duration{}
		for _, timer := range list {
			all[timer.Key] = timer.Due.Sub(w.clock.Now())
		}
		return all
	}
	require.Equal(t, map[string]time.Duration{"old": -29*24*time.Hour - time.Hour, "recent": 23 * time.Hour, "new": 24 * time.Hour}, due())
	require.Equal(t, 1, w.advance(0))
	require.Equal(t, map[string]time.Duration{"old": 24 * time.Hour, "recent": 23 * time.Hour, "new": 24 * time.Hour}, due(), "what is set now counts from now")
	require.Equal(t, []string{`reserve{"Order":"new"}`, `remind{"Order":"old","N":0}`}, w.did())
	require.Empty(t, replayOf(t, w, w.defs...).Differences)
}

// TestReplayOfAPastThatWasCountedByTheClock: a program of before did that.
func TestReplayOfAPastThatWasCountedByTheClock(t *testing.T) {
	def := Define("order", 1,
		Starts(byPlaced, func(_ *order, c *Context, _ placed) error { c.After("t", time.Hour); return nil }),
		Timer("t", func(*order, *Context) error { return nil }))
	w := newWorld(t, def)
	w.emit("s", placed{"1"})
	w.clock.Advance(start.Add(time.Hour))
	w.feed(10)
	require.NoError(t, w.lock(t.Context()))
	_, err := w.db.Writer().Exec(`UPDATE saga SET silent = 1`)
	require.NoError(t, err)
	w.unlock()
	require.Empty(t, replayOf(t, w, def).Differences)
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
