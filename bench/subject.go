package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// subject is one event store, in the configuration that suits it best at the
// durability of the comparison.
type subject struct {
	// name is that of the table.
	name string
	// settings say how it is configured, and what it does not store or check.
	settings string
	// open creates a new store in dir, which is empty.
	open func(ctx context.Context, dir string) (instance, error)
	// cannot names the workloads that it has nothing for, with the reason.
	cannot map[string]string
	// slow keeps it out of the short run, but for the main comparison.
	slow bool
}

// errUnavailable: the subject is not to be had on this machine.
var errUnavailable = errors.New("not available")

// event is what every subject stores: its payload is JSON.
type event struct {
	typ      string
	data     []byte
	meta     map[string]string
	metadata []byte // meta as JSON
}

// place is where an event was found: what is needed to check a store.
type place struct {
	stream  string
	version int64
}

// instance is an open store. Its methods are safe for concurrent use.
type instance interface {
	// append stores events durably at the end of a stream that is at this
	// version, and returns when they are.
	append(ctx context.Context, stream string, version int64, events []event) error
	// all reads the whole log in its order and calls fn with each event,
	// undecoded.
	all(ctx context.Context, fn func(place) error) error
	// load reads a stream and returns the number of its events.
	load(ctx context.Context, stream string) (int, error)
	close() error
}

// mainWorkload is the one that every subject is in, in the short run too.
const mainWorkload = "append-64x1"

// stores makes contenders of the subjects that are event stores. A store is
// kept over the rounds where there is something to prepare: it fills the store
// before the first and returns the version of every stream.
func stores(workload string, prepare func(context.Context, instance, scale) (map[string]int64, error),
	round func(context.Context, instance, scale, map[string]int64) (measure, error)) []contender {
	subjects := []subject{leat(), raw(false), hallgren(), chronicleLog(), aneshasStore(), postgres(), jet()}
	if workload == "append-1x1000" { // where the hash chain is a part of the cost that shows
		subjects = slices.Insert(subjects, 2, raw(true))
	}
	contenders := make([]contender, len(subjects))
	for i, sub := range subjects {
		contenders[i] = contender{
			name: sub.name, settings: sub.settings, cannot: sub.cannot[workload], kept: prepare != nil, long: sub.slow && workload != mainWorkload,
			begin: func(ctx context.Context, dir string, s scale) (bout, error) {
				in, err := sub.open(ctx, dir)
				if err != nil {
					return nil, err
				}
				b := &storeBout{in: in, size: s, streams: map[string]int64{}, measure: round}
				if prepare == nil {
					return b, nil
				}
				if b.streams, err = prepare(ctx, in, s); err != nil {
					return nil, errors.Join(err, in.close())
				}
				return b, nil
			},
		}
	}
	return contenders
}

// storeBout measures an event store.
type storeBout struct {
	in      instance
	size    scale
	streams map[string]int64 // the version of each stream
	measure func(context.Context, instance, scale, map[string]int64) (measure, error)
}

func (b *storeBout) round(ctx context.Context) (measure, error) {
	return b.measure(ctx, b.in, b.size, b.streams)
}
func (b *storeBout) check(ctx context.Context) error { return checkStore(ctx, b.in, b.streams) }
func (b *storeBout) close() error                    { return b.in.close() }

// checkStore reads the whole store and says whether it holds each stream
// once, in order and to its end: versions by stream.
func checkStore(ctx context.Context, in instance, want map[string]int64) error {
	got := map[string]int64{}
	total := int64(0)
	err := in.all(ctx, func(p place) error {
		total++
		got[p.stream]++
		if p.version != 0 && p.version != got[p.stream] {
			return fmt.Errorf("stream %s: event %d is at version %d", p.stream, got[p.stream], p.version)
		}
		return nil
	})
	if err != nil {
		return err
	}
	sum := int64(0)
	for stream, version := range want {
		sum += version
		if got[stream] != version {
			return fmt.Errorf("stream %s: %d of %d acknowledged events are read back", stream, got[stream], version)
		}
	}
	if total != sum {
		return fmt.Errorf("%d events are read back, %d were acknowledged", total, sum)
	}
	return nil
}
