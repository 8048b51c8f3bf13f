package sagatest_test

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/saga"
	"github.com/leat-go/leat/saga/sagatest"
)

// offering is a saga that offers n times.
func offering(n int) *saga.Definition {
	return saga.Define("offering", 1,
		saga.Starts(func(e requested) string { return e.Ride }, func(_ *dispatching, c *saga.Context, e requested) error {
			for range n {
				c.Send(offer{e.Ride})
			}
			c.After("again", time.Minute)
			return nil
		}),
		saga.Timer("again", func(d *dispatching, c *saga.Context) error { d.Offers++; c.Send(expire{c.Key()}); return nil }))
}

// shift records rides in a store and leaves it open, or closes it.
func shift(t *testing.T, dir string) *sqlite.Store {
	t.Helper()
	ctx := t.Context()
	now := clock.NewVirtual(sagatest.Start)
	store, err := sqlite.Open(ctx, dir, &sqlite.Options{Clock: now})
	require.NoError(t, err)
	engine, err := saga.Open(ctx, dir, store, now, []*saga.Definition{offering(1)}, &saga.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	for n := range 3 {
		data, err := eventstore.Encode(requested{fmt.Sprint(n)})
		require.NoError(t, err)
		_, err = store.Append(ctx, eventstore.Batch{Writes: []eventstore.Write{{Stream: fmt.Sprint("ride-", n), Events: []eventstore.EventData{data}}}})
		require.NoError(t, err)
	}
	page, err := store.ReadLog(ctx, 0, 10, engine.Filter())
	require.NoError(t, err)
	require.NoError(t, engine.Apply(ctx, bus.Page{Events: page.Events, Through: page.Through}))
	now.Advance(sagatest.Start.Add(time.Hour))
	fired, err := engine.FireDue(ctx)
	require.NoError(t, err)
	require.Equal(t, 3, fired)
	require.NoError(t, engine.Close())
	return store
}

// files returns what is in a directory.
func files(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		info, err := e.Info()
		require.NoError(t, err)
		all = append(all, fmt.Sprintf("%s %x %v", e.Name(), sha256.Sum256(data), info.ModTime()))
	}
	return all
}

func TestReplayJournalComparesAndChangesNothing(t *testing.T) {
	dir := t.TempDir()
	store := shift(t, dir)
	backup := filepath.Join(t.TempDir(), "backup")
	require.NoError(t, store.Backup(t.Context(), backup))
	require.NoError(t, store.Close())
	for _, dir := range []string{dir, backup} {
		was := files(t, dir)
		require.Nil(t, sagatest.ReplayJournal(t, dir, offering(1)))
		found := sagatest.ReplayJournal(t, dir, offering(2))
		require.Len(t, found, 3)
		require.Equal(t, `saga "offering" key "0", entry 1, event "requested" (1): recorded timer:again, now send:offer {"Ride":"0"}`, found[0].String())
		require.Equal(t, was, files(t, dir))
	}
}

func TestReplayJournalRefusesAStoreThatIsOpen(t *testing.T) {
	dir := t.TempDir()
	store := shift(t, dir)
	refused := func(dir string) string {
		f := &failing{TB: t}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			sagatest.ReplayJournal(f, dir, offering(1))
		}()
		<-ended
		return strings.Join(f.said, "\n")
	}
	require.Contains(t, refused(dir), "close the store, or replay a backup of it")
	require.NoError(t, store.Close())
	require.Contains(t, refused(t.TempDir()), "log.db")
	require.Empty(t, refused(dir))
}
