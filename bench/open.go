package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/leat-go/leat/eventstore/sqlite"
)

// openCommand is the argument that has a process of ours open a store and say
// what that took.
const openCommand = "open-store"

// killCommand is the one that has it append to the store and end without
// closing it.
const killCommand = "append-and-die"

// opened is what the process says, as JSON.
type opened struct {
	// Took is how long sqlite.Open took, and Head, the store's files being in
	// the system's page cache or not, as they are.
	Took time.Duration
	// Before and After are the resident memory of the whole process, in bytes.
	Before, After int64
	Head          int64
}

// runOpen opens the store in args[0].
func runOpen(ctx context.Context, args []string, out io.Writer) (err error) {
	if len(args) != 1 {
		return fmt.Errorf("%s takes the directory of a store", openCommand)
	}
	if _, err := os.Stat(args[0]); err != nil {
		return err // Open would make a new one
	}
	var o opened
	if o.Before, err = resident(); err != nil {
		return err
	}
	began := time.Now()
	s, err := sqlite.Open(ctx, args[0], nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if o.Head, err = s.Head(ctx); err != nil {
		return err
	}
	o.Took = time.Since(began)
	if o.After, err = resident(); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(o)
}

// resident returns the resident memory of this process in bytes.
func resident() (int64, error) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("%w: resident memory is read on Linux: %w", errUnavailable, err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("/proc/self/status has no VmRSS")
}

// openInChild has a new process open the store, so that nothing is in memory
// that this one has left there.
func openInChild(ctx context.Context, dir string) (o opened, err error) {
	self, err := os.Executable()
	if err != nil {
		return o, err
	}
	cmd := exec.CommandContext(ctx, self, openCommand, dir)
	cmd.Stderr = os.Stderr
	said, err := cmd.Output()
	if err != nil {
		return o, fmt.Errorf("opening %s in a process of its own: %w", dir, err)
	}
	return o, json.Unmarshal(said, &o)
}

// dyingEvents are appended before the process dies: less than what fills a
// write-ahead log, so that they are found there.
const dyingEvents = 5_000

// runKilled appends to the store in args[0], says what was acknowledged, and
// ends the process as a kill would: nothing is closed, nothing moved.
func runKilled(ctx context.Context, args []string, out io.Writer) error {
	if len(args) != 1 {
		return fmt.Errorf("%s takes the directory of a store", killCommand)
	}
	if _, err := os.Stat(args[0]); err != nil {
		return err
	}
	s, err := sqlite.Open(ctx, args[0], nil)
	if err != nil {
		return err
	}
	streams := map[string]int64{}
	if _, _, err := appendAll(ctx, &leatStore{s}, work{appenders: fillers, batch: 1, most: dyingEvents, length: streamLength}, streams); err != nil {
		return errors.Join(err, s.Close())
	}
	if err := json.NewEncoder(out).Encode(streams); err != nil {
		return errors.Join(err, s.Close())
	}
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		return errors.Join(err, s.Close())
	}
	if err := self.Kill(); err != nil {
		return errors.Join(err, s.Close())
	}
	<-ctx.Done() // which does not come
	return ctx.Err()
}

// dieInChild has a new process append and die, and returns what it said was
// acknowledged.
func dieInChild(ctx context.Context, dir string) (streams map[string]int64, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, killCommand, dir)
	var said, complained bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &complained
	if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.Exited() {
		return nil, fmt.Errorf("a process that was to die did not: %w: %s", err, complained.Bytes())
	}
	return streams, json.Unmarshal(said.Bytes(), &streams)
}

// opening is how long a store that is not empty takes to open, and what is in
// memory after.
func opening() []contender {
	settings := "sqlite.Open and Head in a new process, files in the page cache; memory is that of the whole process"
	return []contender{
		{name: "leat", kept: true, settings: settings + "; after a clean close", begin: func(ctx context.Context, dir string, s scale) (bout, error) {
			return beginOpening(ctx, dir, s, false)
		}},
		{name: "leat-killed", kept: true, settings: settings + fmt.Sprintf("; after a process that appended %d events was killed", dyingEvents), begin: func(ctx context.Context, dir string, s scale) (bout, error) {
			return beginOpening(ctx, dir, s, true)
		}},
	}
}

type openBout struct {
	dir     string
	streams map[string]int64
	killed  bool // before each round
}

func beginOpening(ctx context.Context, dir string, s scale, killed bool) (bout, error) {
	store, err := sqlite.Open(ctx, dir, nil)
	if err != nil {
		return nil, err
	}
	streams, err := fill(ctx, &leatStore{store}, s)
	if err := errors.Join(err, store.Close()); err != nil {
		return nil, err
	}
	return &openBout{dir: dir, streams: streams, killed: killed}, nil
}

func (b *openBout) round(ctx context.Context) (measure, error) {
	if b.killed {
		more, err := dieInChild(ctx, b.dir)
		if err != nil {
			return measure{}, err
		}
		maps.Copy(b.streams, more) // their names are new
	}
	o, err := openInChild(ctx, b.dir)
	if err != nil {
		return measure{}, err
	}
	sum := int64(0)
	for _, version := range b.streams {
		sum += version
	}
	if o.Head != sum {
		return measure{}, fmt.Errorf("the head is %d after %d acknowledged events", o.Head, sum)
	}
	return measure{value: o.Took.Seconds() * 1000, also: float64(o.After) / (1 << 20)}, nil
}

func (b *openBout) check(ctx context.Context) error {
	store, err := sqlite.Open(ctx, b.dir, nil)
	if err != nil {
		return err
	}
	return errors.Join(checkStore(ctx, &leatStore{store}, b.streams), store.Close())
}

func (b *openBout) close() error { return nil }
