package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// goal is a figure to be reached: one of Leat's, as it is or divided by what
// it is held against.
type goal struct {
	what  string
	value func(rows []row) (float64, bool)
	// bound is the least that value may be, or with most the most.
	bound float64
	most  bool
}

// goPeers are the event stores in Go that Leat is held against.
var goPeers = []string{"hallgren", "chronicle", "aneshas"}

func median(r row) float64 { return r.Median }
func p99(r row) float64    { return r.P99 }

// figure is one that stands alone.
func figure(workload, subject string, of func(row) float64) func([]row) (float64, bool) {
	return func(rows []row) (float64, bool) {
		r, ok := find(rows, workload, subject)
		return of(r), ok
	}
}

// best is the highest median, or with p99 the lowest, among subjects.
func best(workload string, of func(row) float64, lowest bool, subjects ...string) func([]row) (float64, bool) {
	return func(rows []row) (v float64, found bool) {
		for _, s := range subjects {
			r, ok := find(rows, workload, s)
			if ok && (!found || lowest == (of(r) < v)) {
				v, found = of(r), true
			}
		}
		return v, found
	}
}

// over divides one figure by another.
func over(a, b func([]row) (float64, bool)) func([]row) (float64, bool) {
	return func(rows []row) (float64, bool) {
		x, ok := a(rows)
		y, too := b(rows)
		if !ok || !too || y == 0 {
			return 0, false
		}
		return x / y, true
	}
}

// goals are the figures that Leat is meant to reach, at full durability on two
// cores.
func goals() []goal {
	leat := func(workload string) func([]row) (float64, bool) { return figure(workload, "leat", median) }
	versus := func(workload, subject string) func([]row) (float64, bool) {
		return over(leat(workload), figure(workload, subject, median))
	}
	return []goal{
		{what: "append-64x1 ÷ best Go peer", value: over(leat("append-64x1"), best("append-64x1", median, false, goPeers...)), bound: 10},
		{what: "append-64x1 ÷ PostgreSQL", value: versus("append-64x1", "postgres"), bound: 2.5},
		{what: "append-64x1, p99 ÷ best Go peer's", value: over(figure("append-64x1", "leat", p99), best("append-64x1", p99, true, goPeers...)), bound: 0.2, most: true},
		{what: "append-1x1 ÷ raw", value: versus("append-1x1", "raw"), bound: 0.9},
		{what: "append-1x1000 ÷ raw with the hash chain", value: versus("append-1x1000", "raw+hash"), bound: 0.75},
		{what: "append-1x1000 ÷ raw", value: versus("append-1x1000", "raw"), bound: 0.65},
		{what: "append-64x1-full ÷ append-64x1", value: over(leat("append-64x1-full"), leat("append-64x1")), bound: 0.75},
		{what: "append-64x1-full ÷ best Go peer", value: over(leat("append-64x1-full"), best("append-64x1-full", median, false, goPeers...)), bound: 15},
		{what: "read-all ÷ raw", value: versus("read-all", "raw"), bound: 0.9},
		{what: "read-all ÷ best peer", value: over(leat("read-all"), best("read-all", median, false, append(goPeers, "jetstream", "postgres")...)), bound: 1.2},
		{what: "load-100 ÷ chronicle", value: versus("load-100", "chronicle"), bound: 1.1},
		{what: "load-100 ÷ hallgren", value: versus("load-100", "hallgren"), bound: 1.8},
		{what: "update-64 ÷ bare appends", value: versus("update-64", "bare"), bound: 0.8},
		{what: "project-all ÷ raw", value: versus("project-all", "raw"), bound: 0.6},
		{what: "project-all ÷ raw that decodes too", value: versus("project-all", "raw+decode"), bound: 0.6},
		{what: "project-all, events/s", value: leat("project-all"), bound: 100_000},
		{what: "visible, p50 in µs", value: leat("visible"), bound: 1000, most: true},
		{what: "visible, p99 in µs", value: figure("visible", "leat", p99), bound: 5000, most: true},
		{what: "rebuild, p99 of appends ÷ idle", value: over(figure("rebuild", "leat", p99), figure("rebuild", "idle", p99)), bound: 2, most: true},
		{what: "saga-steps, steps/s", value: leat("saga-steps"), bound: 10_000},
		{what: "saga-steps of commands without an append", value: figure("saga-steps", "leat-noappend", median), bound: 10_000},
		{what: "open-full, ms", value: leat("open-full"), bound: 150, most: true},
		{what: "open-full, resident MiB", value: leat("open-memory"), bound: 64, most: true},
	}
}

// judge writes the goals that were measured. Those of a short run say little:
// its files are small.
func judge(out io.Writer, rows []row) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	begun := false
	for _, g := range goals() {
		v, ok := g.value(rows)
		if !ok {
			continue
		}
		if !begun {
			fmt.Fprintln(w, "\nfigure\tmeasured\tmeant\t\t")
			begun = true
		}
		sign, verdict := "≥", "missed"
		if g.most {
			sign = "≤"
		}
		if g.most && v <= g.bound || !g.most && v >= g.bound {
			verdict = "reached"
		}
		fmt.Fprintf(w, "%s\t%.2f\t%s %v\t%s\t\n", g.what, v, sign, g.bound, verdict)
	}
	return w.Flush()
}
