//go:build linux && cgo

package diskfault_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/crashstates"
	"github.com/leat-go/leat/internal/experiment"
	"github.com/leat-go/leat/internal/faultvfs"
	"github.com/leat-go/leat/internal/invariant"
)

const (
	// beyond is how many n in a row no run must reach before they are said to
	// be all.
	beyond = 3
	// few is how often each appends in a round on a disk that fails.
	few = 2
)

// left is the directory of a store whose owner was killed: opening it recovers
// a write-ahead log.
func left(t *testing.T) map[string][]byte {
	t.Helper()
	root := experiment.Dir(t)
	dir := filepath.Join(root, "store")
	c := newClient(dir, sqlite.Full, 30, func(report) {})
	s, err := c.open(t.Context())
	require.NoError(t, err)
	r := rand.New(rand.NewPCG(1, 1))
	for range 30 {
		label, b := c.batch(r)
		if b.ID == "" || len(b.Writes) == 0 {
			continue
		}
		_, err := s.Append(t.Context(), relabel(b, "before-"+label))
		require.NoError(t, err)
	}
	end := inject(t, faultvfs.Fault{Kind: faultvfs.Changes, Dir: dir, Times: faultvfs.Forever, Dead: true})
	_ = s.Close() // of a process that is dead
	end.Remove()
	files, err := crashstates.Read(dir)
	require.NoError(t, err)
	require.NotEmpty(t, files[walName])
	return files
}

func relabel(b eventstore.Batch, label string) eventstore.Batch {
	b.ID = label
	for _, w := range b.Writes {
		for i := range w.Events {
			w.Events[i].Metadata = eventstore.Metadata{invariant.LabelKey: label}
		}
	}
	return b
}

// ioCase is one run of a log on a failing disk.
type ioCase struct {
	t      *testing.T
	base   map[string][]byte
	at     attempt
	rand   *rand.Rand
	client *client
	record *faultvfs.Recording
	// reached: the disk did fail. opened: the store could be opened meanwhile.
	reached, opened bool
}

// run has a store opened, appended to, read and closed on a disk that fails,
// then on the disk that is well again, and checks what is left.
func (c *ioCase) run() (err error) {
	dir, remove, err := lay(&crashstates.Image{Files: c.base})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	if c.record, err = faultvfs.Record(dir); err != nil {
		return err
	}
	c.client = newClient(dir, sqlite.Full, 8, tellMarks(c.t, c.record))
	synctest.Test(c.t, func(t *testing.T) { err = c.use(dir) }) // where waiting costs nothing, and for ever is noticed
	tp := &tape{log: c.record.Stop(), base: c.base}
	if err != nil {
		return err
	}
	return c.check(dir, tp)
}

// use is the run itself. An error is what must not happen; those of the disk
// are as they may be.
func (c *ioCase) use(dir string) error {
	ctx := context.Background()
	failing := c.at.trouble.start(c.t, dir, "", c.at.n, c.at.times)
	inPlace := c.rand.IntN(2) == 0
	stop := func() { c.reached = failing.failed() > 0; failing.stop() }
	s, err := c.client.open(ctx)
	if err != nil {
		stop()
		if s, err = c.client.open(ctx); err != nil {
			return fmt.Errorf("the store does not open on a disk that is well again: %w", err)
		}
		return errors.Join(c.goOn(ctx, s), s.Close())
	}
	c.opened = true
	_ = c.client.round(ctx, s, c.rand.Uint64(), few) // what each was answered is on record
	c.read(ctx, s)
	_ = s.SaveSnapshot(ctx, eventstore.Snapshot{Stream: "ride-1", Fold: "f", Version: 1, State: []byte("{}")})
	if s.Err() != nil {
		_ = s.Reopen(ctx) // with the disk as it is
	}
	_ = c.client.round(ctx, s, c.rand.Uint64(), few)
	c.read(ctx, s)
	if !inPlace {
		_ = s.Close() // it may be unable to
		stop()
		if s, err = c.client.open(ctx); err != nil {
			return fmt.Errorf("the store does not open on a disk that is well again: %w", err)
		}
		return errors.Join(c.goOn(ctx, s), s.Close())
	}
	stop()
	err = c.resume(ctx, s)
	if err != nil && s.Err() != nil { // it was on its way to a stop when the disk got well
		err = c.resume(ctx, s)
	}
	return errors.Join(err, s.Close())
}

// resume reopens a store in place, where it has stopped, and uses it.
func (c *ioCase) resume(ctx context.Context, s *sqlite.Store) error {
	if cause := s.Err(); cause != nil {
		if err := s.Reopen(ctx); err != nil {
			return fmt.Errorf("the store does not reopen on a disk that is well again: %w (it stopped by %w)", err, cause)
		}
	}
	return c.goOn(ctx, s)
}

// goOn uses a store on a disk that is well: everything succeeds.
func (c *ioCase) goOn(ctx context.Context, s *sqlite.Store) error {
	if err := c.client.repeat(ctx, s); err != nil {
		return fmt.Errorf("repeat: %w", err)
	}
	label, b := c.client.batch(c.rand)
	if err := c.client.append(ctx, s, label, b); err != nil {
		return fmt.Errorf("append: %w", err)
	}
	return s.Err()
}

// read reads, and tells what it saw.
func (c *ioCase) read(ctx context.Context, s *sqlite.Store) {
	for e, err := range eventstore.Log(ctx, s, 0, eventstore.Filter{}) {
		if err != nil {
			return
		}
		c.client.tell(report{Event: "saw", ID: e.ID.String(), First: e.Position})
	}
}

// check holds what is left to the invariants: as it is, and as the disk would
// have it had the power gone out.
func (c *ioCase) check(dir string, tp *tape) error {
	disk := crashstates.NewDisk(tp.base)
	disk.Run(tp.log, len(tp.log))
	for _, strategy := range []crashstates.Strategy{crashstates.None, crashstates.Subset} {
		image := disk.Image(strategy, c.rand)
		if _, err := checkImage(image, &invariant.Options{History: tp.history(c.t, len(tp.log))}); err != nil {
			return fmt.Errorf("after a power cut: %w", err)
		}
	}
	return checkDir(dir, tp.history(c.t, len(tp.log)))
}

// TestExperimentIOErrors fails the n-th operation of each kind, for every n,
// once and for ever.
func TestExperimentIOErrors(t *testing.T) {
	e := experiment.Start(t, "I/O errors, the log", "no acknowledgement of what is not durable, no hang, no panic")
	base := left(t)
	runs, reached, opened := 0, 0, 0
	run := func(at attempt) bool {
		c := &ioCase{t: t, base: base, at: at, rand: e.Rand(runs)}
		require.NoError(t, c.run(), "%v", at)
		runs++
		if c.reached {
			reached++
		}
		if c.opened {
			opened++
		}
		return c.reached
	}
	for _, times := range []int{1, faultvfs.Forever} {
		for _, tr := range troubles() {
			if tr.fault.Torn && times == faultvfs.Forever {
				continue // the first is torn, and the rest refused: as without
			}
			if !experiment.Long() {
				r := e.Rand(runs)
				for range e.N(2, 0) {
					run(attempt{tr, 1 + r.IntN(1+r.IntN(60)), times})
				}
				continue
			}
			for n, missed := 1, 0; missed < beyond; n++ {
				if missed++; run(attempt{tr, n, times}) {
					missed = 0
				}
			}
		}
	}
	e.Figure("runs", runs)
	e.Figure("disk failed in", reached)
	e.Figure("opened meanwhile", opened)
	e.Asserted("acknowledged and not durable")
	require.Greater(t, reached, runs/3)
}
