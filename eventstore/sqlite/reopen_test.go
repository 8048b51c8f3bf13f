package sqlite_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
)

var quiet = &sqlite.Options{Logger: slog.New(slog.DiscardHandler)}

var errDisk = errors.New("the disk does not answer")

// failAt has the n-th transaction's point fail, after do, which may be nil.
func failAt(s *sqlite.Store, at string, n int, do func(exec func(string) error) error) {
	s.Inject(func(point string, exec func(string) error) error {
		if point != at {
			return nil
		}
		if n--; n != 0 {
			return nil
		}
		if do != nil {
			return do(exec)
		}
		return errDisk
	})
}

func batch(id string) eventstore.Batch {
	return withID(id, eventstore.Batch{Writes: []eventstore.Write{
		{Stream: "ride-1", Events: []eventstore.EventData{event("asked", id), event("accepted", id)}},
		{Stream: "driver-1", Events: []eventstore.EventData{event("offered", id)}},
	}})
}

// stopAt has the store stop with this batch, whose commit is answered by an
// error and stored.
func stopAt(t *testing.T, s *sqlite.Store, id string) {
	t.Helper()
	failAt(s, "committed", 1, nil)
	_, err := s.Append(t.Context(), batch(id))
	require.ErrorIs(t, err, eventstore.ErrOutcomeUnknown)
}

func TestReopenShowsWhatAnUnknownCommitHasStored(t *testing.T) {
	s := open(t, t.TempDir(), quiet)
	appendTo(t, s, batch("a"))
	stopAt(t, s, "b")
	require.ErrorIs(t, s.Err(), errDisk)
	<-s.Stopped()
	_, _, err := s.Committed(t.Context(), "b")
	require.ErrorIs(t, err, eventstore.ErrOutcomeUnknown)
	require.Len(t, all(t, s), 3, "what was not acknowledged is not shown")
	waited := make(chan int64, 1)
	go func() {
		head, err := s.Wait(context.Background(), 3)
		if err != nil {
			t.Error(err)
		}
		waited <- head
	}()

	s.Inject(nil)
	require.NoError(t, s.Reopen(t.Context()))
	require.NoError(t, s.Err())
	select {
	case <-s.Stopped():
		t.Fatal("it has not stopped")
	default:
	}
	select {
	case head := <-waited:
		require.Equal(t, int64(6), head)
	case <-time.After(10 * time.Second):
		t.Fatal("who waits is not woken")
	}
	commit, found, err := s.Committed(t.Context(), "b")
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, int64(4), commit.First)
	require.Equal(t, commit, appendTo(t, s, batch("b")), "repeating it leaves one copy")
	require.Equal(t, int64(7), appendTo(t, s, batch("c")).First)
	events := all(t, s)
	require.Len(t, events, 9)
	require.Equal(t, int64(4), events[6].Version-events[0].Version, "versions go on")
	sound(t, s)
}

func TestReopenForgetsWhatAnUnknownCommitHasNotStored(t *testing.T) {
	for name, fail := range map[string]func(s *sqlite.Store){
		"while it is written": func(s *sqlite.Store) { failAt(s, "write", 3, nil) },
		"rolled back meanwhile": func(s *sqlite.Store) {
			failAt(s, "write", 3, func(exec func(string) error) error { return exec("ROLLBACK") })
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir(), quiet)
			appendTo(t, s, batch("a"))
			fail(s)
			_, err := s.Append(t.Context(), batch("b"))
			require.ErrorIs(t, err, eventstore.ErrOutcomeUnknown)
			require.Error(t, s.Err())
			s.Inject(nil)
			require.NoError(t, s.Reopen(t.Context()))
			_, found, err := s.Committed(t.Context(), "b")
			require.NoError(t, err)
			require.False(t, found)
			require.Len(t, all(t, s), 3)
			require.Equal(t, int64(4), appendTo(t, s, batch("b")).First)
			sound(t, s)
		})
	}
}

// mattn #769: a cancelled statement ends the transaction, and the statements
// after it commit one by one. Here: the writer's statements see no context,
// and none runs outside a transaction.
func TestMattn769_ATransactionThatEndedEarlyIsNeverStoredByHalves(t *testing.T) {
	for n := 1; n <= 7; n++ { // each statement of the batch: two streams, three events, two new types at most
		dir := t.TempDir()
		s := open(t, dir, quiet)
		failAt(s, "write", n, func(exec func(string) error) error { return exec("ROLLBACK") })
		_, err := s.Append(t.Context(), batch("a"))
		require.ErrorIs(t, err, eventstore.ErrOutcomeUnknown, n)
		require.ErrorContains(t, err, "ended before its commit")
		require.Empty(t, all(t, s))
		_, err = s.Append(t.Context(), batch("b"))
		require.ErrorIs(t, err, eventstore.ErrOutcomeUnknown, "it has stopped")
		require.NoError(t, s.Close())
		s = open(t, dir, quiet)
		require.Empty(t, all(t, s), "nothing of it was stored, at statement %d", n)
		require.Equal(t, int64(1), appendTo(t, s, batch("a")).First)
		sound(t, s)
	}
	t.Run("committed by halves", func(t *testing.T) {
		// Nothing but a bug of the program itself does this.
		damaged := 0
		for n := 1; n <= 7; n++ {
			s := open(t, t.TempDir(), quiet)
			failAt(s, "write", n, func(exec func(string) error) error { return exec("COMMIT") })
			_, err := s.Append(t.Context(), batch("a"))
			require.ErrorIs(t, err, eventstore.ErrOutcomeUnknown)
			require.Empty(t, all(t, s))
			s.Inject(nil)
			if err := s.Reopen(t.Context()); err != nil {
				require.ErrorIs(t, err, eventstore.ErrCorrupt, "half a batch is never shown")
				require.Error(t, s.Err())
				damaged++
				continue
			}
			require.Empty(t, all(t, s), "names alone were stored, at statement %d", n)
		}
		require.Positive(t, damaged)
	})
}

func TestReopenOfAStoreThatHasNotStoppedDoesNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	appendTo(t, s, batch("a"))
	require.NoError(t, s.Reopen(t.Context()))
	r, err := sqlite.OpenReadOnly(t.Context(), dir)
	require.NoError(t, err)
	require.NoError(t, r.Reopen(t.Context()))
	require.NoError(t, r.Close())
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Reopen(t.Context()), eventstore.ErrClosed)
}

func TestReopenClosesEveryConnectionFirst(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, quiet)
	appendTo(t, s, batch("a"))
	require.NotEmpty(t, descriptors(t, dir))
	stopAt(t, s, "b")
	var left []string
	failAt(s, "closed", 1, func(func(string) error) error {
		left = descriptors(t, dir)
		return nil
	})
	require.NoError(t, s.Reopen(t.Context()))
	require.Empty(t, left, "SQLite shares the index of the write-ahead log with what is open still")
	info, err := os.Stat(filepath.Join(dir, "log.db-wal"))
	require.NoError(t, err)
	require.Zero(t, info.Size(), "nothing rests on a sync that may not have been one")
}

// descriptors lists the files of the log that this process has open.
func descriptors(t *testing.T, dir string) (open []string) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no list of descriptors here: ", err)
	}
	for _, fd := range fds {
		to, err := os.Readlink("/proc/self/fd/" + fd.Name())
		if err == nil && strings.HasPrefix(to, filepath.Join(dir, "log.db")) {
			open = append(open, to)
		}
	}
	return open
}

// What another program has open is not closed with the store, and keeps the
// write-ahead log.
func TestReopenBesideAnotherProgram(t *testing.T) {
	stop := func(s *sqlite.Store, id string) {
		stopAt(t, s, id)
		s.Inject(nil)
	}
	dir := t.TempDir()
	s := open(t, dir, quiet)
	appendTo(t, s, batch("a"))
	release := holdRead(t, dir, "open")
	stop(s, "b")
	require.NoError(t, s.Reopen(t.Context()))
	require.Zero(t, walBytes(t, dir), "nothing rests on a sync that may not have been one")
	appendTo(t, s, batch("c"))
	release()

	release = holdRead(t, dir, "hold")
	defer release()
	stop(s, "d")
	require.ErrorContains(t, s.Reopen(t.Context()), "another program")
	require.Len(t, all(t, s), 9, "reads go on")
	release()
	require.NoError(t, s.Reopen(t.Context()))
	require.Len(t, all(t, s), 12)
	sound(t, s)
}

func TestReopenWaitsForReadsAndGivesWayToClose(t *testing.T) {
	s := open(t, t.TempDir(), quiet)
	appendTo(t, s, batch("a"))
	stopAt(t, s, "b")
	s.Inject(nil)

	leave := s.Enter(t)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- s.Reopen(ctx) }()
	require.Eventually(t, s.Excluding, 10*time.Second, time.Millisecond)
	read := make(chan error, 1)
	go func() {
		_, err := s.ReadLog(context.Background(), 0, 1, eventstore.Filter{})
		read <- err
	}()
	cancel()
	require.ErrorIs(t, <-result, context.Canceled)
	require.NoError(t, <-read, "who came meanwhile reads on")
	require.Error(t, s.Err())

	go func() { result <- s.Reopen(context.Background()) }()
	require.Eventually(t, s.Excluding, 10*time.Second, time.Millisecond)
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	require.ErrorIs(t, <-result, eventstore.ErrClosed)
	leave()
	require.NoError(t, <-closed)
}

func TestReopenThatLosesItsPatienceSaysWhoIsInside(t *testing.T) {
	s := open(t, t.TempDir(), quiet)
	appendTo(t, s, batch("a"))
	stopAt(t, s, "b")
	s.Inject(nil)
	s.SetPatience(time.Millisecond)
	leave := s.Enter(t)
	err := s.Reopen(t.Context())
	require.ErrorIs(t, err, eventstore.ErrBusy)
	require.ErrorContains(t, err, "a call of this program (test)")
	require.NotErrorIs(t, err, context.DeadlineExceeded, "the caller set no deadline")
	require.Error(t, s.Err())
	leave()
	s.SetPatience(10 * time.Second)
	require.NoError(t, s.Reopen(t.Context()))
	sound(t, s)
}
