package projection

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
	"github.com/leat-go/leat/internal/sqlite"
)

// requirePast compares a past with the fold through its position.
func requirePast(t *testing.T, past *Past, l *tape, position int64) {
	t.Helper()
	require.Equal(t, position, past.Position())
	require.NoError(t, past.Read(t.Context(), func(r *Reader) error {
		at, err := r.Position()
		require.NoError(t, err)
		require.Equal(t, position, at)
		require.Equal(t, past.def.version, r.Version())
		got, err := tables(r)
		require.NoError(t, err)
		l.mu.Lock()
		defer l.mu.Unlock()
		require.True(t, maps.Equal(fold(l.events, position), got), "as of %d", position)
		return nil
	}))
}

// contents hashes every file of the read models.
func contents(t *testing.T, dir string) map[string][32]byte {
	t.Helper()
	all := map[string][32]byte{}
	entries, err := os.ReadDir(filepath.Join(dir, viewsDir))
	require.NoError(t, err)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), "-shm") { // SQLite's locks and its index of the WAL
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, viewsDir, e.Name()))
		require.NoError(t, err)
		all[e.Name()] = sha256.Sum256(data)
	}
	return all
}

func empty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestAsOfIsTheFoldThroughThePosition(t *testing.T) {
	l, dir, scratch := newTape(), t.TempDir(), t.TempDir()
	someMoves(l, 2*RebuildPage)
	d := ledger(1, nil)
	p := openTest(t, dir, l, d)
	require.NoError(t, deliver(t, p, l, 2000))
	before := contents(t, dir)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	positions := []int64{0, 1, RebuildPage, RebuildPage + 1, l.head() - 1, l.head()}
	for range 6 {
		positions = append(positions, random.Int64N(l.head()))
	}
	var from *Past
	for _, at := range positions {
		opts := &AsOfOptions{Dir: scratch, From: from}
		if from != nil && from.Position() > at {
			_, err := p.AsOf(t.Context(), at, opts)
			require.ErrorIs(t, err, ErrInvalid)
			opts.From = nil
		}
		past, err := p.AsOf(t.Context(), at, opts)
		require.NoError(t, err)
		requirePast(t, past, l, at)
		err = past.Read(t.Context(), func(r *Reader) error {
			rows, err := r.Query(`DELETE FROM account RETURNING id`)
			if err != nil {
				return err
			}
			defer rows.Close()
			rows.Next()
			return rows.Err()
		})
		require.ErrorContains(t, err, "readonly")
		if from != nil {
			require.NoError(t, from.Close())
		}
		from = past
	}
	require.NoError(t, from.Close())
	empty(t, scratch)
	require.Equal(t, before, contents(t, dir), "the live file is untouched")

	// The owner goes on meanwhile, and another definition tells another past.
	second := ledger(2, nil)
	past, err := AsOf(t.Context(), dir, l, second, 321, &AsOfOptions{Dir: scratch, Progress: func(Progress) {
		someMoves(l, 100)
		require.NoError(t, deliver(t, p, l, 40))
	}})
	require.NoError(t, err)
	requirePast(t, past, l, 321)
	require.Equal(t, l.head(), requireFold(t, p, l))
	_, err = p.AsOf(t.Context(), 400, &AsOfOptions{From: past, Dir: scratch})
	require.ErrorIs(t, err, ErrInvalid, "it is of another definition")
	require.NoError(t, past.Close())
	empty(t, scratch)
}

func TestAsOfThatEndsLeavesNothing(t *testing.T) {
	l, dir, scratch, f := newTape(), t.TempDir(), t.TempDir(), &faults{}
	someMoves(l, 3*RebuildPage)
	d := ledger(1, f.fail, OnFailure(Skip), once)
	refused := func(want error, position int64, opts *AsOfOptions, ctx context.Context) {
		t.Helper()
		opts.Dir = scratch
		_, err := AsOf(ctx, dir, l, d, position, opts)
		require.ErrorIs(t, err, want)
		empty(t, scratch)
	}
	refused(eventstore.ErrInvalid, -1, &AsOfOptions{}, t.Context())
	refused(eventstore.ErrInvalid, l.head()+1, &AsOfOptions{}, t.Context())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	pages := 0
	refused(context.Canceled, l.head(), &AsOfOptions{Progress: func(p Progress) { pages++; require.Equal(t, l.head(), p.Total); cancel() }}, ctx)
	require.Equal(t, 1, pages)
	_, err := AsOf(t.Context(), dir, l, d, l.head(), &AsOfOptions{Dir: scratch, MaxBytes: 200 << 10})
	require.True(t, sqlite.IsFull(err), "%v", err)
	empty(t, scratch)
	_, err = AsOf(t.Context(), dir, l, Define("", 0, ""), 1, nil)
	require.ErrorIs(t, err, ErrInvalid)

	// Without a live file nothing says what becomes of an event that fails.
	f.set(12, always)
	refused(errFault, 500, &AsOfOptions{}, t.Context())
	past, err := AsOf(t.Context(), dir, l, d, 11, &AsOfOptions{Dir: scratch})
	require.NoError(t, err)
	requirePast(t, past, l, 11)
	require.NoError(t, past.Close())
	require.NoDirExists(t, filepath.Join(dir, viewsDir))

	// What the live file has set aside is set aside.
	p := openTest(t, dir, l, d)
	require.NoError(t, deliver(t, p, l, 5000))
	past, err = AsOf(t.Context(), dir, l, d, 500, &AsOfOptions{Dir: scratch})
	require.NoError(t, err)
	var got map[string]account
	require.NoError(t, past.Read(t.Context(), func(r *Reader) (err error) { got, err = tables(r); return err }))
	good := append(append([]eventstore.Recorded{}, l.events[:11]...), l.events[12:]...)
	require.Equal(t, fold(good, 500), got)
	require.NoError(t, past.Close())
	f.set(13, always)
	refused(errFault, 500, &AsOfOptions{}, t.Context())
}

func TestThePositionOfATime(t *testing.T) {
	c := clock.NewVirtual(time.Unix(1000, 0))
	store := memory.New(&memory.Options{Clock: c})
	ask := func(at time.Time) int64 {
		t.Helper()
		got, err := PositionAt(t.Context(), store, at)
		require.NoError(t, err)
		return got
	}
	require.Zero(t, ask(time.Unix(2000, 0)))
	type entry struct {
		at       time.Time
		position int64
	}
	var all []entry
	for i := range 50 {
		for range 1 + i%3 { // some at the same time
			data, err := json.Marshal(moved{"a", int64(i)})
			require.NoError(t, err)
			e := eventstore.EventData{Type: "moved", SchemaVersion: 1, Data: data}
			commit, err := store.Append(t.Context(), eventstore.Batch{Writes: []eventstore.Write{{Stream: "a", Events: []eventstore.EventData{e}}}})
			require.NoError(t, err)
			all = append(all, entry{c.Now(), commit.Last})
		}
		c.Advance(c.Now().Add(time.Duration(1+i%4) * time.Second))
	}
	for i, e := range all {
		last := e.position
		for _, later := range all[i:] {
			if later.at.Equal(e.at) {
				last = later.position
			}
		}
		require.Equal(t, last, ask(e.at))
		require.Equal(t, last, ask(e.at.Add(time.Millisecond)))
		require.Equal(t, all[0].position-1+int64(countBefore(all, func(o entry) bool { return o.at.Before(e.at) })), ask(e.at.Add(-time.Nanosecond)))
	}
}

func countBefore[T any](all []T, is func(T) bool) (n int) {
	for _, e := range all {
		if is(e) {
			n++
		}
	}
	return n
}
