package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	file "github.com/leat-go/leat/internal/sqlite"
)

// A reader that asks for the table and for the memory while events go from one
// to the other must find each in one of them.
func TestAStreamIsReadWholeWhileItsIndexMoves(t *testing.T) {
	const appends, streams = 1500, 3
	s := open(t, t.TempDir(), &sqlite.Options{IndexEvents: 2, Durability: sqlite.Relaxed})
	beside, err := sqlite.OpenReadOnly(t.Context(), s.Dir())
	require.NoError(t, err)
	defer func() { require.NoError(t, beside.Close()) }()
	var acked [streams]atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	for i, r := range []*sqlite.Store{s, s, beside} {
		wg.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				of := n % streams
				least := acked[of].Load()
				from := max(1, least-10)
				events, err := r.ReadStream(ctx, fmt.Sprintf("ride-%d", of), from, 100)
				if ctx.Err() != nil {
					return
				}
				if err != nil || r == s && int64(len(events)) < least-from+1 {
					t.Errorf("%d events of %d to %d: %v", len(events), from, least, err)
					return
				}
				for j := range events {
					if events[j].Version != from+int64(j) {
						t.Errorf("version %d where %d should be", events[j].Version, from+int64(j))
						return
					}
				}
			}
		})
	}
	for i := range appends {
		c, err := s.Append(ctx, write(fmt.Sprintf("ride-%d", i%streams), eventstore.Any(), event("asked", "x")))
		require.NoError(t, err)
		acked[i%streams].Store(c.Streams[0].Last)
	}
	stop()
	wg.Wait()
	sound(t, s)
}

func TestTheIndexMovesIntoItsTable(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, &sqlite.Options{IndexEvents: 10})
	for i := range 25 {
		appendTo(t, s, write(fmt.Sprintf("ride-%d", i%7), eventstore.Any(), event("asked", "x")))
	}
	s.Inject(nil) // waits for the last move
	require.EqualValues(t, 5, s.Unindexed())
	require.NoError(t, s.Close())

	s = open(t, dir, &sqlite.Options{IndexEvents: 5})
	require.EqualValues(t, 5, s.Unindexed(), "what is not in the table is read back")
	appendTo(t, s, write("ride-0", eventstore.Exactly(4), event("asked", "x")))
	s.Inject(nil)
	require.Zero(t, s.Unindexed())
	sound(t, s)
}

// Nobody waits for the index, so a disk that is full holds up no append by it;
// one that fails stops the store, as any does.
func TestAnIndexThatCannotMoveIsMovedLater(t *testing.T) {
	s := open(t, t.TempDir(), &sqlite.Options{IndexEvents: 4})
	full := true
	s.Inject(func(point string, exec func(string) error) error {
		if point == "index write" && full {
			return exec(`PRAGMA max_page_count = 1; INSERT INTO snapshots VALUES ('s', 'f', 1, zeroblob(1 << 20), zeroblob(32))`)
		}
		return nil
	})
	for i := range 9 {
		appendTo(t, s, write(fmt.Sprintf("ride-%d", i), eventstore.Any(), event("asked", "x")))
	}
	s.Inject(nil)
	require.EqualValues(t, 9, s.Unindexed())
	require.NoError(t, s.Err())
	for i := range 9 {
		events, err := s.ReadStream(t.Context(), fmt.Sprintf("ride-%d", i), 1, 10)
		require.NoError(t, err)
		require.Len(t, events, 1)
	}
	full = false
	require.NoError(t, s.LimitPages(-1))
	for range 2 {
		appendTo(t, s, write("ride-0", eventstore.Any(), event("asked", "x")))
	}
	s.Inject(nil)
	require.Less(t, s.Unindexed(), int64(4))
	sound(t, s)
}

// What cannot be moved is kept in memory, up to a limit.
func TestAnIndexThatCannotMoveIsBounded(t *testing.T) {
	s := open(t, t.TempDir(), &sqlite.Options{IndexEvents: 4})
	s.Inject(func(point string, exec func(string) error) error {
		if point == "index write" {
			return exec(`PRAGMA max_page_count = 1; INSERT INTO snapshots VALUES ('s', 'f', 1, zeroblob(1 << 20), zeroblob(32))`)
		}
		return nil
	})
	var err error
	stored := 0
	for ; err == nil && stored < 100; stored++ {
		_, err = s.Append(t.Context(), write("ride-1", eventstore.Exactly(int64(stored)), event("asked", "x")))
	}
	require.ErrorIs(t, err, eventstore.ErrBusy)
	require.ErrorIs(t, err, sqlite.ErrDiskFull)
	require.EqualValues(t, 8*4, s.Unindexed())
	require.NoError(t, s.Err())
	s.Inject(nil)
	require.NoError(t, s.LimitPages(-1))
	appendTo(t, s, write("ride-1", eventstore.Exactly(8*4), event("asked", "x")))
	require.EqualValues(t, 1, s.Unindexed())
	sound(t, s)
}

// Who reads after Reopen finds what is appended after it.
func TestTheIndexIsExchangedByReopen(t *testing.T) {
	s := open(t, t.TempDir(), &sqlite.Options{IndexEvents: 100, Logger: quiet.Logger})
	appendTo(t, s, batch("a"))
	stopAt(t, s, "b")
	s.Inject(nil)
	require.NoError(t, s.Reopen(t.Context()))
	appendTo(t, s, batch("c"))
	events, err := s.ReadStream(t.Context(), "ride-1", 1, 100)
	require.NoError(t, err)
	require.Len(t, events, 6)
	sound(t, s)
}

// Who sees the head finds its event in its stream.
func TestWhatTheHeadShowsIsInItsStream(t *testing.T) {
	const appends = 2000
	s := open(t, t.TempDir(), &sqlite.Options{IndexEvents: 100, Durability: sqlite.Relaxed})
	done := make(chan error, 1)
	go func() {
		for i := range appends {
			if _, err := s.Append(context.Background(), write("ride-1", eventstore.Exactly(int64(i)), event("asked", "x"))); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for head := int64(0); head < appends; {
		var err error
		head, err = s.Wait(t.Context(), head)
		require.NoError(t, err)
		events, err := s.ReadStream(t.Context(), "ride-1", head, 1)
		require.NoError(t, err)
		require.Len(t, events, 1, "position %d", head)
	}
	require.NoError(t, <-done)
}

// Verify finds nothing in a sound log whose index moves beneath it.
func TestVerifyBesideAMovingIndex(t *testing.T) {
	s := open(t, t.TempDir(), &sqlite.Options{IndexEvents: 3, Durability: sqlite.Relaxed, Logger: quiet.Logger})
	beside, err := sqlite.OpenReadOnly(t.Context(), s.Dir())
	require.NoError(t, err)
	defer func() { require.NoError(t, beside.Close()) }()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		for i := 0; ctx.Err() == nil; i++ {
			if _, err := s.Append(context.Background(), write(fmt.Sprintf("ride-%d", i%5), eventstore.Any(), event("asked", "x"))); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for range 20 {
		for _, r := range []*sqlite.Store{s, beside} {
			report, err := r.Verify(t.Context())
			require.NoError(t, err)
			require.Empty(t, report.Findings)
		}
	}
	stop()
	require.NoError(t, <-done)
}

func TestAnIndexWhoseMoveFailsStopsTheStore(t *testing.T) {
	for _, at := range []string{"index write", "index committed"} {
		t.Run(at, func(t *testing.T) {
			s := open(t, t.TempDir(), &sqlite.Options{IndexEvents: 4, Logger: quiet.Logger})
			failAt(s, at, 1, nil)
			for i := range 4 {
				appendTo(t, s, write(fmt.Sprintf("ride-%d", i%2), eventstore.Any(), event("asked", "x")))
			}
			<-s.Stopped()
			require.ErrorIs(t, s.Err(), errDisk)
			for i := range 2 {
				events, err := s.ReadStream(t.Context(), fmt.Sprintf("ride-%d", i), 1, 10)
				require.NoError(t, err)
				require.Len(t, events, 2, "reads go on, wherever the index is")
			}
			s.Inject(nil)
			require.NoError(t, s.Reopen(t.Context()))
			for i := range 4 {
				c := appendTo(t, s, write(fmt.Sprintf("ride-%d", i%2), eventstore.Any(), event("asked", "x")))
				require.EqualValues(t, 3+i/2, c.Streams[0].Last)
			}
			sound(t, s)
		})
	}
}

// Versions are given by the index: one that is not what it says would give a
// version twice.
func TestAnIndexThatSaysMoreOrLessThanItHasIsRefused(t *testing.T) {
	for name, statements := range map[string][]string{
		"behind":      {`UPDATE meta SET indexed = indexed - 1`},
		"ahead":       {`UPDATE meta SET indexed = indexed + 1`},
		"past head":   {`UPDATE meta SET indexed = 1000`},
		"none":        {`UPDATE meta SET indexed = 0`},
		"empty":       {`DELETE FROM stream_index`},
		"another one": {`UPDATE stream_index SET position = position - 1`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			fill(t, dir)
			change(t, dir, statements...)
			_, err := sqlite.Open(t.Context(), dir, nil)
			require.ErrorIs(t, err, eventstore.ErrCorrupt)
			require.ErrorContains(t, err, "makes the index anew")
			damage, ok := errors.AsType[*eventstore.CorruptError](err)
			require.True(t, ok)
			finding := sqlite.FindingOf(dir, damage)
			require.NotContains(t, finding.Reason, "anew")
			require.Contains(t, finding.Remedy, "anew")
			r, err := sqlite.OpenReadOnly(t.Context(), dir)
			require.NoError(t, err)
			defer func() { require.NoError(t, r.Close()) }()
			_, err = r.ReadStream(t.Context(), "ride-1", 1, 100)
			require.ErrorIs(t, err, eventstore.ErrCorrupt)

			dst := filepath.Join(t.TempDir(), "restored")
			_, err = sqlite.Restore(t.Context(), dir, dst, &sqlite.RestoreOptions{AcceptLoss: true}) // there is no manifest
			require.NoError(t, err)
			s := open(t, dst, nil)
			require.Len(t, all(t, s), 60)
			require.Zero(t, s.Unindexed())
			for _, text := range []string{"UPDATE stream_index SET position = 2", "DELETE FROM stream_index", "UPDATE meta SET indexed = -1"} {
				require.ErrorContains(t, s.WriterExec(text), "append-only", text)
			}
			appendTo(t, s, write("ride-1", eventstore.Exactly(14), event("asked", "x")))
			sound(t, s)
		})
	}
}

// The newest events are read when the log is opened.
func TestADamagedEventThatTheTableDoesNotHaveIsFoundByOpen(t *testing.T) {
	for name, statement := range map[string]string{
		"missing":         `DELETE FROM events WHERE position = 58`,
		"another version": `UPDATE events SET version = version + 1 WHERE position = 58`,
		"another stream":  `UPDATE events SET stream_id = 4 - stream_id WHERE position = 58`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, &sqlite.Options{IndexEvents: sqlite.IndexEvents})
			require.NoError(t, s.Close())
			fillMore(t, dir)
			change(t, dir, statement)
			_, err := sqlite.Open(t.Context(), dir, nil)
			require.ErrorIs(t, err, eventstore.ErrCorrupt)
			require.ErrorContains(t, err, "position ")
		})
	}
}

func fillMore(t *testing.T, dir string) {
	t.Helper()
	s := open(t, dir, &sqlite.Options{IndexEvents: sqlite.IndexEvents})
	for i := range 60 {
		appendTo(t, s, write(fmt.Sprintf("ride-%d", i%3), eventstore.Any(), event("asked", fmt.Sprint(i))))
	}
	require.NoError(t, s.Close())
}

// A log of before the index stood apart is opened, and gets one.
func TestALogOfAnOlderFormatIsMigrated(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir)
	s := open(t, dir, nil)
	want := all(t, s)
	require.NoError(t, s.Close())
	older(t, dir)

	_, err := sqlite.OpenReadOnly(t.Context(), dir)
	require.ErrorIs(t, err, sqlite.ErrNotStore)
	require.ErrorContains(t, err, "open it once as its owner")
	s = open(t, dir, nil)
	require.Equal(t, want, all(t, s))
	sound(t, s)
	require.Zero(t, s.Unindexed())
	last := want[len(want)-1].Position
	c := appendTo(t, s, write("ride-0", eventstore.Exists(), event("asked", "x")))
	require.Equal(t, last+1, c.First)
	for _, text := range []string{"UPDATE events SET data = X''", "DELETE FROM events"} {
		require.ErrorContains(t, s.WriterExec(text), "append-only", text)
	}
	for i := range 3 {
		events, err := s.ReadStream(t.Context(), fmt.Sprintf("ride-%d", i), 1, 100)
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(events), 12)
	}
	sound(t, s)
}

// older gives the log of a store the format that it had before its index stood
// apart.
func older(t *testing.T, dir string) {
	t.Helper()
	formats := fstest.MapFS{}
	for _, name := range []string{"0001_log.sql", "0002_epochs.sql", "0003_snapshots.sql"} {
		data, err := sqlite.Formats().ReadFile("migration/" + name)
		require.NoError(t, err)
		formats[name] = &fstest.MapFile{Data: data}
	}
	path := filepath.Join(dir, "log.db")
	now := filepath.Join(t.TempDir(), "now.db")
	require.NoError(t, os.Rename(path, now))
	db, err := file.OpenFormat(t.Context(), path, file.Format{ApplicationID: sqlite.ApplicationID, Migrations: formats}, file.Options{})
	require.NoError(t, err)
	require.NoError(t, db.Close())
	raw, err := sql.Open("sqlite3", path)
	require.NoError(t, err)
	raw.SetMaxOpenConns(1)
	defer func() { require.NoError(t, raw.Close()) }()
	_, err = raw.Exec("ATTACH ? AS now", now)
	require.NoError(t, err)
	for _, text := range []string{
		"INSERT INTO meta SELECT id, store_id, created_at FROM now.meta", "DELETE FROM epochs WHERE number = 0",
		"INSERT INTO streams SELECT * FROM now.streams", "INSERT INTO types SELECT * FROM now.types", "INSERT INTO events SELECT * FROM now.events",
		"INSERT INTO batches SELECT * FROM now.batches", "INSERT INTO epochs SELECT * FROM now.epochs", "INSERT INTO snapshots SELECT * FROM now.snapshots",
	} {
		_, err = raw.Exec(text)
		require.NoError(t, err, text)
	}
}
