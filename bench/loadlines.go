package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// byStreams: the same number of events on few streams and on many, and appends
// to those that are there, in turn.
func (l *loader) byStreams(ctx context.Context) error {
	events := min(gatheredEvents, l.events)
	line, end := l.table(fmt.Sprintf("streams, with %d events in the log", events), "streams", "64×1 events/s to them", "p99 µs", "B/event", "open ms")
	for _, n := range []int{100, 1_000, 10_000, 100_000} {
		g, err := l.open(ctx, fmt.Sprint("streams-", n))
		if err != nil {
			return err
		}
		if n > events {
			break
		}
		length := events / n
		if _, _, err := appendAll(ctx, g, work{appenders: min(fillers, n), batch: min(length, historyLength), most: int64(events), length: length}, g.streams); err != nil {
			return errors.Join(err, g.close())
		}
		names := make([]string, 0, len(g.streams))
		for name := range g.streams {
			names = append(names, name)
		}
		slices.Sort(names) // their names are random: so is their order in the log
		rate, took, err := appendAll(ctx, g, work{appenders: 64, batch: 1, lasting: l.lasting, length: 1, begun: names}, g.streams)
		if err != nil {
			return errors.Join(err, g.close())
		}
		total := g.total()
		size, ms, err := l.closed(ctx, g)
		if err != nil {
			return err
		}
		line(len(names), rate, micros(percentile(took, 99)), float64(size)/float64(total), ms)
	}
	return end()
}

// closed checks the store, closes it, and returns the size of log.db in bytes
// and how long opening it takes, in milliseconds.
func (l *loader) closed(ctx context.Context, g *grown) (size int64, ms float64, err error) {
	if err := errors.Join(checkStore(ctx, g.leatStore, g.streams), g.close()); err != nil {
		return 0, 0, err
	}
	o, err := openInChild(ctx, g.dir)
	if err != nil {
		return 0, 0, err
	}
	size, err = g.logBytes()
	return size, o.Took.Seconds() * 1000, err
}

// bySize: events with more and more data.
func (l *loader) bySize(ctx context.Context) error {
	line, end := l.table("bytes of data in an event", "data B", "64×1 events/s", "MiB/s", "p99 µs", "B/event", "over data B")
	for _, n := range []int{100, 1 << 10, 10 << 10, 100 << 10} {
		g, err := l.open(ctx, fmt.Sprint("size-", n))
		if err != nil {
			return err
		}
		rate, took, err := appendAll(ctx, g, work{appenders: 64, batch: 1, lasting: l.lasting, length: streamLength, data: n}, g.streams)
		if err != nil {
			return errors.Join(err, g.close())
		}
		events := g.total()
		size, _, err := l.closed(ctx, g)
		if err != nil {
			return err
		}
		each := float64(size) / float64(events)
		line(n, rate, rate*float64(n)/(1<<20), micros(percentile(took, 99)), each, each-float64(n))
	}
	return end()
}

// byConsumers: appends while so many read models follow the log, and how far
// the last of them is behind at the end.
func (l *loader) byConsumers(ctx context.Context) error {
	line, end := l.table("read models that follow, each in its own file, behind one router", "read models", "64×1 events/s", "p99 µs", "behind at the end", "caught up after ms", "each events/s")
	for _, n := range []int{0, 1, 2, 4, 8} {
		if err := l.consumers(ctx, n, line); err != nil {
			return err
		}
	}
	return end()
}

func (l *loader) consumers(ctx context.Context, n int, line func(...any)) (err error) {
	g, err := l.open(ctx, fmt.Sprint("consumers-", n))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	models, err := follow(ctx, g.dir, g.Store, n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, models.close()) }()
	began := time.Now()
	rate, took, err := appendAll(ctx, g, work{appenders: 64, batch: 1, lasting: l.lasting, length: streamLength}, g.streams)
	if err != nil {
		return err
	}
	head, behind := g.total(), int64(0)
	appended := time.Now()
	for _, p := range models.all {
		behind = max(behind, head-p.Position())
	}
	if err := models.waitFor(ctx, head); err != nil {
		return err
	}
	caughtUp := time.Now()
	if err := models.check(ctx, head, g.streams); err != nil {
		return err
	}
	if err := checkStore(ctx, g.leatStore, g.streams); err != nil {
		return err
	}
	line(n, rate, micros(percentile(took, 99)), behind, caughtUp.Sub(appended).Seconds()*1000, float64(head)/caughtUp.Sub(began).Seconds())
	return nil
}

// byAppenders: more and more appenders at once, one event each.
func (l *loader) byAppenders(ctx context.Context) error {
	line, end := l.table("appenders at once, one event each", "appenders", "events/s", "p50 µs", "p99 µs")
	for _, n := range []int{1, 2, 4, 8, 16, 32, 64, 128, 256, 1024} {
		g, err := l.open(ctx, fmt.Sprint("appenders-", n))
		if err != nil {
			return err
		}
		rate, took, err := appendAll(ctx, g, work{appenders: n, batch: 1, lasting: l.lasting, length: streamLength}, g.streams)
		if err != nil {
			return errors.Join(err, g.close())
		}
		if err := g.done(ctx); err != nil {
			return err
		}
		line(n, rate, micros(percentile(took, 50)), micros(percentile(took, 99)))
	}
	return end()
}
