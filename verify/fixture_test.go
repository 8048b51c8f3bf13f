package verify_test

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/saga"
	"github.com/leat-go/leat/serverless"
	"github.com/leat-go/leat/verify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A desk: what is asked is counted, answered by a saga, and told.
type (
	asked    struct{ ID string }
	answered struct{ ID string }
	answer   struct{ ID string }
)

func (asked) EventType() string    { return "asked" }
func (answered) EventType() string { return "answered" }
func (answer) CommandType() string { return "answer" }

type question struct{ Asked int }

var (
	counts = projection.Define("counts", 1, `CREATE TABLE count (type TEXT PRIMARY KEY, n INTEGER NOT NULL) STRICT`,
		projection.On(func(_ context.Context, tx *projection.Tx, _ eventstore.Of[asked]) error {
			_, err := tx.Exec(`
				INSERT INTO count (type, n)
				VALUES ('asked', 1)
				ON CONFLICT (type) DO UPDATE SET n = n + 1`)
			return err
		}))
	answering = saga.Define("answering", 1,
		saga.Starts(func(e asked) string { return e.ID }, func(q *question, c *saga.Context, e asked) error {
			q.Asked++
			c.Send(answer(e))
			c.After("forget", time.Hour)
			return nil
		}),
		saga.On(func(e answered) string { return e.ID }, func(_ *question, c *saga.Context, _ answered) error {
			return nil
		}),
		saga.Timer("forget", func(_ *question, c *saga.Context) error { c.Complete(); return nil }),
		saga.IgnoreRejected[question, answer]())
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func open(t testing.TB, dir string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(context.Background(), dir, &sqlite.Options{Logger: quiet(), IndexEvents: 10})
	require.NoError(t, err)
	return s
}

func ask(id string) eventstore.Batch {
	return eventstore.Batch{ID: "ask-" + id, Writes: []eventstore.Write{{Stream: "desk-" + id, Events: []eventstore.EventData{
		{Type: "asked", Data: fmt.Appendf(nil, `{"ID":%q}`, id), Metadata: eventstore.Metadata{"actor": "ann"}},
	}}}}
}

func wire(store *sqlite.Store) *serverless.Host {
	h := serverless.New(store, &serverless.Options{Logger: quiet()})
	serverless.Command(h, "answer", func(ctx context.Context, c answer) (eventstore.Commit, error) {
		return store.Append(ctx, eventstore.Batch{ID: eventstore.CommandFrom(ctx).ID(), Writes: []eventstore.Write{{Stream: "desk-" + c.ID, Events: []eventstore.EventData{
			{Type: "answered", Data: fmt.Appendf(nil, `{"ID":%q}`, c.ID)},
		}}}})
	})
	h.Project(counts)
	h.Saga(answering)
	serverless.OnEvent(h, "tell", func(context.Context, eventstore.Of[answered]) error { return nil }, serverless.FromStart())
	return h
}

// desk makes a store with every kind of file, or goes on with it, and returns
// what closes it.
func desk(t testing.TB, dir string, questions int) (*sqlite.Store, func()) {
	t.Helper()
	store := open(t, dir)
	h := wire(store)
	require.NoError(t, h.Open(t.Context()))
	head, err := store.Head(t.Context())
	require.NoError(t, err)
	for i := range questions {
		_, err := store.Append(t.Context(), ask(fmt.Sprint(head+int64(i))))
		require.NoError(t, err)
	}
	_, err = h.Drain(t.Context(), serverless.Budget{Time: time.Minute})
	require.NoError(t, err)
	return store, func() {
		require.NoError(t, h.Close())
		require.NoError(t, store.Close())
	}
}

// killed copies the files of a store that is open and at rest, as a kill would
// have left them. The original is to be closed and thrown away: its locks are
// gone.
func killed(t testing.TB, from string) string {
	t.Helper()
	to := t.TempDir()
	copyTree(t, from, to)
	return to
}

func copyTree(t testing.TB, from, to string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, name), 0o700)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), data, 0o600)
	}))
}

// entry is all of a directory entry that must not change.
type entry struct {
	Mode     fs.FileMode
	Size     int64
	Modified time.Time
	Content  string
}

// listing is what is in a directory, byte for byte.
func listing(t testing.TB, dir string) map[string]entry {
	t.Helper()
	m := map[string]entry{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		e := entry{Mode: info.Mode(), Size: info.Size(), Modified: info.ModTime()}
		if info.Mode().IsRegular() {
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			data, err := io.ReadAll(f)
			require.NoError(t, f.Close())
			if err != nil {
				return err
			}
			e.Content = string(data)
		}
		m[path] = e
		return nil
	}))
	return m
}

// unchanged verifies a directory and demands that nothing in it is other than
// before, and nothing is left behind elsewhere.
func unchanged(t *testing.T, dir string) verify.Report {
	t.Helper()
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	before := listing(t, dir)
	r, err := verify.Dir(t.Context(), dir)
	require.NoError(t, err)
	require.Equal(t, before, listing(t, dir))
	require.Len(t, listing(t, temp), 1, "the copy is removed")
	return r
}

// readOnly makes a directory one that nobody may write.
func readOnly(t *testing.T, dir string) {
	t.Helper()
	if os.Getuid() == 0 {
		mountReadOnly(t, dir)
		return
	}
	for path, e := range listing(t, dir) {
		mode := os.FileMode(0o400)
		if e.Mode.IsDir() {
			mode = 0o500
			t.Cleanup(func() { require.NoError(t, os.Chmod(path, 0o700)) })
		}
		require.NoError(t, os.Chmod(path, mode))
	}
}
