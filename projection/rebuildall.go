package projection

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"github.com/leat-go/leat/eventstore"
)

const (
	// MaxTogether is how many read models are rebuilt at once at most.
	MaxTogether = 64
	// sharedPages is how many pages of the log the fastest of several rebuilds
	// may be ahead of the slowest.
	sharedPages = 4
)

// Outcome is what became of one of several rebuilds.
type Outcome struct {
	// Projection is the name of the read model.
	Projection string
	// Rebuilt and Err are what Rebuild returns: with an error the result is zero,
	// or says that the new file serves all the same.
	Rebuilt
	Err error
}

// RebuildAll rebuilds several read models side by side, from one reading of the
// log that they share: see Rebuild, which it is for each of them. A failure of
// one ends that one alone. They leave a processor to the rest of the program,
// where there are two. The outcomes are in the order of the projections.
//
// The error is about the call: more than MaxTogether projections, or of
// different logs. progress may be nil; it is called as that of Rebuild, with
// the read model's name, by one goroutine at a time.
func RebuildAll(ctx context.Context, all []*Projection, progress func(name string, p Progress)) ([]Outcome, error) {
	if len(all) > MaxTogether {
		return nil, fmt.Errorf("projection: rebuild %d read models: %d at once at most", len(all), MaxTogether)
	}
	shared := &sharedLog{changed: make(chan struct{})}
	for _, p := range all {
		if !sameLog(p.log, all[0].log) {
			return nil, fmt.Errorf("projection: rebuild %s and %s together: they are of different logs: rebuild each alone", all[0].def.name, p.def.name)
		}
		shared.log = wayGiver{p.log}
		for _, t := range p.def.types {
			if !slices.Contains(shared.filter.Types, t) {
				shared.filter.Types = append(shared.filter.Types, t)
			}
		}
	}
	outcomes := make([]Outcome, len(all))
	var one sync.Mutex // has progress called by one at a time
	var running sync.WaitGroup
	readers := make([]*sharedReader, len(all))
	for i := range all { // all of them, before the first reads
		readers[i] = shared.join()
	}
	for i, p := range all {
		running.Go(func() {
			defer readers[i].leave()
			outcomes[i].Projection = p.def.name
			outcomes[i].Rebuilt, outcomes[i].Err = p.rebuildFrom(ctx, readers[i], readers[i].leave, func(now Progress) {
				if progress != nil {
					one.Lock()
					defer one.Unlock()
					progress(p.def.name, now)
				}
			})
		})
	}
	running.Wait()
	return outcomes, nil
}

// sameLog tells whether both are one log. Of what cannot be compared it does
// not know.
func sameLog(a, b eventstore.LogReader) bool {
	return reflect.TypeOf(a).Comparable() && reflect.TypeOf(b).Comparable() && a == b
}

// sharedLog is read once for several who begin at its start and go through it
// side by side. Whoever comes first to where the next page begins reads it, for
// all of them.
type sharedLog struct {
	log    eventstore.LogReader
	filter eventstore.Filter // what any of them wants

	mu      sync.Mutex // guards what follows
	pages   []sharedPage
	end     int64 // where the next page begins
	reading bool
	readers []*sharedReader
	changed chan struct{} // closed when any of it changes
}

type sharedPage struct {
	after int64
	eventstore.Page
}

// sharedReader is one of those who go through a shared log. Pages that do not
// begin where the shared ones do it reads by itself.
type sharedReader struct {
	eventstore.LogReader
	shared *sharedLog
	at     int64 // through which it has the pages; guarded by shared.mu
}

func (s *sharedLog) join() *sharedReader {
	r := &sharedReader{LogReader: s.log, shared: s}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readers = append(s.readers, r)
	return r
}

// leave has the others wait for this reader no more. It may be called again.
func (r *sharedReader) leave() {
	s := r.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(r)
}

// drop is leave. The caller holds mu.
func (s *sharedLog) drop(r *sharedReader) {
	if i := slices.Index(s.readers, r); i >= 0 {
		s.readers = slices.Delete(s.readers, i, i+1)
		s.forget()
	}
}

// forget drops the pages that every reader has. The caller holds mu.
func (s *sharedLog) forget() {
	s.pages = slices.DeleteFunc(s.pages, func(p sharedPage) bool {
		return !slices.ContainsFunc(s.readers, func(r *sharedReader) bool { return r.at < p.Through.Position })
	})
	close(s.changed)
	s.changed = make(chan struct{})
}

// ReadLog returns the shared page that begins there, reading it where nobody
// has, once the slowest has come near enough.
func (r *sharedReader) ReadLog(ctx context.Context, after int64, limit int, f eventstore.Filter) (eventstore.Page, error) {
	s := r.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		i := slices.IndexFunc(s.pages, func(p sharedPage) bool { return p.after == after })
		switch {
		case i >= 0:
			page := s.pages[i].Page
			r.at = page.Through.Position
			s.forget()
			return chosen(page, f), nil
		case after != s.end || !slices.Contains(s.readers, r):
			s.drop(r) // it is past its part of the shared pages
			s.mu.Unlock()
			page, err := r.LogReader.ReadLog(ctx, after, limit, f)
			s.mu.Lock()
			return page, err
		case !s.reading && len(s.pages) < sharedPages:
			if err := s.read(ctx, limit); err != nil {
				return eventstore.Page{}, err
			}
			continue
		}
		changed := s.changed
		s.mu.Unlock()
		var err error
		select {
		case <-changed:
		case <-ctx.Done():
			err = ctx.Err()
		}
		s.mu.Lock()
		if err != nil {
			return eventstore.Page{}, err
		}
	}
}

// read reads the next page. The caller holds mu, which is free meanwhile. An
// error is the caller's alone: the next who comes tries again.
func (s *sharedLog) read(ctx context.Context, limit int) error {
	s.reading = true
	after := s.end
	s.mu.Unlock()
	page, err := s.log.ReadLog(ctx, after, limit, s.filter)
	s.mu.Lock()
	s.reading = false
	if err == nil && page.Through.Position == after {
		err = fmt.Errorf("%w: the log ends at position %d", eventstore.ErrRewound, after)
	}
	if err == nil {
		s.pages, s.end = append(s.pages, sharedPage{after, page}), page.Through.Position
	}
	close(s.changed)
	s.changed = make(chan struct{})
	return err
}

// chosen returns a page with the events that the filter selects.
func chosen(p eventstore.Page, f eventstore.Filter) eventstore.Page {
	mine := make([]eventstore.Recorded, 0, len(p.Events))
	for i := range p.Events {
		if e := &p.Events[i]; f.Match(e.Stream, e.Type) {
			mine = append(mine, *e)
		}
	}
	p.Events = mine
	return p
}
