package storetest_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
	"github.com/leat-go/leat/eventstore/storetest"
)

// bugVariable names the bug that a child process gives its store.
const bugVariable = "LEAT_STORETEST_BUG"

func engine(bug bug) storetest.Engine {
	return storetest.Engine{Open: func(_ *testing.T, o storetest.Options) storetest.Store {
		return &buggy{
			Store: memory.New(&memory.Options{Clock: o.Clock, Limits: o.Limits}), bug: bug, clock: o.Clock,
			meta: map[string]string{}, data: map[int64][]byte{}, time: map[int64]int64{},
		}
	}}
}

func TestModelPasses(t *testing.T) {
	storetest.RunRandom(t, engine(bug{}), engine(bug{}), storetest.Random{Runs: 3})
}

// TestSuiteFindsBugs runs the suite against stores that break one promise
// each, in child processes since it must fail.
func TestSuiteFindsBugs(t *testing.T) {
	for name := range bugs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChild$", "-test.failfast")
			cmd.Env = append(os.Environ(), bugVariable+"="+name)
			out, err := cmd.CombinedOutput()
			require.Error(t, err, "the suite does not notice a store that %s", name)
			require.Contains(t, string(out), "--- FAIL: TestChild", string(out))
			require.NotContains(t, string(out), "panic:", string(out))
			for line := range strings.Lines(string(out)) {
				if strings.HasPrefix(line, "        --- FAIL") {
					t.Log(strings.TrimSpace(line))
				}
			}
		})
	}
}

func TestChild(t *testing.T) {
	seeded, ok := bugs[os.Getenv(bugVariable)]
	if !ok {
		t.Skip("runs as a child of TestSuiteFindsBugs")
	}
	storetest.Run(t, engine(seeded))
	storetest.RunRandom(t, engine(seeded), engine(bug{}), storetest.Random{Runs: 5})
}

// bug replaces what a store does.
type bug struct {
	append func(s *buggy, ctx context.Context, b eventstore.Batch) (eventstore.Commit, error)
	read   func(s *buggy, e *eventstore.Recorded)
	log    func(s *buggy, ctx context.Context, after int64, limit int, f eventstore.Filter) (eventstore.Page, error)
	wait   func(s *buggy, ctx context.Context, after int64) (int64, error)
	anchor func(*eventstore.Anchor)
	save   func(*eventstore.Snapshot)
}

// buggy is a model with a bug.
type buggy struct {
	*memory.Store
	bug
	clock   clock.Clock
	mu      sync.Mutex // guards what follows
	appends int
	meta    map[string]string
	data    map[int64][]byte
	time    map[int64]int64
}

func (s *buggy) Append(ctx context.Context, b eventstore.Batch) (eventstore.Commit, error) {
	s.mu.Lock()
	s.appends++
	s.mu.Unlock()
	if s.bug.append != nil {
		return s.bug.append(s, ctx, b)
	}
	return s.Store.Append(ctx, b)
}

func (s *buggy) fix(events []eventstore.Recorded) {
	if s.read != nil {
		for i := range events {
			s.read(s, &events[i])
		}
	}
}

func (s *buggy) ReadStream(ctx context.Context, stream string, from int64, limit int) ([]eventstore.Recorded, error) {
	events, err := s.Store.ReadStream(ctx, stream, from, limit)
	s.fix(events)
	return events, err
}

func (s *buggy) ReadLog(ctx context.Context, after int64, limit int, f eventstore.Filter) (p eventstore.Page, err error) {
	if s.log != nil {
		p, err = s.log(s, ctx, after, limit, f)
	} else {
		p, err = s.Store.ReadLog(ctx, after, limit, f)
	}
	s.fix(p.Events)
	return p, err
}

func (s *buggy) Wait(ctx context.Context, after int64) (int64, error) {
	if s.wait != nil {
		return s.wait(s, ctx, after)
	}
	return s.Store.Wait(ctx, after)
}

func (s *buggy) Anchor(ctx context.Context, position int64) (eventstore.Anchor, error) {
	a, err := s.Store.Anchor(ctx, position)
	if err == nil && s.bug.anchor != nil {
		s.bug.anchor(&a)
	}
	return a, err
}

func (s *buggy) SaveSnapshot(ctx context.Context, snap eventstore.Snapshot) error {
	if s.save != nil {
		s.save(&snap)
	}
	return s.Store.SaveSnapshot(ctx, snap)
}

var bugs = map[string]bug{
	"skips guards": {append: func(s *buggy, ctx context.Context, b eventstore.Batch) (eventstore.Commit, error) {
		b.Guards = nil
		return s.Store.Append(ctx, b)
	}},
	"skips one version check in 50": {append: func(s *buggy, ctx context.Context, b eventstore.Batch) (eventstore.Commit, error) {
		s.mu.Lock()
		skip := s.appends%50 == 0
		s.mu.Unlock()
		if skip {
			b = unexpecting(b)
		}
		return s.Store.Append(ctx, b)
	}},
	"accepts a version above the head": {append: func(s *buggy, ctx context.Context, b eventstore.Batch) (eventstore.Commit, error) {
		c, err := s.Store.Append(ctx, b)
		if conflict, ok := errors.AsType[*eventstore.ConflictError](err); ok {
			for _, x := range conflict.Conflicts {
				if x.Expected.Holds(x.Actual + 1) {
					return s.Store.Append(ctx, unexpecting(b))
				}
			}
		}
		return c, err
	}},
	"reports the first conflict only": {append: func(s *buggy, ctx context.Context, b eventstore.Batch) (eventstore.Commit, error) {
		c, err := s.Store.Append(ctx, b)
		if conflict, ok := errors.AsType[*eventstore.ConflictError](err); ok {
			conflict.Conflicts = conflict.Conflicts[:1]
		}
		return c, err
	}},
	"takes the batch ID for the content": {append: func(s *buggy, ctx context.Context, b eventstore.Batch) (eventstore.Commit, error) {
		c, err := s.Store.Append(ctx, b)
		if reused, ok := errors.AsType[*eventstore.IDReusedError](err); ok && reused.Kind == "batch" {
			c, _, err = s.Committed(ctx, b.ID)
		}
		return c, err
	}},
	"counts metadata as content": {append: func(s *buggy, ctx context.Context, b eventstore.Batch) (eventstore.Commit, error) {
		var meta strings.Builder
		for _, w := range b.Writes {
			for _, e := range w.Events {
				meta.Write(e.Metadata.Encode())
			}
		}
		c, err := s.Store.Append(ctx, b)
		s.mu.Lock()
		defer s.mu.Unlock()
		if err == nil && c.Duplicate && s.meta[b.ID] != meta.String() {
			return eventstore.Commit{}, &eventstore.IDReusedError{Kind: "batch", ID: b.ID, Position: c.Last}
		}
		s.meta[b.ID] = meta.String()
		return c, err
	}},
	"checks expectations before the batch ID": {append: func(s *buggy, ctx context.Context, b eventstore.Batch) (eventstore.Commit, error) {
		probe := b
		probe.ID, probe.Writes = uuid.NewString(), nil
		for _, w := range b.Writes {
			probe.Guards = append(slices.Clone(probe.Guards), eventstore.Guard{Stream: w.Stream, Expect: w.Expect})
		}
		if _, err := s.Store.Append(ctx, probe); errors.Is(err, eventstore.ErrConflict) {
			return eventstore.Commit{}, err
		}
		return s.Store.Append(ctx, b)
	}},
	"does not mark duplicates": {append: func(s *buggy, ctx context.Context, b eventstore.Batch) (eventstore.Commit, error) {
		c, err := s.Store.Append(ctx, b)
		c.Duplicate = false
		return c, err
	}},
	"uses the ID of a refused batch": {append: func(s *buggy, ctx context.Context, b eventstore.Batch) (eventstore.Commit, error) {
		c, err := s.Store.Append(ctx, b)
		if errors.Is(err, eventstore.ErrConflict) && b.ID != "" {
			_, _ = s.Store.Append(ctx, eventstore.Batch{ID: b.ID})
		}
		return c, err
	}},
	"stores the writes one by one": {append: func(s *buggy, ctx context.Context, b eventstore.Batch) (eventstore.Commit, error) {
		if b.ID != "" || len(b.Writes) < 2 {
			return s.Store.Append(ctx, b)
		}
		var all eventstore.Commit
		for i, w := range b.Writes {
			c, err := s.Store.Append(ctx, eventstore.Batch{Writes: []eventstore.Write{w}, Guards: b.Guards})
			if err != nil {
				return eventstore.Commit{}, err
			}
			if i == 0 {
				all = c
				continue
			}
			all.Last, all.Streams = c.Last, append(all.Streams, c.Streams...)
		}
		return all, nil
	}},
	"stores what it answers as cancelled": {append: func(s *buggy, ctx context.Context, b eventstore.Batch) (eventstore.Commit, error) {
		c, err := s.Store.Append(context.WithoutCancel(ctx), b)
		if ctx.Err() != nil {
			return eventstore.Commit{}, ctx.Err()
		}
		return c, err
	}},
	"accepts an event id twice": {append: func(s *buggy, ctx context.Context, b eventstore.Batch) (eventstore.Commit, error) {
		c, err := s.Store.Append(ctx, b)
		if reused, ok := errors.AsType[*eventstore.IDReusedError](err); ok && reused.Kind == "event" {
			b = unexpecting(b)
			for _, w := range b.Writes {
				for i := range w.Events {
					w.Events[i].ID = uuid.New()
				}
			}
			return s.Store.Append(ctx, b)
		}
		return c, err
	}},
	"keeps the caller's bytes": {
		append: func(s *buggy, ctx context.Context, b eventstore.Batch) (eventstore.Commit, error) {
			c, err := s.Store.Append(ctx, b)
			position := c.First
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, w := range b.Writes {
				for _, e := range w.Events {
					if err == nil && !c.Duplicate {
						s.data[position] = e.Data
					}
					position++
				}
			}
			return c, err
		},
		read: func(s *buggy, e *eventstore.Recorded) {
			s.mu.Lock()
			defer s.mu.Unlock()
			e.Data = s.data[e.Position]
		},
	},
	"lets the time go back": {
		append: func(s *buggy, ctx context.Context, b eventstore.Batch) (eventstore.Commit, error) {
			c, err := s.Store.Append(ctx, b)
			if s.clock != nil && err == nil && !c.Duplicate {
				c.Time = s.clock.Now().UnixNano()
				s.mu.Lock()
				defer s.mu.Unlock()
				for p := c.First; p <= c.Last; p++ {
					s.time[p] = c.Time
				}
			}
			return c, err
		},
		read: func(s *buggy, e *eventstore.Recorded) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if at, ok := s.time[e.Position]; ok {
				e.Time = at
			}
		},
	},
	"loses the schema version": {read: func(_ *buggy, e *eventstore.Recorded) { e.SchemaVersion = 1 }},
	"stays where a filter matches nothing": {log: func(s *buggy, ctx context.Context, after int64, limit int, f eventstore.Filter) (eventstore.Page, error) {
		p, err := s.Store.ReadLog(ctx, after, limit, f)
		if err == nil && len(p.Events) == 0 {
			p.Through, err = s.Store.Anchor(ctx, after)
		}
		return p, err
	}},
	"says that a full page was scanned to the head": {log: func(s *buggy, ctx context.Context, after int64, limit int, f eventstore.Filter) (eventstore.Page, error) {
		p, err := s.Store.ReadLog(ctx, after, limit, f)
		if err != nil {
			return p, err
		}
		head, err := s.Store.Head(ctx)
		if err == nil {
			p.Through, err = s.Store.Anchor(ctx, head)
		}
		return p, err
	}},
	"takes a category for a prefix": {log: func(s *buggy, ctx context.Context, after int64, limit int, f eventstore.Filter) (eventstore.Page, error) {
		prefixes := f.Categories
		f.Categories = nil
		p, err := s.Store.ReadLog(ctx, after, limit, f)
		p.Events = slices.DeleteFunc(p.Events, func(e eventstore.Recorded) bool {
			return len(prefixes) > 0 && !slices.ContainsFunc(prefixes, func(x string) bool { return strings.HasPrefix(e.Stream, x) })
		})
		return p, err
	}},
	"wakes without a cause": {wait: func(s *buggy, ctx context.Context, _ int64) (int64, error) { return s.Head(ctx) }},
	"gives every log the same anchors": {anchor: func(a *eventstore.Anchor) {
		a.Epoch, a.Hash = "", [32]byte{}
	}},
	"gives a snapshot to every fold": {save: func(s *eventstore.Snapshot) { s.Fold = "f" }},
}

// unexpecting returns the batch without its expectations and guards.
func unexpecting(b eventstore.Batch) eventstore.Batch {
	b.Guards, b.Writes = nil, slices.Clone(b.Writes)
	for i := range b.Writes {
		b.Writes[i].Expect = eventstore.Any()
		b.Writes[i].Events = slices.Clone(b.Writes[i].Events)
	}
	return b
}
