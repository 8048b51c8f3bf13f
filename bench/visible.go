package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/projection"
)

// visiblePause is the time between two appends whose way is timed: the machine
// is quiet, and everything that waits is asleep.
const visiblePause = 2 * time.Millisecond

// seeing is the time from the acknowledgement of an append until a read model
// shows the event.
func seeing() []contender {
	return []contender{{
		name: "leat", kept: true, settings: fmt.Sprintf("WAL FULL log, read model behind a Watermill router; one event every %s, from Append's return to WaitFor's; the median is the p50", visiblePause),
		begin: func(ctx context.Context, dir string, s scale) (bout, error) {
			store, err := sqlite.Open(ctx, dir, nil)
			if err != nil {
				return nil, err
			}
			m, err := follow(ctx, dir, store, 1)
			if err != nil {
				return nil, errors.Join(err, store.Close())
			}
			return &seeBout{log: &leatStore{store}, model: m, lasting: s.lasting, streams: map[string]int64{}}, nil
		},
	}}
}

type seeBout struct {
	log     *leatStore
	model   *readModels
	lasting time.Duration
	streams map[string]int64
}

func (b *seeBout) round(ctx context.Context) (measure, error) {
	var took []time.Duration
	events := newEvents(1, dataBytes)
	pace := time.NewTicker(visiblePause)
	defer pace.Stop()
	for began := time.Now(); time.Since(began) < b.lasting; {
		stream := newStream()
		if err := b.log.append(ctx, stream, 0, events); err != nil {
			return measure{}, err
		}
		acknowledged := time.Now()
		b.streams[stream] = 1
		if err := b.model.waitFor(ctx, int64(len(b.streams))); err != nil {
			return measure{}, err
		}
		took = append(took, time.Since(acknowledged))
		select {
		case <-pace.C:
		case <-ctx.Done():
			return measure{}, ctx.Err()
		}
	}
	slices.Sort(took)
	return latency(took), nil
}

func (b *seeBout) check(ctx context.Context) error {
	return errors.Join(b.model.check(ctx, int64(len(b.streams)), b.streams), checkStore(ctx, b.log, b.streams))
}

func (b *seeBout) close() error { return errors.Join(b.model.close(), b.log.close()) }

// rebuildPace is the time between two appends beside a rebuild: 500 a second.
const rebuildPace = 2 * time.Millisecond

// rebuilding is the latency of appends at a steady pace, on an idle store and
// while its read model is built anew, over one and the same store.
func rebuilding() []contender {
	at := &rebuildRig{}
	settings := fmt.Sprintf("WAL FULL log with a read model that follows it; one event every %s, timed from when it was due where the one before was late; the median is the p50", rebuildPace)
	return []contender{
		{name: "idle", kept: true, settings: settings, begin: func(ctx context.Context, dir string, s scale) (bout, error) {
			return at.use(ctx, filepath.Dir(filepath.Dir(dir)), s, false)
		}},
		{name: "leat", kept: true, settings: settings + "; beside Projection.Rebuild of the whole log", begin: func(ctx context.Context, dir string, s scale) (bout, error) {
			return at.use(ctx, filepath.Dir(filepath.Dir(dir)), s, true)
		}},
	}
}

// rebuildRig is the store that both contenders share.
type rebuildRig struct {
	users   int
	log     *leatStore
	model   *readModels
	streams map[string]int64
}

func (r *rebuildRig) use(ctx context.Context, dir string, s scale, rebuild bool) (bout, error) {
	if r.users == 0 {
		if err := r.open(ctx, filepath.Join(dir, "rebuilt"), s); err != nil {
			return nil, err
		}
	}
	r.users++
	return &rebuildBout{rebuildRig: r, lasting: s.lasting, rebuild: rebuild}, nil
}

func (r *rebuildRig) open(ctx context.Context, dir string, s scale) error {
	store, err := sqlite.Open(ctx, dir, nil)
	if err != nil {
		return err
	}
	r.log = &leatStore{store}
	if r.streams, err = fill(ctx, r.log, s); err != nil {
		return errors.Join(err, store.Close())
	}
	if r.model, err = follow(ctx, dir, store, 1); err != nil {
		return errors.Join(err, store.Close())
	}
	head, err := store.Head(ctx)
	if err == nil {
		err = r.model.waitFor(ctx, head)
	}
	if err != nil {
		return errors.Join(err, r.model.close(), store.Close())
	}
	return nil
}

type rebuildBout struct {
	*rebuildRig
	lasting time.Duration
	rebuild bool
}

func (b *rebuildBout) round(ctx context.Context) (measure, error) {
	if !b.rebuild {
		over := make(chan struct{})
		stop := time.AfterFunc(b.lasting, func() { close(over) })
		defer stop.Stop()
		took, err := b.pace(ctx, over)
		return latency(took), err
	}
	before, err := b.log.Head(ctx)
	if err != nil {
		return measure{}, err
	}
	var built projection.Rebuilt
	var failed error
	over := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(over)
		built, failed = b.model.all[0].Rebuild(ctx, nil)
	})
	took, err := b.pace(ctx, over)
	wg.Wait()
	if err := errors.Join(err, failed); err != nil {
		return measure{}, err
	}
	if !built.Identical || built.Events < before {
		return measure{}, fmt.Errorf("the rebuilt read model is not the one that was live: %+v", built)
	}
	m := latency(took)
	m.also = float64(built.Events) / built.Seconds
	return m, nil
}

// latency is the median of durations in rising order, in µs, and their p99.
func latency(took []time.Duration) measure {
	return measure{value: float64(percentile(took, 50).Nanoseconds()) / 1000, p99: percentile(took, 99)}
}

// pace appends an event whenever one is due, until over is closed. One that is
// late because the one before was slow is timed from when it was due, one for
// which the timer woke late (Go's do, by up to a millisecond) from then.
func (b *rebuildBout) pace(ctx context.Context, over <-chan struct{}) (took []time.Duration, err error) {
	events := newEvents(1, dataBytes)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for due := time.Now(); ; due = due.Add(rebuildPace) {
		began := due
		early := time.Now().Before(due)
		timer.Reset(time.Until(due))
		select {
		case <-over:
			slices.Sort(took)
			return took, nil
		case <-ctx.Done():
			return took, ctx.Err()
		case <-timer.C:
		}
		if early {
			began = time.Now()
		}
		stream := newStream()
		if err := b.log.append(ctx, stream, 0, events); err != nil {
			return took, err
		}
		took = append(took, time.Since(began))
		b.streams[stream] = 1
	}
}

func (b *rebuildBout) check(ctx context.Context) error {
	head, err := b.log.Head(ctx)
	if err != nil {
		return err
	}
	return errors.Join(b.model.check(ctx, head, b.streams), checkStore(ctx, b.log, b.streams))
}

func (b *rebuildBout) close() error {
	b.users--
	if b.users > 0 {
		return nil
	}
	return errors.Join(b.model.close(), b.log.close())
}
