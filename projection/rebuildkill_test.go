package projection

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/experiment"
)

const (
	// seamEvery says which kills are at the seam: when no more than seamEvents
	// are missing to the head, at the latest seamDelay later.
	seamEvery  = 5
	seamEvents = 2000
	seamDelay  = 12 * time.Millisecond
	// longestBuild is how long a child builds at most before a kill elsewhere.
	longestBuild = 800 * time.Millisecond
	// rebuildRatio is how much slower appends may be beside a build. They are
	// measured with and without one in turn, rebuildWindow each, while a whole
	// rebuild goes on: rebuildSample appends at least. What else the machine does
	// can only make it worse, so the best of rebuildRounds rebuilds counts.
	rebuildRatio  = 2.0
	rebuildWindow = 500 * time.Millisecond
	rebuildSample = 1000
	rebuildRounds = 5
)

// TestExperimentRebuild kills a process that builds a new version of a read
// model, and appends, again and again: the new version has it all, once.
func TestExperimentRebuild(t *testing.T) {
	e := experiment.Start(t, "1M-event rebuild while writing, killed 20 times", "equals the fold, nothing missed at the catch-up→live seam, append p99 < 2× of that without")
	events, kills := e.N(20_000, 1_000_000), e.N(2, 20)
	dir := experiment.Dir(t) // a rebuild competes for the processors: the disk would hide it
	began := time.Now()
	fill(t, dir, events/4)
	withProjection(t, dir, 1, func(*sqlite.Store, *Projection) {}) // the version that serves meanwhile
	fill(t, dir, events-events/4)
	e.Figure("filled in", time.Since(began))
	version, atSeam := killBuilds(t, e, dir, kills)
	e.Figure("kills", kills)
	e.Figure("of them at the seam", atSeam)
	e.Figure("upgrades", version-1)
	withProjection(t, dir, version, func(store *sqlite.Store, p *Projection) {
		beside(t, e, store, p)
	})
	compareWithFold(t, e, dir, version)
}

// fill appends n events, many at a time.
func fill(t *testing.T, dir string, n int) {
	t.Helper()
	store := openRebuildStore(t, dir)
	defer func() { require.NoError(t, store.Close()) }()
	const perStream = 50
	for i := 0; i < n; {
		var b eventstore.Batch
		for a := 0; a < rebuildAccounts && i < n; a++ {
			w := eventstore.Write{Stream: rebuildAccount(a)}
			for j := 0; j < perStream && i < n; j++ {
				ev, err := eventstore.Encode(moved{Account: rebuildAccount(a), Cents: int64(i * i % 1009)})
				require.NoError(t, err)
				w.Events = append(w.Events, ev)
				i++
			}
			b.Writes = append(b.Writes, w)
		}
		_, err := store.Append(t.Context(), b)
		require.NoError(t, err)
	}
}

func openRebuildStore(t *testing.T, dir string) *sqlite.Store {
	t.Helper()
	store, err := sqlite.Open(t.Context(), dir, &sqlite.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	return store
}

// withProjection runs a version in this process until it serves all there is,
// and then calls fn while it goes on.
func withProjection(t *testing.T, dir string, version int, fn func(*sqlite.Store, *Projection)) {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	store := openRebuildStore(t, dir)
	defer func() { require.NoError(t, store.Close()) }()
	p, err := Open(t.Context(), dir, store, tallies(version), &Options{Logger: logger})
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	r, err := bus.NewRouter(store, &bus.RouterOptions{Logger: logger})
	require.NoError(t, err)
	require.NoError(t, r.Add(p))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	defer func() {
		cancel()
		require.NoError(t, <-ended)
	}()
	head, err := store.Head(ctx)
	require.NoError(t, err)
	require.NoError(t, p.WaitFor(ctx, head))
	looking := lookSteadily(ctx, p)
	fn(store, p)
	require.NoError(t, looking())
	head, err = store.Head(ctx)
	require.NoError(t, err)
	require.NoError(t, p.WaitFor(ctx, head))
	now, err := look(ctx, p)
	require.NoError(t, err)
	require.Equal(t, glance{version, head, head}, now)
}

// lookSteadily looks at the read model again and again. The function that it
// returns ends that, and says what was wrong.
func lookSteadily(ctx context.Context, p *Projection) (end func() error) {
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for last := (glance{}); ; {
			now, err := look(ctx, p)
			if err == nil && now.position < last.position {
				err = fmt.Errorf("the read model went back from %+v to %+v", last, now)
			}
			if err != nil {
				ended <- err
				return
			}
			last = now
			select {
			case <-stop:
				ended <- nil
				return
			case <-time.After(rebuildLook):
			}
		}
	}()
	return func() error {
		close(stop)
		return <-ended
	}
}

// killBuilds kills children that build, and returns the last version that was
// begun and how many kills were at the seam. A child that finishes is followed
// by one that builds the version after.
func killBuilds(t *testing.T, e *experiment.Experiment, dir string, kills int) (version, atSeam int) {
	t.Helper()
	version = 2
	for kill, life := 0, 0; kill < kills; life++ {
		require.Less(t, life, 3*kills+10, "children do not build")
		seam := kill%seamEvery == 1
		built, near, live := killOne(t, dir, version, seam, e.Rand(life))
		if built {
			kill++
		}
		if near {
			atSeam++
		}
		if live && kill < kills {
			version++
		}
	}
	return version, atSeam
}

// killOne kills one child, and tells whether it was building, near the seam,
// and whether its version was live before it died.
func killOne(t *testing.T, dir string, version int, seam bool, chance *rand.Rand) (built, near, live bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), rebuildDir+"="+dir, rebuildVersion+"="+strconv.Itoa(version))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	defer func() { _ = in.Close() }() // Wait has closed it
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var timer *time.Timer
	kill := func(within time.Duration) {
		if timer == nil { // at random
			timer = time.AfterFunc(time.Duration(chance.Int64N(int64(within))), func() { _ = cmd.Process.Kill() }) // it may be dead
		}
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if lines.Text() == "live" {
			live = true
			kill(seamDelay)
			continue
		}
		var done, total int64
		if _, err := fmt.Sscanf(lines.Text(), "at %d %d", &done, &total); err != nil {
			continue // cut off by the kill
		}
		built = true
		if near = total-done <= seamEvents; near {
			kill(seamDelay)
		}
		if !seam {
			kill(longestBuild)
		}
	}
	err = cmd.Wait()
	if timer != nil {
		timer.Stop()
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	require.True(t, ok && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL, "the child found something: %v", err)
	return built, near, live
}

// beside measures appends beside a rebuild and without.
func beside(t *testing.T, e *experiment.Experiment, store *sqlite.Store, p *Projection) {
	t.Helper()
	p99 := func(all []time.Duration) time.Duration {
		slices.Sort(all)
		return all[(len(all)-1)*99/100]
	}
	best := math.Inf(1)
	for round := 1; best == math.Inf(1) || experiment.Long() && best >= rebuildRatio && round <= rebuildRounds; round++ {
		with, without, rate := measureRebuild(t, store, p)
		if experiment.Long() {
			require.GreaterOrEqual(t, min(len(with), len(without)), rebuildSample)
		}
		if len(with) == 0 || len(without) == 0 {
			return // the short form may be over at once
		}
		ratio := float64(p99(with)) / float64(p99(without))
		if ratio >= best {
			continue
		}
		best = ratio
		e.Figure("rebuilt events/s", int64(rate))
		e.Figure("appends measured beside", len(with))
		e.Figure("append p99 without", p99(without))
		e.Figure("append p99 beside", p99(with))
		e.Figure("ratio", fmt.Sprintf("%.2f", ratio))
		e.Figure("in round", round)
	}
	if experiment.Long() {
		require.Less(t, best, rebuildRatio)
	}
}

// measureRebuild rebuilds once, and pauses in between: it returns how long
// appends took beside the rebuild and in its pauses, and its events a second.
func measureRebuild(t *testing.T, store *sqlite.Store, p *Projection) (with, without []time.Duration, rate float64) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var turn atomic.Int64 // grows with each; the rebuild is at work in the odd ones
	ended := make(chan error, 1)
	go func() {
		var at int64
		ended <- appendSteadily(ctx, store, func(took time.Duration) {
			switch now := turn.Load(); {
			case now != at: // it may have begun in the one before
				at = now
			case now%2 == 1:
				with = append(with, took)
			default:
				without = append(without, took)
			}
		})
	}()
	time.Sleep(rebuildWindow) // without
	turn.Add(1)
	began, spent := time.Now(), time.Duration(0)
	got, err := p.Rebuild(ctx, func(Progress) {
		if time.Since(began) < rebuildWindow {
			return
		}
		spent += time.Since(began)
		turn.Add(1)
		time.Sleep(rebuildWindow)
		turn.Add(1)
		began = time.Now()
	})
	spent += time.Since(began)
	turn.Add(1)
	require.NoError(t, err)
	require.True(t, got.Identical, got.Difference)
	cancel()
	require.NoError(t, <-ended)
	return with, without, float64(got.Events) / spent.Seconds()
}

// compareWithFold folds the whole log without a projection, and compares: the
// rows, and the digest of what the same handlers make of it in a new file.
func compareWithFold(t *testing.T, e *experiment.Experiment, dir string, version int) {
	t.Helper()
	store := openRebuildStore(t, dir)
	defer func() { require.NoError(t, store.Close()) }()
	want, head := map[string]tally{}, int64(0)
	for {
		page, err := store.ReadLog(t.Context(), head, eventstore.MaxPage, eventstore.Filter{})
		require.NoError(t, err)
		for _, ev := range page.Events {
			var m moved
			require.NoError(t, json.Unmarshal(ev.Data, &m))
			require.True(t, strings.HasPrefix(m.Account, "a-"))
			head++
			require.Equal(t, head, ev.Position, "positions have no holes")
			want[m.Account] = want[m.Account].add(version, ev, m)
		}
		if len(page.Events) == 0 {
			break
		}
	}
	got := map[string]tally{}
	v, err := OpenReader(t.Context(), dir, tallies(version))
	require.NoError(t, err)
	require.NoError(t, v.Read(t.Context(), func(r *Reader) error {
		rows, err := r.Query(`SELECT account, mix, events, positions FROM tally`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id string
			var a tally
			if err := rows.Scan(&id, &a.mix, &a.events, &a.positions); err != nil {
				return err
			}
			got[id] = a
		}
		return rows.Err()
	}))
	require.NoError(t, v.Close())
	require.Equal(t, want, got)
	audited, err := Audit(t.Context(), dir, store, t.TempDir(), tallies(version))
	require.NoError(t, err)
	require.True(t, audited.Identical, audited.Difference)
	require.Equal(t, head, audited.Position)
	require.Equal(t, version, audited.Version)
	e.Figure("events", head)
	e.Asserted("missing or doubled")
}
