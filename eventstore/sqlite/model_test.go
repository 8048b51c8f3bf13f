package sqlite_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/experiment"
)

// stepsOfARun is how many steps a run takes on average. A shorter one is
// easier to read when it fails; a longer one sees a larger log.
const stepsOfARun = 200

// handset shows what it is set to, also an earlier time.
type handset struct{ now time.Time }

func (h *handset) Now() time.Time                                   { return h.now }
func (h *handset) WaitUntil(ctx context.Context, _ time.Time) error { <-ctx.Done(); return ctx.Err() }

// twins are a store and its model, which are asked the same.
type twins struct {
	dir     string // of the store, its backups and what was restored from them
	store   string
	copies  int
	real    *sqlite.Store
	model   *memory.Store
	clock   *handset
	batches []eventstore.Batch
	anchors []eventstore.Anchor // of the store
	steps   *int
}

// few are so few cached streams that most must be looked up.
func (w *twins) options() *sqlite.Options {
	const few = 3
	return &sqlite.Options{Clock: w.clock, CachedStreams: few, IndexEvents: few}
}

func (w *twins) open(t *rapid.T) {
	var err error
	w.real, err = sqlite.Open(context.Background(), w.store, w.options())
	require.NoError(t, err)
}

func pick[T any](t *rapid.T, label string, of ...T) T { return rapid.SampledFrom(of).Draw(t, label) }

func upTo(t *rapid.T, label string, most int) int { return rapid.IntRange(0, most).Draw(t, label) }

func modelStream(t *rapid.T) string {
	return pick(t, "stream", "a-1", "a-2", "a-3", "a", "b-1", "b-2", "c-1-1", "-x", "A-1")
}

func (w *twins) expectation(t *rapid.T, stream string) eventstore.Expectation {
	events, err := w.model.ReadStream(context.Background(), stream, 1, eventstore.MaxPage)
	require.NoError(t, err)
	at := int64(len(events))
	return pick(t, "expect", eventstore.Any(), eventstore.Exactly(at), eventstore.Exists(), eventstore.NoStream(),
		eventstore.Exactly(at+1), eventstore.Exactly(max(0, at-1)))
}

func modelEvent(t *rapid.T) eventstore.EventData {
	e := eventstore.EventData{Type: pick(t, "type", "type_1", "type_2", "type_3", ""), SchemaVersion: upTo(t, "schema", 2)}
	e.Data = []byte(strings.Repeat("x", upTo(t, "bytes", 3)))
	switch upTo(t, "extra", 9) {
	case 1:
		e.ID = eventstore.DeriveID("explicit", upTo(t, "event id", 40))
	case 2: // which a later batch will derive
		e.ID = eventstore.DeriveID(fmt.Sprintf("id-%d", upTo(t, "batch", 40)), 0)
	case 3, 4, 5:
		e.Metadata = eventstore.Metadata{"k": fmt.Sprint(upTo(t, "meta", 2)), "λ": "<&>"}
	}
	if e.Type == "" && upTo(t, "invalid", 20) < 20 {
		e.Type = "type_1"
	}
	return e
}

func (w *twins) batch(t *rapid.T) eventstore.Batch {
	if len(w.batches) > 0 && upTo(t, "again", 7) == 7 {
		return pick(t, "batch", w.batches...)
	}
	var b eventstore.Batch
	if upTo(t, "named", 2) == 2 {
		b.ID = fmt.Sprintf("id-%d", upTo(t, "id", 80))
	}
	used := map[string]bool{}
	for range upTo(t, "writes", 3) {
		stream := modelStream(t)
		wr := eventstore.Write{Stream: stream, Expect: w.expectation(t, stream)}
		for range 1 + upTo(t, "events", 3) {
			wr.Events = append(wr.Events, modelEvent(t))
		}
		if !used[stream] {
			b.Writes = append(b.Writes, wr)
		}
		used[stream] = true
	}
	for range max(0, upTo(t, "guards", 4)-2) {
		if stream := modelStream(t); !used[stream] {
			b.Guards = append(b.Guards, eventstore.Guard{Stream: stream, Expect: w.expectation(t, stream)})
			used[stream] = true
		}
	}
	return b
}

func (w *twins) append(t *rapid.T) {
	b := w.batch(t)
	got, gotErr := w.real.Append(context.Background(), b)
	want, wantErr := w.model.Append(context.Background(), b)
	sameError(t, wantErr, gotErr)
	require.Equal(t, want, got)
	if len(w.batches) < 100 {
		w.batches = append(w.batches, b)
	}
}

func (w *twins) committed(t *rapid.T) {
	id := fmt.Sprintf("id-%d", upTo(t, "id", 80))
	got, found, err := w.real.Committed(context.Background(), id)
	require.NoError(t, err)
	want, wanted, err := w.model.Committed(context.Background(), id)
	require.NoError(t, err)
	require.Equal(t, wanted, found)
	require.Equal(t, want, got)
}

func (w *twins) readStream(t *rapid.T) {
	stream, from, limit := modelStream(t), int64(upTo(t, "from", 60)), upTo(t, "limit", 40)
	got, gotErr := w.real.ReadStream(context.Background(), stream, from, limit)
	want, wantErr := w.model.ReadStream(context.Background(), stream, from, limit)
	sameError(t, wantErr, gotErr)
	sameEvents(t, want, got)
}

func (w *twins) readLog(t *rapid.T) {
	head := w.head(t)
	after, limit := rapid.Int64Range(0, head+1).Draw(t, "after"), upTo(t, "limit", 60)
	f := pick(t, "filter", eventstore.Filter{}, eventstore.Filter{Types: []string{"type_1", "never"}}, eventstore.Filter{Streams: []string{"a-1", "A-1", "-x"}},
		eventstore.Filter{Categories: []string{"a", ""}}, eventstore.Filter{Types: []string{"type_2"}, Categories: []string{"a", "b"}, Streams: []string{"a-1", "b-2"}},
		eventstore.Filter{Categories: []string{"never"}})
	got, gotErr := w.real.ReadLog(context.Background(), after, limit, f)
	_, wantErr := w.model.ReadLog(context.Background(), after, limit, f)
	sameError(t, wantErr, gotErr)
	if gotErr != nil {
		return
	}
	through := got.Through.Position
	require.LessOrEqual(t, len(got.Events), limit)
	require.LessOrEqual(t, through, head)
	if after < head {
		require.Greater(t, through, after, "a page advances")
	}
	// A page may end early; up to there it is whole.
	page, err := w.model.ReadLog(context.Background(), after, eventstore.MaxPage, f)
	require.NoError(t, err)
	var want []eventstore.Recorded
	for _, e := range page.Events {
		if e.Position <= through {
			want = append(want, e)
		}
	}
	sameEvents(t, want, got.Events)
	at, err := w.real.Anchor(context.Background(), through)
	require.NoError(t, err)
	require.Equal(t, at, got.Through)
}

func (w *twins) anchor(t *rapid.T) {
	at := rapid.Int64Range(-1, w.head(t)+2).Draw(t, "position")
	got, gotErr := w.real.Anchor(context.Background(), at)
	_, wantErr := w.model.Anchor(context.Background(), at)
	sameError(t, wantErr, gotErr)
	if gotErr == nil {
		w.anchors = append(w.anchors, got)
	}
	if len(w.anchors) > 0 {
		require.NoError(t, eventstore.CheckAnchor(context.Background(), w.real, pick(t, "old", w.anchors...)))
	}
}

func (w *twins) snapshot(t *rapid.T) {
	s := eventstore.Snapshot{
		Stream: modelStream(t), Fold: fmt.Sprint(pick(t, "fold", "f", "g"), w.copies), // a restore takes none over
		Version: rapid.Int64Range(0, 20).Draw(t, "version"), State: []byte(fmt.Sprint(upTo(t, "state", 100))),
	}
	if upTo(t, "save", 1) == 1 {
		sameError(t, w.model.SaveSnapshot(context.Background(), s), w.real.SaveSnapshot(context.Background(), s))
	}
	got, found, err := w.real.LoadSnapshot(context.Background(), s.Stream, s.Fold)
	require.NoError(t, err)
	want, wanted, err := w.model.LoadSnapshot(context.Background(), s.Stream, s.Fold)
	require.NoError(t, err)
	require.Equal(t, wanted, found)
	require.Equal(t, want, got)
}

func (w *twins) head(t *rapid.T) int64 {
	got, err := w.real.Head(context.Background())
	require.NoError(t, err)
	want, err := w.model.Head(context.Background())
	require.NoError(t, err)
	require.Equal(t, want, got)
	return got
}

func (w *twins) moveClock(t *rapid.T) {
	w.clock.now = w.clock.now.Add(time.Duration(rapid.Int64Range(-int64(time.Hour), int64(time.Hour)).Draw(t, "moved")))
}

func (w *twins) reopen(t *rapid.T) {
	require.NoError(t, w.real.Close())
	w.open(t)
}

// restore goes on with a restored backup: in another epoch, with everything
// that was there before.
func (w *twins) restore(t *rapid.T) {
	w.copies++
	backup, dst := filepath.Join(w.dir, fmt.Sprint("backup-", w.copies)), filepath.Join(w.dir, fmt.Sprint("store-", w.copies))
	require.NoError(t, w.real.Backup(context.Background(), backup))
	require.NoError(t, w.real.Close())
	_, err := sqlite.Restore(context.Background(), backup, dst, &sqlite.RestoreOptions{Clock: w.clock})
	require.NoError(t, err)
	w.store = dst
	w.open(t)
}

func (w *twins) everything(t *rapid.T) {
	head := w.head(t)
	for after := int64(0); after < head; after += 1000 {
		got, err := w.real.ReadLog(context.Background(), after, 1000, eventstore.Filter{})
		require.NoError(t, err)
		want, err := w.model.ReadLog(context.Background(), after, 1000, eventstore.Filter{})
		require.NoError(t, err)
		sameEvents(t, want.Events, got.Events)
	}
	r, err := w.real.Verify(context.Background())
	require.NoError(t, err)
	require.Empty(t, r.Findings)
}

// sameEvents compares events; ids that the stores made up may differ.
func sameEvents(t *rapid.T, want, got []eventstore.Recorded) {
	require.Len(t, got, len(want))
	for i := range want {
		w, g := want[i], got[i]
		if w.ID.Version() == 7 && g.ID.Version() == 7 {
			w.ID, g.ID = uuid.Nil, uuid.Nil
		}
		if len(w.Data) == 0 && len(g.Data) == 0 {
			w.Data, g.Data = nil, nil
		}
		if len(w.Meta) == 0 && len(g.Meta) == 0 {
			w.Meta, g.Meta = nil, nil
		}
		require.Equal(t, w, g)
	}
}

// sameError compares errors by their sentinel and what explains them.
func sameError(t *rapid.T, want, got error) {
	require.Equal(t, want == nil, got == nil, "want %v, got %v", want, got)
	for _, sentinel := range []error{eventstore.ErrConflict, eventstore.ErrIDReused, eventstore.ErrInvalid, eventstore.ErrRewound} {
		require.Equal(t, errors.Is(want, sentinel), errors.Is(got, sentinel), "want %v, got %v", want, got)
	}
	if conflict, ok := errors.AsType[*eventstore.ConflictError](want); ok {
		other, _ := errors.AsType[*eventstore.ConflictError](got)
		require.Equal(t, conflict, other)
	}
	if reused, ok := errors.AsType[*eventstore.IDReusedError](want); ok {
		other, _ := errors.AsType[*eventstore.IDReusedError](got)
		require.Equal(t, reused, other)
	}
}

// TestExperimentModel performs random steps on the engine and on its model,
// and compares every answer. What fails is made short before it is shown.
func TestExperimentModel(t *testing.T) {
	e := experiment.Start(t, "model: random steps against the memory store", "100,000 steps, 0 differences")
	n := e.N(2000, 100_000)
	set(t, "rapid.steps", fmt.Sprint(stepsOfARun))
	set(t, "rapid.nofailfile", "true") // the seed of the experiment repeats it
	dir, runs, steps := experiment.Dir(t), 0, 0
	run := func(t *rapid.T) {
		runs++
		w := &twins{dir: filepath.Join(dir, fmt.Sprint(runs)), clock: &handset{time.Unix(1_800_000_000, 123)}, steps: &steps}
		w.store = filepath.Join(w.dir, "store")
		w.model = memory.New(&memory.Options{Clock: w.clock})
		w.open(t)
		defer func() { require.NoError(t, errors.Join(w.real.Close(), w.model.Close(), os.RemoveAll(w.dir))) }()
		t.Repeat(w.actions())
		w.everything(t)
	}
	for round := uint64(1); steps < n && !t.Failed(); round++ { // a run can be shorter
		set(t, "rapid.checks", fmt.Sprint(1+(n-steps)/stepsOfARun))
		set(t, "rapid.seed", fmt.Sprint(max(1, e.Seed()+round)))
		rapid.Check(t, run)
	}
	e.Figure("steps", steps)
	e.Figure("runs", runs)
	e.Asserted("differences")
}

// actions are the steps; some come more often than others.
func (w *twins) actions() map[string]func(*rapid.T) {
	counted := func(step func(*rapid.T)) func(*rapid.T) {
		return func(t *rapid.T) { *w.steps++; step(t) }
	}
	all := map[string]func(*rapid.T){}
	for name, step := range map[string]struct {
		share int
		fn    func(*rapid.T)
	}{
		"append": {12, w.append}, "committed": {2, w.committed}, "stream": {3, w.readStream}, "log": {3, w.readLog}, "anchor": {1, w.anchor},
		"snapshot": {1, w.snapshot}, "clock": {1, w.moveClock}, "seldom": {1, w.seldom},
	} {
		for i := range step.share {
			all[fmt.Sprint(name, i)] = counted(step.fn)
		}
	}
	return all
}

// seldom is a step that costs more than others.
func (w *twins) seldom(t *rapid.T) {
	switch upTo(t, "seldom", 8) {
	case 1, 2:
		w.reopen(t)
	case 3:
		w.everything(t)
	case 4:
		w.restore(t)
	default:
		w.head(t)
	}
}

// set sets a flag for the length of the test.
func set(t *testing.T, name, value string) {
	t.Helper()
	f := flag.Lookup(name)
	before := f.Value.String()
	require.NoError(t, f.Value.Set(value))
	t.Cleanup(func() { require.NoError(t, f.Value.Set(before)) })
}
