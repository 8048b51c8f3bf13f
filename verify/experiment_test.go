package verify_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/experiment"
	file "github.com/leat-go/leat/internal/sqlite"
	"github.com/leat-go/leat/verify"
)

// deadline is how long one mutation may take.
const deadline = 30 * time.Second

// TestExperimentFileDamage damages stores in every way that the suite knows and
// has them verified. Where nothing is found, what a program then reads must be
// the truth: every event and every batch ID that the witness remembers.
func TestExperimentFileDamage(t *testing.T) {
	e := experiment.Start(t, "file damage", "5,000 mutations of db, wal, witness: 0 undetected, 0 panics")
	var images []*image
	for _, r := range recipes {
		images = append(images, r.make(t))
	}
	images = append(append(images, restoredImage(t)), deskImages(t)...)
	mutations := e.N(150, 5000)
	scratch := experiment.Dir(t)
	t.Setenv("TMPDIR", scratch)

	var tally tally
	next := make(chan int)
	var workers sync.WaitGroup
	for n := range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := range next {
				rnd := e.Rand(i)
				img := images[rnd.IntN(len(images))]
				m := mutate(rnd, img, images)
				r := trial(img, m, filepath.Join(scratch, fmt.Sprint("store-", n)))
				tally.add(r)
				for _, fault := range r.faults {
					t.Errorf("mutation %d of %q, %v: %s", i, img.name, m, fault)
				}
			}
		})
	}
	for i := range mutations {
		next <- i
	}
	close(next)
	workers.Wait()

	e.Figure("mutations", mutations)
	e.Figure("found", tally.found)
	e.Figure("said that it could not look", tally.refused)
	e.Figure("harmless", tally.harmless)
	e.Figure("undetected", tally.undetected)
	e.Figure("panics", tally.panics)
	e.Figure("read without error though damaged", tally.silent)
	e.Figure("longest", tally.longest)
	require.Zero(t, tally.undetected)
	require.Zero(t, tally.panics)
	require.Greater(t, tally.found, mutations/2, "mutations do harm")
}

// result is what became of one mutation.
type result struct {
	found, refused, harmless, undetected, panicked, silent bool
	took                                                   time.Duration
	faults                                                 []string
}

func (r *result) fault(format string, args ...any) {
	r.faults = append(r.faults, fmt.Sprintf(format, args...))
}

// trial has one damaged store verified and read.
func trial(i *image, m *mutation, dir string) (r result) {
	defer func() {
		if v := recover(); v != nil {
			r.panicked = true
			r.fault("panic: %v", v)
		}
	}()
	if err := m.apply(dir); err != nil && len(m.statements) == 0 {
		r.fault("%v", err)
		return r
	}
	before, err := taken(dir)
	if err != nil {
		r.fault("%v", err)
		return r
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	began := time.Now()
	report, err := verify.Dir(ctx, dir)
	r.took = time.Since(began)
	switch {
	case ctx.Err() != nil:
		r.fault("it took longer than %v", deadline)
	case errors.Is(err, sqlite.ErrNotStore), errors.Is(err, file.ErrNewer):
		r.refused = true
	case err != nil:
		r.refused = true
		r.fault("it could not look: %v", err)
	case !report.OK():
		r.found = true
	}
	if after, err := taken(dir); err != nil || !reflect.DeepEqual(before, after) {
		r.fault("verifying changed the store: %v", err)
	}
	wrong, err := i.truth.compare(ctx, dir, before)
	switch {
	case r.found || r.refused:
		r.silent = wrong != "" && err == nil
	case err != nil:
		r.undetected = true
		r.fault("undetected: %v", err)
	case wrong != "":
		r.undetected = true
		r.fault("undetected: %s", wrong)
	default:
		r.harmless = true
	}
	return r
}

// compare reads everything as a program would and says what is not the truth.
// An error is one that the program was given.
func (x *truth) compare(ctx context.Context, dir string, s snap) (wrong string, err error) {
	store, err := sqlite.Open(ctx, dir, &sqlite.Options{Logger: quiet(), IndexEvents: 100})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	w, err := s.witnessed()
	if err != nil {
		return "", fmt.Errorf("the witness that was accepted: %w", err)
	}
	for _, f := range []eventstore.Filter{{}, {Types: []string{"asked"}}, {Categories: []string{"ride", "desk"}}} {
		if wrong, err := x.log(ctx, store, f, w); err != nil || wrong != "" {
			return wrong, err
		}
	}
	if wrong, err := x.streams(ctx, store, w); err != nil || wrong != "" {
		return wrong, err
	}
	return x.batches(ctx, store, w)
}

func (x *truth) log(ctx context.Context, store *sqlite.Store, f eventstore.Filter, w witnessed) (string, error) {
	var want []eventstore.Recorded
	for _, e := range x.events {
		if f.Match(e.Stream, e.Type) {
			want = append(want, e)
		}
	}
	var got []eventstore.Recorded
	for e, err := range eventstore.Log(ctx, store, 0, f) {
		if err != nil {
			return "", err
		}
		got = append(got, e)
	}
	return prefix(fmt.Sprintf("the log by %+v", f), got, want, w), nil
}

// prefix says where got is not the beginning of want, with all that is
// witnessed.
func prefix(what string, got, want []eventstore.Recorded, w witnessed) string {
	for i, e := range got {
		if i >= len(want) {
			return fmt.Sprintf("%s has an event at position %d that never was", what, e.Position)
		}
		if !reflect.DeepEqual(e, want[i]) {
			return fmt.Sprintf("%s has at position %d %+v in place of %+v", what, want[i].Position, e, want[i])
		}
	}
	if len(got) < len(want) && want[len(got)].Position <= w.Position {
		return fmt.Sprintf("%s has no event at position %d, and %d is witnessed", what, want[len(got)].Position, w.Position)
	}
	return ""
}

func (x *truth) streams(ctx context.Context, store *sqlite.Store, w witnessed) (string, error) {
	streams := map[string][]eventstore.Recorded{}
	for _, e := range x.events {
		streams[e.Stream] = append(streams[e.Stream], e)
	}
	for _, name := range slices.Sorted(maps.Keys(streams)) {
		got, err := store.ReadStream(ctx, name, 1, eventstore.MaxPage)
		if err != nil {
			return "", err
		}
		if wrong := prefix("stream "+name, got, streams[name], w); wrong != "" {
			return wrong, nil
		}
		snapshot, found, err := store.LoadSnapshot(ctx, name, "fold")
		if err != nil {
			return "", err
		}
		if found && !slices.Contains(x.snapshots[name], string(snapshot.State)) {
			return fmt.Sprintf("the snapshot of %s at version %d is %q, which never was", name, snapshot.Version, snapshot.State), nil
		}
	}
	return "", nil
}

func (x *truth) batches(ctx context.Context, store *sqlite.Store, w witnessed) (string, error) {
	for i, want := range x.commits {
		got, found, err := store.Committed(ctx, want.ID)
		switch {
		case err != nil:
			return "", err
		case !found && i < w.Batch:
			return fmt.Sprintf("batch %d (%s) is forgotten, and %d are witnessed", i+1, want.ID, w.Batch), nil
		case found && !reflect.DeepEqual(got, want):
			return fmt.Sprintf("batch %d (%s) is %+v in place of %+v", i+1, want.ID, got, want), nil
		}
	}
	return "", nil
}

// tally counts results.
type tally struct {
	mu                                                   sync.Mutex // guards all
	found, refused, harmless, undetected, panics, silent int
	longest                                              time.Duration
}

func (y *tally) add(r result) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, c := range []struct {
		is bool
		n  *int
	}{{r.found, &y.found}, {r.refused, &y.refused}, {r.harmless, &y.harmless}, {r.undetected, &y.undetected}, {r.panicked, &y.panics}, {r.silent, &y.silent}} {
		if c.is {
			*c.n++
		}
	}
	y.longest = max(y.longest, r.took)
}
