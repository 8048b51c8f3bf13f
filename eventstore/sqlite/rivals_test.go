package sqlite_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/experiment"
)

const (
	// rivals is how many processes want to own one store.
	rivals = 4
	// refusal is how long it may take to be told that a store is in use.
	refusal = 2 * time.Second
	// reign is how long a process owns the store at most, before it closes it
	// or is killed.
	reign = 15 * time.Millisecond
	// refusals is how often a process asks for a store that is owned all the
	// while.
	refusals = 10
)

// playRefused asks for a store that another process owns, and says how long
// that took at most.
func playRefused(dir string) error {
	worst := time.Duration(0)
	for range refusals {
		began := time.Now()
		if _, err := sqlite.Open(context.Background(), dir, nil); !errors.Is(err, eventstore.ErrInUse) {
			return fmt.Errorf("the second owner got %w", err)
		}
		worst = max(worst, time.Since(began))
	}
	fmt.Println(worst.Nanoseconds())
	return nil
}

// playRival tries to own the store, over and over; when it does, it appends
// its name until it closes the store or dies. It says what happens.
func playRival(dir string) error {
	for turn := 0; ; turn++ {
		began := time.Now()
		s, err := sqlite.Open(context.Background(), dir, nil)
		if took := time.Since(began); errors.Is(err, eventstore.ErrInUse) {
			fmt.Println("refused", took.Nanoseconds())
			time.Sleep(rand.N(time.Millisecond)) // real processes, in real time
			continue
		}
		if err != nil {
			return err
		}
		owner := fmt.Sprintf("%d-%d", os.Getpid(), turn)
		fmt.Println("owns", owner)
		if err := reignOver(s, owner); err != nil {
			return err
		}
	}
}

// reignOver appends the owner's name until it closes the store, with appends
// under way, or is killed.
func reignOver(s *sqlite.Store, owner string) error {
	const appenders = 3
	errs := make([]error, appenders)
	var appending sync.WaitGroup
	for a := range appenders {
		appending.Go(func() {
			for n := 0; errs[a] == nil; n++ {
				var c eventstore.Commit
				c, errs[a] = s.Append(context.Background(), withID(fmt.Sprintf("%s-%d-%d", owner, a, n), write("throne-1", eventstore.Any(), event("reigned", owner))))
				if errs[a] == nil {
					fmt.Printf("stored %s %d\n", owner, c.Last)
				}
			}
		})
	}
	if rand.IntN(2) == 0 {
		time.AfterFunc(rand.N(reign), func() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL) })
		appending.Wait() // for ever
		return errors.Join(errs...)
	}
	time.Sleep(rand.N(reign)) // real processes, in real time
	err := s.Close()
	appending.Wait()
	for _, failed := range errs {
		if !errors.Is(failed, eventstore.ErrClosed) {
			err = errors.Join(err, failed)
		}
	}
	return err
}

// court is what rivals said.
type court struct {
	t      *testing.T
	dir    string
	reigns chan struct{} // gets a token for each
	failed chan struct{} // gets a token when a rival has failed

	mu      sync.Mutex // guards what follows
	ended   bool
	running map[int]*os.Process
	refused int
	worst   time.Duration
	kills   int
	acked   map[int64]string // owners by position
}

// attend runs one rival after the other until the court has ended.
func (c *court) attend() {
	for {
		cmd := command(c.t, "rival", c.dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			c.t.Error(err)
			return
		}
		c.mu.Lock()
		if c.ended {
			c.mu.Unlock()
			return
		}
		if err := cmd.Start(); err != nil {
			c.mu.Unlock()
			c.t.Error(err)
			return
		}
		c.running[cmd.Process.Pid] = cmd.Process
		c.mu.Unlock()
		c.listen(out)
		err = cmd.Wait()
		c.mu.Lock()
		delete(c.running, cmd.Process.Pid)
		c.kills++
		c.mu.Unlock()
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
			c.t.Errorf("a rival failed: %v", err)
			c.failed <- struct{}{}
			return
		}
	}
}

func (c *court) listen(out io.Reader) {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var owner string
		var number int64
		text := lines.Text()
		c.mu.Lock()
		switch {
		case scans(text, "refused %d", &number):
			c.refused++
			c.worst = max(c.worst, time.Duration(number))
		case scans(text, "owns %s", &owner):
			select {
			case c.reigns <- struct{}{}:
			default:
			}
		case strings.Count(text, " ") == 2 && scans(text, "stored %s %d", &owner, &number):
			c.acked[number] = owner
		}
		c.mu.Unlock()
	}
}

func scans(text, format string, args ...any) bool {
	_, err := fmt.Sscanf(text, format, args...)
	return err == nil
}

// end kills those who are left.
func (c *court) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	for _, p := range c.running {
		_ = p.Kill()
	}
}

// TestExperimentTwoProcesses: a store has one owner, also while owners die and
// are followed by others.
func TestExperimentTwoProcesses(t *testing.T) {
	e := experiment.Start(t, "two processes on one store", "the second gets ErrInUse in ≤ 2 s, 0 writes; never two owners")
	worst := refusedBesideAnOwner(t, e)
	c := &court{t: t, dir: filepath.Join(experiment.Dir(t), "store"), reigns: make(chan struct{}, 1), failed: make(chan struct{}, rivals), running: map[int]*os.Process{}, acked: map[int64]string{}}
	n := e.N(30, 2000)
	var wg sync.WaitGroup
	for range rivals {
		wg.Go(c.attend)
	}
	for i := 0; i < n && !t.Failed(); i++ {
		select {
		case <-c.reigns:
		case <-c.failed:
		}
	}
	c.end()
	wg.Wait()
	s := open(t, c.dir, nil)
	sound(t, s)
	events := all(t, s)
	reigned, last := map[string]bool{}, ""
	for _, ev := range events {
		owner := string(ev.Data)
		if owner != last {
			require.False(t, reigned[owner], "%s reigned, then another, then it again: two owners at once", owner)
			reigned[owner], last = true, owner
		}
	}
	for position, owner := range c.acked {
		require.LessOrEqual(t, position, int64(len(events)))
		require.Equal(t, owner, string(events[position-1].Data), "who stored position %d", position)
	}
	e.Figure("owners, one after the other", n)
	e.Figure("killed", c.kills)
	e.Figure("refused meanwhile", c.refused)
	e.Figure("longest refusal", max(worst, c.worst))
	require.Positive(t, c.refused)
	require.LessOrEqual(t, max(worst, c.worst), refusal)
	e.Figure("races to create a store", createdByOne(t, e))
}

// refusedBesideAnOwner has other processes ask for a store that is owned and
// idle: nothing in its directory changes.
func refusedBesideAnOwner(t *testing.T, e *experiment.Experiment) (worst time.Duration) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	appendTo(t, s, write("ride-1", eventstore.Any(), event("asked", "x")))
	require.NoError(t, s.Close())
	s = open(t, dir, nil) // the witness has been written
	before := listing(t, dir)
	asked := e.N(3, 100)
	for range asked {
		out, err := command(t, "refused", dir).Output()
		require.NoError(t, err)
		var took int64
		_, err = fmt.Sscan(string(out), &took)
		require.NoError(t, err)
		worst = max(worst, time.Duration(took))
		require.Equal(t, before, listing(t, dir), "before anything is written")
	}
	appendTo(t, s, write("ride-1", eventstore.Any(), event("asked", "x")))
	e.Figure("processes refused beside an owner, ten times each", asked)
	return worst
}

// createdByOne has several make a store where there is none, all at once: one
// does, the others are told that it is in use, or follow it.
func createdByOne(t *testing.T, e *experiment.Experiment) int {
	n := e.N(10, 500)
	parent := experiment.Dir(t)
	for i := range n {
		dir := filepath.Join(parent, fmt.Sprint(i), "store")
		stores := make([]*sqlite.Store, rivals)
		errs := make([]error, rivals)
		var wg sync.WaitGroup
		start := make(chan struct{})
		for r := range rivals {
			wg.Go(func() {
				<-start
				stores[r], errs[r] = sqlite.Open(t.Context(), dir, nil)
			})
		}
		close(start)
		wg.Wait()
		owners := 0
		for r, s := range stores {
			if errs[r] != nil {
				require.ErrorIs(t, errs[r], eventstore.ErrInUse)
				continue
			}
			owners++
			appendTo(t, s, write("ride-1", eventstore.NoStream(), event("asked", "x")))
			require.NoError(t, s.Close())
		}
		require.Equal(t, 1, owners)
		require.NoError(t, os.RemoveAll(filepath.Dir(dir)))
	}
	return n
}
