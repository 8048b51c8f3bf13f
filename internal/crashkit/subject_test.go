package crashkit_test

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/crashkit"
	"github.com/leat-go/leat/internal/crashkit/bank"
	"github.com/leat-go/leat/internal/experiment"
	"github.com/leat-go/leat/internal/invariant"
)

// built is the program that is killed, built once.
var built struct {
	once sync.Once
	dir  string
	path string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	err := goleak.Find()
	if built.dir != "" {
		err = errors.Join(err, os.RemoveAll(built.dir))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func program(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "leat-crashkit-"); built.err == nil {
			built.path, built.err = crashkit.Build(t.Context(), built.dir, "github.com/leat-go/leat/internal/crashkit/workload", false)
		}
	})
	require.NoError(t, built.err)
	return built.path
}

var quiet = slog.New(slog.DiscardHandler)

// figures of an experiment, over all its subjects.
type figures struct {
	mu                                        sync.Mutex // guards what follows
	kills, acked, kept, closed, checks, again int
	events                                    int64
	models, commands, timers                  int
	lost, doubled, diverged, other            int
	opened                                    []time.Duration
	broken                                    []string
}

// subject is one store and all that is known of it.
type subject struct {
	t       testing.TB
	program string
	root    string
	history *invariant.History
	life    int
	figures *figures
	failed  string // what the program said should not have happened
}

// newSubject returns a store that is not there yet: on the disk, where syncs
// take their time, or in memory.
func newSubject(t testing.TB, r *rand.Rand, f *figures) *subject {
	t.Helper()
	root := t.TempDir()
	if r.IntN(2) == 0 {
		root = experiment.Dir(t)
	}
	s := &subject{t: t, program: program(t), root: root, history: invariant.NewHistory(), figures: f}
	require.NoError(t, os.Mkdir(s.scratch(), 0o700))
	return s
}

func (s *subject) dir() string     { return filepath.Join(s.root, "store") }
func (s *subject) scratch() string { return filepath.Join(s.root, "outside") }

// death says how a life ends.
type death struct {
	point string        // name:n, or empty
	after time.Duration // since it began; the latest where point is set
	acks  int           // or after so many acknowledgements; 0 for any number
	plan  bank.Plan
}

// ending is how a life ended: killed, or closed; and before its time was over,
// or because it was.
type ending struct{ killed, early bool }

// live runs the program until it is dead.
func (s *subject) live(d death) ending {
	plan := d.plan
	plan.Dir, plan.Scratch, plan.Life, plan.Repeat = s.dir(), s.scratch(), s.life, s.history.Unknown()
	env, err := plan.Env()
	require.NoError(s.t, err)
	acks := make(chan struct{})
	left := d.acks
	life, err := crashkit.Start(s.t.Context(), s.program, crashkit.Options{Env: []string{env}, Point: d.point, Line: func(line string) {
		if s.line(line); strings.HasPrefix(line, bank.SayAcked) {
			if left--; left == 0 {
				close(acks)
			}
		}
	}})
	require.NoError(s.t, err)
	timer := time.NewTimer(d.after)
	defer timer.Stop()
	end := ending{early: true}
	select {
	case <-life.Ended():
	case <-acks:
		life.Kill()
	case <-timer.C:
		end.early = false
		life.Kill()
	}
	end.killed, err = life.Wait()
	s.life++
	require.Empty(s.t, s.failed)
	require.NoError(s.t, err)
	s.figures.mu.Lock()
	defer s.figures.mu.Unlock()
	if end.killed {
		s.figures.kills++
	} else {
		s.figures.closed++
	}
	return end
}

// sent notes that the program may have sent the batch of a label.
func (s *subject) sent(label string) {
	b, err := bank.Batch(label)
	if err != nil {
		s.failed = err.Error()
	}
	s.history.Sent(label, b)
}

// line takes in what the program says.
func (s *subject) line(line string) {
	word, rest, _ := strings.Cut(line, " ")
	label, rest, _ := strings.Cut(rest, " ")
	next := func() {
		if label, err := bank.Next(label); err == nil {
			s.sent(label)
		}
	}
	switch word {
	case bank.SayAcked:
		var first, last int64
		var again bool
		if _, err := fmt.Sscan(rest, &first, &last, &again); err != nil {
			s.failed = fmt.Sprintf("%q: %v", line, err)
		}
		s.history.Acked(label, first, last)
		s.figures.mu.Lock()
		s.figures.acked++
		if again {
			s.figures.kept++
		}
		s.figures.mu.Unlock()
		next()
	case bank.SayRefused:
		s.history.Refused(label)
		next()
	case bank.SaySaw:
		var position int64
		if _, err := fmt.Sscan(label, &position); err != nil {
			s.failed = fmt.Sprintf("%q: %v", line, err)
		}
		s.history.Saw(position, rest)
	case bank.SayEffect:
		s.history.Effect(label, rest)
	case bank.SayOpened:
		for a := range bank.Appenders { // from now on each may send its first
			s.sent(bank.Label(s.life, a, 0))
		}
		var ns int64
		if _, err := fmt.Sscan(label, &ns); err != nil {
			s.failed = fmt.Sprintf("%q: %v", line, err)
		}
		if s.life > 0 { // the first creates it
			s.figures.mu.Lock()
			s.figures.opened = append(s.figures.opened, time.Duration(ns))
			s.figures.mu.Unlock()
		}
	case bank.SayFailed:
		s.failed = line
	}
}

// check checks every invariant of the store, and its backups.
func (s *subject) check(settled bool) (head int64) {
	s.t.Helper()
	r, err := invariant.Check(s.t.Context(), s.dir(), &invariant.Options{
		History: s.history, Models: bank.Models(), Functions: bank.Functions,
		Laws: []invariant.Law{bank.Money(settled), bank.Relayed(s.history, filepath.Join(s.scratch(), bank.RelayFile))},
	})
	require.NoError(s.t, err)
	s.checkBackups(settled)
	s.figures.mu.Lock()
	defer s.figures.mu.Unlock()
	f := s.figures
	f.checks++
	f.kept += r.Kept
	f.models, f.commands, f.timers = f.models+r.Models, f.commands+r.Commands, f.timers+r.Timers
	for _, v := range r.Violations {
		switch v.Invariant {
		case "I1":
			f.lost++
		case "law", "I6", "I8":
			f.doubled++
		case "I5":
			f.diverged++
		default:
			f.other++
		}
		if len(f.broken) < invariant.MaxViolations {
			f.broken = append(f.broken, v.String())
		}
	}
	if len(r.Violations) > 0 {
		s.keep(r)
	}
	return r.Head
}

// keep keeps a copy of a store that breaks an invariant, and ends the test.
func (s *subject) keep(r invariant.Report) {
	s.t.Helper()
	evidence, err := os.MkdirTemp("", "leat-evidence-")
	if err == nil {
		err = os.CopyFS(filepath.Join(evidence, "root"), os.DirFS(s.root))
	}
	s.t.Errorf("life %d: %v\nthe store is kept in %s (%v)", s.life, r.Err(), evidence, err)
}

// checkBackups looks at every backup, and every store restored of one, and
// removes all. Those that have their names are whole, whether or not the process
// lived to say so. Where all is settled, one that is restored comes to its own
// end as well.
func (s *subject) checkBackups(settled bool) {
	s.t.Helper()
	entries, err := os.ReadDir(s.scratch())
	require.NoError(s.t, err)
	for _, e := range entries {
		name := e.Name()
		if !strings.HasPrefix(name, bank.BackupPrefix) {
			continue
		}
		path := filepath.Join(s.scratch(), name)
		switch {
		case strings.HasSuffix(name, sqlite.UnfinishedSuffix):
		case strings.HasSuffix(name, bank.RestoredSuffix):
			s.sound(path)
		default:
			restored := filepath.Join(s.root, "restored")
			_, err := sqlite.Restore(s.t.Context(), path, restored, nil)
			require.NoError(s.t, err)
			if s.sound(restored); settled {
				s.ends(restored)
				settled = false // one says enough
			}
			require.NoError(s.t, os.RemoveAll(restored))
		}
		require.NoError(s.t, os.RemoveAll(path))
	}
}

// sound demands that the store in dir can be opened, and that nothing is found
// in it.
func (s *subject) sound(dir string) {
	s.t.Helper()
	store, err := sqlite.Open(s.t.Context(), dir, &sqlite.Options{Logger: quiet})
	require.NoError(s.t, err)
	r, err := store.Verify(s.t.Context())
	require.NoError(s.t, errors.Join(err, store.Close()))
	require.Empty(s.t, r.Findings)
}

// ends has everything in a restored store come to its end, and demands that
// nothing is missing: its sagas and functions are from before its log.
func (s *subject) ends(dir string) {
	s.t.Helper()
	require.NoError(s.t, bank.Settle(s.t.Context(), dir, invariant.NewHistory()))
	r, err := invariant.Check(s.t.Context(), dir, &invariant.Options{Models: bank.Models(), Laws: []invariant.Law{bank.Money(true)}})
	require.NoError(s.t, err)
	require.NoError(s.t, r.Err(), "restored")
}

// settle has everything come to its end, and checks that nothing is missing.
func (s *subject) settle() {
	s.t.Helper()
	require.NoError(s.t, bank.Settle(s.t.Context(), s.dir(), s.history))
	head := s.check(true)
	_, _, again := s.history.Counts()
	s.figures.mu.Lock()
	defer s.figures.mu.Unlock()
	s.figures.events += head
	s.figures.again += again
	require.NoError(s.t, errors.Join(os.RemoveAll(s.dir()), os.RemoveAll(s.scratch())))
}

// between returns a duration in [low, high).
func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Int64N(int64(high-low)))
}
