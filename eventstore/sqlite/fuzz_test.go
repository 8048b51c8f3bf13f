package sqlite_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
	"github.com/leat-go/leat/eventstore/sqlite"
)

// FuzzLog opens a directory whose log, and what is beside it, is anything.
func FuzzLog(f *testing.F) {
	dir := f.TempDir()
	s, err := sqlite.Open(context.Background(), dir, nil)
	require.NoError(f, err)
	for i := range 3 {
		_, err := s.Append(context.Background(), withID(string(rune('a'+i)), write("ride-1", eventstore.Any(), event("asked", "x"))))
		require.NoError(f, err)
	}
	wal, err := os.ReadFile(filepath.Join(dir, "log.db-wal"))
	require.NoError(f, err)
	require.NoError(f, s.Close())
	log, err := os.ReadFile(filepath.Join(dir, "log.db"))
	require.NoError(f, err)
	witness, err := os.ReadFile(filepath.Join(dir, "witness"))
	require.NoError(f, err)
	f.Add(log, []byte(nil), witness)
	f.Add(log[:4096], wal, []byte(nil))
	f.Add([]byte(nil), wal, []byte("{}"))
	f.Add([]byte("SQLite format 3\x00"), []byte("nonsense"), []byte("null"))
	f.Fuzz(func(t *testing.T, log, wal, witness []byte) {
		dir := t.TempDir()
		for name, data := range map[string][]byte{"log.db": log, "log.db-wal": wal, "witness": witness} {
			if data != nil {
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		look := func(s *sqlite.Store, err error) {
			if err != nil {
				said(t, err)
				return
			}
			for after, n := int64(0), 0; n < 100; n++ {
				page, err := s.ReadLog(ctx, after, 10, eventstore.Filter{})
				if err != nil {
					said(t, err)
					break
				}
				if page.Through.Position == after {
					break
				}
				after = page.Through.Position
			}
			if _, err := s.ReadStream(ctx, "ride-1", 1, 10); err != nil {
				said(t, err)
			}
			if _, err := s.Verify(ctx); err != nil {
				said(t, err)
			}
			if err := s.Close(); err != nil {
				said(t, err)
			}
		}
		look(sqlite.OpenReadOnly(ctx, dir))
		look(sqlite.Open(ctx, dir, &sqlite.Options{Logger: slog.New(slog.DiscardHandler)}))
	})
}

// said demands that an error classifies what is wrong with a store.
func said(t *testing.T, err error) {
	t.Helper()
	for _, is := range []error{eventstore.ErrCorrupt, sqlite.ErrNotStore, eventstore.ErrRewound, fs.ErrNotExist} {
		if errors.Is(err, is) {
			return
		}
	}
	t.Errorf("an error without a class: %v", err)
}

// FuzzNames appends under names from outside to the engine and to the model.
func FuzzNames(f *testing.F) {
	f.Add("ride-1", "b", "asked", "actor", "ann", []byte("{}"))
	f.Add("-", "'; DROP TABLE events; --", "\u202e", "\"", "\x00", []byte(nil))
	f.Add("🚕-1", "%s%n", "a.b", "\\", "\u2028", []byte{0xff})
	ctx := context.Background()
	engine, err := sqlite.Open(ctx, f.TempDir(), &sqlite.Options{Durability: sqlite.Relaxed})
	require.NoError(f, err)
	model := memory.New(nil)
	f.Cleanup(func() {
		require.NoError(f, engine.Close())
		require.NoError(f, model.Close())
	})
	f.Fuzz(func(t *testing.T, stream, id, typ, key, value string, data []byte) {
		b := eventstore.Batch{ID: id, Writes: []eventstore.Write{{Stream: stream, Events: []eventstore.EventData{
			{Type: typ, Data: data, Metadata: eventstore.Metadata{key: value}},
		}}}}
		got, gotErr := engine.Append(ctx, b)
		want, wantErr := model.Append(ctx, b)
		for _, is := range []error{eventstore.ErrInvalid, eventstore.ErrIDReused} {
			require.Equal(t, errors.Is(wantErr, is), errors.Is(gotErr, is), "engine: %v, model: %v", gotErr, wantErr)
		}
		if wantErr != nil {
			require.Error(t, gotErr)
			return
		}
		require.NoError(t, gotErr)
		require.Equal(t, want.Last, got.Last)
		if got.Duplicate {
			return
		}
		read, err := engine.ReadLog(ctx, got.Last-1, 1, eventstore.Filter{Streams: []string{stream}, Types: []string{typ}, Categories: []string{eventstore.Category(stream)}})
		require.NoError(t, err)
		require.Len(t, read.Events, 1)
		e := read.Events[0]
		require.Equal(t, []string{stream, typ, id, string(data)}, []string{e.Stream, e.Type, e.BatchID, string(e.Data)})
		meta, err := e.Meta.Decode()
		require.NoError(t, err)
		require.Equal(t, eventstore.Metadata{key: value}, meta)
	})
}
