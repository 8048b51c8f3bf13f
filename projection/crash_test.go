package projection

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
)

const (
	childDir  = "LEAT_PROJECTION_CHILD_DIR"
	childStep = "LEAT_PROJECTION_CHILD_STEP"
)

// crashTape is the log that parent and child agree on.
func crashTape() *tape {
	l := newTape()
	someMoves(l, 12_000)
	return l
}

// crashDef fails some events now and then, and some for good.
func crashDef() *Definition { return crashVersion(1) }

func crashVersion(version int) *Definition {
	return ledger(version, func(e eventstore.Recorded) error {
		if e.Position%977 == 0 {
			return errFault
		}
		return nil
	}, OnFailure(Skip), once)
}

// crashFold is what the tables hold: the failing events are dead letters.
func crashFold(l *tape, through int64) map[string]account {
	var good []eventstore.Recorded
	for _, e := range l.events {
		if e.Position%977 != 0 {
			good = append(good, e)
		}
	}
	return fold(good, through)
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// child applies the log in small pages and says so, or, where a step is named,
// dies at that step of a rebuild or of an upgrade.
func child(dir, step string) {
	ctx := context.Background()
	l := crashTape()
	quiet := &Options{Logger: slog.New(slog.DiscardHandler)}
	prefix := "first "
	p, err := open(ctx, dir, l, crashDef(), quiet, func(s string) error {
		if prefix+s == step {
			must(syscall.Kill(os.Getpid(), syscall.SIGKILL))
			select {}
		}
		return nil
	})
	must(err)
	prefix = ""
	if strings.HasPrefix(step, "up ") {
		upgradeChild(ctx, dir, l, p, step, quiet)
	}
	if strings.HasPrefix(step, "back ") {
		goBackChild(ctx, p, l, func() { prefix = "back " })
	}
	most := 40
	if step != "" {
		most = 4000
	}
	for {
		at, err := p.Checkpoint(ctx)
		must(err)
		if at.Position >= l.head() {
			break
		}
		must(p.Apply(ctx, page(l, at.Position, 1+rand.IntN(most))))
		if step == "" {
			fmt.Println(p.Position())
		}
	}
	if step != "" {
		_, err = p.Rebuild(ctx, nil)
		must(err)
	}
	must(p.Close())
	os.Exit(0)
}

// goBackChild rebuilds in the middle of the log, applies the rest to the new
// file and goes back to the old one, where it is killed.
func goBackChild(ctx context.Context, p *Projection, l *tape, about func()) {
	must(p.Apply(ctx, page(l, 0, 1000)))
	_, err := p.Rebuild(ctx, nil)
	must(err)
	for p.Position() < l.head() {
		must(p.Apply(ctx, page(l, p.Position(), 4000)))
	}
	about()
	_, err = p.GoBack(ctx)
	must(err)
	os.Exit(0)
}

// upgradeChild brings the first version to the head and opens the second, which
// dies where it is exchanged.
func upgradeChild(ctx context.Context, dir string, l *tape, p *Projection, step string, opts *Options) {
	for p.Position() < l.head() {
		must(p.Apply(ctx, page(l, p.Position(), 4000)))
	}
	must(p.Close())
	p, err := open(ctx, dir, l, crashVersion(2), opts, func(s string) error {
		if "up "+s == step {
			must(syscall.Kill(os.Getpid(), syscall.SIGKILL))
			select {}
		}
		return nil
	})
	must(err)
	for p.Status().Version == 1 {
		at, err := p.Checkpoint(ctx)
		must(err)
		must(p.Apply(ctx, page(l, at.Position, 4000)))
	}
	os.Exit(0)
}

func startChild(t *testing.T, dir, step string) (*exec.Cmd, io.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childDir+"="+dir, childStep+"="+step)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	return cmd, out
}

func requireCrashFold(t *testing.T, p *Projection, l *tape) int64 {
	t.Helper()
	var at int64
	require.NoError(t, p.Read(t.Context(), 0, func(r *Reader) (err error) {
		if at, err = r.Position(); err != nil {
			return err
		}
		got, err := tables(r)
		require.Equal(t, crashFold(l, at), got)
		return err
	}))
	return at
}

// I5: the read model is the fold through its checkpoint, wherever it was killed.
func TestKilledWhileApplying(t *testing.T) {
	dir, l := t.TempDir(), crashTape()
	kills := 12
	if testing.Short() {
		kills = 3
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	var last int64
	for range kills {
		cmd, out := startChild(t, dir, "")
		lines, said := bufio.NewScanner(out), ""
		for range 1 + random.IntN(80) {
			if !lines.Scan() {
				break
			}
			said = lines.Text()
		}
		require.NoError(t, cmd.Process.Kill())
		for lines.Scan() {
			said = lines.Text()
		}
		_ = cmd.Wait() // killed
		p := openTest(t, dir, l, crashDef())
		at := requireCrashFold(t, p, l)
		require.GreaterOrEqual(t, at, last)
		if said != "" {
			var acked int64
			_, err := fmt.Sscan(said, &acked)
			require.NoError(t, err)
			require.GreaterOrEqual(t, at, acked-lazyCheckpoint)
		}
		last = at
		require.NoError(t, p.Close())
	}
	p := openTest(t, dir, l, crashDef())
	require.NoError(t, deliver(t, p, l, 1000))
	require.Equal(t, l.head(), requireCrashFold(t, p, l))
	got, err := p.Rebuild(t.Context(), nil)
	require.NoError(t, err)
	require.True(t, got.Identical, got.Difference)
}

// Killed at any step of a swap, the next start serves the one file or the other.
func TestKilledWhileRebuilding(t *testing.T) {
	l := crashTape()
	for _, step := range []string{"first " + stepPointerWritten, "first " + stepPointerRenamed, stepCreated, stepBuilding, stepPaused, stepBuilt, stepSettled, stepPointerWritten, stepPointerRenamed, stepSwapped} {
		t.Run(step, func(t *testing.T) {
			dir := t.TempDir()
			cmd, _ := startChild(t, dir, step)
			err := cmd.Wait()
			exit, ok := errors.AsType[*exec.ExitError](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal(), "the step is reached")
			p, err := Open(t.Context(), dir, l, crashDef(), nil)
			require.NoError(t, err)
			defer func() { require.NoError(t, p.Close()) }()
			want := l.head()
			if strings.HasPrefix(step, "first ") {
				want = 0
			}
			require.Equal(t, want, requireCrashFold(t, p, l))
			generation := 1
			if step == stepPointerRenamed || step == stepSwapped {
				generation = 2
			}
			require.Equal(t, generation, p.live.id.generation)
			require.NoError(t, deliver(t, p, l, 5000))
			got, err := p.Rebuild(t.Context(), nil)
			require.NoError(t, err)
			require.True(t, got.Identical, got.Difference)
			require.Len(t, views(t, dir), 3)
		})
	}
}

// Killed at any step of going back, the next start serves the one or the other.
func TestKilledWhileGoingBack(t *testing.T) {
	l := crashTape()
	for _, step := range []string{stepBuilding, stepPaused, stepBuilt, stepSettled, stepPointerWritten, stepPointerRenamed, stepSwapped} {
		t.Run(step, func(t *testing.T) {
			dir := t.TempDir()
			cmd, _ := startChild(t, dir, "back "+step)
			err := cmd.Wait()
			exit, ok := errors.AsType[*exec.ExitError](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal(), "the step is reached")
			p := openTest(t, dir, l, crashDef())
			require.Equal(t, l.head(), requireCrashFold(t, p, l))
			generation := 2
			if step == stepPointerRenamed || step == stepSwapped {
				generation = 1
			}
			require.Equal(t, generation, p.live.id.generation)
			require.Len(t, views(t, dir), 3, "both are kept")
			for range 2 { // there, and back
				generation = 3 - generation
				_, err = p.GoBack(t.Context())
				require.NoError(t, err)
				require.Equal(t, generation, p.live.id.generation)
				require.Equal(t, l.head(), requireCrashFold(t, p, l))
			}
			require.Len(t, views(t, dir), 3)
		})
	}
}

// Killed where an upgrade is exchanged, the next start serves the one version or
// the other, with everything.
func TestKilledWhileUpgrading(t *testing.T) {
	l := crashTape()
	for _, step := range []string{stepBuilt, stepSettled, stepPointerWritten, stepPointerRenamed, stepSwapped} {
		t.Run(step, func(t *testing.T) {
			dir := t.TempDir()
			cmd, _ := startChild(t, dir, "up "+step)
			err := cmd.Wait()
			exit, ok := errors.AsType[*exec.ExitError](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal(), "the step is reached")
			want := 1
			if step == stepPointerRenamed || step == stepSwapped {
				want = 2
			}
			v, err := OpenReader(t.Context(), dir, crashVersion(2))
			require.NoError(t, err)
			st, err := v.Status(t.Context(), nil)
			require.NoError(t, err)
			require.NoError(t, v.Close())
			require.Equal(t, want, st.Version)
			require.Equal(t, l.head(), st.Position)
			p := openTest(t, dir, l, crashVersion(2)) // goes on, and has nothing left to do
			require.Equal(t, 2, p.Status().Version)
			require.Equal(t, l.head(), requireCrashFold(t, p, l))
			require.Len(t, views(t, dir), 3)
		})
	}
}
