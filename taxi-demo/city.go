package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/serverless"
	"github.com/leat-go/leat/taxi-demo/internal/chaos"
	"github.com/leat-go/leat/taxi-demo/internal/city"
	"github.com/leat-go/leat/taxi-demo/internal/meter"
	"github.com/leat-go/leat/taxi-demo/internal/trip"
	"github.com/spf13/cobra"
)

// Limits of the city's flags.
const (
	maxSpeed = 10_000
	maxRides = 10_000_000
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
	cmd.Flags().Float64Var(&f.speed, "speed", 60, "how fast the city's clock runs")
	cmd.Flags().BoolVar(&f.fresh, "fresh", false, "remove the store and start over")
}

func (f cityFlags) check() error {
	switch {
	case f.chaos < 0 || f.chaos > chaos.MaxLevel:
		return usagef("--chaos %d: give 0 to %d", f.chaos, chaos.MaxLevel)
	case !(f.speed > 0 && f.speed <= maxSpeed):
		return usagef("--speed %v: give more than 0, up to %d", f.speed, maxSpeed)
	case f.once && (f.rides < 1 || f.rides > maxRides):
		return usagef("--rides %d: give 1 to %d", f.rides, maxRides)
	case !f.once && (f.json || f.rides != 0):
		return usagef("--rides and --json go with --once")
	}
	return nil
}

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
// holds none is left alone.
func removeStore(ctx context.Context, dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist), err == nil && len(entries) == 0:
		return nil
	case err != nil:
		return err
	}
	// Whoever can own it may remove it: a store that is in use is refused here,
	// and so is a directory that is no store.
	a, err := openApp(ctx, dir, options{clock: clock.System(), log: quiet()})
	if err != nil {
		return fmt.Errorf("--fresh: %w", err)
	}
	if err := a.close(); err != nil {
		return fmt.Errorf("--fresh: %w", err)
	}
	return os.RemoveAll(dir)
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// logger writes warnings to err, where the status line is not in the way.
func (t terminal) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(t.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// runLive runs the city by a clock that is speed times as fast as the wall's,
// until ctx ends.
func runLive(ctx context.Context, t terminal, dir string, f cityFlags) (err error) {
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
		clock: clk, chaos: f.config(), log: t.logger(), source: f.source(city.Endless, false),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	t.banner(dir, f, resumed)
	watched := a.watch(ctx, t, a.liveLine)
	err = a.host.Run(ctx)
	watched()
	if err == nil && ctx.Err() != nil {
		fmt.Fprintf(t.err, "stopped at %s of the city's clock; run again to go on\n", clk.Now().Format("Mon 15:04:05"))
		return context.Cause(ctx)
	}
	return err
}

// source returns what makes the city's source of an app.
func (f cityFlags) source(rides int, ordered bool) func(*app) (serverless.Source, error) {
	return func(a *app) (serverless.Source, error) {
		return city.City{Chaos: f.config()}.NewSource(a, meter.Tariffs(), rides, ordered)
	}
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
├─ Look        taxi-demo events tail --store %s
└─ Ctrl+C stops
`, f.speed, f.seed, chaos, filepath.Clean(dir), kept, filepath.Clean(dir))
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
		if err := f.drain(ctx, t, dir, serverless.Budget{Until: city.At(f.rides / 2)}, func(a *app) error {
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
		return t.show(r, f.json)
	})
}

// drain opens the city's app, works it off within the budget, and hands it to
// then before it is closed.
func (f cityFlags) drain(ctx context.Context, t terminal, dir string, b serverless.Budget, then func(*app) error) (err error) {
	a, err := openApp(ctx, dir, options{
		clock: clock.NewVirtual(city.Opening()), chaos: f.config(), ordered: true, log: t.logger(),
		source: f.source(f.rides, true),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	if err := a.drain(ctx, t, b, func() (int64, int64) { return a.ended(ctx), int64(f.rides) }); err != nil {
		return err
	}
	return then(a)
}
