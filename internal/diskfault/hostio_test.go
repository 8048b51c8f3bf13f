//go:build linux && cgo

package diskfault_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/crashkit/bank"
	"github.com/leat-go/leat/internal/crashstates"
	"github.com/leat-go/leat/internal/experiment"
	"github.com/leat-go/leat/internal/faultvfs"
	"github.com/leat-go/leat/serverless"
)

// hostFile is a part of a host's files: those below a directory whose names end
// so. A run does most operations of a kind on it, about.
type hostFile struct {
	dir, suffix string
	most        int
}

var hostFiles = []hostFile{
	{"", "log.db-wal", 400}, {"", "log.db", 100}, {"", "sagas.db-wal", 200}, {"", "sagas.db", 60}, {"", "consumers.db-wal", 30},
	{"", "consumers.db", 30}, {"views", "-wal", 150}, {"views", ".db", 100}, {"views", "", 200}, {"", "", 900},
}

func (f hostFile) String() string { return filepath.Join(f.dir, "*"+f.suffix) }

// draw returns the number of an operation, the sooner the likelier: there are
// fewer of most kinds.
func (f hostFile) draw(r *rand.Rand) int {
	return int(math.Exp(r.Float64() * math.Log(float64(f.most))))
}

// patience is how long a host over a disk that fails is watched, by the clock
// of a bubble, in which waiting costs nothing.
const patience = 20 * time.Second

// hostCase is one run of a host on a failing disk.
type hostCase struct {
	t      *testing.T
	at     attempt
	file   hostFile
	rand   *rand.Rand
	failed int // operations
	// refused: it did not open meanwhile. said: a Drain, an answer or the status
	// said that something is wrong.
	refused, said bool
	inPlace       bool // and it must then be done without being opened again
}

func (c *hostCase) run() (err error) {
	root, err := os.MkdirTemp(memory, "leat-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
	dir := filepath.Join(root, "store")
	record, err := faultvfs.Record(dir)
	if err != nil {
		return err
	}
	synctest.Test(c.t, func(t *testing.T) { err = c.use(t, dir, tellMarks(t, record)) })
	tp := &tape{log: record.Stop()}
	if err != nil {
		return err
	}
	// As it is, and as the disk would have it had the power gone out.
	disk := crashstates.NewDisk(nil)
	disk.Run(tp.log, len(tp.log))
	if _, err := checkHost(disk.Image(crashstates.None, c.rand), tp.history(c.t, len(tp.log))); err != nil {
		return fmt.Errorf("after a power cut: %w", err)
	}
	_, err = settleHost(context.Background(), dir, tp.history(c.t, len(tp.log)))
	return err
}

// use has a host live once on a disk that is well and once on one that fails.
// An error is what must not happen.
func (c *hostCase) use(t *testing.T, dir string, tell func(report)) error {
	ctx := t.Context()
	well := hostLife{dir: dir, life: 0, version: 1, tell: tell, patience: time.Minute}
	if err := well.run(ctx); err != nil {
		return fmt.Errorf("on a disk that is well: %w", err)
	}
	failing := c.at.trouble.start(t, filepath.Join(dir, c.file.dir), c.file.suffix, c.at.n, c.at.times)
	stop := func() { c.failed = failing.failed(); failing.stop() }
	defer failing.stop()
	clk := clock.NewVirtual(bankStart)
	store, err := sqlite.Open(ctx, dir, &sqlite.Options{Clock: clk, Logger: quiet(), Checkpoint: 40, IndexEvents: 20})
	if err != nil {
		stop()
		c.refused, c.said = true, true
		return nil
	}
	l := hostLife{dir: dir, life: 1, version: 2, tell: tell, patience: patience}
	b := bank.New(store, bank.Options{Clock: clk, Version: l.version, Effect: l.effect})
	defer func() { _ = errors.Join(b.Close(), store.Close()) }() // the disk may not let them
	if err := b.Open(ctx); err != nil {
		stop()
		c.refused, c.said = true, true
		return nil
	}
	worked := l.work(ctx, b, store, clk)
	status, unknown := b.Status(ctx)
	c.said = worked != nil || unknown != nil || status.Store.Stopped
	stop()
	if !c.inPlace {
		return nil
	}
	return c.goOn(ctx, b, clk)
}

// goOn has the host be done with everything, on a disk that is well again,
// without being opened again.
func (c *hostCase) goOn(ctx context.Context, b *bank.Bank, clk *clock.Virtual) error {
	_, err := b.Drain(ctx, serverless.Budget{Time: time.Hour, Until: clk.Now().Add(24 * time.Hour)})
	if err != nil {
		return fmt.Errorf("drain with the disk well again: %w", err)
	}
	return nil
}

// mustBeSaid tells whether commits have failed which somebody waits for: those
// of read models are not synced, and what is moved out of a write-ahead log is
// safe in it.
func (c *hostCase) mustBeSaid() bool {
	return c.at.trouble.name == "sync" && c.file.dir == "" && strings.HasSuffix(c.file.suffix, "-wal") && c.failed > 2
}

// hostTally counts runs: those in which the disk failed, in which the host did
// not open meanwhile, and in which something said so.
type hostTally struct{ reached, refused, said int }

func (n *hostTally) run(i int, c *hostCase) {
	require.NoError(c.t, c.run(), "run %d: %v of %v", i, c.at, c.file)
	if c.failed > 0 {
		n.reached++
	}
	if c.refused {
		n.refused++
	}
	if c.said {
		n.said++
	}
}

// TestExperimentIOErrorsHost fails operations on every file of a host.
func TestExperimentIOErrorsHost(t *testing.T) {
	e := experiment.Start(t, "I/O errors, the whole host", "no hang, no panic, everything once after a restart")
	runs, n := e.N(16, 500), hostTally{}
	all := troubles()
	for i := range runs {
		r := e.Rand(i)
		times := 1
		if r.IntN(2) == 0 {
			times = faultvfs.Forever
		}
		f := hostFiles[r.IntN(len(hostFiles))]
		c := &hostCase{t: t, rand: r, file: f, at: attempt{all[r.IntN(len(all))], f.draw(r), times}}
		n.run(i, c)
		if c.mustBeSaid() {
			require.True(t, c.said, "run %d: %v of %v: nobody says it", i, c.at, c.file)
		}
	}
	e.Figure("runs", runs)
	e.Figure("disk failed in", n.reached)
	e.Figure("said so", n.said)
	e.Figure("not opened meanwhile", n.refused)
	e.Asserted("lost or doubled")
	require.Greater(t, n.reached, runs/10)
}

// TestExperimentDiskFullHost fills the disk under a host, which goes on by
// itself once there is room.
func TestExperimentDiskFullHost(t *testing.T) {
	e := experiment.Start(t, "disk full, the whole host", "0 lost, resumes by itself after space is freed")
	runs, n := e.N(10, 200), hostTally{}
	full := trouble{name: "write, full", fault: faultvfs.Fault{Kind: faultvfs.Write, Error: faultvfs.Full}}
	for i := range runs {
		r := e.Rand(i)
		f := hostFiles[r.IntN(len(hostFiles))]
		times := []int{1, 2 + r.IntN(20), faultvfs.Forever}[i%3]
		c := &hostCase{t: t, rand: r, file: f, at: attempt{full, f.draw(r), times}, inPlace: true}
		n.run(i, c)
	}
	e.Figure("runs", runs)
	e.Figure("disk was full in", n.reached)
	e.Figure("said so", n.said)
	e.Figure("not opened while full", n.refused)
	e.Asserted("lost or doubled")
	require.Greater(t, n.reached, runs/10)
}
