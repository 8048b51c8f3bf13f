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

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/crashstates"
	"github.com/leat-go/leat/internal/experiment"
)

// TestExperimentPowerCutRelaxed is the power cut at the durability that does
// not promise to survive it: the simulator must see the loss, or its word about
// the other counts for nothing.
func TestExperimentPowerCutRelaxed(t *testing.T) {
	e := experiment.Start(t, "power cut, relaxed durability", "acknowledged are lost, and nothing but the last of them")
	states := e.N(100, 5000)
	var acked, lost, states0 atomic.Int64
	for first := 0; first < states; first += cutsOfARun {
		run := first / cutsOfARun
		tp := recordLog(t, sqlite.Relaxed, filepath.Join(experiment.Dir(t), "store"), e.Rand(-1-run))
		err := each(min(cutsOfARun, states-first), func(i int) error {
			image, err := crashstates.State(tp.base, tp.log, tp.from, len(tp.log), e.Seed(), uint64(first+i))
			if err != nil {
				return err
			}
			known, gone, err := checkRelaxed(image, tp.reports(t, image.Cut))
			if err != nil {
				return fmt.Errorf("%w\n%s", err, image)
			}
			acked.Add(int64(known))
			lost.Add(int64(gone))
			if gone > 0 {
				states0.Add(1)
			}
			return nil
		})
		require.NoError(t, err, "run %d", run)
	}
	e.Figure("states", states)
	e.Figure("states with a loss", states0.Load())
	e.Figure("acknowledged", acked.Load())
	e.Figure("lost", lost.Load())
	require.Greater(t, states0.Load(), int64(states/20), "the simulator sees a loss")
}

// checkRelaxed opens an image and returns how many batches with events were
// acknowledged, and how many of them are gone. An error says that something is
// gone which is not at the end.
func checkRelaxed(image *crashstates.Image, reports []report) (known, gone int, err error) {
	root, err := os.MkdirTemp(memory, "leat-*")
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
	if err := image.WriteTo(root); err != nil {
		return 0, 0, err
	}
	ctx := context.Background()
	s, err := sqlite.Open(ctx, root, &sqlite.Options{Durability: sqlite.Relaxed, Logger: quiet(), IndexEvents: 20})
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	found, err := s.Verify(ctx)
	if err != nil || !found.OK() {
		return 0, 0, errors.Join(err, fmt.Errorf("findings: %v", found.Findings))
	}
	var events []eventstore.Recorded
	for e, err := range eventstore.Log(ctx, s, 0, eventstore.Filter{}) {
		if err != nil {
			return 0, 0, err
		}
		events = append(events, e)
	}
	for _, r := range reports {
		if r.Event != "acked" || r.Last < r.First {
			continue
		}
		known++
		switch head := int64(len(events)); {
		case r.First > head:
			gone++
		case r.Last > head:
			return 0, 0, fmt.Errorf("batch %s was acknowledged at %d to %d, the log ends at %d: a part of it is there", r.Label, r.First, r.Last, head)
		default:
			if label, err := labelOf(&events[r.First-1]); err != nil || label != r.Label {
				return 0, 0, fmt.Errorf("batch %s was acknowledged at %d, which is %q, %w", r.Label, r.First, label, err)
			}
		}
	}
	_, err = s.Append(ctx, eventstore.Batch{ID: "after", Writes: []eventstore.Write{{Stream: "ride-1", Events: []eventstore.EventData{{Type: "asked"}}}}})
	return known, gone, err
}
