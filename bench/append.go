package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
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

// streamLength is after how many events an appender takes a new stream.
const streamLength = 10

// newEvents returns n events with so many bytes of data, 64 at least.
func newEvents(n, size int) []event {
	events := make([]event, n)
	for i := range events {
		e := event{typ: "ride_requested", meta: map[string]string{"correlation_id": strings.Repeat("c", 36), "actor": strings.Repeat("a", metadataBytes-66)}}
		var err error
		if e.metadata, err = json.Marshal(e.meta); err != nil {
			panic(err) // strings have a JSON form
		}
		e.data = fmt.Appendf(nil, `{"ride_id":"%016x","fare":%d,"note":"`, rand.Uint64(), 100+rand.IntN(900))
		e.data = append(e.data, strings.Repeat("x", size-2-len(e.data))...)
		e.data = append(e.data, `"}`...)
		events[i] = e
	}
	return events
}

func newStream() string { return fmt.Sprintf("%s-%016x%08x", category, rand.Uint64(), rand.Uint32()) }

// appending has so many appenders append batches of so many events, each to
// streams of its own with exact versions: to new ones, each for streamLength
// events, or where streams are given to those.
func appending(appenders, batch int) func(context.Context, instance, scale, map[string]int64) (measure, error) {
	return func(ctx context.Context, in instance, s scale, streams map[string]int64) (measure, error) {
		w := work{appenders: appenders, batch: batch, lasting: s.lasting, length: max(streamLength, batch)}
		if len(streams) > 0 { // each append to another one that is there, in random order
			w.begun, w.length = slices.Sorted(maps.Keys(streams)), batch
			rand.Shuffle(len(w.begun), func(i, j int) { w.begun[i], w.begun[j] = w.begun[j], w.begun[i] })
		}
		rate, took, err := appendAll(ctx, in, w, streams)
		return measure{value: rate, p99: percentile(took, 99)}, err
	}
}

// percentile returns a percentile of durations in rising order, 0 of none.
func percentile(rising []time.Duration, p int) time.Duration {
	if len(rising) == 0 {
		return 0
	}
	return rising[len(rising)*p/100]
}

// work is what appenders do.
type work struct {
	// appenders work side by side, each with batches of so many events.
	appenders, batch int
	// lasting is when they stop, or where most is not 0 once so many events are
	// stored.
	lasting time.Duration
	most    int64
	// length is after how many events an appender takes a new stream, data the
	// size of an event's, dataBytes where it is 0.
	length, data int
	// begun are the streams to begin with, at their versions; new ones where
	// there are none left.
	begun []string
}

func (w work) goesOn(began time.Time, stored int64) bool {
	if w.most > 0 {
		return stored < w.most
	}
	return time.Since(began) < w.lasting
}

// appendAll has the work done, adds what was stored to streams, and returns
// the events a second and how long each append took, in rising order.
func appendAll(ctx context.Context, in instance, w work, streams map[string]int64) (rate float64, took []time.Duration, err error) {
	var mu sync.Mutex // guards streams, took, err
	var stored atomic.Int64
	var wg sync.WaitGroup
	batches := make([][]event, w.appenders) // made before the clock runs
	for i := range batches {
		batches[i] = newEvents(w.batch, cmp.Or(w.data, dataBytes))
	}
	began := time.Now()
	for i := range w.appenders {
		var own []string // of those begun
		for j := i; j < len(w.begun); j += w.appenders {
			own = append(own, w.begun[j])
		}
		next := func(mine map[string]int64) (string, int64) {
			if len(own) == 0 {
				return newStream(), 0
			}
			name := own[0]
			own = append(own[1:], name) // and round again
			mu.Lock()
			defer mu.Unlock()
			return name, max(mine[name], streams[name])
		}
		wg.Go(func() {
			mine, times, e := w.one(ctx, in, batches[i], next, began, &stored)
			mu.Lock()
			defer mu.Unlock()
			for name, version := range mine {
				streams[name] = version
			}
			took = append(took, times...)
			err = errors.Join(err, e)
		})
	}
	wg.Wait()
	rate = float64(stored.Load()) / time.Since(began).Seconds()
	slices.Sort(took)
	return rate, took, errors.Join(err, ctx.Err())
}

// one is what one appender does, at least once: it appends the events to the
// streams that next gives it, at the versions they have after what it stored.
func (w work) one(ctx context.Context, in instance, events []event, next func(mine map[string]int64) (string, int64), began time.Time, stored *atomic.Int64) (mine map[string]int64, times []time.Duration, err error) {
	mine = map[string]int64{}
	stream, version := next(mine)
	for n := w.batch; ctx.Err() == nil && (n == w.batch || w.goesOn(began, stored.Load())); n += w.batch {
		start := time.Now()
		if err := in.append(ctx, stream, version, events); err != nil {
			return mine, times, err
		}
		times = append(times, time.Since(start))
		version += int64(w.batch)
		mine[stream] = version
		stored.Add(int64(w.batch))
		if n%w.length == 0 {
			stream, version = next(mine)
		}
	}
	return mine, times, nil
}

// fillers append what is there before the measuring begins.
const fillers = 64

// fill makes a file that is not empty: streams with random names, begun and
// gone on with in random order.
func fill(ctx context.Context, in instance, s scale) (map[string]int64, error) {
	streams := map[string]int64{}
	batch := streamLength / 2
	if _, one := in.(*jetStore); one {
		batch = 1
	}
	_, _, err := appendAll(ctx, in, work{appenders: fillers, batch: batch, most: int64(s.full), length: streamLength}, streams)
	return streams, err
}

// historyLength is the length of the streams that are read.
const historyLength = 100

// history makes a log to be read.
func history(ctx context.Context, in instance, s scale) (map[string]int64, error) {
	streams := map[string]int64{}
	batch := 10
	if _, one := in.(*jetStore); one {
		batch = 1
	}
	appenders := min(fillers, max(1, s.history/(4*historyLength))) // whole streams, also of few events
	_, _, err := appendAll(ctx, in, work{appenders: appenders, batch: batch, most: int64(s.history), length: historyLength}, streams)
	return streams, err
}

func readAll(ctx context.Context, in instance, _ scale, _ map[string]int64) (measure, error) {
	n := 0
	began := time.Now()
	err := in.all(ctx, func(place) error { n++; return nil })
	return measure{value: float64(n) / time.Since(began).Seconds()}, err
}

// load reads whole streams, one after the other, in random order.
func load(ctx context.Context, in instance, s scale, streams map[string]int64) (measure, error) {
	took, err := loadFor(ctx, in, s.lasting, streams)
	if err != nil {
		return measure{}, err
	}
	var sum time.Duration
	for _, d := range took {
		sum += d
	}
	return measure{value: float64(len(took)) / sum.Seconds(), p99: percentile(took, 99)}, nil
}

// loadFor returns how long each stream took, in rising order: only those of
// historyLength are read.
func loadFor(ctx context.Context, in instance, lasting time.Duration, streams map[string]int64) (took []time.Duration, err error) {
	var names []string
	for name, version := range streams {
		if version == historyLength {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no stream has %d events", historyLength)
	}
	for began := time.Now(); time.Since(began) < lasting; {
		name := names[rand.IntN(len(names))]
		start := time.Now()
		n, err := in.load(ctx, name)
		if err != nil {
			return nil, err
		}
		if int64(n) != streams[name] {
			return nil, fmt.Errorf("stream %s has %d events, %d were read", name, streams[name], n)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return took, nil
}
