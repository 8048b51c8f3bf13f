package saga

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
)

// chatty sends n numbered reminders for each placed order.
func chatty(n int, opts ...Option[order]) *Definition {
	all := append([]Option[order]{
		Starts(byPlaced, func(o *order, c *Context, e placed) error {
			for i := range n {
				c.Send(remind{e.Order, i})
			}
			return nil
		}),
	}, opts...)
	return Define("order", 1, all...)
}

func TestCommandsOfAnInstanceLeaveInOrder(t *testing.T) {
	w := newWorld(t, chatty(20))
	for n := range 50 {
		w.emit("s", placed{fmt.Sprint(n)})
	}
	w.settle()
	next := map[string]int{}
	for _, line := range w.did() {
		var cmd remind
		_, err := fmt.Sscanf(strings.NewReplacer(`remind{"Order":"`, "", `","N":`, " ", "}", "").Replace(line), "%s %d", &cmd.Order, &cmd.N)
		require.NoError(t, err)
		require.Equal(t, next[cmd.Order], cmd.N, "order %s", cmd.Order)
		next[cmd.Order]++
	}
	require.Len(t, next, 50)
	w.audit()
}

func TestInstancesAreDispatchedSideBySideUpToWorkers(t *testing.T) {
	w := newWorld(t, chatty(1))
	w.close()
	w.opts.Workers = 4
	w.open()
	var now, most atomic.Int32
	full := make(chan struct{})
	var once sync.Once
	w.on("remind", func(ctx context.Context, cmd bus.Command) ([]eventstore.Event, error) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		if n == 4 {
			once.Do(func() { close(full) })
		}
		<-full
		return []eventstore.Event{did{cmd.ID}}, nil
	})
	for n := range 20 {
		w.emit("s", placed{fmt.Sprint(n)})
	}
	w.settle()
	require.EqualValues(t, 4, most.Load())
	require.Len(t, w.did(), 20)
}

func TestACommandsIDAndMetadata(t *testing.T) {
	def := Define("order", 1,
		Starts(byPlaced, func(o *order, c *Context, e placed) error {
			c.Send(reserve{e.Order})
			c.Send(charge{e.Order})
			c.After("late", time.Minute)
			return nil
		}),
		Timer("late", func(_ *order, c *Context) error { c.Send(ship{c.Key()}); return nil }),
		Rejected(func(_ *order, c *Context, r Rejection[charge]) error {
			c.Send(remind{r.Command.Order, 7})
			return nil
		}))
	w := newWorld(t, def)
	w.refuse("charge", "broke")
	w.emit("s", did{"so that positions begin elsewhere"})
	_, err := w.appendTo(t.Context(), "", "s", eventstore.Metadata{
		eventstore.CorrelationID: "conversation", eventstore.TraceParent: "00-1-2-01", eventstore.Actor: "me",
	}, placed{"1"})
	require.NoError(t, err)
	w.settle()
	w.advance(time.Minute)
	page, err := w.log.ReadLog(t.Context(), 1, 1, eventstore.Filter{})
	require.NoError(t, err)
	event := page.Events[0]
	require.Len(t, w.sent, 4)
	ids := map[string]bool{}
	for _, cmd := range w.sent {
		require.Regexp(t, `^0000000000000000002-[0-9a-f]{32}$`, cmd.ID)
		require.Equal(t, "conversation", cmd.Metadata[eventstore.CorrelationID], cmd.Type)
		ids[cmd.ID] = true
	}
	require.Len(t, ids, 4)
	require.Equal(t, []string{"reserve", "charge", "remind", "ship"}, []string{w.sent[0].Type, w.sent[1].Type, w.sent[2].Type, w.sent[3].Type})
	require.Equal(t, event.ID.String(), w.sent[0].Metadata[eventstore.CausationID])
	require.Equal(t, "00-1-2-01", w.sent[0].Metadata[eventstore.TraceParent])
	require.NotContains(t, w.sent[0].Metadata, eventstore.Actor)
	require.Equal(t, w.sent[1].ID, w.sent[2].Metadata[eventstore.CausationID], "a rejection is known by the command's id")
	require.NotEmpty(t, w.sent[3].Metadata[eventstore.CausationID])
	require.Equal(t, []string{"1", "1", "2", "1"}, []string{w.sent[0].Metadata[HopsKey], w.sent[1].Metadata[HopsKey], w.sent[2].Metadata[HopsKey], w.sent[3].Metadata[HopsKey]})
	// Without a correlation the event's own id is it.
	w.emit("s", placed{"2"})
	w.settle()
	page, err = w.log.ReadLog(t.Context(), 0, 100, eventstore.Filter{Types: []string{"placed"}})
	require.NoError(t, err)
	require.Equal(t, page.Events[1].ID.String(), w.sent[4].Metadata[eventstore.CorrelationID])
}

func TestARejectionReachesTheInstanceAndHoldsNothingUp(t *testing.T) {
	def := Define("order", 1,
		Starts(byPlaced, func(o *order, c *Context, e placed) error {
			c.Send(charge{e.Order})
			c.Send(reserve{e.Order})
			c.Send(ship{e.Order})
			return nil
		}),
		Rejected(func(o *order, c *Context, r Rejection[charge]) error {
			o.see("charge " + r.Code + " " + r.Reason + " " + r.Command.Order)
			c.Send(remind{r.Command.Order, 1})
			return nil
		}),
		IgnoreRejected[order, reserve]())
	w := newWorld(t, def)
	w.refuse("charge", "broke")
	w.refuse("reserve", "none")
	w.emit("s", placed{"1"})
	w.settle()
	require.Equal(t, []string{"charge broke refused: broke 1"}, stateOf(t, w.instance("order", "1")).Seen)
	require.Equal(t, []string{`ship{"Order":"1"}`, `remind{"Order":"1","N":1}`}, w.did())
	require.Empty(t, w.pending())
	require.Contains(t, w.history("order", "1"), "rejection charge: send:remind")
	require.Contains(t, w.history("order", "1"), "rejection reserve:")
	w.audit()
}

func TestARejectionThatNothingHandlesParks(t *testing.T) {
	w := newWorld(t, chatty(2))
	w.refuse("remind", "no")
	w.emit("s", placed{"1"})
	w.settle()
	i := w.instance("order", "1")
	require.Equal(t, Parked, i.Status)
	require.Contains(t, i.Reason, `command "remind" was rejected (no: refused: no) and nothing handles that`)
	require.Equal(t, 2, i.Waiting)
	require.NoError(t, w.Skip(t.Context(), "order", "1", by("fine")))
	require.Equal(t, Parked, w.instance("order", "1").Status, "the second one waits")
	require.NoError(t, w.Skip(t.Context(), "order", "1", by("fine")))
	require.Equal(t, Running, w.instance("order", "1").Status)
	w.audit()
}

func TestARejectionWaitsForAFailingInstance(t *testing.T) {
	fail := true
	def := chatty(1,
		On(byPaid, func(o *order, _ *Context, _ paid) error {
			if fail {
				return errBoom
			}
			o.see("paid")
			return nil
		}),
		Rejected(func(o *order, _ *Context, r Rejection[remind]) error { o.see("rejected " + r.Code); return nil }))
	w := newWorld(t, def)
	w.hourly()
	w.refuse("remind", "no")
	w.emit("s", placed{"1"}, paid{"1"})
	w.settle()
	w.reopen()
	fail = false
	w.retryFailing()
	require.Equal(t, []string{"paid", "rejected no"}, stateOf(t, w.instance("order", "1")).Seen)
	w.audit()
}

func TestACommandThatFailsIsTriedAgainAndThenParksItsInstance(t *testing.T) {
	w := newWorld(t, chatty(2))
	w.close()
	w.opts.CommandAttempts = 3
	w.open()
	var fail atomic.Bool
	fail.Store(true)
	w.on("remind", func(_ context.Context, cmd bus.Command) ([]eventstore.Event, error) {
		if fail.Load() && strings.Contains(string(cmd.Data), `"1","N":0`) {
			return nil, errBoom
		}
		return []eventstore.Event{did{string(cmd.Data)}}, nil
	})
	w.emit("s", placed{"1"}, placed{"2"})
	parked := func() bool { return w.stats().Commands.Parked == 1 }
	for !parked() { // it backs off for a microsecond each time
		w.settle()
	}
	i := w.instance("order", "1")
	require.Equal(t, Parked, i.Status)
	require.Contains(t, i.Reason, "boom")
	require.Equal(t, 2, i.Pending)
	require.Equal(t, []string{`{"Order":"2","N":0}`, `{"Order":"2","N":1}`}, w.did())
	w.audit()
	w.reopen()
	w.settle()
	require.Len(t, w.did(), 2)
	list, err := w.Pending(t.Context(), 10)
	require.NoError(t, err)
	require.True(t, list[0].Parked)
	require.Equal(t, 3, list[0].Attempts)
	fail.Store(false)
	require.NoError(t, w.Retry(t.Context(), "order", "1", by("up again")))
	w.settle()
	require.Len(t, w.did(), 4)
	require.Equal(t, Running, w.instance("order", "1").Status)
	require.ErrorIs(t, w.Retry(t.Context(), "order", "1", by("because")), ErrState)
	w.audit()
}

// It would back off for hours, and a Drain wait for it.
func TestACommandThatMeetsADamagedLogParksItsInstanceAtOnce(t *testing.T) {
	w := newWorld(t, chatty(1))
	w.hourly()
	w.on("remind", func(context.Context, bus.Command) ([]eventstore.Event, error) {
		return nil, fmt.Errorf("load: %w", &eventstore.CorruptError{Where: "position 7", Reason: "it is damaged"})
	})
	w.emit("s", placed{"1"})
	w.settle()
	i := w.instance("order", "1")
	require.Equal(t, Parked, i.Status)
	require.Contains(t, i.Reason, "position 7")
	require.Len(t, w.sent, 1)
	w.audit()
}

func TestAttemptsOfACommandSurviveARestart(t *testing.T) {
	w := newWorld(t, chatty(1))
	w.close()
	w.opts.MinBackoff, w.opts.MaxBackoff = time.Hour, time.Hour
	w.open()
	w.on("remind", func(context.Context, bus.Command) ([]eventstore.Event, error) { return nil, errBoom })
	w.emit("s", placed{"1"})
	w.settle()
	require.Equal(t, 1, w.stats().Commands.BackingOff)
	w.reopen()
	s := w.stats()
	require.Equal(t, 1, s.Commands.BackingOff)
	require.WithinDuration(t, time.Now().Add(45*time.Minute), s.NextAttempt, 16*time.Minute)
	require.Equal(t, "boom", s.Failure)
	w.settle() // what backs off is left out
	list, err := w.Pending(t.Context(), 10)
	require.NoError(t, err)
	require.Equal(t, 1, list[0].Attempts)
	require.Len(t, w.sent, 1)
}

func TestAShutdownIsNoFailure(t *testing.T) {
	w := newWorld(t, chatty(1))
	begun := make(chan struct{})
	w.on("remind", func(ctx context.Context, _ bus.Command) ([]eventstore.Event, error) {
		close(begun)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	w.emit("s", placed{"1"})
	w.feed(1)
	w.subscribe()
	<-begun
	w.unsubscribe()
	list, err := w.Pending(t.Context(), 10)
	require.NoError(t, err)
	require.Zero(t, list[0].Attempts)
	delete(w.handlers, "remind")
	w.settle()
	require.Len(t, w.did(), 1)
	w.audit()
}

func TestAPanicOfADispatchIsAFailure(t *testing.T) {
	w := newWorld(t, chatty(1))
	w.close()
	w.opts.CommandAttempts = 1
	w.open()
	w.on("remind", func(context.Context, bus.Command) ([]eventstore.Event, error) { panic(errBoom) })
	w.emit("s", placed{"1"})
	w.settle()
	require.Contains(t, w.instance("order", "1").Reason, "panic: boom")
}

func TestOneSubscriptionAtATime(t *testing.T) {
	w := newWorld(t, chatty(1))
	w.subscribe()
	_, err := w.Outbox().Subscribe(t.Context(), "")
	require.ErrorIs(t, err, ErrSubscribed)
	w.unsubscribe()
	for range 3 {
		w.subscribe() // waits for the end of the one before
		w.unsubscribe()
	}
	require.NoError(t, w.Engine.Close())
	_, err = w.Outbox().Subscribe(t.Context(), "")
	require.ErrorIs(t, err, ErrClosed)
	w.Engine = nil
}

func TestAForeignMessageIsRefused(t *testing.T) {
	w := newWorld(t)
	err := w.Dispatcher(w.dispatch)(bus.CommandMessage(bus.Command{Type: "x"}))
	require.ErrorIs(t, err, eventstore.ErrInvalid)
}

func TestAHandlerOfOnesOwnSaysDoneByAck(t *testing.T) {
	w := newWorld(t, chatty(2))
	w.emit("s", placed{"1"})
	w.feed(1)
	ctx, cancel := context.WithCancel(t.Context())
	messages, err := w.Outbox().Subscribe(ctx, "")
	require.NoError(t, err)
	for n := range 2 {
		msg := <-messages
		cmd, err := bus.CommandFromMessage(msg)
		require.NoError(t, err)
		require.JSONEq(t, fmt.Sprintf(`{"Order":"1","N":%d}`, n), string(cmd.Data))
		msg.Ack()
	}
	require.NoError(t, w.Settle(t.Context()))
	cancel()
	for range messages {
	}
	w.audit()
	require.Empty(t, w.pending())
}

func TestPayloadsBeyondTheBufferAreReadWhenTheirTurnComes(t *testing.T) {
	w := newWorld(t, chatty(900))
	w.emit("s", placed{"1"}, placed{"2"}, placed{"3"}, placed{"4"}, placed{"5"}, placed{"6"})
	w.refuse("none", "")
	w.settle()
	require.Len(t, w.did(), 5400)
	require.Zero(t, w.outbox.buffered)
	w.audit()
}
