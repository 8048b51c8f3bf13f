package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
)

// answer is what one append of a group was told.
type answer struct {
	commit eventstore.Commit
	err    error
}

// gate is a clock that can hold the writer up in the middle of a transaction,
// so that a test can fill the queue behind it.
type gate struct {
	mu   sync.Mutex // guards both
	in   chan struct{}
	open chan struct{}
}

func (g *gate) Now() time.Time {
	g.mu.Lock()
	in, open := g.in, g.open
	g.in, g.open = nil, nil
	g.mu.Unlock()
	if in != nil {
		close(in)
		<-open
	}
	return time.Now()
}

func (g *gate) WaitUntil(context.Context, time.Time) error { return nil }

// hold lets the writer run into an append of its own, and holds it there.
func (g *gate) hold(t *testing.T, s *sqlite.Store) (release func()) {
	t.Helper()
	in, open := make(chan struct{}), make(chan struct{})
	g.mu.Lock()
	g.in, g.open = in, open
	g.mu.Unlock()
	done := make(chan error, 1)
	go func() {
		_, err := s.Append(context.Background(), eventstore.Batch{ID: uuid.NewString()})
		done <- err
	}()
	<-in
	return func() {
		close(open)
		require.NoError(t, <-done)
	}
}

// queue starts an append and returns when it is queued.
func queue(ctx context.Context, s *sqlite.Store, b eventstore.Batch) <-chan answer {
	before := s.Queued()
	answers := make(chan answer, 1)
	go func() {
		c, err := s.Append(ctx, b)
		answers <- answer{c, err}
	}()
	for s.Queued() == before {
		runtime.Gosched()
	}
	return answers
}

// group appends the batches in one group, in their order.
func group(t *testing.T, g *gate, s *sqlite.Store, batches ...eventstore.Batch) []answer {
	t.Helper()
	release := g.hold(t, s)
	var waiting []<-chan answer
	for _, b := range batches {
		waiting = append(waiting, queue(context.Background(), s, b))
	}
	release()
	var answers []answer
	for _, w := range waiting {
		answers = append(answers, <-w)
	}
	return answers
}

func TestEachRequestOfAGroupFailsAlone(t *testing.T) {
	var g gate
	s := open(t, t.TempDir(), &sqlite.Options{Clock: &g})
	derived := event("asked", "x")
	derived.ID = eventstore.DeriveID("later", 0)
	answers := group(t, &g, s,
		write("ride-1", eventstore.NoStream(), event("asked", "a")),
		write("ride-1", eventstore.NoStream(), event("asked", "b")), // conflicts with its neighbour
		write("ride-1", eventstore.Exactly(1), event("asked", "c")), // builds on its neighbour
		eventstore.Batch{ID: "g", Guards: []eventstore.Guard{{Stream: "ride-1", Expect: eventstore.Exactly(1)}, {Stream: "ride-2", Expect: eventstore.Exists()}}},
		write("ride-3", eventstore.Any(), derived),
		withID("later", write("ride-4", eventstore.Any(), event("asked", "d"))), // the id is derived, and used
		write("ride-5", eventstore.Any(), event("asked", "e")),
	)
	require.NoError(t, answers[0].err)
	require.ErrorIs(t, answers[1].err, eventstore.ErrConflict)
	require.NoError(t, answers[2].err)
	var conflict *eventstore.ConflictError
	require.ErrorAs(t, answers[3].err, &conflict)
	require.Len(t, conflict.Conflicts, 2, "every failing check is reported")
	require.NoError(t, answers[4].err)
	var reused *eventstore.IDReusedError
	require.ErrorAs(t, answers[5].err, &reused)
	require.Equal(t, "event", reused.Kind)
	require.Equal(t, answers[4].commit.First, reused.Position)
	require.NoError(t, answers[6].err)
	require.Len(t, all(t, s), 4, "refused requests leave no holes")
	sound(t, s)
}

func TestAFullDiskRefusesAndGoesOn(t *testing.T) {
	var g gate
	s := open(t, t.TempDir(), &sqlite.Options{Clock: &g})
	appendTo(t, s, write("ride-0", eventstore.Any(), event("asked", "0")))
	before := all(t, s)
	require.NoError(t, s.LimitPages(2))
	big := make([]byte, 100_000)
	answers := group(t, &g, s,
		eventstore.Batch{ID: "id", Writes: []eventstore.Write{{Stream: "ride-1", Expect: eventstore.NoStream(), Events: []eventstore.EventData{{Type: "big", Data: big}}}}},
		write("ride-1", eventstore.NoStream(), event("asked", "b")),               // refused because of its neighbour
		withID("id", write("ride-1", eventstore.NoStream(), event("other", "x"))), // the same
		write("ride-1", eventstore.Exists(), event("asked", "c")),                 // good because of its neighbour
	)
	require.ErrorIs(t, answers[0].err, sqlite.ErrDiskFull)
	require.ErrorIs(t, answers[0].err, eventstore.ErrBusy, "no fault of the command or function that appends")
	require.NotErrorIs(t, answers[0].err, eventstore.ErrOutcomeUnknown)
	for i, a := range answers[1:] {
		require.Truef(t, a.err == nil || errors.Is(a.err, sqlite.ErrDiskFull) || (i == 1 || i == 2) && errors.Is(a.err, eventstore.ErrConflict), "%v", a.err)
		require.NotErrorIs(t, a.err, eventstore.ErrIDReused, "the batch was not stored")
	}
	require.NoError(t, s.Err())
	require.NoError(t, s.LimitPages(-1))
	c := appendTo(t, s, eventstore.Batch{ID: "id", Writes: []eventstore.Write{{Stream: "ride-9", Expect: eventstore.NoStream(), Events: []eventstore.EventData{{Type: "big", Data: big}}}}})
	require.False(t, c.Duplicate)
	require.Equal(t, before, all(t, s)[:1])
	sound(t, s)
}

func TestARefusalByANeighbourThatWasNotStoredIsCheckedAgain(t *testing.T) {
	var g gate
	s := open(t, t.TempDir(), &sqlite.Options{Clock: &g})
	for range 40 { // room in the pages that are there, so that small appends fit
		appendTo(t, s, eventstore.Batch{ID: uuid.NewString()})
	}
	require.NoError(t, s.LimitPages(6))
	answers := group(t, &g, s,
		write("ride-1", eventstore.NoStream(), event("asked", "a")),
		write("ride-1", eventstore.NoStream(), event("asked", "b")),
		write("ride-2", eventstore.NoStream(), eventstore.EventData{Type: "big", Data: make([]byte, 1<<20)}),
	)
	require.ErrorIs(t, answers[0].err, sqlite.ErrDiskFull, "it shared the transaction that failed")
	require.NoError(t, answers[1].err, "its competitor was not stored")
	require.ErrorIs(t, answers[2].err, sqlite.ErrDiskFull)
	require.Equal(t, "b", string(all(t, s)[0].Data))
	require.NoError(t, s.LimitPages(-1))
	sound(t, s)
}

func TestAFullQueueRefusesBeforeStoring(t *testing.T) {
	var g gate
	s := open(t, t.TempDir(), &sqlite.Options{Queue: 2, Clock: &g})
	release := g.hold(t, s)
	b := write("ride-1", eventstore.Any(), event("asked", "x"))
	first, second := queue(t.Context(), s, b), queue(t.Context(), s, b)
	_, err := s.Append(t.Context(), b)
	require.ErrorIs(t, err, eventstore.ErrBusy)
	release()
	require.NoError(t, (<-first).err)
	require.NoError(t, (<-second).err)
	require.Len(t, all(t, s), 2)
	appendTo(t, s, b)
}

func TestAnAppendIsWithdrawnWhileItIsQueuedAndWaitedForOnceItIsTaken(t *testing.T) {
	var g gate
	s := open(t, t.TempDir(), &sqlite.Options{Clock: &g})
	release := g.hold(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	withdrawn := queue(ctx, s, write("ride-1", eventstore.Any(), event("asked", "x")))
	cancel()
	require.ErrorIs(t, (<-withdrawn).err, context.Canceled, "at once, though the writer is held up")
	release()

	in, open := make(chan struct{}), make(chan struct{})
	g.in, g.open = in, open
	ctx, cancel = context.WithCancel(t.Context())
	taken := make(chan answer, 1)
	go func() {
		c, err := s.Append(ctx, write("ride-2", eventstore.Any(), event("asked", "y")))
		taken <- answer{c, err}
	}()
	<-in
	cancel()
	for range 100 {
		runtime.Gosched()
	}
	require.Empty(t, taken)
	close(open)
	require.NoError(t, (<-taken).err)
	events := all(t, s)
	require.Len(t, events, 1)
	require.Equal(t, "ride-2", events[0].Stream)
}

func TestClosingAnswersWhatIsQueued(t *testing.T) {
	var g gate
	dir := t.TempDir()
	s := open(t, dir, &sqlite.Options{Clock: &g})
	release := g.hold(t, s)
	var waiting []<-chan answer
	for range 8 {
		waiting = append(waiting, queue(t.Context(), s, write("ride-1", eventstore.Any(), event("asked", "x"))))
	}
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	release()
	require.NoError(t, <-closed)
	for _, w := range waiting {
		require.NoError(t, (<-w).err)
	}
	require.Len(t, all(t, open(t, dir, nil)), 8)
}

func TestAFewCachedStreamsAreEnough(t *testing.T) {
	s := open(t, t.TempDir(), &sqlite.Options{CachedStreams: 2})
	for round := range int64(5) {
		for i := range 10 {
			appendTo(t, s, write(fmt.Sprintf("ride-%d", i), eventstore.Exactly(round), event("asked", "x")))
		}
	}
	for i, e := range all(t, s) {
		require.Equal(t, fmt.Sprintf("ride-%d", i%10), e.Stream)
	}
	sound(t, s)
}

// jumping is a clock that goes back.
type jumping struct{ now time.Time }

func (j *jumping) Now() time.Time {
	j.now = j.now.Add(-time.Hour)
	return j.now
}
func (j *jumping) WaitUntil(context.Context, time.Time) error { return nil }

func TestTimeNeverGoesBack(t *testing.T) {
	dir := t.TempDir()
	start := time.Unix(2e9, 0)
	for range 3 {
		s := open(t, dir, &sqlite.Options{Clock: &jumping{now: start}})
		appendTo(t, s, write("ride-1", eventstore.Any(), event("asked", "x")))
		appendTo(t, s, write("ride-1", eventstore.Any(), event("asked", "x")))
		require.NoError(t, s.Close())
	}
	s := open(t, dir, nil)
	last := int64(0)
	for _, e := range all(t, s) {
		require.GreaterOrEqual(t, e.Time, last)
		last = e.Time
	}
}

func TestAnIdleStoreWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s, err := sqlite.Open(t.Context(), dir, nil)
		require.NoError(t, err)
		for range 3 {
			appendTo(t, s, write("ride-1", eventstore.Any(), event("asked", "x")))
		}
		time.Sleep(time.Minute) // of the bubble: the witness has been written
		synctest.Wait()
		before := listing(t, dir)
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		require.Equal(t, before, listing(t, dir))
		require.NoError(t, s.Close())
	})
}

func TestWindowsOfTheLogAreReadInItsOrder(t *testing.T) {
	plan, err := open(t, t.TempDir(), nil).Plan()
	require.NoError(t, err)
	require.Contains(t, plan, "SEARCH e USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)")
	require.NotContains(t, plan, "TEMP B-TREE")
}
