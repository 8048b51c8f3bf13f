package main

import (
	"context"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
)

func leat() subject {
	return subject{
		name:     "leat",
		settings: "WAL FULL, hash chain, metadata, event ids, exact versions; 64 appenders share a sync",
		open: func(ctx context.Context, dir string) (instance, error) {
			s, err := sqlite.Open(ctx, dir, nil)
			if err != nil {
				return nil, err
			}
			return &leatStore{s}, nil
		},
	}
}

type leatStore struct{ *sqlite.Store }

func (s *leatStore) append(ctx context.Context, stream string, version int64, events []event) error {
	data := make([]eventstore.EventData, len(events))
	for i, e := range events {
		data[i] = eventstore.EventData{Type: e.typ, Data: e.data, Metadata: e.meta}
	}
	_, err := s.Append(ctx, eventstore.Batch{Writes: []eventstore.Write{{Stream: stream, Expect: eventstore.Exactly(version), Events: data}}})
	return err
}

func (s *leatStore) all(ctx context.Context, fn func(place) error) error {
	for e, err := range eventstore.Log(ctx, s.Store, 0, eventstore.Filter{}) {
		if err != nil {
			return err
		}
		if err := fn(place{e.Stream, e.Version}); err != nil {
			return err
		}
	}
	return nil
}

func (s *leatStore) load(ctx context.Context, stream string) (n int, err error) {
	for _, err := range eventstore.Stream(ctx, s.Store, stream, 1) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func (s *leatStore) close() error { return s.Close() }
