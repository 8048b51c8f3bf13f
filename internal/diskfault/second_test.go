//go:build linux && cgo

package diskfault_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/crashstates"
	"github.com/leat-go/leat/internal/experiment"
	"github.com/leat-go/leat/internal/faultvfs"
	"github.com/leat-go/leat/internal/invariant"
)

// secondCase is a power cut or a kill, and something else while what it left is
// recovered.
type secondCase struct {
	t      *testing.T
	first  *tape
	image  *crashstates.Image
	at     attempt
	dead   bool // the process dies at the n-th change, instead of the trouble
	rand   *rand.Rand
	failed bool
}

func (c *secondCase) String() string {
	what := c.at.String()
	if c.dead {
		what = fmt.Sprintf("death at change %d", c.at.n)
	}
	return fmt.Sprintf("%s, after\n%s", what, c.image)
}

// pairsOfARun is how many pairs begin with one recorded run.
const pairsOfARun = 50

// TestExperimentSecondFault has the disk fail, or the process die, while a
// store is recovered from a power cut or a kill, and then the power go out.
func TestExperimentSecondFault(t *testing.T) {
	e := experiment.Start(t, "a second fault during recovery", "0 acknowledged lost")
	pairs, failed := e.N(30, 500), 0
	all := troubles()
	var tp *tape
	for i := range pairs {
		if i%pairsOfARun == 0 {
			tp = recordLog(t, sqlite.Full, filepath.Join(experiment.Dir(t), "store"), e.Rand(-1-i))
		}
		image, err := crashstates.State(tp.base, tp.log, tp.from, len(tp.log), e.Seed(), uint64(i))
		require.NoError(t, err)
		r := e.Rand(i)
		times := 1
		if r.IntN(2) == 0 {
			times = faultvfs.Forever
		}
		c := &secondCase{t: t, first: tp, image: image, rand: r, dead: r.IntN(3) == 0, at: attempt{all[r.IntN(len(all))], 1 + r.IntN(1+r.IntN(40)), times}}
		require.NoError(t, c.run(), "pair %d: %v", i, c)
		if c.failed {
			failed++
		}
	}
	e.Figure("pairs", pairs)
	e.Figure("second fault reached", failed)
	e.Asserted("lost")
	require.Greater(t, failed, pairs/6)
}

func (c *secondCase) run() (err error) {
	dir, remove, err := lay(c.image)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	base, err := crashstates.Read(dir)
	if err != nil {
		return err
	}
	record, err := faultvfs.Record(dir)
	if err != nil {
		return err
	}
	synctest.Test(c.t, func(t *testing.T) { c.outlive(t, dir, record) })
	second := &tape{log: record.Stop(), base: base}

	disk, cut := crashstates.NewDisk(base), len(second.log)
	if c.rand.IntN(2) == 0 {
		cut = c.rand.IntN(cut + 1)
	}
	disk.Run(second.log, cut)
	strategies := crashstates.Strategies()
	image := disk.Image(strategies[c.rand.IntN(len(strategies))], c.rand)
	if _, err := checkImage(image, &invariant.Options{History: c.history(second, cut)}); err != nil {
		return fmt.Errorf("after a power cut: %w", err)
	}
	return checkDir(dir, c.history(second, len(second.log)))
}

// history is what is known after both.
func (c *secondCase) history(second *tape, cut int) *invariant.History {
	h := c.first.history(c.t, c.image.Cut)
	learn(h, second.reports(c.t, cut))
	return h
}

// outlive opens the store while the disk fails, and goes on as far as it can.
func (c *secondCase) outlive(t *testing.T, dir string, record *faultvfs.Recording) {
	ctx := t.Context()
	client := newClient(dir, sqlite.Full, 8, tellMarks(t, record))
	client.prefix = "second-"
	stop := func() {}
	if c.dead {
		stop = killAt(t, dir, c.at.n)
	} else {
		failing := c.at.trouble.start(t, dir, "", c.at.n, c.at.times)
		stop = func() { c.failed = failing.failed() > 0; failing.stop() }
	}
	defer func() { stop(); c.failed = c.failed || c.dead }()
	s, err := client.open(ctx)
	if err != nil {
		return
	}
	_ = client.round(ctx, s, c.rand.Uint64(), 1) // what each was answered is on record
	if s.Err() != nil {
		_ = s.Reopen(ctx)
		_ = client.repeat(ctx, s)
	}
	_ = s.Close() // it may be unable to
}
