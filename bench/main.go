// Command bench compares Leat with the limit, a loop through the raw driver,
// and with its peers: the same work, in one run, in turn, each in its best
// configuration at the same durability. See docs/performance.md for what the
// figures mean.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// row is a line of the report: what one subject did in one workload.
type row struct {
	Workload string  `json:"workload"`
	Subject  string  `json:"subject"`
	Unit     string  `json:"unit"`
	Median   float64 `json:"median"`
	Min      float64 `json:"min"`
	Max      float64 `json:"max"`
	P99      float64 `json:"p99_us"`
	Settings string  `json:"settings"`
	// Wrong says what was lost or doubled; the figure then counts for nothing.
	Wrong string `json:"wrong,omitempty"`
	// Skipped says why there is no figure.
	Skipped string `json:"skipped,omitempty"`
}

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	short := flags.Bool("short", false, "small sizes and one round: a look at everything in under a minute")
	only := flags.String("workloads", "", "run only the workloads whose name matches this regular expression")
	who := flags.String("subjects", "", "run only the subjects whose name matches this regular expression")
	rounds := flags.Int("rounds", 0, "how often each is measured (default 5, 1 with -short)")
	dir := flags.String("dir", "", "where the stores are made; on the disk that is meant, not in memory (default the system's temporary directory)")
	file := flags.String("out", "compare.json", "where the figures are written")
	if err := flags.Parse(args); err != nil {
		return err
	}
	wanted, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-workloads: %w", err)
	}
	taking, err := regexp.Compile(*who)
	if err != nil {
		return fmt.Errorf("-subjects: %w", err)
	}
	size := long
	if *short {
		size = brief
	}
	if *rounds > 0 {
		size.rounds = *rounds
	}
	root, err := os.MkdirTemp(*dir, "leat-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root) //nolint:errcheck // a temporary directory
	sync, err := fsync(root)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d CPUs, %s, fsync %s; medians of %d, events of %d B with %d B of metadata\n",
		runtime.GOMAXPROCS(0), runtime.Version(), sync.Round(time.Microsecond), size.rounds, dataBytes, metadataBytes)
	var rows []row
	for _, w := range workloads() {
		if !wanted.MatchString(w.name) {
			continue
		}
		found, err := w.compare(ctx, filepath.Join(root, w.name), size, taking, progress)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		rows = append(rows, found...)
	}
	if len(rows) == 0 {
		return errors.New("nothing to compare: no workload or subject has such a name")
	}
	if err := print(out, rows); err != nil {
		return err
	}
	return write(*file, rows)
}

// fsync measures what a durable write costs here: the median of some.
func fsync(dir string) (time.Duration, error) {
	f, err := os.Create(filepath.Join(dir, "fsync"))
	if err != nil {
		return 0, err
	}
	var took []time.Duration
	for range 200 {
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

// print writes the table: each subject beside Leat.
func print(out io.Writer, rows []row) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "workload\tsubject\tmedian\tmin\tmax\tunit\tp99 µs\tLeat ÷ it\t")
	for _, r := range rows {
		if r.Skipped != "" {
			fmt.Fprintf(w, "%s\t%s\t\t\t\t%s\t\t\t\n", r.Workload, r.Subject, r.Skipped)
			continue
		}
		ratio := ""
		if i := slices.IndexFunc(rows, func(o row) bool { return o.Workload == r.Workload && o.Subject == "leat" }); i >= 0 && r.Median > 0 {
			ratio = fmt.Sprintf("%.2f", rows[i].Median/r.Median)
		}
		if r.Wrong != "" {
			ratio = "WRONG: " + r.Wrong
		}
		fmt.Fprintf(w, "%s\t%s\t%.0f\t%.0f\t%.0f\t%s\t%.0f\t%s\t\n", r.Workload, r.Subject, r.Median, r.Min, r.Max, r.Unit, r.P99, ratio)
	}
	return w.Flush()
}

func write(path string, rows []row) error {
	data, err := json.MarshalIndent(map[string]any{"rows": rows}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o600)
}
