package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
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

func TestReopenShowsWhatAnUnknownCommitHasStored(t *testing.T) {
	s := open(t, t.TempDir(), quiet)
	appendTo(t, s, batch("a"))
	failAt(s, "committed", 1, nil)
	_, err := s.Append(t.Context(), batch("b"))
	require.ErrorIs(t, err, eventstore.ErrOutcomeUnknown)
	require.ErrorIs(t, s.Err(), errDisk)
	<-s.Stopped()
	_, _, err = s.Committed(t.Context(), "b")
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

func TestReopenIsRefusedWhereTheWriteAheadLogIsGone(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, quiet)
	for i := range 50 {
		appendTo(t, s, batch(fmt.Sprint(i)))
	}
	failAt(s, "committed", 1, nil)
	_, err := s.Append(t.Context(), batch("unknown"))
	require.ErrorIs(t, err, eventstore.ErrOutcomeUnknown)
	require.NoError(t, os.Remove(filepath.Join(dir, "log.db-wal")))
	for range 3 {
		err = s.Reopen(t.Context())
		require.ErrorIs(t, err, eventstore.ErrCorrupt)
		require.ErrorContains(t, err, "Backup")
	}
	acked := all(t, s)
	require.Len(t, acked, 150, "nothing was closed")
	dst := filepath.Join(t.TempDir(), "rescued")
	require.NoError(t, s.Backup(t.Context(), dst))
	require.NoError(t, s.Close())
	restored, _ := restore(t, dst)
	require.Equal(t, acked, all(t, open(t, restored, nil))[:150])
}

func TestReopenClosesEveryConnectionFirst(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, quiet)
	appendTo(t, s, batch("a"))
	require.NotEmpty(t, descriptors(t, dir))
	failAt(s, "committed", 1, nil)
	_, err := s.Append(t.Context(), batch("b"))
	require.ErrorIs(t, err, eventstore.ErrOutcomeUnknown)
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
		failAt(s, "committed", 1, nil)
		_, err := s.Append(t.Context(), batch(id))
		require.ErrorIs(t, err, eventstore.ErrOutcomeUnknown)
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

func TestReopenNeverGoesBack(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, quiet)
	appendTo(t, s, batch("a"))
	old := filepath.Join(t.TempDir(), "old")
	require.NoError(t, s.Backup(t.Context(), old))
	appendTo(t, s, batch("b"))
	failAt(s, "committed", 1, nil)
	_, err := s.Append(t.Context(), batch("c"))
	require.ErrorIs(t, err, eventstore.ErrOutcomeUnknown)
	log, now := filepath.Join(dir, "log.db"), filepath.Join(t.TempDir(), "log.db")
	failAt(s, "closed", 1, func(func(string) error) error {
		return errors.Join(os.Rename(log, now), run("cp", filepath.Join(old, "log.db"), log))
	})
	err = s.Reopen(t.Context())
	require.ErrorIs(t, err, eventstore.ErrCorrupt)
	require.ErrorContains(t, err, "acknowledged")
	_, err = s.ReadStream(t.Context(), "ride-1", 1, 10)
	require.ErrorIs(t, err, eventstore.ErrCorrupt, "rather than a stream without its end")
	head, err := s.Head(t.Context())
	require.NoError(t, err)
	require.Equal(t, int64(6), head)
	_, err = s.Append(t.Context(), batch("d"))
	require.ErrorIs(t, err, eventstore.ErrOutcomeUnknown)
	require.ErrorIs(t, s.Reopen(t.Context()), eventstore.ErrCorrupt, "again")

	require.NoError(t, errors.Join(os.Remove(log), os.Rename(now, log)))
	require.NoError(t, s.Reopen(t.Context()), "the right file is back")
	require.Len(t, all(t, s), 9)
	sound(t, s)
}

func TestReopenChangesNothingWhereTheLogIsNot(t *testing.T) {
	elsewhere := t.TempDir()
	other := open(t, elsewhere, quiet)
	appendTo(t, other, batch("x"))
	for name, put := range map[string]func(dir string) error{
		"nothing": func(string) error { return nil },
		"an empty file": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "log.db"), nil, 0o600)
		},
		"another log": func(dir string) error {
			return run("cp", filepath.Join(elsewhere, "log.db"), filepath.Join(elsewhere, "log.db-wal"), dir)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, aside := t.TempDir(), filepath.Join(t.TempDir(), "log.db")
			s := open(t, dir, quiet)
			appendTo(t, s, batch("a"))
			failAt(s, "committed", 1, nil)
			_, err := s.Append(t.Context(), batch("b"))
			require.ErrorIs(t, err, eventstore.ErrOutcomeUnknown)
			log, found := filepath.Join(dir, "log.db"), map[string]string{}
			failAt(s, "closed", 1, func(func(string) error) error {
				if err := errors.Join(os.Rename(log, aside), put(dir)); err != nil {
					return err
				}
				found = sums(t, dir)
				return nil
			})
			for range 2 {
				require.ErrorIs(t, s.Reopen(t.Context()), eventstore.ErrCorrupt)
				now := sums(t, dir)
				delete(now, "log.db-shm") // every reader leaves its mark there
				require.Equal(t, found, now)
			}
			for name := range found {
				if strings.HasPrefix(name, "log.db") {
					require.NoError(t, os.Remove(filepath.Join(dir, name)))
				}
			}
			_ = os.Remove(log + "-shm")
			require.NoError(t, os.Rename(aside, log))
			require.NoError(t, s.Reopen(t.Context()), "the right file is back")
			require.Len(t, all(t, s), 6)
			sound(t, s)
		})
	}
}

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

func TestReopenWaitsForReadsAndGivesWayToClose(t *testing.T) {
	s := open(t, t.TempDir(), quiet)
	appendTo(t, s, batch("a"))
	failAt(s, "committed", 1, nil)
	_, err := s.Append(t.Context(), batch("b"))
	require.ErrorIs(t, err, eventstore.ErrOutcomeUnknown)
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
	failAt(s, "committed", 1, nil)
	_, err := s.Append(t.Context(), batch("b"))
	require.ErrorIs(t, err, eventstore.ErrOutcomeUnknown)
	s.Inject(nil)
	s.SetPatience(time.Millisecond)
	leave := s.Enter(t)
	err = s.Reopen(t.Context())
	require.ErrorIs(t, err, eventstore.ErrBusy)
	require.ErrorContains(t, err, "a call of this program (test)")
	require.NotErrorIs(t, err, context.DeadlineExceeded, "the caller set no deadline")
	require.Error(t, s.Err())
	leave()
	s.SetPatience(10 * time.Second)
	require.NoError(t, s.Reopen(t.Context()))
	sound(t, s)
}

// TestStopsAndReopeningsBesideEverything has writes stop again and again, with
// and without their last commit stored, while others append, read, follow and
// reopen.
func TestStopsAndReopeningsBesideEverything(t *testing.T) {
	s := open(t, t.TempDir(), quiet)
	stops := 60
	if testing.Short() {
		stops = 10
	}
	var left atomic.Int64
	left.Store(int64(stops))
	rng := rand.New(rand.NewPCG(1, 2)) // of the writer
	s.Inject(func(point string, exec func(string) error) error {
		switch {
		case left.Load() <= 0, point == "closed", rng.IntN(40) != 0:
			return nil
		}
		left.Add(-1)
		if point == "write" && rng.IntN(2) == 0 {
			return exec("ROLLBACK")
		}
		return errDisk
	})
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var reopeners, followers, appenders sync.WaitGroup
	for range 2 {
		reopeners.Go(func() {
			for {
				select {
				case <-s.Stopped():
				case <-ctx.Done():
					return
				}
				if err := s.Reopen(ctx); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		})
	}
	followed := make([][]string, 3)
	for f := range followed {
		followers.Go(func() { followed[f] = follow(ctx, t, s) })
	}
	const each = 4
	var ids atomic.Int64
	for a := range each {
		appenders.Go(func() {
			for i := 0; left.Load() > 0; i++ {
				id := fmt.Sprintf("%d-%d", a, i)
				ids.Add(1)
				for _, err := s.Append(ctx, batch(id)); err != nil; _, err = s.Append(ctx, batch(id)) {
					if !errors.Is(err, eventstore.ErrOutcomeUnknown) {
						t.Error(err)
						return
					}
				}
				if _, found, err := s.Committed(ctx, id); !found && !errors.Is(err, eventstore.ErrOutcomeUnknown) {
					t.Errorf("acknowledged, and not committed: %s, %v", id, err)
				}
			}
		})
	}
	appenders.Wait()
	require.NoError(t, s.Reopen(ctx))
	events := all(t, s)
	require.Equal(t, 3*ids.Load(), int64(len(events)), "each append once")
	appendTo(t, s, batch("last"))
	followers.Wait()
	cancel()
	reopeners.Wait()
	for _, seen := range followed {
		require.Len(t, seen, len(events)+3)
		for i, e := range events {
			require.Equal(t, e.BatchID, seen[i], "position %d", i+1)
		}
	}
	sound(t, s)
}

// follow reads the log as it grows, through the batch "last", and returns the
// batch of each position.
func follow(ctx context.Context, t *testing.T, s *sqlite.Store) (seen []string) {
	for after := int64(0); ; {
		page, err := s.ReadLog(ctx, after, 100, eventstore.Filter{})
		if err != nil {
			t.Error(err)
			return seen
		}
		for _, e := range page.Events {
			if e.Position != int64(len(seen))+1 {
				t.Errorf("position %d after %d", e.Position, len(seen))
			}
			seen = append(seen, e.BatchID)
		}
		if n := len(seen); n > 0 && seen[n-1] == "last" {
			return seen
		}
		after = page.Through.Position
		if _, err := s.Wait(ctx, after); err != nil {
			t.Error(err)
			return seen
		}
	}
}
