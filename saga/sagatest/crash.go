package sagatest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/internal/crash"
	"github.com/leat-go/leat/saga"
)

// MaxBoundaries is how many places a script may have at which Crash kills it:
// two for each transaction of the engine.
const MaxBoundaries = 2000

// errKilled is what a dead engine says.
var errKilled = errors.New("sagatest: killed")

// Crash repeats a script, killing the engine at a boundary of its steps: before
// the commit of each transaction, which then never was, and after it, when the
// file has it and nobody knows. What is killed is left as it is, opened again
// from what is stored, and given what it had not taken in. Each boundary has a
// repetition of its own, and in a last one the engine dies at every boundary.
//
// Every repetition must end with the rows of the one without a kill: the
// instances with their state, history and timers. It must ask for the same
// commands, each under the same id and once, and what the script checks must
// hold in it. A handler that depends on anything but its arguments (the wall
// clock, chance, the order of a map, a variable of the program) is caught by
// this as well.
//
// The script begins with New, given the TB that it is handed; it may have
// several of them, and must do the same each time. It is run once for each
// boundary and twice more. The first repetition that differs fails the test,
// and says where the engine was killed.
func Crash(t testing.TB, script func(t testing.TB)) {
	t.Helper()
	root := t.TempDir()
	repeat := func(kill func(n int) bool) *repetition {
		r := &repetition{TB: t, root: root, kill: kill}
		r.run(script)
		return r
	}
	calm := repeat(func(int) bool { return false })
	if t.Failed() {
		return
	}
	boundaries := calm.passed
	switch {
	case len(calm.lives) == 0:
		t.Fatal("the script made no New with the TB that it was given")
	case boundaries > MaxBoundaries:
		t.Fatalf("the script has %d boundaries, %d can be crashed at: make it several", boundaries, MaxBoundaries)
	}
	for n := 1; n <= boundaries+1; n++ {
		r := repeat(func(passed int) bool { return passed == n || n > boundaries })
		if r.deaths == 0 && !t.Failed() {
			r.Errorf("it has fewer boundaries than the time before: the script does not do the same each time")
		}
		if !t.Failed() {
			r.compare(calm)
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("killed at each of %d boundaries", boundaries)
}

// repetition is one run of a script that Crash repeats. It stands for the test
// while the script runs, so that what fails says where it was killed.
type repetition struct {
	testing.TB
	root     string
	dirs     int
	cleanups []func()
	lives    []*life

	kill   func(passed int) bool // whether the engine dies at a boundary
	passed int                   // boundaries
	spared bool                  // the transaction before did not commit: this one does
	dead   bool
	deaths int
	where  string // the last death
	doing  string // the script's step under way
}

// run runs the script and what it has left to clean up.
func (r *repetition) run(script func(testing.TB)) {
	r.Helper()
	defer func() {
		for len(r.cleanups) > 0 {
			last := r.cleanups[len(r.cleanups)-1]
			r.cleanups = r.cleanups[:len(r.cleanups)-1]
			last()
		}
		if err := os.RemoveAll(filepath.Join(r.root, "run")); err != nil {
			r.TB.Error(err)
		}
	}()
	script(r)
	for _, l := range r.lives {
		l.end()
	}
}

// step is asked at each boundary.
func (r *repetition) step(point string) error {
	if r.dead {
		return errKilled
	}
	if point == crash.BeforeCommit && r.spared {
		r.spared = false
		return nil // it was killed here a moment ago
	}
	r.passed++
	if !r.kill(r.passed) {
		return nil
	}
	r.dead, r.spared = true, point == crash.BeforeCommit
	r.deaths++
	where := "after"
	if r.spared {
		where = "before"
	}
	r.where = fmt.Sprintf("killed %s the commit of boundary %d (%s)", where, r.passed, r.doing)
	return errKilled
}

// life is what a script of a repetition went through.
type life struct {
	r     *repetition
	s     *Script
	asked map[string]string // commands by their id
	facts []string          // in the end
}

// lifeOf returns the life of a script that Crash repeats, nil for another.
func lifeOf(t testing.TB, s *Script) *life {
	r, ok := t.(*repetition)
	if !ok {
		return nil
	}
	l := &life{r: r, s: s, asked: map[string]string{}}
	r.lives = append(r.lives, l)
	return l
}

// do carries out a step of the script. Where the engine is killed meanwhile, it
// is opened again and the step goes on.
func (s *Script) do(what string, fn func() error) {
	s.t.Helper()
	if s.life == nil {
		if err := fn(); err != nil {
			s.t.Fatalf("%s: %v", what, err)
		}
		return
	}
	s.life.r.doing = what
	for {
		err := fn()
		if !s.life.r.dead {
			if err != nil {
				s.t.Fatalf("%s: %v", what, err)
			}
			s.life.look()
			return
		}
		s.life.reopen()
	}
}

// reopen has a new engine take the place of a dead one.
func (l *life) reopen() {
	l.s.t.Helper()
	if err := l.s.engine.Close(); err != nil && !errors.Is(err, errKilled) {
		l.s.t.Fatalf("close what was killed: %v", err)
	}
	l.r.dead = false
	l.s.open()
}

// look keeps what commands there are.
func (l *life) look() {
	l.s.t.Helper()
	for _, c := range l.s.pending() {
		text := fmt.Sprintf("command %s %s of %s %q, number %d, undo %v", c.Type, c.Data, c.Saga, c.Key, c.Sequence, c.Undo)
		if before, known := l.asked[c.ID]; known && before != text {
			l.s.t.Errorf("two commands have the id %s:\n\t%s\n\t%s", c.ID, before, text)
		}
		l.asked[c.ID] = text
	}
}

// carried keeps how the script has a command end.
func (s *Script) carried(c saga.PendingCommand, how bus.Rejection) {
	if s.life == nil {
		return
	}
	end := "done"
	if how != nil {
		end = "refused: " + how.RejectionCode()
	}
	s.life.asked[c.ID+" ended"] = end
}

// end reads what must not depend on kills.
func (l *life) end() {
	t, e := l.s.t, l.s.engine
	t.Helper()
	l.r.doing = "the end"
	l.look()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	for _, i := range l.s.instances() {
		name := fmt.Sprintf("%s %q: ", i.Saga, i.Key)
		reason, _, _ := strings.Cut(i.Reason, "\n") // without the stack of a panic
		l.fact("%s%s, state %s of version %d", name, i.Status, i.State, i.StateVersion)
		l.fact("%sreason %q, undos %q, cursor %d, %d inputs wait, %d commands, %d attempts", name, reason, i.Undo, i.Cursor, i.Waiting, i.Pending, i.Attempts)
		l.fact("%screated %v, updated %v, completed %v", name, i.Created, i.Updated, i.Completed)
		if i.Stream != "" {
			continue
		}
		history, err := e.History(ctx, i.Saga, i.Key)
		check(err)
		for _, en := range history {
			l.fact("%sentry %+v", name, en)
		}
	}
	for _, timer := range l.s.timers() {
		l.fact("%s %q: timer %s due %v, held %v", timer.Saga, timer.Key, timer.Name, timer.Due, timer.Held)
	}
	for _, c := range l.s.pending() {
		l.fact("%s %q: command %s %s is pending, parked %v", c.Saga, c.Key, c.Type, c.ID, c.Parked)
	}
	for id, text := range l.asked {
		l.fact("%s under the id %s", text, id)
	}
	slices.Sort(l.facts)
	found, err := saga.Inspect(ctx, l.s.dir)
	check(err)
	for _, f := range found.Findings {
		t.Errorf("sagas.db is not sound: %s: %s", f.Place, f.Reason)
	}
}

func (l *life) fact(format string, args ...any) {
	l.facts = append(l.facts, fmt.Sprintf(format, args...))
}

// compare demands the facts of a run without a kill.
func (r *repetition) compare(calm *repetition) {
	r.Helper()
	if len(r.lives) != len(calm.lives) {
		r.Fatalf("it made %d scripts, and %d without a kill", len(r.lives), len(calm.lives))
	}
	for n, l := range r.lives {
		got, want := missing(l.facts, calm.lives[n].facts), missing(calm.lives[n].facts, l.facts)
		if len(got)+len(want) > 0 {
			r.Errorf("it does not end as without a kill:\ngot:%s\nwant:%s", list(got), list(want))
		}
	}
}

// missing returns the lines of a that b lacks. Both are sorted, and of a set.
func missing(a, b []string) (lines []string) {
	for _, line := range a {
		if _, ok := slices.BinarySearch(b, line); !ok {
			lines = append(lines, line)
		}
	}
	return lines
}

// operator is who resolves the commands of a script.
var operator = saga.By{Who: "script", Why: "Done or Reject"}
