package saga

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
)

var start = time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC)

// Events and commands of an order: reserve stock, charge, ship.
type (
	placed   struct{ Order string }
	reserved struct{ Order string }
	paid     struct{ Order string }
	shipped  struct{ Order string }
	grouped  struct{ Orders []string }
	did      struct{ What string }

	reserve struct{ Order string }
	release struct{ Order string }
	charge  struct{ Order string }
	refund  struct{ Order string }
	ship    struct{ Order string }
	remind  struct {
		Order string
		N     int
	}
)

func (placed) EventType() string   { return "placed" }
func (reserved) EventType() string { return "reserved" }
func (paid) EventType() string     { return "paid" }
func (shipped) EventType() string  { return "shipped" }
func (grouped) EventType() string  { return "grouped" }
func (did) EventType() string      { return "did" }

func (reserve) CommandType() string { return "reserve" }
func (release) CommandType() string { return "release" }
func (charge) CommandType() string  { return "charge" }
func (refund) CommandType() string  { return "refund" }
func (ship) CommandType() string    { return "ship" }
func (remind) CommandType() string  { return "remind" }

func byPlaced(e placed) string     { return e.Order }
func byReserved(e reserved) string { return e.Order }
func byPaid(e paid) string         { return e.Order }
func byShipped(e shipped) string   { return e.Order }

// refusal is a domain rejection.
type refusal struct{ code string }

func (r refusal) Error() string         { return "refused: " + r.code }
func (r refusal) RejectionCode() string { return r.code }

// quiet is a logger that says nothing.
var quiet = slog.New(slog.DiscardHandler)

// world is a log, an engine over it, and what carries out its commands.
type world struct {
	t     *testing.T
	dir   string
	log   *memory.Store
	clock *clock.Virtual
	defs  []*Definition
	opts  Options
	*Engine

	mu       sync.Mutex
	sent     []bus.Command                                                             // as carried out
	handlers map[string]func(context.Context, bus.Command) ([]eventstore.Event, error) // by command type
	stop     func()
}

func newWorld(t *testing.T, defs ...*Definition) *world {
	w := &world{t: t, dir: t.TempDir(), clock: clock.NewVirtual(start), defs: defs,
		opts:     Options{Relaxed: true, Logger: quiet, MinBackoff: time.Microsecond, MaxBackoff: time.Microsecond},
		handlers: map[string]func(context.Context, bus.Command) ([]eventstore.Event, error){}}
	w.log = memory.New(&memory.Options{Clock: w.clock})
	w.open()
	t.Cleanup(w.close)
	return w
}

func (w *world) open() {
	w.t.Helper()
	require.NoError(w.t, w.tryOpen())
}

func (w *world) tryOpen() (err error) {
	opts := w.opts
	w.Engine, err = Open(w.t.Context(), w.dir, w.log, w.clock, w.defs, &opts)
	return err
}

func (w *world) close() {
	w.unsubscribe()
	if w.Engine != nil {
		require.NoError(w.t, w.Engine.Close())
		w.Engine = nil
		sound(w.t, w.dir)
	}
}

// sound demands that Inspect finds nothing.
func sound(t testing.TB, dir string) {
	t.Helper()
	in, err := Inspect(context.Background(), dir)
	require.NoError(t, err)
	require.Empty(t, in.Findings)
}

func (w *world) reopen() {
	w.t.Helper()
	w.close()
	w.open()
}

// on says what a command does: the events it appends to the stream "out".
func (w *world) on(command string, fn func(context.Context, bus.Command) ([]eventstore.Event, error)) {
	w.handlers[command] = fn
}

// refuse has a command rejected.
func (w *world) refuse(command, code string) {
	w.on(command, func(context.Context, bus.Command) ([]eventstore.Event, error) { return nil, refusal{code} })
}

// emit appends events to a stream, as from outside.
func (w *world) emit(stream string, events ...eventstore.Event) {
	w.t.Helper()
	_, err := w.appendTo(w.t.Context(), "", stream, nil, events...)
	require.NoError(w.t, err)
}

func (w *world) appendTo(ctx context.Context, id, stream string, meta eventstore.Metadata, events ...eventstore.Event) (eventstore.Commit, error) {
	b := eventstore.Batch{ID: id}
	if len(events) > 0 {
		write := eventstore.Write{Stream: stream}
		for _, e := range events {
			data, err := eventstore.Encode(e)
			if err != nil {
				return eventstore.Commit{}, err
			}
			data.Metadata = meta
			write.Events = append(write.Events, data)
		}
		b.Writes = []eventstore.Write{write}
	}
	return w.log.Append(ctx, b)
}

// dispatch carries out a command by its handler; without one it records that
// it was done.
func (w *world) dispatch(ctx context.Context, cmd bus.Command) (eventstore.Commit, error) {
	w.mu.Lock()
	w.sent = append(w.sent, cmd)
	w.mu.Unlock()
	if c, ok, err := w.log.Committed(ctx, cmd.ID); err != nil || ok {
		return c, err
	}
	events := []eventstore.Event{did{What: cmd.Type + string(cmd.Data)}}
	if h := w.handlers[cmd.Type]; h != nil {
		var err error
		if events, err = h(ctx, cmd); err != nil {
			return eventstore.Commit{}, err
		}
	}
	return w.appendTo(ctx, cmd.ID, "out", cmd.Metadata, events...)
}

// subscribe carries out commands until unsubscribe.
func (w *world) subscribe() {
	w.t.Helper()
	w.subscribeTo(w.dispatch)
}

func (w *world) subscribeTo(dispatch func(context.Context, bus.Command) (eventstore.Commit, error)) {
	w.t.Helper()
	if w.stop != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	messages, err := w.Outbox().Subscribe(ctx, "")
	require.NoError(w.t, err)
	handle := w.Dispatcher(dispatch)
	var handling sync.WaitGroup
	handling.Go(func() {
		for msg := range messages {
			handling.Go(func() {
				if handle(msg) != nil {
					msg.Nack()
				} else {
					msg.Ack()
				}
			})
		}
	})
	w.stop = func() { cancel(); handling.Wait() }
}

func (w *world) unsubscribe() {
	if w.stop != nil {
		w.stop()
		w.stop = nil
	}
}

// feed applies the log up to its head, in pages.
func (w *world) feed(page int) {
	w.t.Helper()
	require.NoError(w.t, w.tryFeed(page))
}

func (w *world) tryFeed(page int) error {
	for {
		at, err := w.Checkpoint(w.t.Context())
		if err != nil {
			return err
		}
		read, err := w.log.ReadLog(w.t.Context(), at.Position, page, w.Filter())
		if err != nil || read.Through.Position == at.Position {
			return err
		}
		if err := w.Apply(w.t.Context(), bus.Page{After: at.Position, Events: read.Events, Through: read.Through}); err != nil {
			return err
		}
	}
}

// settle carries everything out until nothing is left to do at this instant.
func (w *world) settle() {
	w.t.Helper()
	if w.stop == nil {
		w.subscribe()
	}
	for {
		w.feed(100)
		require.NoError(w.t, w.Settle(w.t.Context()))
		head, err := w.log.Head(w.t.Context())
		require.NoError(w.t, err)
		at, err := w.Checkpoint(w.t.Context())
		require.NoError(w.t, err)
		if at.Position == head {
			return
		}
	}
}

// advance moves the clock and fires what is due, then settles.
func (w *world) advance(d time.Duration) int {
	w.t.Helper()
	w.clock.Advance(w.clock.Now().Add(d))
	n, err := w.FireDue(w.t.Context())
	require.NoError(w.t, err)
	w.settle()
	return n
}

// hourly has what fails wait for an hour, so that only the test tries it again.
func (w *world) hourly() {
	w.t.Helper()
	w.opts.MinBackoff, w.opts.MaxBackoff = time.Hour, time.Hour
	w.reopen()
}

// anHourPasses makes the instances that back off due.
func (w *world) anHourPasses() {
	w.t.Helper()
	require.NoError(w.t, w.lock(w.t.Context()))
	defer w.unlock()
	_, err := w.db.Writer().Exec(`UPDATE instance SET next_attempt = 1 WHERE next_attempt > 0`)
	require.NoError(w.t, err)
	require.NoError(w.t, w.Engine.reload(w.t.Context()))
}

// retryFailing waits until what backs off is due, and tries it again.
func (w *world) retryFailing() {
	w.t.Helper()
	if w.opts.MinBackoff == time.Hour {
		w.anHourPasses()
		require.NoError(w.t, w.retryDue(w.t.Context()))
		return
	}
	for {
		next, _ := w.nextRetry()
		if next == 0 {
			return
		}
		for time.Now().UnixNano() <= next { // microseconds: see MaxBackoff
		}
		require.NoError(w.t, w.retryDue(w.t.Context()))
	}
}

// did returns what was carried out, once each, in the log's order.
func (w *world) did() []string {
	w.t.Helper()
	page, err := w.log.ReadLog(w.t.Context(), 0, 10_000, eventstore.Filter{Types: []string{"did"}})
	require.NoError(w.t, err)
	list := []string{}
	for _, r := range page.Events {
		e, err := eventstore.Decode[did](r)
		require.NoError(w.t, err)
		list = append(list, e.What)
	}
	return list
}

func (w *world) instance(saga, key string) Instance {
	w.t.Helper()
	i, err := w.Instance(w.t.Context(), saga, key)
	require.NoError(w.t, err)
	return i
}

func (w *world) stats() Stats {
	w.t.Helper()
	s, err := w.Stats(w.t.Context())
	require.NoError(w.t, err)
	return s
}

// record records what is known of commands.
func (w *world) record() {
	w.t.Helper()
	require.NoError(w.t, w.lock(w.t.Context()))
	defer w.unlock()
	require.NoError(w.t, w.outbox.flushLocked(w.t.Context(), false))
}

// pending returns the types of the commands that are not done.
func (w *world) pending() []string {
	w.t.Helper()
	w.record()
	list, err := w.Pending(w.t.Context(), 1000)
	require.NoError(w.t, err)
	types := []string{}
	for _, c := range list {
		types = append(types, c.Type)
	}
	return types
}

func (w *world) history(saga, key string) []string {
	w.t.Helper()
	list, err := w.History(w.t.Context(), saga, key)
	require.NoError(w.t, err)
	lines := []string{}
	for _, e := range list {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s: %s", e.Kind, e.Name, e.Effects)))
	}
	return lines
}

// audit checks that the counts in memory are those of the file.
func (w *world) audit() {
	w.t.Helper()
	_, _, err := w.NextDue(w.t.Context())
	require.NoError(w.t, err)
	w.record()
	before := w.stats()
	ctx := w.t.Context()
	require.NoError(w.t, w.lock(ctx))
	err = w.Engine.reload(ctx)
	w.unlock()
	require.NoError(w.t, err)
	after := w.stats()
	before.Failure, after.Failure = "", "" // of several at the same instant it is any
	require.Equal(w.t, before, after, "what is in memory is not what the file says")
}

// order is the saga of most tests.
type order struct {
	Seen  []string
	Tries int
}

func (o *order) see(what string) { o.Seen = append(o.Seen, what) }

var errBoom = errors.New("boom")

func stateOf(t *testing.T, i Instance) (o order) {
	t.Helper()
	require.NoError(t, json.Unmarshal(i.State, &o))
	return o
}
