//go:build linux && cgo

package diskfault_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/crashstates"
	"github.com/leat-go/leat/internal/experiment"
	"github.com/leat-go/leat/internal/faultvfs"
	"github.com/leat-go/leat/internal/invariant"
)

// fullCase is a log on a disk that is full from its n-th write on, for so many
// writes or until somebody frees some space.
type fullCase struct {
	t        *testing.T
	base     map[string][]byte
	fault    faultvfs.Fault
	rand     *rand.Rand
	refused  int
	unopened bool
}

// TestExperimentDiskFull has the disk be full from the n-th write on, once, for
// a while, and until space is freed.
func TestExperimentDiskFull(t *testing.T) {
	e := experiment.Start(t, "disk full, the log", "0 lost, refused with ErrDiskFull, resumes by itself after space is freed")
	base := left(t)
	runs, refused, unopened := e.N(60, 600), 0, 0
	for i := range runs {
		r := e.Rand(i)
		times := []int{1, 2 + r.IntN(10), faultvfs.Forever}[i%3]
		c := &fullCase{t: t, base: base, rand: r, fault: faultvfs.Fault{
			Kind: faultvfs.Write, Error: faultvfs.Full, N: 1 + r.IntN(250), Times: times, Torn: r.IntN(3) == 0,
		}}
		require.NoError(t, c.run(), "run %d: %v", i, c.fault)
		refused += c.refused
		if c.unopened {
			unopened++
		}
	}
	e.Figure("runs", runs)
	e.Figure("refused", refused)
	e.Asserted("lost")
	e.Figure("not opened while full", unopened)
	require.Greater(t, refused, runs/3)
}

func (c *fullCase) run() (err error) {
	dir, remove, err := lay(&crashstates.Image{Files: c.base})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	record, err := faultvfs.Record(dir)
	if err != nil {
		return err
	}
	synctest.Test(c.t, func(t *testing.T) { err = c.use(t, dir, record) })
	tp := &tape{log: record.Stop(), base: c.base}
	if err != nil {
		return err
	}
	disk := crashstates.NewDisk(tp.base)
	disk.Run(tp.log, len(tp.log))
	if _, err := checkImage(disk.Image(crashstates.None, c.rand), &invariant.Options{History: tp.history(c.t, len(tp.log))}); err != nil {
		return fmt.Errorf("after a power cut: %w", err)
	}
	return checkDir(dir, tp.history(c.t, len(tp.log)))
}

// use appends while the disk is full, and then while it is not. An error is
// what must not happen.
func (c *fullCase) use(t *testing.T, dir string, record *faultvfs.Recording) error {
	ctx := t.Context()
	client := newClient(dir, sqlite.Full, 8, tellMarks(t, record))
	c.fault.Dir = dir
	full := inject(t, c.fault)
	s, err := client.open(ctx)
	if err != nil {
		c.unopened = true
		full.Remove()
		if s, err = client.open(ctx); err != nil {
			return fmt.Errorf("open with room again: %w", err)
		}
	}
	answers := client.answers(ctx, s, c.rand)
	full.Remove()
	for _, err := range answers {
		if err != nil && !errors.Is(err, sqlite.ErrDiskFull) {
			return errors.Join(fmt.Errorf("refused for another reason than the full disk: %w", err), s.Close())
		}
		if err != nil {
			c.refused++
		}
	}
	if cause := s.Err(); cause != nil {
		return errors.Join(fmt.Errorf("a full disk has stopped the store: %w", cause), s.Close())
	}
	if err := client.repeat(ctx, s); err != nil {
		return errors.Join(fmt.Errorf("repeat with room again: %w", err), s.Close())
	}
	label, b := client.batch(c.rand)
	return errors.Join(client.append(ctx, s, label, b), s.Close())
}

// answers appends one after the other, and returns what each was answered.
func (c *client) answers(ctx context.Context, s *sqlite.Store, r *rand.Rand) (all []error) {
	for range appenders * ordinary {
		label, b := c.batch(r)
		all = append(all, c.append(ctx, s, label, b))
	}
	return all
}
