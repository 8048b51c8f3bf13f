package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/serverless"
	"github.com/leat-go/leat/taxi-demo/internal/chaos"
	"github.com/leat-go/leat/taxi-demo/internal/importer"
	"github.com/leat-go/leat/taxi-demo/internal/meter"
	"github.com/leat-go/leat/taxi-demo/internal/origin"
	"github.com/leat-go/leat/taxi-demo/internal/tlc"
)

// importStart is where an import's clock starts in a new store. The meter's
// time is in the events; this one only drives the sagas.
func importStart() time.Time { return time.Date(2019, time.January, 1, 0, 0, 0, 0, time.UTC) }

func importCommand(t terminal, store *string) *cobra.Command {
	var asJSON, fresh bool
	var disturb chaos.Config
	cmd := &cobra.Command{
		Use:   "import FILE…",
		Short: "Replay real trip records (TLC CSV, gzipped CSV or Parquet) as rides",
		Long: `Replay real trip records of New York's taxis as rides, to the cent.

Files are as the Taxi & Limousine Commission publishes them: CSV, gzipped CSV or
Parquet, yellow or green, of any month with a known tariff. All files are looked
through before the first row is taken. An import that was interrupted goes on
where it was when started again, and is finished before another begins. A store
holds imports or a generated city, not both.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("import: name at least one file of trip records")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, files []string) error {
			if disturb.Level < 0 || disturb.Level > chaos.MaxLevel {
				return usagef("--chaos %d: give 0 to %d", disturb.Level, chaos.MaxLevel)
			}
			return importFiles(cmd.Context(), t, *store, files, disturb, fresh, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "end with one JSON object")
	cmd.Flags().BoolVar(&fresh, "fresh", false, "remove the store and start over")
	cmd.Flags().Uint64Var(&disturb.Seed, "seed", 1, "what the chaos is drawn from")
	cmd.Flags().IntVar(&disturb.Level, "chaos", 0, "how much goes wrong on the way, 0 to 100, without changing a cent")
	return cmd
}

func importFiles(ctx context.Context, t terminal, dir string, files []string, disturb chaos.Config, fresh, asJSON bool) error {
	began := time.Now()
	infos := make([]tlc.Info, len(files))
	for i, file := range files {
		info, err := checkFile(ctx, file)
		if err != nil {
			return err
		}
		for _, other := range infos[:i] {
			if other.SHA256 == info.SHA256 {
				return usagef("%s and %s are the same file", other.Path, info.Path)
			}
		}
		infos[i] = info
	}
	if fresh {
		if err := removeStore(ctx, dir); err != nil {
			return err
		}
	}
	call := make([]string, len(infos))
	for i, info := range infos {
		call[i] = info.SHA256
	}
	for i, info := range infos {
		last := i == len(infos)-1
		err := importFile(ctx, t, dir, info, call, disturb, func(a *app) error {
			if !last {
				return nil
			}
			r, err := a.checked(ctx, time.Since(began))
			if err != nil {
				return err
			}
			return t.show(r, asJSON)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// checkFile looks a file through, and stops waiting for that when ctx ends.
func checkFile(ctx context.Context, file string) (tlc.Info, error) {
	type result struct {
		info tlc.Info
		err  error
	}
	done := make(chan result, 1)
	go func() {
		info, err := tlc.Check(file)
		done <- result{info, err}
	}()
	select {
	case r := <-done:
		return r.info, r.err
	case <-ctx.Done():
		return tlc.Info{}, ctx.Err()
	}
}

func importFile(ctx context.Context, t terminal, dir string, info tlc.Info, call []string, disturb chaos.Config, then func(*app) error) (err error) {
	start, err := startOf(ctx, dir, importStart())
	if err != nil {
		return err
	}
	clk := clock.NewVirtual(start)
	var im *importer.Importer
	complete := false // all of it was imported before
	a, err := openApp(ctx, dir, options{
		clock: clk, chaos: disturb, log: t.logger(),
		origin: func(o *origin.Origin) (aggregate.Events, error) {
			_, known := o.Files[info.SHA256]
			complete = known && !slices.Contains(o.Open, info.SHA256)
			return o.Begin(origin.File{Source: info.SHA256, Name: info.Path, Rows: info.Rows}, call)
		},
		source: func(a *app) (serverless.Source, error) {
			im = importer.New(info, a, meter.Tariffs(), disturb, clk.Now)
			return im, nil
		},
	})
	if im != nil {
		defer im.Close()
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	progress := func() (int64, int64) { return im.Rows(), info.Rows }
	if complete {
		fmt.Fprintf(t.err, "import %s: it is complete already, all %d rows: none is taken again\n", cell(info.Path), info.Rows)
		progress = func() (int64, int64) { return info.Rows, info.Rows }
	} else {
		fmt.Fprintf(t.err, "import %s: %d rows\n", cell(info.Path), info.Rows)
	}
	if err := a.drain(ctx, t, serverless.Budget{}, progress); err != nil {
		return err
	}
	if im.Rows() == info.Rows {
		err := a.originate(ctx, func(o *origin.Origin) (aggregate.Events, error) { return o.Finish(info.SHA256) })
		if err != nil {
			return err
		}
	}
	return then(a)
}
