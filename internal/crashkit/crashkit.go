// Package crashkit builds programs, runs them and kills them, for tests: at a
// random moment, or at one of the places that package crash names. It needs no
// privileges. What a program has printed before it died is not lost: the pipe
// outlives it and is read to its end.
package crashkit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
)

// Tag is the build tag under which programs can be killed at named places.
const Tag = "leatcrash"

// pointVariable asks for a place to die at: name:n.
const pointVariable = "LEAT_CRASH"

// maxErrors is how much of what a program prints as errors is kept, in bytes.
const maxErrors = 16 << 10

// Build builds the program of a package of this module into dir, with Tag, and
// returns its path. Race asks for the race detector, which a program that is
// killed rarely needs.
func Build(ctx context.Context, dir, pkg string, race bool) (string, error) {
	path := filepath.Join(dir, filepath.Base(pkg))
	args := []string{"build", "-tags", Tag, "-o", path}
	if race {
		args = append(args, "-race")
	}
	if out, err := exec.CommandContext(ctx, "go", append(args, pkg)...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("crashkit: build %s: %w\n%s", pkg, err, out)
	}
	return path, nil
}

// Options say how a program is run.
type Options struct {
	// Args are its arguments, Env what its environment has beside this
	// process's.
	Args, Env []string
	// Point is the place it dies at, as name:n for the n-th time it comes
	// there. Empty for none.
	Point string
	// Line is called with each line that it prints, in one goroutine.
	Line func(line string)
}

// Life is a program that runs. The caller waits for its end.
type Life struct {
	cmd    *exec.Cmd
	errors tail
	ended  chan struct{} // closed when it has ended and all it printed is read
	err    error         // set before
	kill   sync.Once
}

// Start starts the program. It is killed when ctx ends.
func Start(ctx context.Context, program string, o Options) (*Life, error) {
	l := &Life{cmd: exec.CommandContext(ctx, program, o.Args...), ended: make(chan struct{})}
	l.cmd.Env = append(append(os.Environ(), pointVariable+"="+o.Point), o.Env...)
	l.cmd.Stderr = &l.errors
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("crashkit: %w", err)
	}
	if err := l.cmd.Start(); err != nil {
		return nil, fmt.Errorf("crashkit: %w", err)
	}
	go func() {
		defer close(l.ended)
		read := drain(out, o.Line)
		l.err = errors.Join(read, l.cmd.Wait())
	}()
	return l, nil
}

// drain hands out whole lines to the end. A last one that was cut is dropped.
func drain(r io.Reader, line func(string)) error {
	for b := bufio.NewReader(r); ; {
		text, err := b.ReadString('\n')
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("crashkit: read what it prints: %w", err)
		case line != nil:
			line(text[:len(text)-1])
		}
	}
}

// Ended is closed when the program has ended and all it printed was handed out.
func (l *Life) Ended() <-chan struct{} { return l.ended }

// Kill kills the program, as the system does when there is no memory left: it
// does not notice. Killing one that has ended does nothing.
func (l *Life) Kill() {
	l.kill.Do(func() { _ = l.cmd.Process.Kill() }) // it has ended already
}

// Wait waits for the end. It tells whether the program was killed, by Kill or
// at its place; any other end but a good one is an error, with what the program
// said.
func (l *Life) Wait() (killed bool, err error) {
	<-l.ended
	exit, ended := errors.AsType[*exec.ExitError](l.err)
	switch {
	case l.err == nil:
		return false, nil
	case ended && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL:
		return true, nil
	}
	return false, fmt.Errorf("crashkit: %s: %w\n%s", filepath.Base(l.cmd.Path), l.err, l.errors.String())
}

// tail keeps the last bytes that are written to it.
type tail struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(p)
	if over := t.buf.Len() - maxErrors; over > 0 {
		t.buf.Next(over)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}
