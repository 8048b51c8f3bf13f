package crashkit_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/internal/crash"
	"github.com/leat-go/leat/internal/crashkit/bank"
	"github.com/leat-go/leat/internal/experiment"
)

const (
	// reachWithin is how long a life may take to come to its place.
	reachWithin = 2 * time.Second
	// tries is how often a place is tried anew, on a new store, in one run.
	tries = 10
	// leastPoints and leastRuns are what the long form must reach.
	leastPoints, leastRuns = 25, 500
)

// road says how a place is reached; the zero road is a life on whatever store
// there is, that comes there the first to tenth time.
type road struct {
	fresh bool // on a new store
	used  bool // on one that had a life before
	most  int  // the n-th time is drawn from 1 to this; 0 for 10
	close bool // it is reached on the way out
	drain bool // in virtual time
	back  bool // with read models that a newer program has made
}

// roads are those of the places that not every life passes often.
var roads = map[crash.Point]road{
	crash.WitnessWritten:  {most: 1},
	crash.WitnessRenamed:  {most: 1},
	crash.StoreDir:        {fresh: true, most: 1},
	crash.StoreLock:       {fresh: true, most: 1},
	crash.FileMade:        {fresh: true, most: 5},
	crash.FileMigrated:    {fresh: true, most: 5},
	crash.StoreIdentified: {fresh: true, most: 1},
	crash.StoreLoaded:     {most: 1},
	crash.StoreDrained:    {close: true, most: 1},
	crash.StoreWitnessed:  {close: true, most: 1},
	crash.SagaDrained:     {close: true, most: 1},
	crash.ViewLooked:      {used: true, most: 2},
	crash.ViewMade:        {most: 3},
	crash.ViewWentBack:    {back: true, most: 1},
	crash.ViewRemoved:     {most: 4},
	crash.SagaSwept:       {used: true, most: 2},
	crash.SagaRejected:    {most: 4},
	crash.SagaUnwinding:   {most: 4},
	crash.LetterWaits:     {most: 2},
	crash.LetterWritten:   {most: 3},
	crash.LetterRetried:   {most: 3},
	crash.LetterSettled:   {most: 3},
	crash.ClockAdvanced:   {drain: true},
	crash.BackupBegun:     {most: 3},
	crash.BackupCopied:    {most: 3},
	crash.BackupWritten:   {most: 3},
	crash.BackupNamed:     {most: 3},
	crash.RestoreCopied:   {most: 1},
	crash.RestoreVerified: {most: 1},
	crash.RestoreBegun:    {most: 1},
	crash.RestoreWritten:  {most: 1},
	crash.RestoreNamed:    {most: 1},
}

// death draws the n-th time; of a further try it is the first.
func (r road) death(random *rand.Rand, p crash.Point, try int) death {
	most := r.most
	if most == 0 {
		most = 10
	}
	if try > 0 {
		most = 1
	}
	d := death{point: fmt.Sprintf("%s:%d", p, 1+random.IntN(most)), after: reachWithin}
	d.plan = bank.Plan{Version: 1 + random.IntN(bank.Versions), Drain: r.drain}
	if r.close {
		d.plan.CloseAfter = between(random, 50*time.Millisecond, 150*time.Millisecond)
	}
	return d
}

// reached counts, for each place, how often a process was killed there.
type reached struct {
	mu    sync.Mutex // guards at
	at    map[crash.Point]int
	again int
}

func TestExperimentCrashPoints(t *testing.T) {
	e := experiment.Start(t, "kill at named crash points", "≥ 25 points × 20: 500 runs, every point reached")
	points, runs := crash.Points(), e.N(1, 20)
	f, hits := &figures{}, &reached{at: map[crash.Point]int{}}
	program(t)
	t.Cleanup(func() {
		sum := 0
		var never []string
		for _, p := range points {
			sum += hits.at[p]
			if hits.at[p] == 0 {
				never = append(never, string(p))
			}
		}
		e.Figure("points", len(points))
		e.Figure("runs", len(points)*runs)
		e.Figure("killed at their point", sum)
		e.Figure("tried anew", hits.again)
		f.report(t, e)
		require.Empty(t, never, "every point is reached")
		require.GreaterOrEqual(t, len(points), leastPoints)
		if experiment.Long() {
			require.GreaterOrEqual(t, sum, leastRuns)
		}
	})
	for w := range workers {
		t.Run(fmt.Sprintf("worker=%d", w), func(t *testing.T) {
			t.Parallel()
			r := e.Rand(w)
			var mine []crash.Point
			for i := range len(points) * runs {
				if i%workers == w {
					mine = append(mine, points[i%len(points)])
				}
			}
			r.Shuffle(len(mine), func(i, k int) { mine[i], mine[k] = mine[k], mine[i] })
			killAt(t, f, hits, r, mine)
		})
	}
}

// killAt kills at these places, one after the other, several on one store.
func killAt(t *testing.T, f *figures, hits *reached, r *rand.Rand, points []crash.Point) {
	var s *subject
	leave := func() {
		if s != nil && !t.Failed() {
			s.settle()
		}
		s = nil
	}
	defer leave()
	for _, p := range points {
		way := roads[p]
		for try := 0; try < tries && !t.Failed(); try++ {
			if s != nil && (way.fresh || way.back || s.life >= lives) {
				leave()
			}
			if s == nil {
				s = newSubject(t, r, f)
			}
			s.prepare(t, way)
			d := way.death(r, p, try)
			if way.back {
				d.plan.Version = 1
			}
			end := s.live(d)
			if experiment.Long() || s.life%checkEvery == 0 {
				s.check(false)
			}
			if hits.note(p, end.killed && end.early) {
				break
			}
		}
	}
}

// note notes whether the place was reached.
func (h *reached) note(p crash.Point, hit bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if hit {
		h.at[p]++
	} else {
		h.again++
	}
	return hit
}

// prepare gives the store the lives that lead to the place.
func (s *subject) prepare(t *testing.T, way road) {
	t.Helper()
	if way.back {
		s.goBack(t)
	}
	if way.used && s.life == 0 {
		s.live(death{after: reachWithin, plan: bank.Plan{Version: 1, CloseAfter: 300 * time.Millisecond}})
	}
}

// goBack makes read models of the second version, beside which those of the
// first are kept.
func (s *subject) goBack(t *testing.T) {
	t.Helper()
	for version := 1; version <= bank.Versions; version++ {
		for range tries {
			s.live(death{after: reachWithin, plan: bank.Plan{Version: version, Keep: true, CloseAfter: 100 * time.Millisecond}})
			if s.liveVersion(t) == version {
				break
			}
		}
	}
}

func (s *subject) liveVersion(t *testing.T) (version int) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir(), "views", "balances.live"))
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	require.NoError(t, err)
	var at struct{ Live string }
	require.NoError(t, json.Unmarshal(data, &at))
	_, rest, _ := strings.Cut(at.Live, ".v")
	_, err = fmt.Sscanf(rest, "%d.", &version)
	require.NoError(t, err)
	return version
}

// TestEveryPointIsOne looks at the names, which a program is asked by.
func TestEveryPointIsOne(t *testing.T) {
	points := crash.Points()
	for _, p := range points {
		require.Regexp(t, `^[a-z]+(-[a-z]+)+$`, string(p))
	}
	sorted := slices.Clone(points)
	slices.Sort(sorted)
	require.Len(t, slices.Compact(sorted), len(points))
}
