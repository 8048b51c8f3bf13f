package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/serverless"
	"github.com/leat-go/leat/taxi-demo/internal/chaos"
	"github.com/leat-go/leat/taxi-demo/internal/city"
	"github.com/leat-go/leat/taxi-demo/internal/meter"
	"github.com/leat-go/leat/taxi-demo/internal/origin"
	"github.com/leat-go/leat/taxi-demo/internal/trip"
)

// Limits of the city's flags.
const (
	defaultSpeed = 60
	maxSpeed     = 300
	maxRides     = 10_000_000
)

// cityFlags choose a generated city.
type cityFlags struct {
	seed  uint64
	chaos int
	speed float64
	fresh bool

	once  bool
	rides int
	json  bool
}

func (f *cityFlags) register(cmd *cobra.Command) {
	cmd.Flags().Uint64Var(&f.seed, "seed", 1, "what the city is drawn from")
	cmd.Flags().IntVar(&f.chaos, "chaos", 0, "how much goes wrong, 0 to 100")
	cmd.Flags().Float64Var(&f.speed, "speed", defaultSpeed, fmt.Sprintf("how fast the city's clock runs, up to %d times the wall's", maxSpeed))
	cmd.Flags().BoolVar(&f.fresh, "fresh", false, "remove the store and start over")
}

func (f cityFlags) check() error {
	switch {
	case f.chaos < 0 || f.chaos > chaos.MaxLevel:
		return usagef("--chaos %d: give 0 to %d", f.chaos, chaos.MaxLevel)
	case !(f.speed > 0 && f.speed <= maxSpeed):
		return usagef("--speed %v: give more than 0, up to %d", f.speed, maxSpeed)
	case f.once && f.speed != defaultSpeed:
		return usagef("--speed goes without --once, which is as fast as it can be")
	case f.once && (f.rides < 1 || f.rides > maxRides):
		return usagef("--rides %d: give 1 to %d", f.rides, maxRides)
	case !f.once && (f.json || f.rides != 0):
		return usagef("--rides and --json go with --once")
	}
	return nil
}

// founded goes on with the city of this seed, and with nothing else.
func (f cityFlags) founded(o *origin.Origin) (aggregate.Events, error) { return o.Found(f.seed) }

func (f cityFlags) config() chaos.Config { return chaos.Config{Seed: f.seed, Level: f.chaos} }

func runCommand(t terminal, store *string) *cobra.Command {
	var f cityFlags
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the generated city, live or --once in virtual time",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.once {
				return runOnce(cmd.Context(), t, *store, f)
			}
			return runLive(cmd.Context(), t, *store, f)
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&f.once, "once", false, "as fast as it can, until --rides have ended and everything is drained")
	cmd.Flags().IntVar(&f.rides, "rides", 0, "how many rides, with --once")
	cmd.Flags().BoolVar(&f.json, "json", false, "end with one JSON object, with --once")
	return cmd
}

// removeStore removes a store of the demo, and nothing else: a directory that
// holds none is refused, files that are not the store's stay, and so does the
// directory, which may be more than a directory.
func removeStore(ctx context.Context, dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := lostLog(dir); err != nil {
		return fmt.Errorf("--fresh: %w, or remove the directory", err)
	}
	// Whoever can own it may remove it: a store in use, and a directory that is
	// none, are refused here.
	store, err := sqlite.Open(ctx, dir, &sqlite.Options{Logger: quiet()})
	if err == nil {
		err = store.Close()
	}
	if err != nil {
		return fmt.Errorf("--fresh: %w", mayWrite(dir, err))
	}
	release, err := sqlite.Hold(dir)
	if err != nil {
		return fmt.Errorf("--fresh: %w", err)
	}
	if err := errors.Join(removeFiles(dir), release()); err != nil {
		return fmt.Errorf("--fresh: %w", err)
	}
	return nil
}

// removeFiles removes what a store consists of, the lock, which is held, last.
func removeFiles(dir string) error {
	if err := removeViews(dir); err != nil {
		return err
	}
	names := []string{"witness", "witness.tmp", "parts", "parts.tmp", "receipts.txt"}
	for _, db := range []string{"log.db", "sagas.db", "consumers.db"} {
		names = append(names, db, db+"-wal", db+"-shm", db+"-journal") // a killed demo leaves them
	}
	for _, name := range append(names, "lock") {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// viewFile is what the name of a read model's file looks like.
var viewFile = regexp.MustCompile(`^([a-z][a-z0-9_-]*)\.(?:live(?:\.tmp)?|v[0-9]+\.[0-9]+\.db(?:-wal|-shm|-journal)?)$`)

// removeViews removes every read model, also of a program that had others.
func removeViews(dir string) error {
	views := filepath.Join(dir, "views")
	info, err := os.Lstat(views)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err == nil && !info.IsDir():
		return fmt.Errorf("%s is not a directory: it is not of this store", views)
	case err != nil:
		return err
	}
	entries, err := os.ReadDir(views)
	if err != nil {
		return err
	}
	for _, e := range entries {
		m := viewFile.FindStringSubmatch(e.Name())
		if m == nil {
			continue // somebody else's
		}
		if err := projection.Remove(dir, m[1]); err != nil {
			return err
		}
	}
	if err := os.Remove(views); err != nil && !errors.Is(err, syscall.ENOTEMPTY) {
		return err
	}
	return nil
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// runLive runs the city by a clock that is speed times as fast as the wall's,
// until ctx ends.
func runLive(ctx context.Context, t terminal, dir string, f cityFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	if f.fresh {
		if err := removeStore(ctx, dir); err != nil {
			return err
		}
	}
	start := city.Opening()
	last, resumed, err := lastEvent(ctx, dir)
	if err != nil {
		return err
	}
	if last.After(start) {
		start = last
	}
	clk := clock.NewScaled(start, f.speed)
	a, err := openApp(ctx, dir, options{
		clock: clk, chaos: f.config(), log: t.logger(), origin: f.founded,
		source: func(a *app) (serverless.Source, error) {
			return city.City{Chaos: f.config()}.NewSource(a, meter.Tariffs(), city.Live(clk.Now))
		},
	})
	if err != nil {
		return err
	}
	t.banner(dir, f, resumed)
	watched := a.watch(ctx, t, a.liveLine)
	err = a.host.Run(ctx)
	watched()
	at := clk.Now()
	if err = errors.Join(err, a.store.Err(), a.close()); err == nil {
		err = stillThere(dir)
	}
	if err == nil && ctx.Err() != nil {
		fmt.Fprintf(t.err, "stopped at %s of the city's clock; run again to go on\n", at.Format("Mon 15:04:05"))
		return context.Cause(ctx)
	}
	return err
}

func (t terminal) banner(dir string, f cityFlags, resumed bool) {
	kept := "kept; run again to resume, --fresh to start over"
	if resumed {
		kept = "resumed; --fresh to start over"
	}
	chaos := ""
	if f.chaos > 0 {
		chaos = fmt.Sprintf(" · chaos %d", f.chaos)
	}
	fmt.Fprintf(t.err, `taxi demo · generated city · %gx · seed %d%s
├─ Store       %s   (%s)
├─ Look        go run ./taxi-demo events tail -f --store %s
└─ Ctrl+C stops
`, f.speed, f.seed, chaos, cell(filepath.Clean(dir)), kept, cell(filepath.Clean(dir)))
}

// runOnce runs so many rides in virtual time, as fast as the machine can, and
// checks them.
func runOnce(ctx context.Context, t terminal, dir string, f cityFlags) (err error) {
	if err := f.check(); err != nil {
		return err
	}
	if f.fresh {
		if err := removeStore(ctx, dir); err != nil {
			return err
		}
	}
	began := time.Now()
	if f.chaos > 0 {
		// The host falls over in the middle of it, and gets up again.
		if err := f.drain(ctx, t, dir, serverless.Budget{Until: city.At(max(1, f.rides/2))}, func(a *app) error {
			return a.do(ctx, fmt.Sprintf("city-%d-restarted", f.seed), trip.Note{}.CommandType(), trip.Note{RideID: trip.Host, Kind: "host_restarted"})
		}); err != nil {
			return err
		}
	}
	return f.drain(ctx, t, dir, serverless.Budget{}, func(a *app) error {
		r, err := a.checked(ctx, time.Since(began))
		if err != nil {
			return err
		}
		if ended := a.ended(ctx); ended < int64(f.rides) {
			fmt.Fprintln(t.err, drainedEarly(ended, f.rides))
		}
		return t.show(r, f.json)
	})
}

// drainedEarly says that a run came to its end before its rides did.
func drainedEarly(ended int64, rides int) string {
	return fmt.Sprintf("drained: nothing more is due, but only %d of %d rides have ended: the check says what stands still", ended, rides)
}

// drain opens the city's app, works it off within the budget, and hands it to
// then before it is closed.
func (f cityFlags) drain(ctx context.Context, t terminal, dir string, b serverless.Budget, then func(*app) error) (err error) {
	start, err := startOf(ctx, dir, city.Opening())
	if err != nil {
		return err
	}
	a, err := openApp(ctx, dir, options{
		clock: clock.NewVirtual(start), chaos: f.config(), ordered: true, log: t.logger(), origin: f.founded,
		source: func(a *app) (serverless.Source, error) {
			return city.City{Chaos: f.config()}.NewSource(a, meter.Tariffs(), city.Once(f.rides))
		},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	if err := a.drain(ctx, t, b, func() (int64, int64) { return min(a.ended(ctx), int64(f.rides)), int64(f.rides) }); err != nil {
		return err
	}
	return then(a)
}
