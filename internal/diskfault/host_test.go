//go:build linux && cgo

package diskfault_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/crashkit/bank"
	"github.com/leat-go/leat/internal/crashstates"
	"github.com/leat-go/leat/internal/disk"
	"github.com/leat-go/leat/internal/experiment"
	"github.com/leat-go/leat/internal/faultvfs"
	"github.com/leat-go/leat/internal/invariant"
	"github.com/leat-go/leat/serverless"
)

// Sizes of a workload on a host.
const (
	hostLives   = 3
	hostSends   = 4 // of each kind before a drain
	cutsOfAHost = 50
	// brokenPatience is how long a host over a disk that fails is watched.
	brokenPatience = 200 * time.Millisecond
)

var bankStart = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

// hostLife is one life of a host with the bank's domain.
type hostLife struct {
	dir     string
	life    int
	version int
	tell    func(report)
	// patience is how long it drains: over a disk that fails, it would go on
	// trying for ever.
	patience time.Duration
}

// run opens the store and the host, uses both and closes them.
func (l hostLife) run(ctx context.Context) (err error) {
	clk := clock.NewVirtual(bankStart)
	store, err := sqlite.Open(ctx, l.dir, &sqlite.Options{Clock: clk, Logger: quiet(), Checkpoint: 40, IndexEvents: 20})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	b := bank.New(store, bank.Options{Clock: clk, Version: l.version, Effect: l.effect})
	defer func() { err = errors.Join(err, b.Close()) }()
	if err := b.Open(ctx); err != nil {
		return err
	}
	return l.work(ctx, b, store, clk)
}

// effect tells of an effect outside.
func (l hostLife) effect(function, id string) {
	l.tell(report{Event: "effect", Label: function, ID: id})
}

// work sends, drains and rebuilds.
func (l hostLife) work(ctx context.Context, b *bank.Bank, store *sqlite.Store, clk *clock.Virtual) (err error) {
	for round := range 2 {
		err = errors.Join(err, l.send(ctx, b, store, round))
		_, drained := b.Drain(ctx, serverless.Budget{Time: l.patience, Until: clk.Now().Add(24 * time.Hour)})
		err = errors.Join(err, drained)
		if round == 0 {
			_, rebuilt := b.Entries.Rebuild(ctx, nil)
			err = errors.Join(err, rebuilt)
		}
	}
	return err
}

// send has several send at once.
func (l hostLife) send(ctx context.Context, b *bank.Bank, store *sqlite.Store, round int) error {
	var wg sync.WaitGroup
	errs := make([]error, len(bank.Appenders))
	for a, kind := range bank.Appenders {
		if kind != bank.Deposit && kind != bank.Transfer && kind != bank.Notes {
			continue
		}
		wg.Go(func() {
			for n := range hostSends {
				errs[a] = errors.Join(errs[a], l.sendOne(ctx, b, store, kind, bank.Label(l.life, a, round*hostSends+n)))
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (l hostLife) sendOne(ctx context.Context, b *bank.Bank, store *sqlite.Store, kind bank.Kind, label string) error {
	batch, err := bank.Batch(label)
	if err != nil {
		return err
	}
	l.tell(report{Event: "sent", Label: label, Batch: &batch})
	var commit eventstore.Commit
	switch kind {
	case bank.Deposit:
		var r serverless.Result
		r, err = b.Do(ctx, serverless.Request{Function: string(kind), ID: label, Payload: bank.MakeDeposit{Label: label}})
		commit = r.Commit
	case bank.Transfer:
		var r serverless.Result
		r, err = b.Do(ctx, serverless.Request{Function: string(kind), ID: label, Payload: bank.Request{Label: label}})
		commit = r.Commit
	default:
		commit, err = store.Append(ctx, batch)
	}
	switch {
	case err == nil:
		l.tell(report{Event: "acked", Label: label, First: commit.First, Last: commit.Last})
	case !errors.Is(err, eventstore.ErrOutcomeUnknown):
		l.tell(report{Event: "refused", Label: label})
	}
	return err
}

var errDead = errors.New("the process is dead")

// killAt takes the process for dead at the n-th change to a file below dir, of
// SQLite or beside it.
func killAt(t testing.TB, dir string, n int) (revive func()) {
	t.Helper()
	kill := inject(t, faultvfs.Fault{Kind: faultvfs.Changes, Dir: dir, N: n, Times: faultvfs.Forever, Dead: true})
	stop := disk.Obstruct(func(disk.Op) error {
		if kill.Failed() > 0 {
			return errDead
		}
		return nil
	})
	return func() { stop(); kill.Remove() }
}

// recordHost records the lives of a host: its files are created, a read model
// is rebuilt and another upgraded, and in some lives the process dies.
func recordHost(t *testing.T, dir string, r *rand.Rand) *tape {
	record, err := faultvfs.Record(dir)
	require.NoError(t, err)
	for life := range hostLives {
		l := hostLife{dir: dir, life: life, version: 1 + min(life, 1), tell: tellMarks(t, record)}
		killed := life > 0 && r.IntN(2) == 0
		revive := func() {}
		if l.patience = time.Minute; killed {
			l.patience = brokenPatience
			revive = killAt(t, dir, 1+r.IntN(1500))
		}
		err := l.run(t.Context())
		revive()
		if !killed {
			require.NoError(t, err)
		}
	}
	return &tape{log: record.Stop()}
}

// TestExperimentPowerCutHost cuts the power under a whole host: the log, its
// read models, its sagas with their timers and its event functions.
func TestExperimentPowerCutHost(t *testing.T) {
	e := experiment.Start(t, "power cut, the whole host", "0 acknowledged lost, 0 effects doubled, every read model the fold")
	states := e.N(30, 2000)
	var acked, models, commands, timers, again atomic.Int64
	for first := 0; first < states; first += cutsOfAHost {
		run := first / cutsOfAHost
		tp := recordHost(t, filepath.Join(experiment.Dir(t), "store"), e.Rand(-1-run))
		err := each(min(cutsOfAHost, states-first), func(i int) error {
			image, err := crashstates.State(tp.base, tp.log, tp.from, len(tp.log), e.Seed(), uint64(first+i))
			if err != nil {
				return err
			}
			h := tp.history(t, image.Cut)
			known, _, _ := h.Counts()
			acked.Add(int64(known))
			found, err := checkHost(image, h)
			if err != nil {
				return fmt.Errorf("%w\n%s", err, image)
			}
			models.Add(int64(found.Models))
			commands.Add(int64(found.Commands))
			timers.Add(int64(found.Timers))
			_, _, twice := h.Counts()
			again.Add(int64(twice))
			return nil
		})
		require.NoError(t, err, "run %d", run)
	}
	e.Figure("states", states)
	e.Figure("acknowledged", acked.Load())
	e.Asserted("lost")
	e.Asserted("doubled")
	e.Figure("read models compared", models.Load())
	e.Figure("commands accounted for", commands.Load())
	e.Figure("outside effects repeated", again.Load())
}

// checkHost has the store that an image is come to its end, and checks it.
func checkHost(image *crashstates.Image, h *invariant.History) (_ invariant.Report, err error) {
	dir, remove, err := lay(image)
	if err != nil {
		return invariant.Report{}, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	return settleHost(context.Background(), dir, h)
}

// settleHost has the store in dir come to its end, and checks it.
func settleHost(ctx context.Context, dir string, h *invariant.History) (invariant.Report, error) {
	if err := bank.Settle(ctx, dir, h); err != nil {
		return invariant.Report{}, err
	}
	r, err := invariant.Check(ctx, dir, &invariant.Options{
		History: h, Models: bank.Models(), Functions: bank.Functions, Laws: []invariant.Law{bank.Money(true)},
	})
	return r, errors.Join(err, r.Err())
}
