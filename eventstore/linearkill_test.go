package eventstore_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/leat-go/leat/eventstore/memory"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/experiment"
)

// serveVariable names the engine that a child process serves calls on.
const serveVariable = "LEAT_LINEAR_SERVE"

// request goes to the child, answer comes back, each as a line of JSON.
type request struct {
	// N numbers the calls; 0 opens the store in Dir.
	N    int
	Dir  string `json:",omitempty"`
	Call call
}

type answer struct {
	N     int
	Reply reply
	Err   string `json:",omitempty"`
}

// serve is the child: it carries out calls, all at once, until its input ends.
func serve(engine string) error {
	var (
		mu      sync.Mutex // guards the output
		calls   sync.WaitGroup
		to      *local
		shut    = func() error { return nil }
		in, out = json.NewDecoder(bufio.NewReader(os.Stdin)), json.NewEncoder(os.Stdout)
	)
	say := func(n int, r reply, err error) {
		a := answer{N: n, Reply: r}
		if err != nil {
			a.Err = err.Error()
		}
		mu.Lock()
		defer mu.Unlock()
		_ = out.Encode(a) // where nobody listens, nobody was answered
	}
	for {
		var r request
		if err := in.Decode(&r); err == io.EOF {
			calls.Wait()
			return shut()
		} else if err != nil {
			return err
		}
		if r.N > 0 {
			calls.Go(func() {
				got, err := to.do(r.Call)
				say(r.N, got, err)
			})
			continue
		}
		calls.Wait()
		if err := shut(); err != nil {
			return err
		}
		var err error
		if to, shut, err = serveOn(engine, r.Dir); err != nil {
			return err
		}
		say(0, reply{}, nil)
	}
}

func serveOn(engine, dir string) (*local, func() error, error) {
	if engine == "memory" {
		s := memory.New(nil)
		return &local{store: s, patience: time.Millisecond}, s.Close, nil
	}
	s, err := sqlite.Open(context.Background(), dir, &sqlite.Options{IndexEvents: 10})
	if err != nil {
		return nil, nil, err
	}
	return newLocal(s), s.Close, nil
}

// remote is a log that another process serves, which is killed now and then.
type remote struct {
	t      *testing.T
	engine string
	ended  chan struct{} // closed when the last process has ended

	mu      sync.Mutex // guards what follows; held while a process is replaced
	rnd     *rand.Rand
	dir     string // of the store
	cmd     *exec.Cmd
	pipe    io.Closer
	in      *json.Encoder
	out     *json.Decoder
	calls   int
	waiting map[int]chan answer
	fuse    int // answers until the next kill; 0 for none
	closed  bool
	broken  error // no process serves any more
	kills   int
	lost    int // appends without an answer
}

func newRemote(t *testing.T, engine string) *remote {
	s := &remote{t: t, engine: engine, ended: make(chan struct{}), waiting: map[int]chan answer{}}
	s.spawn()
	go s.hear()
	return s
}

// spawn starts a process.
func (s *remote) spawn() {
	s.cmd = exec.Command(os.Args[0], "-test.run=^$")
	s.cmd.Env = append(os.Environ(), serveVariable+"="+s.engine)
	s.cmd.Stderr = os.Stderr
	in, err := s.cmd.StdinPipe()
	if err != nil {
		s.t.Error(err)
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		s.t.Error(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Error(err)
	}
	s.pipe, s.in, s.out = in, json.NewEncoder(in), json.NewDecoder(bufio.NewReader(out))
}

// begin has the process serve a new store, and be killed in the midst.
func (s *remote) begin(dir string, rnd *rand.Rand) error {
	opened := make(chan answer, 1)
	s.mu.Lock()
	if s.broken != nil {
		defer s.mu.Unlock()
		return s.broken
	}
	s.dir, s.rnd, s.waiting[0] = dir, rnd, opened
	_ = s.in.Encode(request{Dir: dir}) // where it is dead, hear finds out
	s.fuse = 3 + rnd.IntN(35)
	s.mu.Unlock()
	if a, ok := <-opened; ok && a.Err != "" {
		return fmt.Errorf("the child did not open the store: %s", a.Err)
	}
	// Where there was no answer, the history before ended with a kill, and the
	// process that followed has opened the store.
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken
}

// do implements caller.
func (s *remote) do(c call) (reply, error) {
	back := make(chan answer, 1)
	s.mu.Lock()
	if s.broken != nil {
		defer s.mu.Unlock()
		return reply{}, s.broken
	}
	s.calls++
	n := s.calls
	s.waiting[n] = back
	_ = s.in.Encode(request{N: n, Call: c}) // where it is dead, hear finds out
	s.mu.Unlock()
	a, answered := <-back
	switch {
	case !answered && c.Op == opAppend:
		s.mu.Lock()
		s.lost++
		s.mu.Unlock()
		return reply{Kind: lost}, nil
	case !answered:
		return reply{Kind: lost}, nil
	case a.Err != "":
		return reply{}, fmt.Errorf("%s", a.Err)
	}
	return a.Reply, nil
}

// hear hands out answers. Where the process has ended it starts another.
func (s *remote) hear() {
	defer close(s.ended)
	for {
		var a answer
		if s.out.Decode(&a) != nil { // the last line may be cut
			if !s.replace() {
				return
			}
			continue
		}
		s.mu.Lock()
		back := s.waiting[a.N]
		delete(s.waiting, a.N)
		if s.fuse > 0 && a.N > 0 {
			s.fuse--
		} else {
			a.N = 0
		}
		kill := a.N > 0 && s.fuse == 0
		pause := time.Duration(0)
		if kill {
			pause = time.Duration(s.rnd.IntN(300)) * time.Microsecond
		}
		s.mu.Unlock()
		back <- a
		if kill {
			for at := time.Now(); time.Since(at) < pause; {
				runtime.Gosched()
			}
			_ = s.cmd.Process.Kill()
		}
	}
}

// replace starts another process on the same store, once the one before is
// known to be dead, and only then tells callers that they get no answer. It
// returns false where the end was asked for.
func (s *remote) replace() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.cmd.Wait()
	cut := s.waiting
	s.waiting = map[int]chan answer{}
	defer func() {
		for _, back := range cut {
			close(back)
		}
	}()
	if s.closed {
		if err != nil {
			s.t.Errorf("the child: %v", err)
		}
		return false
	}
	if status, ok := s.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		s.broken = errors.Join(errors.New("the child ended by itself"), err)
		return false
	}
	s.kills++
	if s.rnd.IntN(3) == 0 {
		s.fuse = 1 + s.rnd.IntN(8) // once more, soon
	}
	s.spawn()
	var opened answer
	if err := errors.Join(s.in.Encode(request{Dir: s.dir}), s.out.Decode(&opened)); err != nil {
		s.broken = fmt.Errorf("the child that follows did not open the store: %w", err)
		return false
	}
	return true
}

// end has the process end by itself.
func (s *remote) end() {
	s.mu.Lock()
	s.closed = true
	err := errors.Join(s.pipe.Close(), s.broken)
	s.mu.Unlock()
	if err != nil {
		s.t.Error(err)
	}
	<-s.ended
}

// killedHistories makes and judges histories of logs whose processes are
// killed in their midst.
func killedHistories(t *testing.T, e *experiment.Experiment, all *tally, engine string, first, n int) (kills, unanswered int) {
	dir := experiment.Dir(t)
	processes := min(sideBySide, n)
	remotes := make(chan *remote, processes)
	for range processes {
		remotes <- newRemote(t, engine)
	}
	all.run(n, func(i int) history {
		rnd := e.Rand(first + i)
		s := <-remotes
		defer func() { remotes <- s }()
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := s.begin(path, rnd); err != nil {
			t.Error(err)
			return nil
		}
		return record(e.Rand(-1-first-i), i%4 == 0, s)
	})
	for range processes {
		s := <-remotes
		s.end()
		kills, unanswered = kills+s.kills, unanswered+s.lost
	}
	return kills, unanswered
}
