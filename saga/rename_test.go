package saga

import (
	"context"
	"database/sql"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
)

// Of the renamed order: withhold was reserve, giveBack was release.
type (
	withhold struct{ Order string }
	giveBack struct{ Order string }
)

func (withhold) CommandType() string { return "withhold" }
func (giveBack) CommandType() string { return "give_back" }

// before and after are a saga whose names all change.
func before() *Definition {
	return Define("order", 1,
		Starts(byPlaced, func(_ *order, c *Context, e placed) error {
			c.Undo("stock", release{e.Order})
			c.Send(reserve{e.Order})
			c.After("late", time.Hour)
			return nil
		}),
		On(byPaid, func(*order, *Context, paid) error { return errBoom }),
		Timer("late", func(_ *order, c *Context) error { c.Compensate("late"); return nil }),
		Rejected(func(o *order, c *Context, _ Rejection[reserve]) error { o.see("refused"); return nil }))
}

func after(opts ...Option[order]) *Definition {
	return Define("purchase", 1, append(opts,
		Starts(byPlaced, func(_ *order, c *Context, e placed) error { c.Send(withhold{e.Order}); return nil }),
		On(byPaid, func(o *order, _ *Context, _ paid) error { o.see("paid"); return nil }),
		Timer("overdue", func(_ *order, c *Context) error { c.Compensate("overdue"); return nil }),
		Rejected(func(o *order, c *Context, _ Rejection[withhold]) error { o.see("refused"); return nil }))...)
}

func renamed() []Option[order] {
	return []Option[order]{Was("order"), TimerWas("overdue", "late"), CommandWas[withhold]("reserve"), CommandWas[giveBack]("release")}
}

// with opens the world anew with other definitions, and returns the error.
func (w *world) with(defs ...*Definition) error {
	w.t.Helper()
	w.close()
	w.defs = defs
	err := w.tryOpen()
	if err != nil {
		w.Engine = nil
	}
	return err
}

func TestASagaRenamedInFlightGoesOn(t *testing.T) {
	w := newWorld(t, before())
	w.emit("s", placed{"1"}, placed{"2"}, placed{"3"})
	w.feed(10)
	w.opts.Handles = func(name string) bool { return name == "withhold" || name == "give_back" }
	require.ErrorIs(t, w.with(after()), ErrStart)
	require.NoError(t, w.with(after(renamed()...)))
	ids := map[string]bool{}
	pending, err := w.Pending(t.Context(), 10)
	require.NoError(t, err)
	for _, c := range pending {
		require.Equal(t, "withhold", c.Type)
		ids[c.ID] = true
	}
	w.settle()
	w.emit("s", paid{"1"})
	w.settle()
	require.Equal(t, []string{"paid"}, stateOf(t, w.instance("purchase", "1")).Seen)
	require.Equal(t, 3, w.advance(time.Hour), "the timers fire under their new name")
	require.Equal(t, 3, w.stats().Sagas["purchase"].Compensated)
	require.ElementsMatch(t, []string{`withhold{"Order":"1"}`, `withhold{"Order":"2"}`, `withhold{"Order":"3"}`,
		`give_back{"Order":"1"}`, `give_back{"Order":"2"}`, `give_back{"Order":"3"}`}, w.did(), "each action and each undo once")
	for _, c := range w.sent {
		delete(ids, c.ID)
	}
	require.Empty(t, ids, "commands keep their ids")
	w.emit("s", placed{"1"}, placed{"4"})
	w.settle()
	require.Equal(t, 1, w.stats().Sagas["purchase"].Running, "a key that has finished stays so")
	require.ErrorIs(t, w.with(before()), ErrStart, "the older program is refused")
	require.NoError(t, w.with(after(renamed()...)), "and Was does no harm later")
}

func TestWhatWaitsForAParkedInstanceIsRenamedToo(t *testing.T) {
	w := newWorld(t, before())
	w.hourly()
	refusing := make(chan struct{})
	w.on("reserve", func(ctx context.Context, cmd bus.Command) ([]eventstore.Event, error) {
		<-refusing
		return nil, refusal{"none"}
	})
	w.emit("s", placed{"1"}, paid{"1"})
	w.subscribe()
	w.feed(10) // paid fails: the instance backs off
	close(refusing)
	w.settle()
	require.Equal(t, 2, w.instance("order", "1").Waiting, "the event, and the rejection")
	w.advance(2 * time.Hour) // the timer is held
	require.NoError(t, w.with(after(renamed()...)))
	w.anHourPasses()
	require.NoError(t, w.retryDue(t.Context()))
	w.settle()
	w.advance(time.Second)
	i := w.instance("purchase", "1")
	require.Equal(t, []string{"paid", "refused"}, stateOf(t, i).Seen)
	require.Equal(t, Compensated, i.Status)
	require.Empty(t, w.did(), "what was refused is not undone")
}

// TestTheStartCheckListsWhatWaits: undos, rejections, timers and events that
// wait have handlers too, and a refused start changes nothing.
func TestTheStartCheckListsWhatWaits(t *testing.T) {
	w := newWorld(t, before())
	w.hourly()
	w.refuse("reserve", "none")
	w.emit("s", placed{"1"})
	w.feed(10)
	w.emit("s", paid{"1"}, paid{"1"})
	w.feed(10)
	w.settle()
	ctx := t.Context()
	require.NoError(t, w.lock(ctx))
	_, err := w.db.Writer().Exec(`INSERT INTO waiting (instance, sequence, kind, position, data) VALUES (1, 9, 'timer', 0, '{"name":"late"}')`)
	require.NoError(t, err)
	_, err = w.db.Writer().Exec(`UPDATE instance SET waited = 9, undo = '[{"name":"stock","type":"release","data":"{}","id":"x"}]'`)
	require.NoError(t, err)
	w.unlock()
	var rows = func() (all string) {
		db, err := sql.Open("sqlite3", "file:"+w.dir+"/sagas.db?mode=ro")
		require.NoError(t, err)
		defer func() { require.NoError(t, db.Close()) }()
		require.NoError(t, db.QueryRow(`SELECT group_concat(name || active || position) || (SELECT group_concat(data || kind) FROM waiting) || (SELECT owner FROM engine) FROM saga`).Scan(&all))
		return all
	}
	w.close()
	was := rows()
	w.opts.Handles = func(string) bool { return false }
	bare := Define("order", 1, Starts(byPlaced, func(*order, *Context, placed) error { return nil }), Was("orders"))
	w.defs = []*Definition{bare, Define("new", 1, Starts(byPlaced, func(*order, *Context, placed) error { return nil }))}
	err = w.tryOpen()
	w.Engine = nil
	var start *StartError
	require.ErrorAs(t, err, &start)
	require.Equal(t, []string{
		`saga "order": 1 pending undos "release", and no handler of that name`,
		`saga "order": 1 rejections of "reserve" wait, and there is neither saga.Rejected nor saga.IgnoreRejected`,
		`saga "order": 2 events "paid" wait, and it names no such event`,
		`saga "order": 2 pending timers "late", and no saga.Timer of that name`,
	}, start.Problems)
	require.Equal(t, was, rows(), "a refused start changes nothing")
}

// TestAStateFieldRenamedWithoutMigrateIsRefused: its value would be forgotten
// without a word.
func TestAStateFieldRenamedWithoutMigrateIsRefused(t *testing.T) {
	w := newWorld(t, noting())
	w.emit("s", placed{"1"}, placed{"2"})
	w.settle()
	type seen struct{ Noticed, Tries []string }
	define := func(version int, opts ...Option[seen]) *Definition {
		return Define("order", version, append(opts, Starts(byPlaced, func(*seen, *Context, placed) error { return nil }),
			On(byReserved, func(*seen, *Context, reserved) error { return nil }))...)
	}
	err := w.with(define(1))
	require.ErrorIs(t, err, ErrStart)
	require.ErrorContains(t, err, `saga "order": 2 open instances have the field "Seen", which the state lacks: raise the version and add saga.Migrate`)
	require.NoError(t, w.with(define(2, Migrate[seen](1, func([]byte) ([]byte, error) { return []byte(`{}`), nil }))))
}

// TestAFieldWithinTheStateRenamedWithoutMigrateIsRefused: at any depth.
func TestAFieldWithinTheStateRenamedWithoutMigrateIsRefused(t *testing.T) {
	type was struct {
		Pay  struct{ Card, Kept string }
		Legs map[string][]*struct{ From, To string }
	}
	type is struct {
		Pay  *struct{ Token, Kept string }
		Legs map[string][]struct{ To string }
	}
	w := newWorld(t, Define("o", 1, Starts(byPlaced, func(o *was, c *Context, e placed) error {
		o.Pay.Card = "4711"
		if e.Order != "1" {
			o.Legs = map[string][]*struct{ From, To string }{"x": {nil, {"a", "b"}, {"b", "c"}}}
		}
		return nil
	})))
	w.emit("s", placed{"1"}, placed{"2"}, placed{"3"})
	w.feed(10)
	fn := func(*is, *Context, placed) error { return nil }
	var start *StartError
	require.ErrorAs(t, w.with(Define("o", 1, Starts(byPlaced, fn))), &start)
	require.Equal(t, []string{
		`saga "o": 2 open instances have the field "Legs[][].From", which the state lacks: raise the version and add saga.Migrate`,
		`saga "o": 3 open instances have the field "Pay.Card", which the state lacks: raise the version and add saga.Migrate`,
	}, start.Problems)
	require.NoError(t, w.with(Define("o", 2, Starts(byPlaced, fn), Migrate[is](1, func([]byte) ([]byte, error) { return []byte(`{}`), nil }))))
}

func TestATakenNameIsNotTakenOver(t *testing.T) {
	other := Define("purchase", 1, Starts(byPlaced, func(_ *order, c *Context, e placed) error { c.After("late", time.Hour); return nil }),
		Timer("late", func(*order, *Context) error { return nil }))
	w := newWorld(t, before(), other)
	w.emit("s", placed{"1"})
	w.settle()
	err := w.with(after(renamed()...))
	require.ErrorIs(t, err, ErrStart)
	require.ErrorContains(t, err, `saga "purchase": it has instances of its own, and of its former names ["order"]`)
	err = w.with(before(), after(Was("order")))
	require.ErrorIs(t, err, ErrDefinition)
	require.ErrorContains(t, err, `saga "purchase" was "order", which is the name of a saga`)
	for _, d := range []*Definition{after(Was("purchase")), after(TimerWas("none", "late")), after(TimerWas("overdue", "overdue")), after(CommandWas[withhold]("withhold")), after(CommandWas[*withhold]("x")),
		after(TimerWas("overdue", "late"), TimerWas("other", "late")), after(Was(""))} {
		require.ErrorIs(t, d.Err(), ErrDefinition)
	}
}

// TestTimersThatWouldBecomeOneAreListed: also where none of them has the new
// name yet.
func TestTimersThatWouldBecomeOneAreListed(t *testing.T) {
	timers := func(set []string, opts ...Option[order]) *Definition {
		opts = append(opts, Starts(byPlaced, func(_ *order, c *Context, e placed) error {
			for _, name := range set {
				c.After(name, time.Hour)
			}
			return nil
		}))
		for _, name := range set {
			opts = append(opts, Timer(name, func(*order, *Context) error { return nil }))
		}
		return Define("order", 1, opts...)
	}
	for _, set := range [][]string{{"a", "b"}, {"b", "c"}} {
		w := newWorld(t, timers(set))
		w.emit("s", placed{"1"})
		w.feed(10)
		err := w.with(timers([]string{"c"}, TimerWas("c", "a", "b")))
		require.ErrorIs(t, err, ErrStart)
		require.ErrorContains(t, err, `saga "order": 1 instances have more than one of the timers ["a" "b" "c"], which would all be "c"`)
	}
	w := newWorld(t, timers([]string{"b"}))
	w.emit("s", placed{"1"})
	w.feed(10)
	require.NoError(t, w.with(timers([]string{"c"}, TimerWas("c", "a", "b"))))
	require.Equal(t, 1, w.advance(time.Hour))
}

// TestANameThatWasGivenWithoutWasIsMended: a program that was started under the
// new name without Was, and started nothing, is no obstacle.
func TestANameThatWasGivenWithoutWasIsMended(t *testing.T) {
	w := newWorld(t, noting())
	w.emit("s", placed{"1"})
	w.settle()
	w.close()
	fresh := Define("orders", 1, Starts(byPlaced, func(*order, *Context, placed) error { return nil }), On(byReserved, func(o *order, _ *Context, _ reserved) error { o.see("reserved"); return nil }), Was("order"))
	w.defs = []*Definition{noting(), Define("orders", 1, Starts(byShipped, func(*order, *Context, shipped) error { return nil }))}
	w.open()
	w.emit("s", reserved{"1"})
	require.NoError(t, w.with(fresh))
	w.settle()
	require.Equal(t, []string{"placed", "reserved"}, stateOf(t, w.instance("orders", "1")).Seen)
}

// charging sends a command, and is done.
func charging(name string, was ...string) *Definition {
	options := []Option[order]{Starts(byPlaced, func(_ *order, c *Context, e placed) error {
		c.Send(charge{e.Order})
		c.Complete()
		return nil
	})}
	if len(was) > 0 {
		options = append(options, Was(was...))
	}
	return Define(name, 1, options...)
}

// TestAFormerNameIsFreeForNoSaga: also where nothing is open, a program of
// before would start its keys again, without their tombstones.
func TestAFormerNameIsFreeForNoSaga(t *testing.T) {
	w := newWorld(t, charging("a"))
	again := func(d *Definition) {
		require.NoError(t, w.with(d))
		w.emit("s", placed{"first"}, placed{d.Name()})
		w.settle()
	}
	again(charging("a"))
	again(charging("b", "a"))
	again(charging("c", "a", "b"))
	again(charging("c"))
	require.Len(t, w.did(), 4, "first, and one for each name")
	for name, d := range map[string]*Definition{
		`saga "a": "a" is a former name of the saga "c"`: charging("a"),
		`saga "b": "b" is a former name of the saga "c"`: charging("b", "a"),
		`saga "d": "b" is a former name of the saga "c"`: charging("d", "a", "b"),
	} {
		err := w.with(d)
		require.ErrorIs(t, err, ErrStart)
		require.ErrorContains(t, err, name)
	}
	again(charging("d", "a", "b", "c"))
	again(charging("b", "d")) // a name of before, for good
	require.ErrorContains(t, w.with(charging("d", "c")), `saga "d": "d" is a former name of the saga "b"`)
	again(charging("b"))
	again(charging("b", "never", "d"))
	require.Len(t, w.did(), 5)
	require.ErrorIs(t, w.with(charging("never")), ErrStart, "as a store that is older than this one would have it")
}

// TestARenamedSagaThatIsRestoredRepeatsNothing: sagas.db is of before the
// renaming, the log of after it.
func TestARenamedSagaThatIsRestoredRepeatsNothing(t *testing.T) {
	w := newWorld(t, charging("ordering"))
	dir, backup, former := w.dir, t.TempDir(), t.TempDir()
	copyOf := func(from, to string) {
		t.Helper()
		require.NoError(t, os.RemoveAll(to))
		require.NoError(t, os.CopyFS(to, os.DirFS(from)))
	}
	w.emit("s", placed{"1"})
	w.settle()
	w.close()
	copyOf(dir, backup)
	w.open()
	w.emit("s", placed{"2"}) // before the renaming,
	w.settle()
	renamed := charging("purchasing", "ordering")
	require.NoError(t, w.with(renamed))
	w.emit("s", placed{"3"}) // and after it
	w.settle()
	require.Len(t, w.did(), 3)
	for format := formerNames; format > 0; format-- {
		w.close()
		copyOf(backup, former)
		asOf(t, former, format)
		sound(t, former)
		copyOf(former, dir)
		require.NoError(t, w.with(renamed))
		w.settle()
		require.Len(t, w.did(), 3, "what was carried out is known by its id, format %d", format)
	}
	w.close()
	r, err := Replay(t.Context(), w.dir, w.log, w.defs)
	require.NoError(t, err)
	require.Equal(t, 3, r.Entries)
	require.Empty(t, r.Differences)
}
