package verify_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
)

// snap is the files of a directory in memory, without the indexes of their
// write-ahead logs, which are made anew.
type snap map[string][]byte

// take reads a directory, also one that is open and at rest: then it is what a
// kill would leave. Whoever has it open has lost its locks.
func take(t testing.TB, dir string) snap {
	t.Helper()
	s, err := taken(dir)
	require.NoError(t, err)
	return s
}

func taken(dir string) (snap, error) {
	s := snap{}
	return s, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "-shm") {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		s[name], err = os.ReadFile(path)
		return err
	})
}

// put makes dir a directory with these files and no others.
func (s snap) put(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	for name, data := range s {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (s snap) names() []string { return slices.Sorted(maps.Keys(s)) }

// truth is what a store holds.
type truth struct {
	events    []eventstore.Recorded
	commits   []eventstore.Commit // in the order of their numbers
	snapshots map[string][]string // states that were ever saved, by stream
}

// image is a store to be damaged.
type image struct {
	name  string
	now   snap
	older []snap // earlier states of the same store
	truth truth
}

// witnessed is the part of a witness that says how much it remembers.
type witnessed struct {
	Position int64 `json:"position"`
	Batch    int   `json:"batch"`
}

func (s snap) witnessed() (w witnessed, err error) {
	return w, json.Unmarshal(s["witness"], &w)
}

// learn reads the truth from a copy.
func (i *image) learn(t testing.TB, snapshots map[string][]string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "sound")
	require.NoError(t, i.now.put(dir))
	s := open(t, dir)
	defer func() { require.NoError(t, s.Close()) }()
	for e, err := range eventstore.Log(t.Context(), s, 0, eventstore.Filter{}) {
		require.NoError(t, err)
		i.truth.events = append(i.truth.events, e)
	}
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(dir, "log.db"))
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	rows, err := db.Query("SELECT id FROM batches ORDER BY number")
	require.NoError(t, err)
	for rows.Next() {
		var id string
		require.NoError(t, rows.Scan(&id))
		c, found, err := s.Committed(t.Context(), id)
		require.NoError(t, err)
		require.True(t, found)
		i.truth.commits = append(i.truth.commits, c)
	}
	require.NoError(t, rows.Err())
	i.truth.snapshots = snapshots
	t.Logf("%-12s %3d events, %2d batches, %d bytes in %v", i.name, len(i.truth.events), len(i.truth.commits), i.size(), i.now.names())
}

func (i *image) size() (n int) {
	for _, data := range i.now {
		n += len(data)
	}
	return n
}

// recipe says how an image is made.
type recipe struct {
	name       string
	batches    int
	streams    int
	payload    int  // bytes, of every third event
	checkpoint int  // pages; 0 for never
	killed     bool // its write-ahead log is there
	behind     bool // its witness is that of an earlier state
	stages     int  // earlier states that are kept
}

var recipes = []recipe{
	{name: "closed", batches: 40, streams: 5, stages: 3},
	{name: "killed", batches: 16, streams: 5, killed: true, stages: 3},
	{name: "reused", batches: 60, streams: 7, checkpoint: 12, killed: true, stages: 5},
	{name: "behind", batches: 40, streams: 5, checkpoint: 20, killed: true, behind: true, stages: 4},
	{name: "big", batches: 12, streams: 3, payload: 12_000, stages: 3},
	{name: "big killed", batches: 12, streams: 3, payload: 12_000, checkpoint: 15, killed: true, stages: 3},
	{name: "many streams", batches: 90, streams: 200, stages: 3},
}

// batch is the n-th of a recipe: some over two streams, some without an ID,
// some with nothing but their ID.
func (r recipe) batch(n int) eventstore.Batch {
	data := func(i int) []byte {
		if r.payload > 0 && i%3 == 0 {
			return []byte(strings.Repeat(fmt.Sprint("payload ", n, " "), r.payload/10))
		}
		return fmt.Appendf(nil, `{"n":%d,"i":%d}`, n, i)
	}
	stream := func(i int) string { return fmt.Sprintf("%s-%d", []string{"ride", "driver"}[i%2], i%r.streams) }
	b := eventstore.Batch{ID: fmt.Sprintf("batch-%d", n)}
	switch n % 7 {
	case 3:
		b.ID = ""
	case 5:
		return b
	}
	b.Writes = []eventstore.Write{
		{Stream: stream(n), Events: []eventstore.EventData{
			{Type: "asked", Data: data(n), Metadata: eventstore.Metadata{"actor": "ann"}}, {Type: "accepted", Data: data(n + 1)},
		}},
	}
	if r.streams > 1 && n%2 == 0 {
		b.Writes = append(b.Writes, eventstore.Write{Stream: stream(n + 1), Events: []eventstore.EventData{{Type: "listed", SchemaVersion: 2, Data: data(n + 2)}}})
	}
	return b
}

// make appends what the recipe says, and keeps states on the way.
func (r recipe) make(t testing.TB) *image {
	t.Helper()
	dir := t.TempDir()
	checkpoint := r.checkpoint
	if checkpoint == 0 {
		checkpoint = 100_000
	}
	store, err := sqlite.Open(t.Context(), dir, &sqlite.Options{Logger: quiet(), Checkpoint: checkpoint, IndexEvents: 50})
	require.NoError(t, err)
	i := &image{name: r.name}
	saved := map[string][]string{}
	for n := range r.batches {
		_, err := store.Append(t.Context(), r.batch(n))
		require.NoError(t, err)
		if n%10 == 9 {
			state := fmt.Sprintf(`{"state":%d}`, n)
			require.NoError(t, store.SaveSnapshot(t.Context(), eventstore.Snapshot{Stream: "ride-0", Fold: "fold", Version: int64(n), State: []byte(state)}))
			saved["ride-0"] = append(saved["ride-0"], state)
		}
		if (n+1)%(r.batches/(r.stages+1)) == 0 && len(i.older) < r.stages {
			i.older = append(i.older, take(t, dir))
		}
	}
	i.now = take(t, dir)
	require.NoError(t, store.Close())
	end := take(t, dir)
	switch {
	case !r.killed:
		i.now = end
	case r.behind: // as the last state that was kept had it
		store, err := sqlite.Open(t.Context(), put(t, i.older[len(i.older)-1]), &sqlite.Options{Logger: quiet()})
		require.NoError(t, err)
		require.NoError(t, store.Close())
		i.now["witness"] = take(t, store.Dir())["witness"]
	default: // killed after the witness was written
		i.now["witness"] = end["witness"]
	}
	i.learn(t, saved)
	return i
}

func put(t testing.TB, s snap) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	require.NoError(t, s.put(dir))
	return dir
}

// restoredImage is a store that was restored twice, and went on in between.
func restoredImage(t testing.TB) *image {
	t.Helper()
	r := recipe{name: "restored", streams: 5}
	i := &image{name: r.name}
	dir := t.TempDir()
	for n := range 45 {
		store := open(t, dir)
		_, err := store.Append(t.Context(), r.batch(n))
		require.NoError(t, err)
		if n%15 == 14 {
			backup := filepath.Join(t.TempDir(), "backup")
			require.NoError(t, store.Backup(t.Context(), backup))
			require.NoError(t, store.Close())
			i.older = append(i.older, take(t, dir))
			dir = filepath.Join(t.TempDir(), "restored")
			_, err := sqlite.Restore(t.Context(), backup, dir, nil)
			require.NoError(t, err)
			continue
		}
		require.NoError(t, store.Close())
	}
	i.now = take(t, dir)
	i.learn(t, nil)
	return i
}

// deskImages are stores with every kind of file, closed and killed.
func deskImages(t testing.TB) []*image {
	t.Helper()
	dir := t.TempDir()
	_, stop := desk(t, dir, 6)
	stop()
	before := take(t, dir)
	_, stop = desk(t, dir, 8)
	running := take(t, dir)
	stop()
	closed := take(t, dir)
	running["witness"] = closed["witness"]
	images := []*image{
		{name: "desk", now: closed, older: []snap{before, running}},
		{name: "desk killed", now: running, older: []snap{before}},
	}
	for _, i := range images {
		i.learn(t, nil)
	}
	return images
}
