package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
)

// rideRequested is what the payload of every event here decodes to.
type rideRequested struct {
	RideID string `json:"ride_id"`
	Fare   int64  `json:"fare"`
	Note   string `json:"note"`
}

const rideType = "ride_requested"

func (rideRequested) EventType() string { return rideType }

// ride counts its events, so that what is cached can be compared with the log.
type ride struct{ Events, Fares int64 }

func rides() *aggregate.Definition[ride] {
	return aggregate.Define(category, aggregate.On(func(r *ride, e rideRequested) { r.Events++; r.Fares += e.Fare }))
}

const (
	// updaters are the goroutines that update, each aggregates of its own, so
	// many of them in turn.
	updaters       = 64
	ridesOfUpdater = 16
)

// updating is Update on cached aggregates (load, decide, encode, append,
// decode, fold) beside bare appends of the same events to the same streams.
func updating() []contender {
	settings := fmt.Sprintf("WAL FULL; %d goroutines, %d streams each, one event with metadata at a time", updaters, ridesOfUpdater)
	return []contender{
		{name: "leat", kept: true, settings: settings + "; Repository.Update, all aggregates in its cache", begin: func(ctx context.Context, dir string, s scale) (bout, error) {
			return beginUpdates(ctx, dir, s, true)
		}},
		{name: "bare", kept: true, settings: settings + "; Store.Append of encoded events at exact versions", begin: func(ctx context.Context, dir string, s scale) (bout, error) {
			return beginUpdates(ctx, dir, s, false)
		}},
	}
}

type updateBout struct {
	store   *leatStore
	lasting time.Duration
	repo    *aggregate.Repository[ride]
	cached  bool // by Update, else bare
	event   event
	payload rideRequested
	// versions are those of the streams of each updater.
	versions [updaters][ridesOfUpdater]int64
}

func beginUpdates(ctx context.Context, dir string, s scale, cached bool) (bout, error) {
	store, err := sqlite.Open(ctx, dir, nil)
	if err != nil {
		return nil, err
	}
	b := &updateBout{store: &leatStore{store}, lasting: s.lasting, cached: cached, event: newEvents(1, dataBytes)[0]}
	b.repo = aggregate.NewRepository(store, rides(), nil)
	err = json.Unmarshal(b.event.data, &b.payload)
	// Once each: the streams are there, and in the cache.
	if err == nil {
		_, err = b.each(ctx, func(n int) bool { return n < ridesOfUpdater })
	}
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return b, nil
}

func rideID(updater, i int) string { return fmt.Sprintf("%d-%d", updater, i) }

// each has every updater update its aggregates in turn as long as more says of
// the number of those it has done, and returns how long each took, in rising
// order.
func (b *updateBout) each(ctx context.Context, more func(n int) bool) (took []time.Duration, err error) {
	ctx = eventstore.WithMetadata(ctx, b.event.meta)
	var mu sync.Mutex // guards took, err
	var wg sync.WaitGroup
	for u := range updaters {
		wg.Go(func() {
			var times []time.Duration
			var failed error
			for n := 0; failed == nil && more(n); n++ {
				i := n % ridesOfUpdater
				start := time.Now()
				if failed = b.update(ctx, rideID(u, i), b.versions[u][i]); failed == nil {
					b.versions[u][i]++
					times = append(times, time.Since(start))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, times...)
			err = errors.Join(err, failed)
		})
	}
	wg.Wait()
	slices.Sort(took)
	return took, err
}

func (b *updateBout) update(ctx context.Context, id string, version int64) error {
	if !b.cached {
		return b.store.append(ctx, category+"-"+id, version, []event{b.event})
	}
	_, err := b.repo.Update(ctx, id, func(r *ride) (aggregate.Events, error) {
		if r.Events != version {
			return nil, fmt.Errorf("%s has %d events, its state %d", id, version, r.Events)
		}
		return aggregate.Events{b.payload}, nil
	})
	return err
}

func (b *updateBout) round(ctx context.Context) (measure, error) {
	began := time.Now()
	took, err := b.each(ctx, func(int) bool { return ctx.Err() == nil && time.Since(began) < b.lasting })
	return measure{value: float64(len(took)) / time.Since(began).Seconds(), p99: percentile(took, 99)}, err
}

// check compares the log, and a fold of it that knows no cache, with what was
// acknowledged.
func (b *updateBout) check(ctx context.Context) error {
	want := map[string]int64{}
	anew := aggregate.NewRepository(b.store.Store, rides(), nil)
	for u := range updaters {
		for i := range ridesOfUpdater {
			want[category+"-"+rideID(u, i)] = b.versions[u][i]
			r, version, err := anew.Load(ctx, rideID(u, i))
			if err != nil {
				return err
			}
			if n := b.versions[u][i]; version != n || r.Events != n || r.Fares != n*b.payload.Fare {
				return fmt.Errorf("%s-%s was updated %d times; its log folds to %+v at version %d", category, rideID(u, i), n, *r, version)
			}
		}
	}
	return checkStore(ctx, b.store, want)
}

func (b *updateBout) close() error { return b.store.close() }
