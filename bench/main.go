// Command bench compares Leat with the limit, a loop through the raw driver,
// and with its peers: the same work, in one run, in turn, each in its best
// configuration at the same durability. See docs/performance.md for what the
// figures mean.
//
//	go run .               # every workload, five rounds
//	go run . -short        # a reduced set, one round, under a minute
//	go run . load          # how Leat's costs grow
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// command runs what the first argument names.
func command(ctx context.Context, args []string, out, progress io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "load":
			return runLoad(ctx, args[1:], out, progress)
		case openCommand: // a child process of ours
			return runOpen(ctx, args[1:], out)
		case killCommand:
			return runKilled(ctx, args[1:], out)
		}
	}
	return run(ctx, args, out, progress)
}

// options of a comparison.
type options struct {
	size             scale
	workloads, who   *regexp.Regexp
	directory, where string
	profile          string
}

func parse(args []string) (o options, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	short := flags.Bool("short", false, "small sizes, a reduced set and one round: a look at everything in under a minute")
	only := flags.String("workloads", "", "run only the workloads whose name matches this regular expression")
	who := flags.String("subjects", "", "run only the subjects whose name matches this regular expression")
	rounds := flags.Int("rounds", 0, "how often each is measured (default 5, 1 with -short)")
	flags.StringVar(&o.directory, "dir", "", "where the stores are made; on the disk that is meant, not in memory (default the system's temporary directory)")
	flags.StringVar(&o.where, "out", "compare.json", "where the figures are written")
	flags.StringVar(&o.profile, "cpuprofile", "", "where a CPU profile of everything that is run is written; choose one workload and subject")
	flags.Usage = func() {
		fmt.Fprintf(flags.Output(), "usage: bench [flags], or bench load [flags]\n\n%s.\n", names())
		fmt.Fprintf(flags.Output(), "A run has %s; with -short %s.\n\n", long, brief)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q; the only command is load", flags.Arg(0))
	}
	if o.workloads, err = regexp.Compile(*only); err != nil {
		return o, fmt.Errorf("-workloads: %w", err)
	}
	if o.who, err = regexp.Compile(*who); err != nil {
		return o, fmt.Errorf("-subjects: %w", err)
	}
	o.size = long
	if *short {
		o.size = brief
	}
	if *rounds > 0 {
		o.size.rounds = *rounds
	}
	return o, nil
}

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	root, err := os.MkdirTemp(o.directory, "leat-bench-")
	if err == nil {
		err = os.Chmod(root, reachable)
	}
	if err != nil {
		return err
	}
	defer os.RemoveAll(root) //nolint:errcheck // a temporary directory
	if err := describe(out, root); err != nil {
		return err
	}
	fmt.Fprintf(out, "medians of %d rounds, each subject in turn\n", o.size.rounds)
	if o.size.brief {
		fmt.Fprintln(out, "a short run on small files shows that all of it works: its figures are not to be quoted, and nothing is judged by them")
	}
	stop, err := profile(o.profile)
	if err != nil {
		return err
	}
	rows, err := compare(ctx, o, root, progress)
	if err := errors.Join(err, stop()); err != nil {
		return err
	}
	err = errors.Join(table(out, rows), write(o.where, rows))
	if err == nil && !o.size.brief {
		err = judge(out, rows)
	}
	if err != nil {
		return err
	}
	return wrongs(rows)
}

// profile begins a CPU profile, and returns what ends it.
func profile(path string) (stop func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error { pprof.StopCPUProfile(); return f.Close() }, nil
}

// compare runs what was asked for.
func compare(ctx context.Context, o options, root string, progress io.Writer) (rows []row, err error) {
	for _, w := range workloads() {
		if !o.workloads.MatchString(w.name) || o.size.brief && !w.brief {
			continue
		}
		found, err := w.compare(ctx, filepath.Join(root, w.name), o.size, o.who, progress)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w.name, err)
		}
		rows = append(rows, found...)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("nothing to compare: no workload or subject has such a name; %s", names())
	}
	return rows, nil
}

// names lists what -workloads and -subjects choose from.
func names() string {
	var all, who []string
	for _, w := range workloads() {
		all = append(all, w.name)
		for _, c := range w.contenders {
			if !slices.Contains(who, c.name) {
				who = append(who, c.name)
			}
		}
	}
	return fmt.Sprintf("the workloads are %s; the subjects %s", strings.Join(all, ", "), strings.Join(who, ", "))
}

// describe writes what the figures depend on: the machine, and the sizes.
func describe(out io.Writer, dir string) error {
	sync, err := fsync(dir)
	if err != nil {
		return err
	}
	if sync < memorySync {
		fmt.Fprintf(out, "a sync of %s is none: %s seems to be in memory, and these figures say nothing about durable appends (see -dir)\n", sync, dir)
	}
	_, err = fmt.Fprintf(out, "%d CPUs, %s, fsync %s; events of %d B with %d B of metadata\n",
		runtime.GOMAXPROCS(0), runtime.Version(), sync.Round(time.Microsecond), dataBytes, metadataBytes)
	return err
}

const (
	// syncs is how often fsync is measured.
	syncs = 200
	// memorySync is what no disk is faster than.
	memorySync = 5 * time.Microsecond
)

// fsync measures what a durable write costs here: the median of some.
func fsync(dir string) (time.Duration, error) {
	f, err := os.Create(filepath.Join(dir, "fsync"))
	if err != nil {
		return 0, err
	}
	var took []time.Duration
	for range syncs {
		if _, err := f.WriteAt(make([]byte, 4096), 0); err != nil {
			return 0, errors.Join(err, f.Close())
		}
		began := time.Now()
		if err := f.Sync(); err != nil {
			return 0, errors.Join(err, f.Close())
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took[len(took)/2], f.Close()
}
