package bus_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
)

func TestConsumersAreGivenTheirEventsInOrder(t *testing.T) {
	store := memory.New(nil)
	for i := range 700 {
		appendTo(t, store, []string{"ride-1", "ride-2", "driver-1"}[i%3], event(i))
	}
	all := newCollector(t, "all")
	rides := newCollector(t, "rides")
	rides.filter = eventstore.Filter{Categories: []string{"ride"}}
	single := newCollector(t, "single")
	single.size = 1
	half := newCollector(t, "half")
	half.index, half.of = 1, 2
	late := newCollector(t, "late")

	r := newRouter(t, store, nil, all, rides, single, half)
	stop := run(t, r)
	settle(t, r, 700)
	for i := range 50 {
		settle(t, r, appendTo(t, store, "ride-1", event(i)))
	}
	require.NoError(t, r.Add(late))
	settle(t, r, 750)
	for _, c := range []*collector{all, rides, single, half, late} {
		require.Equal(t, c.want(store, 750), c.positions(), c.name)
	}
	require.Equal(t, int64(750), single.at.Position)
	require.LessOrEqual(t, late.pages, 4, "a backlog travels in pages")
	for _, s := range r.Status() {
		require.Equal(t, bus.ConsumerStatus{Name: s.Name, State: bus.StateRunning, Checkpoint: 750, Head: 750}, s)
	}
	stop()
	require.ErrorIs(t, r.Add(newCollector(t, "too late")), bus.ErrStopped)
	require.ErrorIs(t, r.Settle(context.Background(), 751), bus.ErrStopped)
	require.ErrorIs(t, r.Run(context.Background()), bus.ErrStopped)
}

// Eventuous 222: a checkpoint behind a filter that matches nothing must
// advance, or a restart scans the log again.
func TestFilterThatMatchesNothingAdvances(t *testing.T) {
	store := memory.New(nil)
	c := newCollector(t, "none")
	c.filter = eventstore.Filter{Types: []string{"never"}}
	r := newRouter(t, store, nil, c)
	run(t, r)
	for i := range 10 {
		settle(t, r, appendTo(t, store, "a", event(i)))
		c.mu.Lock()
		require.Equal(t, int64(i+1), c.at.Position)
		c.mu.Unlock()
	}
	require.Zero(t, c.pages)
}

func TestBlockedConsumerStopsAloneAndLoudly(t *testing.T) {
	var out syncBuffer
	store := memory.New(nil)
	var healed atomic.Bool
	bad, good := newCollector(t, "bad"), newCollector(t, "good")
	bad.size = 1
	bad.apply = func(_ context.Context, p bus.Page) error {
		if p.Through.Position == 3 && !healed.Load() {
			return &bus.BlockedError{Position: 3, Err: errors.New("cannot be")}
		}
		return nil
	}
	r := newRouter(t, store, &bus.RouterOptions{Logger: slog.New(slog.NewTextHandler(&out, nil))}, bad, good)
	run(t, r)
	for i := range 10 {
		settle(t, r, appendTo(t, store, "a", event(i)))
	}
	settle(t, r, 10) // a blocked consumer does not hold it up
	require.Equal(t, []int64{1, 2}, bad.positions())
	require.Equal(t, good.want(store, 10), good.positions())
	s := r.Status()[0]
	require.Equal(t, bus.StateBlocked, s.State)
	require.Equal(t, int64(3), s.Position)
	require.Equal(t, int64(2), s.Checkpoint)
	require.EqualError(t, s.Err, "bus: consumer blocked at position 3: cannot be")
	require.Equal(t, "blocked at 3: bus: consumer blocked at position 3: cannot be", s.String())
	require.Equal(t, int64(8), s.Lag())
	page, err := store.ReadLog(t.Context(), 2, 1, eventstore.Filter{})
	require.NoError(t, err)
	lag, err := r.LagTime(t.Context(), s, page.Events[0].RecordedAt().Add(3*time.Second))
	require.NoError(t, err)
	require.Equal(t, 3*time.Second, lag)
	lag, err = r.LagTime(t.Context(), r.Status()[1], time.Now())
	require.NoError(t, err)
	require.Zero(t, lag)
	require.Equal(t, "running", r.Status()[1].String())
	require.Equal(t, 1, strings.Count(out.String(), "\n"), out.String())
	require.Contains(t, out.String(), "level=ERROR")

	require.ErrorIs(t, r.Resume("ugly"), bus.ErrUnknownConsumer)
	require.NoError(t, r.Resume("good"), "nothing to resume is no error")
	healed.Store(true)
	require.NoError(t, r.Resume("bad"))
	settle(t, r, 10) // which waits for it again
	require.Equal(t, bus.StateRunning, r.Status()[0].State)
	require.Equal(t, bad.want(store, 10), bad.positions())
}

func TestRewoundCheckpointBlocks(t *testing.T) {
	store, other := memory.New(nil), memory.New(nil)
	appendTo(t, store, "a")
	appendTo(t, other, "b")
	c := newCollector(t, "astray")
	var err error
	c.at, err = other.Anchor(context.Background(), 1)
	require.NoError(t, err)
	r := newRouter(t, store, nil, c)
	run(t, r)
	settle(t, r, 1)
	require.Equal(t, bus.StateBlocked, r.Status()[0].State)
	require.ErrorIs(t, r.Status()[0].Err, eventstore.ErrRewound)
}

// watermill 271: a refused message comes again, whole and before its
// successors.
func TestRetryWaitsAsLongAsTheConsumerSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(nil)
		began := time.Now()
		var tries []time.Duration
		c := newCollector(t, "flaky")
		c.apply = func(_ context.Context, p bus.Page) error {
			tries = append(tries, time.Since(began))
			if len(tries) < 3 {
				return &bus.RetryError{After: time.Minute, Attempt: len(tries), Position: p.Events[0].Position, Err: errors.New("not now")}
			}
			return nil
		}
		r := newRouter(t, store, nil, c)
		stop := run(t, r)
		appendTo(t, store, "a")
		settle(t, r, 1)
		require.Equal(t, bus.ConsumerStatus{Name: "flaky", State: bus.StateBackingOff, Head: 1, Position: 1, Attempt: 1,
			Err: errors.New("not now"), NextAttempt: began.Add(time.Minute)}, r.Status()[0])
		time.Sleep(time.Hour)
		settle(t, r, 1)
		require.Equal(t, []time.Duration{0, time.Minute, 2 * time.Minute}, tries)
		require.Equal(t, []int64{1}, c.positions())
		require.Equal(t, bus.StateRunning, r.Status()[0].State)
		stop()
	})
}

func TestInfrastructureErrorsBackOffAndKeepTheGoodPrefix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(nil)
		for i := range 10 {
			appendTo(t, store, "a", event(i))
		}
		c := newCollector(t, "flaky")
		failures := 0
		var waits []time.Duration
		last := time.Now()
		c.apply = func(ctx context.Context, p bus.Page) error {
			waits = append(waits, time.Since(last))
			last = time.Now()
			if failures++; failures > 12 {
				return nil
			}
			if failures == 1 { // commits three of ten
				at, err := store.Anchor(ctx, 3)
				require.NoError(t, err)
				c.mu.Lock()
				defer c.mu.Unlock()
				c.keep(p.Events[:3], at)
			}
			if failures == 2 {
				panic("a bug")
			}
			return errors.New("disk on fire")
		}
		r := newRouter(t, store, nil, c)
		stop := run(t, r)
		time.Sleep(time.Hour)
		settle(t, r, 10)
		require.Equal(t, c.want(store, 10), c.positions())
		require.Len(t, waits, 13)
		for i, w := range waits[1:] {
			most := min(bus.MinBackoff<<i, bus.MaxBackoff)
			require.LessOrEqual(t, w, most)
			require.GreaterOrEqual(t, w, most/2)
		}
		stop()
	})
}

func TestResumeEndsABackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(nil)
		c := newCollector(t, "flaky")
		tries := 0
		c.apply = func(context.Context, bus.Page) error {
			if tries++; tries == 1 {
				return &bus.RetryError{After: 24 * time.Hour, Attempt: 1, Err: errors.New("not now")}
			}
			return nil
		}
		r := newRouter(t, store, nil, c)
		stop := run(t, r)
		began := time.Now()
		appendTo(t, store, "a")
		settle(t, r, 1)
		synctest.Wait()
		require.NoError(t, r.Resume("flaky"))
		settle(t, r, 1)
		require.Equal(t, []int64{1}, c.positions())
		require.Zero(t, time.Since(began))
		stop()
	})
}

// A page counts as applied where Apply said so, whatever middleware makes of
// it.
func TestMiddlewareCannotSkipAPage(t *testing.T) {
	store := memory.New(nil)
	for i := range 200 {
		appendTo(t, store, "a", event(i))
	}
	calls := 0
	swallow := func(h message.HandlerFunc) message.HandlerFunc {
		return func(msg *message.Message) ([]*message.Message, error) {
			switch calls++; calls % 5 {
			case 0:
				return nil, nil // handled, it says
			case 1:
				out, _ := h(msg) // hides the error
				return out, nil
			case 2:
				out, err := h(msg)
				return out, errors.Join(err, errors.New("fails afterwards"))
			case 3:
				panic("in the middleware")
			default:
				return h(msg)
			}
		}
	}
	c := newCollector(t, "c")
	c.size = 10
	tries := 0
	c.apply = func(context.Context, bus.Page) error {
		if tries++; tries%3 == 0 {
			return errors.New("fails")
		}
		return nil
	}
	r := newRouter(t, store, &bus.RouterOptions{
		MinBackoff: time.Microsecond, MaxBackoff: time.Microsecond,
		Middleware: []message.HandlerMiddleware{middleware.InstantAck, swallow},
	}, c)
	run(t, r)
	wait(t, func() bool { return r.Status()[0].Checkpoint == 200 }, func() { settle(t, r, 200) })
	require.Equal(t, c.want(store, 200), c.positions())
}

func TestPageOfOneHasTheEventsForm(t *testing.T) {
	store := memory.New(nil)
	_, err := store.Append(context.Background(), eventstore.Batch{ID: "b1", Writes: []eventstore.Write{{Stream: "ride-7", Events: []eventstore.EventData{
		{Type: "ride_requested", SchemaVersion: 2, Data: []byte(`{"x":1}`), Metadata: eventstore.Metadata{eventstore.CorrelationID: "c-1"}},
	}}}})
	require.NoError(t, err)
	var got *message.Message
	look := func(h message.HandlerFunc) message.HandlerFunc {
		return func(msg *message.Message) ([]*message.Message, error) {
			got = msg
			p, ok := bus.PageFrom(msg)
			require.True(t, ok)
			require.Len(t, p.Events, 1)
			return h(msg)
		}
	}
	c := newCollector(t, "c")
	c.size = 1
	r := newRouter(t, store, &bus.RouterOptions{Middleware: []message.HandlerMiddleware{look}}, c)
	run(t, r)
	settle(t, r, 1)
	e := c.events[0]
	require.Equal(t, e.ID.String(), got.UUID)
	require.JSONEq(t, `{"x":1}`, string(got.Payload))
	require.Equal(t, "c-1", middleware.MessageCorrelationID(got))
	require.Equal(t, "ride-7", got.Metadata[bus.MetaStream])
	require.Equal(t, "ride-7", got.Metadata[bus.MetaPartitionKey])
	require.Equal(t, "1", got.Metadata[bus.MetaVersion])
	require.Equal(t, "1", got.Metadata[bus.MetaPosition])
	require.Equal(t, "ride_requested", got.Metadata[bus.MetaType])
	require.Equal(t, "2", got.Metadata[bus.MetaSchemaVersion])
	require.Equal(t, "b1", got.Metadata[bus.MetaBatchID])
}

func TestIdleRouterDoesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &countingLog{LogReader: memory.New(nil)}
		store := log.LogReader.(eventstore.Store)
		var consumers []bus.Consumer
		for _, name := range []string{"a", "b", "c", "d"} {
			consumers = append(consumers, newCollector(t, name))
		}
		r := newRouter(t, log, nil, consumers...)
		stop := run(t, r)
		settle(t, r, appendTo(t, store, "s"))
		synctest.Wait()
		calls := log.calls.Load()
		time.Sleep(24 * time.Hour)
		require.Equal(t, calls, log.calls.Load(), "an idle router polls")

		// And four consumers at the end of the log read it about once.
		log.reads.Store(0)
		for i := range 100 {
			settle(t, r, appendTo(t, store, "s", event(i)))
		}
		require.LessOrEqual(t, log.reads.Load(), int64(110))
		stop()
	})
}

func TestRegistrationErrors(t *testing.T) {
	store := memory.New(nil)
	r := newRouter(t, store, nil, newCollector(t, "a"))
	require.ErrorIs(t, r.Add(newCollector(t, "a")), bus.ErrDuplicateName)
	require.ErrorIs(t, r.AddHandler("a", "t", nil, nil), bus.ErrDuplicateName)
	require.ErrorIs(t, r.Add(newCollector(t, "")), eventstore.ErrInvalid)
	huge := newCollector(t, "huge")
	huge.size = eventstore.MaxPage + 1
	require.ErrorIs(t, r.Add(huge), eventstore.ErrInvalid)
	astray := newCollector(t, "astray")
	astray.index, astray.of = 2, 2
	require.ErrorIs(t, r.Add(astray), eventstore.ErrInvalid)
	_, err := bus.NewRouter(store, &bus.RouterOptions{BufferEvents: -1})
	require.ErrorIs(t, err, eventstore.ErrInvalid)
}

// wait calls step until ok, without sleeping: step waits for something.
func wait(t testing.TB, ok func() bool, step func()) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); step() {
		require.True(t, time.Now().Before(deadline), "waited in vain")
	}
}

type countingLog struct {
	eventstore.LogReader
	calls, reads atomic.Int64
}

func (l *countingLog) ReadLog(ctx context.Context, after int64, limit int, f eventstore.Filter) (eventstore.Page, error) {
	l.calls.Add(1)
	l.reads.Add(1)
	return l.LogReader.ReadLog(ctx, after, limit, f)
}

func (l *countingLog) Wait(ctx context.Context, after int64) (int64, error) {
	l.calls.Add(1)
	return l.LogReader.Wait(ctx, after)
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
