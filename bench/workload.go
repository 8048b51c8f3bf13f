package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Sizes of an event.
const (
	dataBytes     = 250
	metadataBytes = 100
)

// scale is how much is done.
type scale struct {
	rounds int
	// lasting is how long a round appends or loads.
	lasting time.Duration
	// full is the number of events in a file that is not empty.
	full int
	// history is the number of events that are read.
	history int
}

var (
	long  = scale{rounds: 5, lasting: 2 * time.Second, full: 1_000_000, history: 200_000}
	brief = scale{rounds: 1, lasting: 300 * time.Millisecond, full: 20_000, history: 20_000}
)

// workload is one thing that is measured of every subject.
type workload struct {
	name, unit string
	subjects   []subject
	// prepare fills a store before the first round; nil where each round
	// begins with an empty one. It returns the version of every stream.
	prepare func(ctx context.Context, in instance, s scale) (map[string]int64, error)
	// round measures once.
	round func(ctx context.Context, in instance, s scale, streams map[string]int64) (measure, error)
}

// measure is what a round found.
type measure struct {
	rate float64 // per second
	p99  time.Duration
}

// streamLength is after how many events an appender takes a new stream.
const streamLength = 10

func workloads() []workload {
	all := []subject{leat(), raw(false), hallgren(), chronicleLog(), aneshasStore(), postgres(), jet()}
	return []workload{
		{name: "append-1x1", unit: "events/s", subjects: all, round: appending(1, 1)},
		{name: "append-1x10", unit: "events/s", subjects: all[:6], round: appending(1, 10)},
		{name: "append-1x1000", unit: "events/s", subjects: slices.Concat(all[:2], []subject{raw(true)}, all[2:6]), round: appending(1, 1000)},
		{name: "append-64x1", unit: "events/s", subjects: all, round: appending(64, 1)},
		{name: "append-64x1-full", unit: "events/s", subjects: all[:5], prepare: fill, round: appending(64, 1)},
		{name: "read-all", unit: "events/s", subjects: all, prepare: history, round: readAll},
		{name: "load-100", unit: "streams/s", subjects: all, prepare: history, round: load},
	}
}

// compare measures every subject, round by round in turn.
func (w workload) compare(ctx context.Context, dir string, s scale, taking *regexp.Regexp, progress io.Writer) ([]row, error) {
	type entry struct {
		row
		samples []measure
		in      instance // kept over the rounds where it was prepared
		streams map[string]int64
	}
	var entries []*entry
	for _, sub := range w.subjects {
		if taking.MatchString(sub.name) {
			entries = append(entries, &entry{row: row{Workload: w.name, Subject: sub.name, Unit: w.unit, Settings: sub.settings, Skipped: sub.cannot[w.name]}})
		}
	}
	subjects := slices.DeleteFunc(slices.Clone(w.subjects), func(s subject) bool { return !taking.MatchString(s.name) })
	for round := range s.rounds {
		for i, e := range entries {
			if e.Skipped != "" || e.Wrong != "" {
				continue
			}
			fmt.Fprintf(progress, "%s: %s, round %d of %d\n", w.name, e.Subject, round+1, s.rounds)
			m, err := func() (m measure, err error) {
				if e.in == nil {
					at := filepath.Join(dir, e.Subject, fmt.Sprint(round))
					if err := os.MkdirAll(at, 0o700); err != nil {
						return m, err
					}
					if e.in, err = subjects[i].open(ctx, at); err != nil {
						return m, err
					}
					e.streams = map[string]int64{}
					if w.prepare != nil {
						if e.streams, err = w.prepare(ctx, e.in, s); err != nil {
							return m, err
						}
					}
				}
				if m, err = w.round(ctx, e.in, s, e.streams); err != nil {
					return m, err
				}
				if w.prepare == nil || round == s.rounds-1 {
					if err := checkStore(ctx, e.in, e.streams); err != nil {
						e.Wrong = err.Error()
					}
					err = e.in.close()
					e.in = nil
				}
				return m, err
			}()
			switch {
			case errors.Is(err, errUnavailable):
				e.Skipped = err.Error()
				continue
			case ctx.Err() != nil:
				return nil, ctx.Err()
			case err != nil:
				e.Wrong = err.Error()
				continue
			}
			e.samples = append(e.samples, m)
		}
	}
	rows := make([]row, 0, len(entries))
	for _, e := range entries {
		if e.in != nil {
			if err := e.in.close(); err != nil {
				return nil, err
			}
		}
		e.summarise(e.samples)
		rows = append(rows, e.row)
	}
	return rows, os.RemoveAll(dir)
}

func (r *row) summarise(samples []measure) {
	if len(samples) == 0 {
		return
	}
	slices.SortFunc(samples, func(a, b measure) int {
		switch {
		case a.rate < b.rate:
			return -1
		case a.rate > b.rate:
			return 1
		}
		return 0
	})
	r.Min, r.Median, r.Max = samples[0].rate, samples[len(samples)/2].rate, samples[len(samples)-1].rate
	var p99 []time.Duration
	for _, s := range samples {
		p99 = append(p99, s.p99)
	}
	slices.Sort(p99)
	r.P99 = float64(p99[len(p99)/2].Nanoseconds()) / 1000
}

// newEvents returns n events with payloads of the right size.
func newEvents(n int) []event {
	events := make([]event, n)
	for i := range events {
		e := event{typ: "ride_requested", meta: map[string]string{"correlation_id": strings.Repeat("c", 36), "actor": strings.Repeat("a", metadataBytes-66)}}
		var err error
		if e.metadata, err = json.Marshal(e.meta); err != nil {
			panic(err) // strings have a JSON form
		}
		e.data = fmt.Appendf(nil, `{"ride_id":"%016x","fare":%d,"note":"`, rand.Uint64(), 100+rand.IntN(900))
		e.data = append(e.data, strings.Repeat("x", dataBytes-2-len(e.data))...)
		e.data = append(e.data, `"}`...)
		events[i] = e
	}
	return events
}

func newStream() string { return fmt.Sprintf("%s-%016x%08x", category, rand.Uint64(), rand.Uint32()) }

// appending has so many appenders append batches of so many events, each to
// streams of its own with exact versions.
func appending(appenders, batch int) func(context.Context, instance, scale, map[string]int64) (measure, error) {
	return func(ctx context.Context, in instance, s scale, streams map[string]int64) (measure, error) {
		return appendFor(ctx, in, appenders, batch, s.lasting, 0, max(streamLength, batch), streams)
	}
}

// appendFor appends until the time is over, or where most is not 0 until so
// many events are stored, and adds what it stored to streams.
func appendFor(ctx context.Context, in instance, appenders, batch int, lasting time.Duration, most int64, length int, streams map[string]int64) (measure, error) {
	var mu sync.Mutex // guards streams, took, failed
	var took []time.Duration
	var failed error
	var stored atomic.Int64
	began := time.Now()
	var wg sync.WaitGroup
	for range appenders {
		wg.Go(func() {
			mine := map[string]int64{}
			var times []time.Duration
			stream, version := newStream(), int64(0)
			events := newEvents(batch)
			var err error
			for ctx.Err() == nil && (most > 0 && stored.Load() < most || most == 0 && time.Since(began) < lasting) {
				start := time.Now()
				if err = in.append(ctx, stream, version, events); err != nil {
					break
				}
				times = append(times, time.Since(start))
				version += int64(batch)
				mine[stream] = version
				stored.Add(int64(batch))
				if version >= int64(length) {
					stream, version = newStream(), 0
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for name, v := range mine {
				streams[name] = v
			}
			took = append(took, times...)
			failed = errors.Join(failed, err)
		})
	}
	wg.Wait()
	elapsed := time.Since(began)
	if failed != nil {
		return measure{}, failed
	}
	slices.Sort(took)
	m := measure{rate: float64(stored.Load()) / elapsed.Seconds()}
	if len(took) > 0 {
		m.p99 = took[len(took)*99/100]
	}
	return m, ctx.Err()
}

// fillers append what is there before the measuring begins.
const fillers = 64

// fill makes a file that is not empty: streams with random names, begun and
// gone on with in random order.
func fill(ctx context.Context, in instance, s scale) (map[string]int64, error) {
	streams := map[string]int64{}
	_, err := appendFor(ctx, in, fillers, streamLength/2, 0, int64(s.full), streamLength, streams)
	return streams, err
}

// history makes a log to be read: streams of 100 events.
func history(ctx context.Context, in instance, s scale) (map[string]int64, error) {
	streams := map[string]int64{}
	batch := 10
	if _, one := in.(*jetStore); one {
		batch = 1
	}
	_, err := appendFor(ctx, in, fillers, batch, 0, int64(s.history), 100, streams)
	return streams, err
}

func readAll(ctx context.Context, in instance, _ scale, _ map[string]int64) (measure, error) {
	n := 0
	began := time.Now()
	err := in.all(ctx, func(place) error { n++; return nil })
	return measure{rate: float64(n) / time.Since(began).Seconds()}, err
}

// load reads whole streams of 100, one after the other, in random order.
func load(ctx context.Context, in instance, s scale, streams map[string]int64) (measure, error) {
	var names []string
	for name, version := range streams {
		if version == 100 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if len(names) == 0 {
		return measure{}, errors.New("no stream has 100 events")
	}
	var took []time.Duration
	for began := time.Now(); time.Since(began) < s.lasting; {
		name := names[rand.IntN(len(names))]
		start := time.Now()
		n, err := in.load(ctx, name)
		if err != nil {
			return measure{}, err
		}
		if n != 100 {
			return measure{}, fmt.Errorf("stream %s has 100 events, %d were read", name, n)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	var sum time.Duration
	for _, d := range took {
		sum += d
	}
	return measure{rate: float64(len(took)) / sum.Seconds(), p99: took[len(took)*99/100]}, nil
}
