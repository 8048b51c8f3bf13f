//go:build linux && cgo

package diskfault_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/crashstates"
	"github.com/leat-go/leat/internal/experiment"
	"github.com/leat-go/leat/internal/invariant"
)

// cutsOfARun is how many times the power goes out in one recorded run.
const cutsOfARun = 100

// TestExperimentPowerCut cuts the power anywhere in the lives of a log and has
// the disk keep what it may.
func TestExperimentPowerCut(t *testing.T) {
	e := experiment.Start(t, "power cut, the log", "0 acknowledged lost, 0 stores refused")
	states := e.N(200, 20_000)
	var acked, kept, repeated atomic.Int64
	var slowest atomic.Int64
	for first := 0; first < states; first += cutsOfARun {
		run := first / cutsOfARun
		tp := recordLog(t, sqlite.Full, filepath.Join(experiment.Dir(t), "store"), e.Rand(-1-run))
		err := each(min(cutsOfARun, states-first), func(i int) error {
			image, err := crashstates.State(tp.base, tp.log, tp.from, len(tp.log), e.Seed(), uint64(first+i))
			if err != nil {
				return err
			}
			h := tp.history(t, image.Cut)
			known, _, _ := h.Counts()
			acked.Add(int64(known))
			report, err := checkImage(image, &invariant.Options{History: h})
			kept.Add(int64(report.Kept))
			repeated.Add(int64(report.Repeated))
			for now := int64(report.Opened); ; {
				if before := slowest.Load(); before >= now || slowest.CompareAndSwap(before, now) {
					return err
				}
			}
		})
		require.NoError(t, err, "run %d", run)
	}
	e.Figure("states", states)
	e.Figure("acknowledged", acked.Load())
	e.Asserted("lost")
	e.Figure("kept though unacknowledged", kept.Load())
	e.Figure("repeated", repeated.Load())
	e.Figure("slowest open", time.Duration(slowest.Load()))
}

// lay writes an image into memory, as a store's directory until it is removed.
func lay(image *crashstates.Image) (dir string, remove func() error, err error) {
	root, err := os.MkdirTemp(memory, "leat-*")
	if err != nil {
		return "", nil, err
	}
	remove = func() error { return os.RemoveAll(root) }
	dir = filepath.Join(root, "store")
	if err = os.Mkdir(dir, 0o700); err == nil {
		err = image.WriteTo(dir)
	}
	if err != nil {
		return "", nil, errors.Join(err, remove())
	}
	return dir, remove, nil
}

// checkDir holds a store as it is to the invariants.
func checkDir(dir string, h *invariant.History) error {
	report, err := invariant.Check(context.Background(), dir, &invariant.Options{History: h, Store: &sqlite.Options{Logger: quiet()}})
	return errors.Join(err, report.Err())
}

// checkImage writes an image into memory and checks the store that it is.
func checkImage(image *crashstates.Image, opts *invariant.Options) (_ invariant.Report, err error) {
	dir, remove, err := lay(image)
	if err != nil {
		return invariant.Report{}, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	opts.Store = &sqlite.Options{Logger: quiet()}
	report, err := invariant.Check(context.Background(), dir, opts)
	if err == nil {
		err = report.Err()
	}
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, image)
	}
	return report, err
}
