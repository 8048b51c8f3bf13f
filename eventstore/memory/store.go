package memory

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
)

// Options change how a store behaves.
type Options struct {
	// Clock tells the time that events are recorded at. Defaults to
	// clock.System.
	Clock clock.Clock
	// Limits bound what an append accepts. Defaults to those of the contract.
	Limits eventstore.Limits
}

// Store is a log in memory. It is safe for concurrent use; its zero value is
// not usable.
type Store struct {
	clock  clock.Clock
	limits eventstore.Limits
	epoch  string

	mu        sync.Mutex // guards everything below
	events    []entry    // the log; position p is at index p-1
	streams   map[string][]int64
	ids       map[uuid.UUID]int64
	batches   map[string]batch
	snapshots map[snapshotKey]eventstore.Snapshot
	time      int64         // of the last record; time never goes below it
	grown     chan struct{} // closed when the log grows or the store closes
	closed    bool
}

// entry is an event and the log's chain hash up to and including it.
type entry struct {
	eventstore.Recorded
	hash [32]byte
}

// batch is what is remembered of a batch with an ID.
type batch struct {
	content [32]byte
	commit  eventstore.Commit
}

type snapshotKey struct{ stream, fold string }

var (
	_ eventstore.Store     = (*Store)(nil)
	_ eventstore.Snapshots = (*Store)(nil)
)

// New returns an empty store. The options may be nil.
func New(opts *Options) *Store {
	if opts == nil {
		opts = &Options{}
	}
	clk := opts.Clock
	if clk == nil {
		clk = clock.System()
	}
	return &Store{
		clock:     clk,
		limits:    opts.Limits.WithDefaults(),
		epoch:     uuid.NewString(),
		streams:   make(map[string][]int64),
		ids:       make(map[uuid.UUID]int64),
		batches:   make(map[string]batch),
		snapshots: make(map[snapshotKey]eventstore.Snapshot),
		grown:     make(chan struct{}),
	}
}

// Close forgets nothing that was read, but answers every further call, and
// everyone who waits, with ErrClosed. It may be called again.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		close(s.grown)
	}
	return nil
}

// enter takes the mutex, unless the store is closed or ctx has ended.
func (s *Store) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return eventstore.ErrClosed
	}
	return nil
}

// Append implements eventstore.Appender.
func (s *Store) Append(ctx context.Context, b eventstore.Batch) (eventstore.Commit, error) {
	if err := b.Check(s.limits); err != nil {
		return eventstore.Commit{}, err
	}
	if err := s.enter(ctx); err != nil {
		return eventstore.Commit{}, err
	}
	defer s.mu.Unlock()

	content := b.ContentHash()
	if first, ok := s.batches[b.ID]; ok && b.ID != "" {
		if first.content != content {
			return eventstore.Commit{}, &eventstore.IDReusedError{Kind: "batch", ID: b.ID, Position: first.commit.Last}
		}
		return duplicate(first.commit), nil
	}
	if err := s.checkExpectations(b); err != nil {
		return eventstore.Commit{}, err
	}
	pending, commit, err := s.record(b)
	if err != nil {
		return eventstore.Commit{}, err
	}
	s.keep(pending)
	s.time = commit.Time
	if b.ID != "" {
		s.batches[b.ID] = batch{content: content, commit: commit}
	}
	commit.Streams = slices.Clone(commit.Streams)
	return commit, nil
}

func duplicate(c eventstore.Commit) eventstore.Commit {
	c.Streams = slices.Clone(c.Streams)
	c.Duplicate = true
	return c
}

// checkExpectations reports every expectation and guard that does not hold.
func (s *Store) checkExpectations(b eventstore.Batch) error {
	var conflicts []eventstore.Conflict
	check := func(stream string, e eventstore.Expectation, guard bool) {
		if at := int64(len(s.streams[stream])); !e.Holds(at) {
			conflicts = append(conflicts, eventstore.Conflict{Stream: stream, Expected: e, Actual: at, Guard: guard})
		}
	}
	for _, w := range b.Writes {
		check(w.Stream, w.Expect, false)
	}
	for _, g := range b.Guards {
		check(g.Stream, g.Expect, true)
	}
	if conflicts != nil {
		return &eventstore.ConflictError{Conflicts: conflicts}
	}
	return nil
}

// record returns the batch as the log would hold it, and its commit. It
// changes nothing.
func (s *Store) record(b eventstore.Batch) ([]entry, eventstore.Commit, error) {
	commit := eventstore.Commit{
		ID:    b.ID,
		First: s.head() + 1,
		Last:  s.head(),
		Time:  max(s.clock.Now().UnixNano(), s.time),
	}
	var (
		pending []entry
		chain   = s.hash(s.head())
		fresh   = make(map[uuid.UUID]int64)
	)
	for _, w := range b.Writes {
		version := int64(len(s.streams[w.Stream]))
		commit.Streams = append(commit.Streams, eventstore.StreamCommit{
			Stream: w.Stream, First: version + 1, Last: version + int64(len(w.Events)),
		})
		for _, e := range w.Events {
			id, err := eventID(b.ID, len(pending), e)
			if err != nil {
				return nil, eventstore.Commit{}, err
			}
			commit.Last++
			version++
			if err := s.claim(fresh, id, commit.Last); err != nil {
				return nil, eventstore.Commit{}, err
			}
			r := eventstore.Recorded{
				Position: commit.Last, Stream: w.Stream, Version: version,
				ID: id, Type: e.Type, SchemaVersion: max(e.SchemaVersion, 1),
				Data: slices.Clone(e.Data), Meta: e.Metadata.Encode(),
				Time: commit.Time, BatchID: b.ID,
			}
			chain = link(chain, r)
			pending = append(pending, entry{Recorded: r, hash: chain})
		}
	}
	return pending, commit, nil
}

// claim refuses an event id that the log or the batch holds already.
func (s *Store) claim(fresh map[uuid.UUID]int64, id uuid.UUID, position int64) error {
	for _, used := range []map[uuid.UUID]int64{s.ids, fresh} {
		if at, ok := used[id]; ok {
			return &eventstore.IDReusedError{Kind: "event", ID: id.String(), Position: at}
		}
	}
	fresh[id] = position
	return nil
}

func eventID(batchID string, ordinal int, e eventstore.EventData) (uuid.UUID, error) {
	switch {
	case e.ID != uuid.Nil:
		return e.ID, nil
	case batchID != "":
		return eventstore.DeriveID(batchID, ordinal), nil
	default:
		return uuid.NewV7()
	}
}

// keep makes the pending entries part of the log and wakes who waits for them.
func (s *Store) keep(pending []entry) {
	if len(pending) == 0 {
		return
	}
	for _, e := range pending {
		s.events = append(s.events, e)
		s.streams[e.Stream] = append(s.streams[e.Stream], e.Position)
		s.ids[e.ID] = e.Position
	}
	close(s.grown)
	s.grown = make(chan struct{})
}

// Committed implements eventstore.Appender.
func (s *Store) Committed(ctx context.Context, id string) (eventstore.Commit, bool, error) {
	if err := s.enter(ctx); err != nil {
		return eventstore.Commit{}, false, err
	}
	defer s.mu.Unlock()
	first, ok := s.batches[id]
	if !ok {
		return eventstore.Commit{}, false, nil
	}
	return duplicate(first.commit), true, nil
}

// SaveSnapshot implements eventstore.Snapshots.
func (s *Store) SaveSnapshot(ctx context.Context, snap eventstore.Snapshot) error {
	if err := checkSnapshot(snap); err != nil {
		return err
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	key := snapshotKey{snap.Stream, snap.Fold}
	if s.snapshots[key].Version > snap.Version {
		return nil
	}
	snap.State = slices.Clone(snap.State)
	s.snapshots[key] = snap
	return nil
}

// LoadSnapshot implements eventstore.Snapshots.
func (s *Store) LoadSnapshot(ctx context.Context, stream, fold string) (eventstore.Snapshot, bool, error) {
	if err := s.enter(ctx); err != nil {
		return eventstore.Snapshot{}, false, err
	}
	defer s.mu.Unlock()
	snap, ok := s.snapshots[snapshotKey{stream, fold}]
	snap.State = slices.Clone(snap.State)
	return snap, ok, nil
}

func checkSnapshot(s eventstore.Snapshot) error {
	if err := eventstore.CheckName("stream name", s.Stream); err != nil {
		return err
	}
	if err := eventstore.CheckName("fold name", s.Fold); err != nil {
		return err
	}
	if s.Version < 1 {
		return &eventstore.InvalidError{Field: "snapshot version", Value: fmt.Sprint(s.Version), Reason: "must be 1 or more"}
	}
	return nil
}
