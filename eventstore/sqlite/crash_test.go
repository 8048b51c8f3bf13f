package sqlite_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
)

// The test binary runs itself as another process, with the part to play and
// the directory in its environment.
const (
	partVariable = "LEAT_SQLITE_TEST_PART"
	dirVariable  = "LEAT_SQLITE_TEST_DIR"
)

// play is what another process does in place of the tests.
func play(part, dir string) error {
	switch part {
	case "append":
		return playAppend(dir)
	case "refused":
		return playRefused(dir)
	case "rival":
		return playRival(dir)
	case "io error":
		return playIOError(dir, false)
	case "io error that passes":
		return playIOError(dir, true)
	case "full disk":
		return playFullDisk(dir)
	case "full destination":
		return playFullDestination(dir)
	case "visit":
		return playVisit(dir)
	case "hold":
		return playHold(dir, true)
	case "open":
		return playHold(dir, false)
	default:
		return fmt.Errorf("no part %q", part)
	}
}

func command(t *testing.T, part, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), partVariable+"="+part, dirVariable+"="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

const crashAppenders = 8

// playAppend appends until it is killed and says what was acknowledged.
func playAppend(dir string) error {
	s, err := sqlite.Open(context.Background(), dir, &sqlite.Options{IndexEvents: 7})
	if err != nil {
		return err
	}
	start, err := s.Head(context.Background())
	if err != nil {
		return err
	}
	var mu sync.Mutex // guards the output
	var wg sync.WaitGroup
	for a := range crashAppenders {
		wg.Go(func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%d-%d-%d", start, a, i)
				c, err := s.Append(context.Background(), withID(id, eventstore.Batch{Writes: []eventstore.Write{
					{Stream: fmt.Sprintf("ride-%d", i%7), Events: []eventstore.EventData{event("asked", id)}},
					{Stream: fmt.Sprintf("driver-%d", a), Events: []eventstore.EventData{event("offered", id)}},
				}}))
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					return
				}
				mu.Lock()
				fmt.Printf("%s %d\n", id, c.First)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return nil
}

func TestWhatWasAcknowledgedSurvivesBeingKilled(t *testing.T) {
	kills := 5
	if testing.Short() {
		kills = 2
	}
	dir := t.TempDir()
	acked := map[string]int64{}
	for kill := range kills {
		cmd := command(t, "append", dir)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(out)
		read := 0
		for lines.Scan() {
			id, position, ok := strings.Cut(lines.Text(), " ")
			p, err := strconv.ParseInt(position, 10, 64)
			if ok && err == nil { // the last line may be cut
				acked[id] = p
			}
			if read++; read == 200*(kill+1) {
				require.NoError(t, cmd.Process.Kill())
			}
		}
		require.Error(t, cmd.Wait(), "it was killed")

		s := open(t, dir, nil)
		sound(t, s)
		events := all(t, s)
		for id, position := range acked {
			require.Equal(t, id, events[position-1].BatchID)
			require.Equal(t, id, events[position].BatchID)
		}
		require.Zero(t, len(events)%2, "batches are whole")
		once := map[string]bool{}
		for i := 0; i < len(events); i += 2 {
			require.False(t, once[events[i].BatchID])
			once[events[i].BatchID] = true
		}
		t.Logf("kill %d: %d acknowledged, %d stored", kill+1, len(acked), len(events)/2)
		require.NoError(t, s.Close())
	}
}

// tooBig is what a limited write-ahead log has no room for.
func tooBig() eventstore.Batch {
	return withID("lost", write("ride-2", eventstore.Any(), event("asked", strings.Repeat("y", 500_000))))
}

// limitFiles makes the file system refuse to let any file of the process grow
// past so many bytes; a negative number takes the limit away.
func limitFiles(bytes int64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	limit.Cur = limit.Max
	if bytes >= 0 {
		limit.Cur = uint64(bytes)
	}
	return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit)
}

// playIOError makes the file system refuse to let the write-ahead log grow, and
// has the store go on in place once it no longer does.
func playIOError(dir string, reopen bool) error {
	ctx := context.Background()
	s, err := sqlite.Open(ctx, dir, nil)
	if err == nil {
		err = s.Close() // so that the write-ahead log is no longer than what is in it
	}
	if err != nil {
		return err
	}
	if s, err = sqlite.Open(ctx, dir, &sqlite.Options{Logger: slog.New(slog.DiscardHandler)}); err != nil {
		return err
	}
	if _, err := s.Append(ctx, write("ride-1", eventstore.Any(), event("asked", "x"))); err != nil {
		return err
	}
	info, err := os.Stat(filepath.Join(dir, "log.db-wal"))
	if err != nil {
		return err
	}
	if err := limitFiles(info.Size() + 5000); err != nil { // one page, and a part of the next
		return err
	}
	b := tooBig()
	if _, err := s.Append(ctx, b); !errors.Is(err, eventstore.ErrOutcomeUnknown) {
		return fmt.Errorf("the append got %w", err)
	}
	if s.Err() == nil {
		return errors.New("writes go on")
	}
	if reopen {
		if err := limitFiles(1000); err != nil { // nothing can be written at all
			return err
		}
		if err := s.Reopen(ctx); err == nil || s.Err() == nil {
			return errors.New("it was opened again with the cause still there")
		}
	}
	if head, err := s.Head(ctx); err != nil || head != 1 {
		return fmt.Errorf("head %d, %w", head, err)
	}
	page, err := s.ReadLog(ctx, 0, 10, eventstore.Filter{})
	if err != nil || len(page.Events) != 1 {
		return fmt.Errorf("reading got %d events, %w", len(page.Events), err)
	}
	if err := limitFiles(-1); err != nil {
		return err
	}
	if _, err := s.Append(ctx, b); !errors.Is(err, eventstore.ErrOutcomeUnknown) {
		return fmt.Errorf("the append after it got %w", err)
	}
	if _, _, err := s.Committed(ctx, "lost"); !errors.Is(err, eventstore.ErrOutcomeUnknown) {
		return fmt.Errorf("asking for it got %w", err)
	}
	if !reopen {
		return s.Close()
	}
	if err := s.Reopen(ctx); err != nil {
		return err
	}
	if c, err := s.Append(ctx, b); err != nil || c.First != 2 {
		return fmt.Errorf("after it was opened again: %+v, %w", c, err)
	}
	return s.Close()
}

func TestAnIOErrorStopsWritesUntilReopened(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, command(t, "io error", dir).Run())
	s := open(t, dir, nil)
	c := appendTo(t, s, tooBig())
	require.Equal(t, int64(2), c.First)
	require.Len(t, all(t, s), 2, "once, whether or not it was stored before")
	sound(t, s)
}

func TestAStoreGoesOnInPlaceAfterAnIOErrorHasPassed(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, command(t, "io error that passes", dir).Run())
	s := open(t, dir, nil)
	require.True(t, appendTo(t, s, tooBig()).Duplicate)
	require.Len(t, all(t, s), 2)
	sound(t, s)
}

// playFullDisk runs in its own mount namespace, with a small disk on dir.
func playFullDisk(dir string) error {
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=1m"); err != nil {
		fmt.Println("skip:", err)
		return nil
	}
	ctx := context.Background()
	s, err := sqlite.Open(ctx, filepath.Join(dir, "store"), nil)
	if err != nil {
		return err
	}
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 400_000), 0o600); err != nil {
		return err
	}
	stored := 0
	var id string
	for i := 0; ; i++ {
		id = fmt.Sprint(i)
		_, err = s.Append(ctx, withID(id, write("ride-1", eventstore.Any(), eventstore.EventData{Type: "big", Data: make([]byte, 20_000)})))
		if err != nil {
			break
		}
		stored++
	}
	if !errors.Is(err, sqlite.ErrDiskFull) || s.Err() != nil {
		return fmt.Errorf("the full disk: %w; stopped: %w", err, s.Err())
	}
	if _, again := s.Append(ctx, withID(id, write("ride-1", eventstore.Any(), eventstore.EventData{Type: "big", Data: make([]byte, 20_000)}))); !errors.Is(again, sqlite.ErrDiskFull) {
		return fmt.Errorf("still full: %w", again)
	}
	if err := os.Remove(ballast); err != nil {
		return err
	}
	c, err := s.Append(ctx, withID(id, write("ride-1", eventstore.Any(), eventstore.EventData{Type: "big", Data: make([]byte, 20_000)})))
	if err != nil || c.First != int64(stored)+1 {
		return fmt.Errorf("after space was freed: %+v, %w", c, err)
	}
	if err := s.Close(); err != nil {
		return err
	}
	if s, err = sqlite.Open(ctx, filepath.Join(dir, "store"), nil); err != nil {
		return err
	}
	r, err := s.Verify(ctx)
	if err != nil || !r.OK() || r.Events != int64(stored)+1 {
		return fmt.Errorf("%d stored, verified %+v, %w", stored, r, err)
	}
	fmt.Println("stored", stored)
	return s.Close()
}

func TestARealFullDisk(t *testing.T) { ownMounts(t, "full disk") }

func TestARemovedWriteAheadLogStopsWritesWithinACommit(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"removed": os.Remove,
		"replaced": func(path string) error {
			if err := os.WriteFile(path+".new", nil, 0o600); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, &sqlite.Options{Logger: slog.New(slog.DiscardHandler)})
			for i := range 100 {
				appendTo(t, s, write(fmt.Sprintf("ride-%d", i), eventstore.Any(), event("asked", "x")))
			}
			require.NoError(t, damage(filepath.Join(dir, "log.db-wal")))
			_, err := s.Append(t.Context(), withID("b", write("ride-1", eventstore.Any(), event("asked", "x"))))
			require.ErrorIs(t, err, eventstore.ErrOutcomeUnknown)
			require.ErrorIs(t, err, eventstore.ErrCorrupt)
			require.ErrorIs(t, s.Err(), eventstore.ErrCorrupt)
			_, err = s.Append(t.Context(), write("ride-1", eventstore.Any(), event("asked", "x")))
			require.ErrorIs(t, err, eventstore.ErrOutcomeUnknown)
			acked := all(t, s)
			require.Len(t, acked, 100, "what was not acknowledged is not shown")
			dst := filepath.Join(t.TempDir(), "rescued")
			require.NoError(t, s.Backup(t.Context(), dst))
			require.NoError(t, s.Close())
			restored, _ := restore(t, dst)
			b := open(t, restored, nil)
			require.Equal(t, acked, all(t, b)[:100])
			sound(t, b)
		})
	}
}

func TestRelaxedDurabilityKeepsTheWitnessBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for d, want := range map[sqlite.Durability]int64{sqlite.Full: 1, sqlite.Relaxed: 0} {
			dir := t.TempDir()
			s, err := sqlite.Open(t.Context(), dir, &sqlite.Options{Durability: d})
			require.NoError(t, err)
			appendTo(t, s, write("ride-1", eventstore.Any(), event("asked", "x")))
			time.Sleep(time.Minute) // of the bubble
			synctest.Wait()
			require.Equal(t, want, witnessed(t, dir), "what is not synced yet is not witnessed")
			require.NoError(t, s.Close())
			require.Equal(t, int64(1), witnessed(t, dir))
			s, err = sqlite.Open(t.Context(), dir, nil)
			require.NoError(t, err)
			require.Len(t, all(t, s), 1)
			require.NoError(t, s.Close())
		}
	})
}
