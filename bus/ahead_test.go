package bus_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
)

// preparing is a collector that prepares its pages.
type preparing struct {
	*collector
	prepare func(p bus.Page, ended <-chan struct{}) any
}

func (c *preparing) Prepare(p bus.Page, ended <-chan struct{}) any { return c.prepare(p, ended) }

// span is where a page lies.
type span struct{ after, through int64 }

func spanOf(p bus.Page) span { return span{p.After, p.Through.Position} }

// closed tells whether the channel is.
func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// In a backlog a page is read and prepared while the one before it is applied,
// and carries what was made of it. At the end of the log, none is.
func TestABacklogIsPreparedWhileThePageBeforeIsApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(nil)
		const backlog = 3*bus.DefaultPageSize + 7
		appendMany(t, store, backlog)
		c := &preparing{collector: newCollector(t, "c")}
		var prepared []span
		c.prepare = func(p bus.Page, ended <-chan struct{}) any {
			require.False(t, closed(ended), "the page before is being applied")
			prepared = append(prepared, spanOf(p))
			<-ended
			return spanOf(p)
		}
		var applied []span
		c.apply = func(_ context.Context, p bus.Page) error {
			synctest.Wait() // until the lane has prepared what it may
			ahead := len(prepared) > len(applied)
			require.Equal(t, backlog-p.Through.Position >= bus.DefaultPageSize, ahead, "%+v", spanOf(p))
			if p.Prepared != nil {
				require.Equal(t, spanOf(p), p.Prepared)
			}
			applied = append(applied, spanOf(p))
			return nil
		}
		r := newRouter(t, store, nil, c)
		stop := run(t, r)
		settle(t, r, backlog)
		require.NotEmpty(t, prepared)
		require.Equal(t, applied[1:1+len(prepared)], prepared, "each once, as it was then applied")
		require.Len(t, c.positions(), backlog)

		before := len(prepared)
		for range 3 { // live
			appendMany(t, store, 1)
			synctest.Wait()
		}
		require.Len(t, prepared, before)
		stop()
	})
}

// Who gathers delivers the rest of a backlog at once, as without reading ahead:
// also what was appended while it was worked on.
func TestReadingAheadGathersNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(nil)
		appendMany(t, store, 3*bus.DefaultPageSize)
		c := &preparing{collector: newCollector(t, "c")}
		appended := make(chan struct{})
		more := sync.OnceFunc(func() {
			appendMany(t, store, bus.DefaultPageSize+7)
			close(appended)
		})
		c.prepare = func(bus.Page, <-chan struct{}) any { more(); return nil }
		c.apply = func(context.Context, bus.Page) error { <-appended; return nil }
		stop := run(t, newRouter(t, store, &bus.RouterOptions{Gather: time.Minute}, c))
		synctest.Wait()
		require.Len(t, c.positions(), 4*bus.DefaultPageSize+7)
		stop()
	})
}

// Pages of one belong to functions, which take their time one by one.
func TestPagesOfOneAreNotPrepared(t *testing.T) {
	store := memory.New(nil)
	appendMany(t, store, bus.DefaultPageSize+10)
	c := &preparing{collector: newCollector(t, "c")}
	c.size = 1
	c.prepare = func(bus.Page, <-chan struct{}) any { t.Error("prepared"); return nil }
	r := newRouter(t, store, nil, c)
	stop := run(t, r)
	settle(t, r, bus.DefaultPageSize+10)
	stop()
}

// What was prepared behind a page that fails is dropped: delivery goes on from
// the checkpoint.
func TestWhatIsPreparedBehindAFailureIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(nil)
		const backlog = 4 * bus.DefaultPageSize
		appendMany(t, store, backlog)
		c := &preparing{collector: newCollector(t, "c")}
		prepared := 0
		c.prepare = func(p bus.Page, ended <-chan struct{}) any { prepared++; return spanOf(p) }
		failures := 0
		c.apply = func(_ context.Context, p bus.Page) error {
			synctest.Wait()
			if p.Prepared != nil {
				require.Equal(t, spanOf(p), p.Prepared)
			}
			if failures < 3 && prepared > failures {
				failures++
				if failures == 2 { // a good part is kept: the next page begins in its midst
					c.mu.Lock()
					defer c.mu.Unlock()
					anchor, err := store.Anchor(t.Context(), p.After+5)
					require.NoError(t, err)
					c.keep(p.Events[:5], anchor)
				}
				return &bus.RetryError{After: time.Second, Attempt: 1, Err: errors.New("fault")}
			}
			return nil
		}
		r := newRouter(t, store, nil, c)
		stop := run(t, r)
		time.Sleep(time.Minute)
		synctest.Wait()
		settle(t, r, backlog)
		require.Equal(t, 3, failures)
		positions := c.positions()
		require.Len(t, positions, backlog)
		for i, at := range positions {
			require.EqualValues(t, i+1, at)
		}
		stop()
	})
}

// A router that stops finishes the page it is at, and delivers none that was
// read ahead.
func TestAPageReadAheadIsNotDeliveredAfterTheStop(t *testing.T) {
	for range 20 { // a channel that is ready would be chosen half the time
		synctest.Test(t, func(t *testing.T) {
			store := memory.New(nil)
			appendMany(t, store, 4*bus.DefaultPageSize)
			c := &preparing{collector: newCollector(t, "c")}
			c.prepare = func(p bus.Page, ended <-chan struct{}) any { return nil }
			applying, finish := make(chan struct{}), make(chan struct{})
			c.apply = func(context.Context, bus.Page) error {
				applying <- struct{}{}
				<-finish
				return nil
			}
			r := newRouter(t, store, nil, c)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- r.Run(ctx) }()
			<-applying
			synctest.Wait() // the next is read
			cancel()
			synctest.Wait()
			close(finish)
			select {
			case <-applying:
				t.Fatal("a page after the stop")
			case err := <-ended:
				require.NoError(t, err)
			}
			require.Equal(t, 1, c.pages)
		})
	}
}

// A log that cannot be read ahead is read again when it is the page's turn, and
// the error is then told.
func TestAnErrorOfReadingAheadIsMetInItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(nil)
		const backlog = 3 * bus.DefaultPageSize
		appendMany(t, store, backlog)
		c := newCollector(t, "c")
		log := &failingReads{LogReader: store}
		c.apply = func(context.Context, bus.Page) error {
			synctest.Wait()
			return nil
		}
		log.fail = func(read int) bool { return read == 2 || read == 3 }
		r := newRouter(t, log, nil, c)
		stop := run(t, r)
		time.Sleep(time.Minute)
		settle(t, r, backlog)
		require.Len(t, c.positions(), backlog)
		stop()
	})
}

// failingReads is a log whose reads fail as said.
type failingReads struct {
	eventstore.LogReader
	reads int // from one goroutine
	fail  func(read int) bool
}

func (l *failingReads) ReadLog(ctx context.Context, after int64, limit int, f eventstore.Filter) (eventstore.Page, error) {
	l.reads++
	if l.fail(l.reads) {
		return eventstore.Page{}, errors.New("no disk")
	}
	return l.LogReader.ReadLog(ctx, after, limit, f)
}

// A page of a backlog is a chunk of the log, as it was read, for every consumer
// that its filter gives all of it.
func TestAChunkIsSharedByThoseWhoTakeAllOfIt(t *testing.T) {
	store := memory.New(nil)
	appendMany(t, store, bus.DefaultPageSize+5) // of the types type_0 to type_2
	tail := bus.NewTail(store, bus.BufferEvents, bus.BufferBytes)
	read := func(after int64, limit int, types ...string) eventstore.Page {
		page, err := tail.ReadLog(t.Context(), after, limit, eventstore.Filter{Types: types})
		require.NoError(t, err)
		return page
	}
	whole := read(0, bus.DefaultPageSize)
	require.Len(t, whole.Events, bus.DefaultPageSize)
	require.Equal(t, len(whole.Events), cap(whole.Events), "nobody appends to what is shared")
	named := read(0, bus.DefaultPageSize, "type_2", "type_1", "type_0")
	require.Equal(t, whole, named)
	require.Same(t, &whole.Events[0], &named.Events[0])

	some := read(0, bus.DefaultPageSize, "type_1")
	require.Len(t, some.Events, (bus.DefaultPageSize+1)/3)
	require.Equal(t, whole.Through, some.Through)
	part := read(10, bus.DefaultPageSize, "type_2", "type_1", "type_0")
	require.Equal(t, whole.Events[10:], part.Events)
	few := read(0, 10, "type_2", "type_1", "type_0")
	require.Equal(t, whole.Events[:10], few.Events)
	require.EqualValues(t, 10, few.Through.Position)
}
