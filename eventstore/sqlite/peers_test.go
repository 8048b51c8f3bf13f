package sqlite_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
)

// Bugs of peers in their stores: docs/peers.md lists them all.

// turnstile is a clock that holds the writer up at a later look at it, in the
// midst of a transaction, and says what time it is.
type turnstile struct {
	mu   sync.Mutex // guards what follows
	left int
	in   chan struct{}
	open chan struct{}
	now  func() time.Time // nil: the system's
}

func (c *turnstile) Now() time.Time {
	c.mu.Lock()
	now := time.Now
	if c.now != nil {
		now = c.now
	}
	in, open := c.in, c.open
	if c.left--; c.left != 0 {
		in = nil
	}
	c.mu.Unlock()
	if in != nil {
		close(in)
		<-open
	}
	return now()
}

func (*turnstile) WaitUntil(context.Context, time.Time) error { return nil }

// hold arms the turnstile for the n-th look from now: in is closed when the
// writer stands there, and closing open lets it go on.
func (c *turnstile) hold(n int) (in, open chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left, c.in, c.open = n, make(chan struct{}), make(chan struct{})
	return c.in, c.open
}

// midway has the writer take the batches as one group, and stop after all of
// them but the last were given their positions. The returned function lets it
// go on and returns the answers.
func midway(t *testing.T, c *turnstile, s *sqlite.Store, batches ...eventstore.Batch) (finish func() []answer) {
	t.Helper()
	in, open := c.hold(1)
	first := make(chan answer, 1)
	go func() {
		c, err := s.Append(context.Background(), eventstore.Batch{ID: fmt.Sprint("hold-", time.Now().UnixNano())})
		first <- answer{c, err}
	}()
	<-in
	var waiting []<-chan answer
	for _, b := range batches {
		waiting = append(waiting, queue(context.Background(), s, b))
	}
	in, goOn := c.hold(len(batches))
	release := sync.OnceFunc(func() { close(goOn) })
	t.Cleanup(release) // so that a test that fails can close the store
	close(open)
	<-in
	require.NoError(t, (<-first).err)
	for _, w := range waiting {
		require.Empty(t, w, "nobody is answered before the commit")
	}
	return func() (answers []answer) {
		release()
		for _, w := range waiting {
			answers = append(answers, <-w)
		}
		return answers
	}
}

func many(n int) []eventstore.EventData {
	events := make([]eventstore.EventData, n)
	for i := range events {
		events[i] = event("asked", fmt.Sprint(i))
	}
	return events
}

// There: sequence numbers were given before the commit, so a reader that had
// seen a small fast append passed the large slow one with the lower number.
// Here: a reader, in this process or another, that sees positions before their commit.
func TestMarten1629_ASlowAppendIsNotPassedByAFastOne(t *testing.T) {
	c, dir := &turnstile{}, t.TempDir()
	s := open(t, dir, &sqlite.Options{Clock: c})
	appendTo(t, s, write("ride-1", eventstore.Any(), many(3)...))
	tool, err := sqlite.OpenReadOnly(t.Context(), dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, tool.Close()) }()

	finish := midway(t, c, s, write("slow", eventstore.Any(), many(200)...), write("fast", eventstore.Any(), many(1)...))
	for name, r := range map[string]eventstore.LogReader{"the owner": s, "a tool": tool} {
		head, err := r.Head(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 3, head, name)
		p, err := r.ReadLog(t.Context(), 3, 10, eventstore.Filter{})
		require.NoError(t, err)
		require.Empty(t, p.Events, name)
		require.EqualValues(t, 3, p.Through.Position, name)
		p, err = r.ReadLog(t.Context(), 0, 10, eventstore.Filter{Streams: []string{"fast", "slow"}})
		require.NoError(t, err)
		require.Empty(t, p.Events, name)
		require.EqualValues(t, 3, p.Through.Position, name)
	}
	answers := finish()
	require.NoError(t, errors.Join(answers[0].err, answers[1].err))
	require.EqualValues(t, 4, answers[0].commit.First)
	require.EqualValues(t, 204, answers[1].commit.First)
	for i, e := range all(t, tool) {
		require.EqualValues(t, i+1, e.Position)
	}
}

// There: transactions that failed left gaps in the numbers, and the daemon
// stood before one for ever, because what would fill it never came.
// Here: appends that fail after they were given positions, and readers behind them.
func TestMarten3503_AFailedTransactionLeavesNoGapToWaitAt(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	appendTo(t, s, withID("first", write("ride-1", eventstore.Any(), many(3)...)))
	big := eventstore.EventData{Type: "big", Data: make([]byte, 500_000)}
	for round := range 3 {
		require.NoError(t, s.LimitPages(0))
		_, err := s.Append(t.Context(), withID("big", write(fmt.Sprintf("new-%d", round), eventstore.Any(), event("small", ""), big)))
		require.ErrorIs(t, err, sqlite.ErrDiskFull)
		require.NoError(t, s.LimitPages(-1))
		used := event("asked", "")
		used.ID = eventstore.DeriveID("first", 1)
		_, err = s.Append(t.Context(), write("ride-1", eventstore.Any(), event("asked", ""), used))
		require.ErrorIs(t, err, eventstore.ErrIDReused)
		require.EqualValues(t, 4+round, appendTo(t, s, write("ride-1", eventstore.Any(), many(1)...)).First)
	}
	require.NoError(t, s.Close())
	s = open(t, dir, nil)
	for i, e := range all(t, s) {
		require.EqualValues(t, i+1, e.Position)
		require.EqualValues(t, i+1, e.Version)
	}
	sound(t, s)
}

// There: the oldest rows had been deleted; a reader took the first that was
// left for one it had seen.
// Here: nothing may be deleted, so a log without its beginning is damage.
func TestMarten715_ALogWithoutItsBeginningIsNotReadFromItsMiddle(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir)
	change(t, dir, `DELETE FROM events WHERE position < 31`)
	s, err := sqlite.OpenReadOnly(t.Context(), dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	for _, limit := range []int{1, 30, 31, 100} {
		_, err := s.ReadLog(t.Context(), 0, limit, eventstore.Filter{})
		require.ErrorIs(t, err, eventstore.ErrCorrupt, "pages of %d", limit)
	}
	_, err = s.ReadStream(t.Context(), "board", 1, 100)
	require.ErrorIs(t, err, eventstore.ErrCorrupt)
}

// There: writes to several streams were missing from reads of everything, in
// whose pages they began before and ended behind others.
// Here: batches over several streams that are committed in one group.
func TestKurrentDB627_BatchesOverStreamsInOneGroupAreReadWhole(t *testing.T) {
	c := &turnstile{}
	s := open(t, t.TempDir(), &sqlite.Options{Clock: c})
	var batches []eventstore.Batch
	for i := range 5 {
		var b eventstore.Batch
		for j := range 3 {
			b.Writes = append(b.Writes, eventstore.Write{Stream: fmt.Sprintf("s-%d", (i+j)%4), Events: many(1 + (i+j)%3)})
		}
		batches = append(batches, b)
	}
	total := 0
	for _, a := range midway(t, c, s, batches...)() {
		require.NoError(t, a.err)
		require.EqualValues(t, total+1, a.commit.First)
		total += a.commit.Events()
	}
	for limit := 1; limit <= total; limit++ {
		seen := map[string]int64{}
		for after := int64(0); after < int64(total); {
			p, err := s.ReadLog(t.Context(), after, limit, eventstore.Filter{})
			require.NoError(t, err)
			for _, e := range p.Events {
				require.Equal(t, seen[e.Stream]+1, e.Version, "pages of %d", limit)
				seen[e.Stream] = e.Version
			}
			after = p.Through.Position
		}
		for stream, last := range seen {
			events, err := s.ReadStream(t.Context(), stream, 1, total)
			require.NoError(t, err)
			require.Len(t, events, int(last), "stream %s in pages of %d", stream, limit)
		}
	}
}

// There: a filtered read whose window was larger than its page passed over what
// the page had no room for.
// Here: a page that its bytes end early, long before its limit and its window.
func TestKurrentDB4251_APageThatEndsEarlyLeavesNothingOut(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	large := eventstore.EventData{Type: "large", Data: make([]byte, eventstore.MaxData)}
	const larges = sqlite.PageBytes/eventstore.MaxData + 2
	for range larges {
		appendTo(t, s, write("a", eventstore.Any(), event("small", ""), large))
	}
	for _, filter := range []eventstore.Filter{{}, {Types: []string{"large"}}} {
		found, pages := 0, 0
		for after := int64(0); after < 2*larges; pages++ {
			p, err := s.ReadLog(t.Context(), after, eventstore.MaxPage, filter)
			require.NoError(t, err)
			for _, e := range p.Events {
				if e.Type == "large" {
					found++
					require.EqualValues(t, 2*found, e.Position)
				}
			}
			after = p.Through.Position
		}
		require.EqualValues(t, larges, found)
		require.Equal(t, 2, pages)
	}
}

// There: the first append after a recovery could be missing from what readers
// saw of the log.
// Here: an append right after the opening of a store whose process was killed.
func TestKurrentDB3201_AnAppendRightAfterARecoveryGoesOnFromTheEnd(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		cmd := command(t, "append", dir)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if n == 60 {
				require.NoError(t, cmd.Process.Kill())
			}
		}
		require.Error(t, cmd.Wait(), "it was killed")

		s, err := sqlite.Open(t.Context(), dir, nil)
		require.NoError(t, err)
		c, err := s.Append(t.Context(), write("ride-1", eventstore.Exists(), event("asked", "the first since")))
		require.NoError(t, err)
		events := all(t, s)
		require.EqualValues(t, c.First, len(events))
		require.Equal(t, "the first since", string(events[len(events)-1].Data))
		stream, err := s.ReadStream(t.Context(), "ride-1", 1, eventstore.MaxPage)
		require.NoError(t, err)
		require.EqualValues(t, c.Streams[0].Last, len(stream), "its versions go on as well")
		require.Equal(t, c.First, stream[len(stream)-1].Position)
		sound(t, s)
		require.NoError(t, s.Close())
	}
}

// There: writes that waited while a node went offline to truncate them were
// acknowledged on its way out.
// Here: appends that are pending, in the group and behind it, when writes stop.
func TestKurrentDB3502_PendingAppendsAreNotAcknowledgedByAStoreThatStops(t *testing.T) {
	c, dir := &turnstile{}, t.TempDir()
	s := open(t, dir, &sqlite.Options{Clock: c, Logger: slog.New(slog.DiscardHandler)})
	old := withID("old", write("ride-1", eventstore.Any(), many(3)...))
	appendTo(t, s, old)
	finish := midway(t, c, s,
		write("ride-2", eventstore.NoStream(), many(1)...),
		withID("new", write("ride-3", eventstore.Any(), many(1)...)),
		write("ride-1", eventstore.Any(), many(1)...))
	behind := []<-chan answer{
		queue(context.Background(), s, write("ride-4", eventstore.Any(), many(1)...)),
		queue(context.Background(), s, withID("new-2", write("ride-5", eventstore.Any(), many(1)...))),
		queue(context.Background(), s, write("ride-1", eventstore.Exactly(99), many(1)...)), // would be a conflict
	}
	require.NoError(t, os.Remove(filepath.Join(dir, "log.db-wal")))
	answers := finish()
	for _, w := range behind {
		answers = append(answers, <-w)
	}
	for i, a := range answers {
		require.ErrorIs(t, a.err, eventstore.ErrOutcomeUnknown, "append %d", i)
		require.Zero(t, a.commit)
	}
	require.Len(t, all(t, s), 3, "and none is shown")
	_, found, err := s.Committed(t.Context(), "new")
	require.False(t, found)
	require.ErrorIs(t, err, eventstore.ErrOutcomeUnknown)
}

// There: the place of an event was the time its transaction began: others of
// the same microsecond, or that committed later, were passed over.
// Here: batches of one instant, and of a clock that goes back.
func TestZitadel12703_EventsOfOneInstantAreEachReadOnce(t *testing.T) {
	at := time.Unix(1700000000, 0)
	c := &turnstile{now: func() time.Time { return at }}
	s := open(t, t.TempDir(), &sqlite.Options{Clock: c})
	for i := range 60 {
		if i == 30 {
			at = at.Add(-time.Hour)
		}
		appendTo(t, s, eventstore.Batch{Writes: []eventstore.Write{
			{Stream: fmt.Sprintf("z-%d", 60-i), Events: []eventstore.EventData{event("added", ""), event("changed", "")}},
			{Stream: fmt.Sprintf("a-%d", i%3), Events: []eventstore.EventData{event("added", "")}},
		}})
	}
	for _, filter := range []eventstore.Filter{{}, {Types: []string{"added"}}, {Categories: []string{"a"}}} {
		for _, limit := range []int{1, 2, 5} {
			var got, want []int64
			for _, e := range all(t, s) {
				if filter.Match(e.Stream, e.Type) {
					want = append(want, e.Position)
				}
			}
			for after := int64(0); after < 180; {
				p, err := s.ReadLog(t.Context(), after, limit, filter)
				require.NoError(t, err)
				for _, e := range p.Events {
					got = append(got, e.Position)
				}
				after = p.Through.Position
			}
			require.Equal(t, want, got, "filter %+v in pages of %d", filter, limit)
		}
	}
}
