package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"time"
)

// scale is how much is done.
type scale struct {
	// brief takes part of the workloads and contenders only.
	brief  bool
	rounds int
	// lasting is how long a round appends or loads.
	lasting time.Duration
	// full is the number of events in a file that is not empty.
	full int
	// history is the number of events that are read or projected.
	history int
	// steps is the number of saga steps.
	steps int
}

func (s scale) String() string {
	return fmt.Sprintf("%d rounds of %s each, logs of %d events to read and of %d to append to, %d saga steps", s.rounds, s.lasting, s.history, s.full, s.steps)
}

var (
	long  = scale{rounds: 5, lasting: 2 * time.Second, full: 1_000_000, history: 200_000, steps: 20_000}
	brief = scale{brief: true, rounds: 1, lasting: 300 * time.Millisecond, full: 20_000, history: 20_000, steps: 2_000}
)

// workload is one thing that is measured of several contenders.
type workload struct {
	name, unit string
	// also and alsoUnit name a second figure of each round, if there is one; it
	// becomes a row of its own.
	also, alsoUnit string
	// brief has it in the short run too.
	brief      bool
	contenders []contender
}

// contender is who does the work.
type contender struct {
	name, settings string
	// cannot says why there is nothing to measure; empty where there is.
	cannot string
	// kept has one bout serve all rounds; else each begins with a new one.
	kept bool
	// long keeps it out of the short run.
	long bool
	// begin makes ready in dir, which is empty.
	begin func(ctx context.Context, dir string, s scale) (bout, error)
}

// bout is a contender that is ready.
type bout interface {
	// round measures once.
	round(ctx context.Context) (measure, error)
	// check says what is wrong with what all rounds left behind, after the last.
	check(ctx context.Context) error
	close() error
}

// measure is what a round found.
type measure struct {
	value float64 // in the workload's unit
	p99   time.Duration
	also  float64 // in the workload's second unit
}

func workloads() []workload {
	return []workload{
		{name: "append-1x1", unit: "events/s", brief: true, contenders: stores("append-1x1", nil, appending(1, 1))},
		{name: "append-1x10", unit: "events/s", contenders: stores("append-1x10", nil, appending(1, 10))},
		{name: "append-1x1000", unit: "events/s", brief: true, contenders: stores("append-1x1000", nil, appending(1, 1000))},
		{name: "append-64x1", unit: "events/s", brief: true, contenders: stores("append-64x1", nil, appending(64, 1))},
		{name: "append-64x1-full", unit: "events/s", brief: true, contenders: stores("append-64x1-full", fill, appending(64, 1))},
		{name: "read-all", unit: "events/s", brief: true, contenders: stores("read-all", history, readAll)},
		{name: "load-100", unit: "streams/s", brief: true, contenders: stores("load-100", history, load)},
		{name: "update-64", unit: "events/s", brief: true, contenders: updating()},
		{name: "project-all", unit: "events/s", brief: true, contenders: projecting()},
		{name: "visible", unit: "µs", brief: true, contenders: seeing()},
		{name: "rebuild", unit: "µs", also: "rebuild-rate", alsoUnit: "events/s", brief: true, contenders: rebuilding()},
		{name: "saga-steps", unit: "steps/s", brief: true, contenders: acting()},
		{name: "open-full", unit: "ms", also: "open-memory", alsoUnit: "MiB", brief: true, contenders: opening()},
	}
}

// entry is a contender under way.
type entry struct {
	row
	contender contender
	samples   []measure
	bout      bout // nil between the rounds of one that is not kept
}

// compare measures every contender, round by round in turn.
func (w workload) compare(ctx context.Context, dir string, s scale, taking *regexp.Regexp, progress io.Writer) (rows []row, err error) {
	var entries []*entry
	defer func() { // a server among them must not outlive us
		for _, e := range entries {
			err = errors.Join(err, e.close())
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	for _, c := range w.contenders {
		if taking.MatchString(c.name) && (!s.brief || !c.long) {
			entries = append(entries, &entry{contender: c, row: row{Workload: w.name, Subject: c.name, Unit: w.unit, Settings: c.settings, Skipped: c.cannot}})
		}
	}
	for round := range s.rounds {
		for _, e := range entries {
			if e.Skipped != "" || e.Wrong != "" {
				continue
			}
			fmt.Fprintf(progress, "%s: %s, round %d of %d\n", w.name, e.Subject, round+1, s.rounds)
			runtime.GC() // nobody pays for another's garbage
			m, err := e.measure(ctx, filepath.Join(dir, e.Subject, fmt.Sprint(round)), s)
			switch {
			case ctx.Err() != nil:
				return nil, ctx.Err()
			case errors.Is(err, errUnavailable):
				e.Skipped = err.Error()
			case err != nil:
				e.Wrong = err.Error()
			default:
				e.samples = append(e.samples, m)
			}
		}
	}
	for _, e := range entries {
		if err := e.end(ctx); err != nil {
			e.Wrong = err.Error()
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		rows = append(rows, e.row)
		rows[len(rows)-1].summarise(e.samples, func(m measure) float64 { return m.value })
	}
	return append(rows, w.second(entries)...), nil
}

// second returns the rows of the second figure.
func (w workload) second(entries []*entry) (rows []row) {
	if w.also == "" {
		return nil
	}
	for _, e := range entries {
		if e.Skipped != "" || e.Wrong != "" || slices.ContainsFunc(e.samples, func(m measure) bool { return m.also == 0 }) {
			continue
		}
		r := row{Workload: w.also, Subject: e.Subject, Unit: w.alsoUnit, Settings: e.Settings}
		r.summarise(e.samples, func(m measure) float64 { return m.also })
		r.P99 = 0 // it is the first figure's
		rows = append(rows, r)
	}
	return rows
}

// measure does one round, and ends the bout unless it is kept.
func (e *entry) measure(ctx context.Context, dir string, s scale) (m measure, err error) {
	if e.bout == nil {
		if err := os.MkdirAll(dir, reachable); err != nil {
			return m, err
		}
		b, err := e.contender.begin(ctx, dir, s)
		if err != nil {
			return m, err
		}
		e.bout = b
	}
	if m, err = e.bout.round(ctx); err != nil || e.contender.kept {
		return m, err
	}
	return m, e.end(ctx)
}

// end checks what a bout left behind, and closes it.
func (e *entry) end(ctx context.Context) error {
	if e.bout == nil || e.Wrong != "" {
		return nil // there is none, or what it left is known to be wrong
	}
	return errors.Join(e.bout.check(ctx), e.close())
}

func (e *entry) close() error {
	if e.bout == nil {
		return nil
	}
	b := e.bout
	e.bout = nil
	return b.close()
}
