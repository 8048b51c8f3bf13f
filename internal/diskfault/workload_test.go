//go:build linux && cgo

package diskfault_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/crashstates"
	"github.com/leat-go/leat/internal/faultvfs"
	"github.com/leat-go/leat/internal/invariant"
)

// Sizes of a workload on a log.
const (
	appenders = 4
	streams   = 5
	ordinary  = 3 // appends of an appender in a round
	largest   = 3000
)

// report is a mark: what is known from then on.
type report struct {
	Event string            // "sent", "acked", "refused", "effect", "saw"
	Label string            // of the batch, or the function
	ID    string            `json:",omitempty"` // of the event of an effect, or that was seen at First
	Batch *eventstore.Batch `json:",omitempty"`
	First int64
	Last  int64
}

// client appends to stores in one directory, one after the other, and tells
// what it knows. It is safe for concurrent use.
type client struct {
	dir  string
	opts sqlite.Options
	tell func(report)

	mu      sync.Mutex // guards what follows
	prefix  string     // of its labels
	next    int
	unknown []eventstore.Batch // with an ID
}

func newClient(dir string, d sqlite.Durability, checkpoint int, tell func(report)) *client {
	return &client{dir: dir, tell: tell, opts: sqlite.Options{Durability: d, Checkpoint: checkpoint, IndexEvents: 20, Logger: quiet()}}
}

func (c *client) open(ctx context.Context) (*sqlite.Store, error) {
	opts := c.opts
	return sqlite.Open(ctx, c.dir, &opts)
}

// batch makes a batch. Most have an ID, some are empty but for that.
func (c *client) batch(r *rand.Rand) (label string, b eventstore.Batch) {
	c.mu.Lock()
	label = fmt.Sprintf("%sb-%d", c.prefix, c.next)
	c.next++
	c.mu.Unlock()
	if r.IntN(10) > 0 {
		b.ID = label
	}
	if b.ID != "" && r.IntN(12) == 0 {
		return label, b
	}
	for _, s := range r.Perm(streams)[:1+r.IntN(3)] {
		w := eventstore.Write{Stream: fmt.Sprintf("ride-%d", s)}
		for range 1 + r.IntN(2) {
			data := strings.Repeat("x", r.IntN(100))
			if r.IntN(6) == 0 {
				data = strings.Repeat("y", r.IntN(largest))
			}
			w.Events = append(w.Events, eventstore.EventData{
				Type: "asked", Data: []byte(data), Metadata: eventstore.Metadata{invariant.LabelKey: label},
			})
		}
		b.Writes = append(b.Writes, w)
	}
	return label, b
}

// append appends and tells.
func (c *client) append(ctx context.Context, s *sqlite.Store, label string, b eventstore.Batch) error {
	c.tell(report{Event: "sent", Label: label, Batch: &b})
	return c.send(ctx, s, label, b)
}

func (c *client) send(ctx context.Context, s *sqlite.Store, label string, b eventstore.Batch) error {
	got, err := s.Append(ctx, b)
	switch {
	case err == nil:
		c.tell(report{Event: "acked", Label: label, First: got.First, Last: got.Last})
	case errors.Is(err, eventstore.ErrOutcomeUnknown):
		if b.ID != "" {
			c.mu.Lock()
			c.unknown = append(c.unknown, b)
			c.mu.Unlock()
		}
	default:
		c.tell(report{Event: "refused", Label: label})
	}
	return err
}

// repeat sends the batches again whose fate is unknown.
func (c *client) repeat(ctx context.Context, s *sqlite.Store) error {
	c.mu.Lock()
	again := c.unknown
	c.unknown = nil
	c.mu.Unlock()
	var errs []error
	for _, b := range again {
		errs = append(errs, c.send(ctx, s, b.ID, b))
	}
	return errors.Join(errs...)
}

// round has several append at once, each so often, with pauses in which the
// witness is written. It returns what any of them was answered but an
// acknowledgement.
func (c *client) round(ctx context.Context, s *sqlite.Store, seed uint64, each int) error {
	var wg sync.WaitGroup
	errs := make([]error, appenders)
	for a := range appenders {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(a)))
			for range each {
				if r.IntN(3) == 0 {
					time.Sleep(time.Duration(r.IntN(1500)) * time.Millisecond) // of a clock that costs nothing
				}
				label, b := c.batch(r)
				errs[a] = errors.Join(errs[a], c.append(ctx, s, label, b))
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// tape is a recorded run.
type tape struct {
	log  crashstates.Log
	base map[string][]byte
	// from is the first operation at which the power may go out.
	from int
}

// tellMarks notes reports among the operations.
func tellMarks(t testing.TB, r *faultvfs.Recording) func(report) {
	return func(m report) {
		data, err := json.Marshal(m)
		if err != nil {
			t.Error(err)
		}
		r.Mark(string(data))
	}
}

// history returns what is known at a cut.
func (tp *tape) history(t testing.TB, cut int) *invariant.History {
	h := invariant.NewHistory()
	learn(h, tp.reports(t, cut))
	return h
}

func learn(h *invariant.History, reports []report) {
	for _, m := range reports {
		switch m.Event {
		case "sent":
			h.Sent(m.Label, *m.Batch)
		case "acked":
			h.Acked(m.Label, m.First, m.Last)
		case "refused":
			h.Refused(m.Label)
		case "saw":
			h.Saw(m.First, m.ID)
		case "effect":
			h.Effect(m.Label, m.ID)
		}
	}
}

func (tp *tape) reports(t testing.TB, cut int) (all []report) {
	tp.log[:cut].Marks(func(_ int, text string) {
		var m report
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Error(err)
		}
		all = append(all, m)
	})
	return all
}

// recordLog records the life of a log: it is created, appended to, closed and
// opened, checkpointed, killed between any two changes to its files, and opened
// again. Time in it costs nothing.
func recordLog(t *testing.T, d sqlite.Durability, dir string, r *rand.Rand) (tp *tape) {
	synctest.Test(t, func(t *testing.T) {
		record, err := faultvfs.Record(dir)
		require.NoError(t, err)
		c := newClient(dir, d, []int{4, 20, 100}[r.IntN(3)], tellMarks(t, record))
		for life := range 4 {
			live(t, c, r, life > 0 && r.IntN(2) == 0)
		}
		s, err := c.open(t.Context())
		require.NoError(t, err)
		require.NoError(t, c.repeat(t.Context(), s))
		require.NoError(t, c.round(t.Context(), s, r.Uint64(), ordinary))
		require.NoError(t, s.Close())
		tp = &tape{log: record.Stop()}
	})
	return tp
}

// live opens the store, uses it, and closes it, or has it killed.
func live(t *testing.T, c *client, r *rand.Rand, killed bool) {
	if killed {
		kill := inject(t, faultvfs.Fault{Kind: faultvfs.Changes, Dir: c.dir, N: 1 + r.IntN(120), Times: faultvfs.Forever, Dead: true})
		defer kill.Remove()
	}
	s, err := c.open(t.Context())
	if err != nil && killed {
		return
	}
	require.NoError(t, err)
	err = c.repeat(t.Context(), s)
	for range 1 + r.IntN(2) {
		err = errors.Join(err, c.round(t.Context(), s, r.Uint64(), ordinary))
	}
	err = errors.Join(err, s.Close())
	if !killed {
		require.NoError(t, err)
	}
}
