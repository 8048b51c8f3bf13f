package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
)

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
	// Wrong says what was lost, doubled or misordered; there is no figure then.
	Wrong string `json:"-"`
	// Skipped says why there is no figure.
	Skipped string `json:"-"`
}

// ours are the subjects that are Leat's own or the limit, where an error is
// one of Leat or of this program.
var ours = []string{"leat", "raw", "raw+hash", "raw+decode", "bare", "idle", "leat-noappend", "leat-killed"}

// summarise makes medians of the rounds: of each figure its own.
func (r *row) summarise(samples []measure, of func(measure) float64) {
	if len(samples) == 0 {
		return
	}
	values := make([]float64, len(samples))
	p99 := make([]float64, len(samples))
	for i, s := range samples {
		values[i], p99[i] = of(s), float64(s.p99.Nanoseconds())/1000
	}
	slices.Sort(values)
	slices.Sort(p99)
	r.Min, r.Median, r.Max = values[0], values[len(values)/2], values[len(values)-1]
	r.P99 = p99[len(p99)/2]
}

// ratio returns what a is of b, and nothing where one was not measured.
func ratio(a, b float64) string {
	if a <= 0 || b <= 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", a/b)
}

// find returns the figures of a subject in a workload: none where it was not
// measured, or what it stored was wrong.
func find(rows []row, workload, subject string) (row, bool) {
	i := slices.IndexFunc(rows, func(r row) bool {
		return r.Workload == workload && r.Subject == subject && r.Wrong == "" && r.Skipped == "" && r.Median > 0
	})
	if i < 0 {
		return row{}, false
	}
	return rows[i], true
}

// table writes the rows, each subject beside Leat.
func table(out io.Writer, rows []row) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "workload\tsubject\tmedian\tmin\tmax\tunit\tp99 µs\tLeat ÷ it\tp99: Leat ÷ it\t")
	for _, r := range rows {
		switch {
		case r.Skipped != "":
			fmt.Fprintf(w, "%s\t%s\t\t\t\tskipped\t\t\t\t\n", r.Workload, r.Subject)
		case r.Wrong != "":
			fmt.Fprintf(w, "%s\t%s\t\t\t\tWRONG\t\t\t\t\n", r.Workload, r.Subject)
		default:
			leat, _ := find(rows, r.Workload, "leat")
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", r.Workload, r.Subject,
				number(r.Median), number(r.Min), number(r.Max), r.Unit, microseconds(r.P99), ratio(leat.Median, r.Median), ratio(leat.P99, r.P99))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, r := range rows {
		if why := cmp.Or(r.Wrong, r.Skipped); why != "" {
			fmt.Fprintf(out, "%s, %s: %s\n", r.Workload, r.Subject, why)
		}
	}
	return nil
}

// number shows a figure with the digits that mean something.
func number(v float64) string {
	if v < 1000 {
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// microseconds shows a p99: nothing where there was none to measure.
func microseconds(v float64) string {
	if v == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f", v)
}

// write writes the rows as JSON. What was skipped is not there; what was wrong
// has no figures, and says in its settings what was.
func write(path string, rows []row) error {
	kept := make([]row, 0, len(rows))
	for _, r := range rows {
		switch {
		case r.Skipped != "":
			continue
		case r.Wrong != "":
			r.Median, r.Min, r.Max, r.P99 = 0, 0, 0, 0
			r.Settings = "WRONG: " + r.Wrong + "; " + r.Settings
		}
		kept = append(kept, r)
	}
	data, err := json.MarshalIndent(map[string]any{"rows": kept}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o600)
}

// wrongs is the error of a comparison in which Leat or the limit lost
// something. A peer that does is reported, and the comparison is none the
// worse.
func wrongs(rows []row) (err error) {
	for _, r := range rows {
		if r.Wrong != "" && slices.Contains(ours, r.Subject) {
			err = errors.Join(err, fmt.Errorf("%s, %s: %s", r.Workload, r.Subject, r.Wrong))
		}
	}
	return err
}
