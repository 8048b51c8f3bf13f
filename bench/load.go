package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/leat-go/leat/eventstore/sqlite"
)

// The load model shows how Leat's costs grow, one thing at a time: the others
// stay as they are in the comparison.

const (
	// defaultEvents and mostEvents bound the log of the load model.
	defaultEvents = 1_000_000
	mostEvents    = 100_000_000
	// firstEvents is the size of the first log; each is ten times the one
	// before.
	firstEvents = 10_000
	// gatheredEvents is the log, at most, over which streams vary.
	gatheredEvents = 100_000
)

// loader measures and writes the tables.
type loader struct {
	root     string
	out      io.Writer
	progress io.Writer
	lasting  time.Duration
	// first and events are the sizes of the first and the last log.
	first, events int
}

func runLoad(ctx context.Context, args []string, out, progress io.Writer) error {
	l := &loader{out: out, progress: progress, first: firstEvents}
	flags := flag.NewFlagSet("bench load", flag.ContinueOnError)
	flags.IntVar(&l.events, "events", defaultEvents, "how many events the log grows to: tenfold from 10,000; 10000000 takes minutes and some 6 GB")
	flags.DurationVar(&l.lasting, "for", time.Second, "how long each figure is measured")
	dir := flags.String("dir", "", "where the stores are made (default the system's temporary directory)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || l.events < firstEvents || l.events > mostEvents || l.lasting <= 0 {
		return fmt.Errorf("usage: bench load [-events %d..%d] [-for 1s] [-dir DIR]", firstEvents, mostEvents)
	}
	var err error
	if l.root, err = os.MkdirTemp(*dir, "leat-load-"); err != nil {
		return err
	}
	defer os.RemoveAll(l.root) //nolint:errcheck // a temporary directory
	if err := describe(out, l.root); err != nil {
		return err
	}
	return l.tables(ctx)
}

func (l *loader) tables(ctx context.Context) error {
	for _, part := range []func(context.Context) error{l.byEvents, l.byStreams, l.bySize, l.byConsumers, l.byAppenders} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

// table begins a table: line adds a line to it, end writes it.
func (l *loader) table(title string, columns ...string) (line func(...any), end func() error) {
	fmt.Fprintf(l.out, "\n%s\n", title)
	w := tabwriter.NewWriter(l.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, strings.Join(columns, "\t")+"\t")
	return func(cells ...any) {
		for _, c := range cells {
			if f, ok := c.(float64); ok {
				c = number(f)
			}
			fmt.Fprintf(w, "%v\t", c)
		}
		fmt.Fprintln(w)
		fmt.Fprintf(l.progress, "%s: %v\n", title, cells)
	}, w.Flush
}

// grown is a store that the load model fills.
type grown struct {
	*leatStore
	dir     string
	streams map[string]int64
}

func (l *loader) open(ctx context.Context, name string) (*grown, error) {
	dir := filepath.Join(l.root, name)
	s, err := sqlite.Open(ctx, dir, nil)
	if err != nil {
		return nil, err
	}
	return &grown{leatStore: &leatStore{s}, dir: dir, streams: map[string]int64{}}, nil
}

func (g *grown) total() (n int64) {
	for _, version := range g.streams {
		n += version
	}
	return n
}

// done checks the store, closes it and removes it.
func (g *grown) done(ctx context.Context) error {
	return errors.Join(checkStore(ctx, g.leatStore, g.streams), g.close(), os.RemoveAll(g.dir))
}

// logBytes is the size of log.db.
func (g *grown) logBytes() (int64, error) {
	info, err := os.Stat(filepath.Join(g.dir, "log.db"))
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// byEvents: the log grows tenfold from line to line, on streams of 10 with
// random names, and some of 100 that are loaded.
func (l *loader) byEvents(ctx context.Context) error {
	g, err := l.open(ctx, "events")
	if err != nil {
		return err
	}
	line, end := l.table("events in the log", "events", "64×1 events/s", "p99 µs", "1×1 events/s", "load 100 µs", "read events/s", "log.db MiB", "B/event", "open ms", "before MiB", "resident MiB")
	for n := l.first; n <= l.events; n *= 10 {
		if err := l.grow(ctx, g, n, line); err != nil {
			return errors.Join(err, g.close())
		}
	}
	return errors.Join(end(), g.done(ctx))
}

// loaded is how many streams of historyLength are there to be loaded.
const loaded = 20

// grow fills the log until it has n events, and measures a line.
func (l *loader) grow(ctx context.Context, g *grown, n int, line func(...any)) error {
	appends := func(w work) (rate float64, took []time.Duration, err error) { return appendAll(ctx, g, w, g.streams) }
	for _, w := range []work{
		{appenders: 1, batch: historyLength, most: loaded * historyLength, length: historyLength},
		{appenders: fillers, batch: streamLength, most: max(1, int64(n)-g.total()-loaded*historyLength), length: streamLength},
	} {
		if _, _, err := appends(w); err != nil {
			return err
		}
	}
	// Closed and opened, all of the log is in log.db.
	if err := g.close(); err != nil {
		return err
	}
	size, err := g.logBytes()
	if err != nil {
		return err
	}
	events := g.total()
	o, err := openInChild(ctx, g.dir)
	if err != nil {
		return err
	}
	if o.Head != events {
		return fmt.Errorf("the head is %d after %d acknowledged events", o.Head, events)
	}
	s, err := sqlite.Open(ctx, g.dir, nil)
	if err != nil {
		return err
	}
	g.leatStore = &leatStore{s}
	took, err := loadFor(ctx, g, l.lasting, g.streams)
	if err != nil {
		return err
	}
	read, err := readAll(ctx, g, scale{}, nil)
	if err != nil {
		return err
	}
	alone, _, err := appends(work{appenders: 1, batch: 1, lasting: l.lasting, length: streamLength})
	if err != nil {
		return err
	}
	many, times, err := appends(work{appenders: 64, batch: 1, lasting: l.lasting, length: streamLength})
	if err != nil {
		return err
	}
	line(events, many, micros(percentile(times, 99)), alone, micros(percentile(took, 50)), read.value,
		float64(size)/(1<<20), float64(size)/float64(events), o.Took.Seconds()*1000, float64(o.Before)/(1<<20), float64(o.After)/(1<<20))
	return nil
}
