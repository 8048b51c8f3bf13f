package main

import (
	"context"
	"errors"
	"fmt"
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
