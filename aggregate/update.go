package aggregate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/leat-go/leat/eventstore"
)

// Limits of the pause between two decisions of one update.
const (
	firstPause = time.Millisecond
	maxPause   = 50 * time.Millisecond
)

// Change is a decision about one aggregate, to be made together with others.
type Change interface {
	store() Store
	stream() string
	attempts() int
	// lock takes the aggregate and brings its state up to what the log holds
	// where fresh is set, or where there is none in memory.
	lock(ctx context.Context, fresh bool) error
	unlock()
	// version is that of the state.
	version() int64
	// decide returns the events, encoded.
	decide() ([]eventstore.EventData, error)
	// cached tells whether the state may be older than the log.
	cached() bool
	// stored folds what the log has taken, as the log has it.
	stored(ctx context.Context, events []eventstore.EventData, commit eventstore.StreamCommit)
	// drop forgets the state.
	drop()
}

// Change returns a decision about the aggregate with this id, to be given to
// UpdateAll. The rules for decide are those of Update.
func (r *Repository[S]) Change(id string, decide func(*S) (Events, error)) Change {
	return &change[S]{repo: r, id: id, name: r.def.Stream(id), decision: decide}
}

type change[S any] struct {
	repo     *Repository[S]
	id       string
	name     string
	decision func(*S) (Events, error)
	entry    *entry[S] // while locked
	stale    bool      // the state was in memory, not read under this lock
}

func (c *change[S]) store() Store   { return c.repo.store }
func (c *change[S]) stream() string { return c.name }
func (c *change[S]) attempts() int  { return c.repo.opts.Attempts }
func (c *change[S]) cached() bool   { return c.stale }
func (c *change[S]) version() int64 { return c.entry.version }
func (c *change[S]) drop()          { c.entry.state, c.entry.version = nil, 0 }
func (c *change[S]) unlock()        { c.entry.unlock(); c.entry = nil }

func (c *change[S]) lock(ctx context.Context, fresh bool) error {
	if c.id == "" {
		return &eventstore.InvalidError{Field: "aggregate id", Value: c.name, Reason: "is empty after the dash"}
	}
	e, err := c.repo.cache.lock(ctx, c.name)
	if err != nil {
		return err
	}
	c.entry, c.stale = e, e.state != nil && !fresh
	locked := false
	defer func() {
		if !locked { // an error, or a fold that panicked: the state is half made
			c.drop()
			c.unlock()
		}
	}()
	switch {
	case e.state == nil:
		e.state, e.version, err = c.repo.load(ctx, c.name)
	case fresh:
		e.version, err = c.repo.catchUp(ctx, c.name, e.state, e.version)
	}
	if err != nil {
		return fmt.Errorf("load %s: %w", c.name, err)
	}
	locked = true
	return nil
}

func (c *change[S]) decide() ([]eventstore.EventData, error) {
	events, err := c.decision(c.entry.state)
	if err != nil {
		return nil, err
	}
	encoded := make([]eventstore.EventData, len(events))
	for i, e := range events {
		if encoded[i], err = c.repo.def.encode(e); err != nil {
			return nil, fmt.Errorf("event %d of %s: %w", i+1, c.name, err)
		}
	}
	return encoded, nil
}

func (c *change[S]) stored(ctx context.Context, events []eventstore.EventData, at eventstore.StreamCommit) {
	for i, e := range events {
		err := c.repo.def.Fold(c.entry.state, eventstore.Recorded{
			Stream: c.name, Version: at.First + int64(i), Type: e.Type, SchemaVersion: e.SchemaVersion, Data: e.Data,
		})
		if err != nil {
			// Stored, but this fold does not know it: the next load says so.
			c.drop()
			return
		}
	}
	before := c.entry.version
	c.entry.version = at.Last
	c.repo.saveSnapshot(ctx, c.name, c.entry.state, before, at.Last)
}

// UpdateAll makes several decisions and appends their events as one batch: all
// or nothing, each only if its stream is unchanged. A change that decides no
// events still guards its stream. The rules are those of Update; the changes
// are of different aggregates in one store. The Attempts are those of the first
// change's repository.
func UpdateAll(ctx context.Context, changes ...Change) (eventstore.Commit, error) {
	if len(changes) == 0 {
		return eventstore.Commit{}, errors.New("aggregate: UpdateAll without changes")
	}
	store := changes[0].store()
	for i, c := range changes {
		if c.store() != store {
			return eventstore.Commit{}, fmt.Errorf("aggregate: %s and %s are in different stores and cannot change together", changes[0].stream(), c.stream())
		}
		for _, other := range changes[:i] {
			if other.stream() == c.stream() {
				return eventstore.Commit{}, fmt.Errorf("aggregate: %s stands twice in one UpdateAll", c.stream())
			}
		}
	}
	u := &update{changes: changes, ordered: slices.Clone(changes), store: store}
	// Locks are taken in one order everywhere, so that two updates never wait
	// for each other.
	slices.SortFunc(u.ordered, func(a, b Change) int { return cmp.Compare(a.stream(), b.stream()) })
	return u.run(ctx)
}

// update is one UpdateAll under way.
type update struct {
	changes []Change // as given
	ordered []Change // as locked
	store   Store
	id      string // the batch ID, empty for none
	cached  bool   // the last attempt decided on what was in memory
}

func (u *update) run(ctx context.Context) (eventstore.Commit, error) {
	command := eventstore.CommandFrom(ctx)
	if command == nil {
		return u.decideAndAppend(ctx)
	}
	if err := command.Spend(); err != nil {
		return eventstore.Commit{}, err
	}
	u.id = command.ID()
	var commit eventstore.Commit
	var done bool
	var err error
	if !command.Unused() {
		commit, done, err = u.committed(ctx)
	}
	if err == nil && !done {
		commit, err = u.decideAndAppend(ctx)
	}
	switch {
	case err == nil:
		command.Done(commit)
	case !errors.Is(err, eventstore.ErrOutcomeUnknown):
		command.Release() // nothing was stored: the function may decide otherwise
	}
	return commit, err
}

// committed tells whether the command was carried out before: deciding twice
// may rightly give other events.
func (u *update) committed(ctx context.Context) (eventstore.Commit, bool, error) {
	if u.id == "" {
		return eventstore.Commit{}, false, nil
	}
	return u.store.Committed(ctx, u.id)
}

func (u *update) decideAndAppend(ctx context.Context) (eventstore.Commit, error) {
	decisions := 0 // that were made on the log's own state
	for fresh := false; ; fresh = true {
		commit, again, err := u.attempt(ctx, fresh)
		if !again && (err == nil || errors.Is(err, eventstore.ErrOutcomeUnknown)) {
			return commit, err
		}
		// Another run of the command may have carried it out meanwhile, which
		// would explain a conflict as well as a refusal.
		c, done, e := u.committed(ctx)
		switch {
		case e == nil && done:
			return c, nil
		case !again:
			return commit, err
		case e != nil:
			return eventstore.Commit{}, e
		}
		if u.cached {
			continue
		}
		if decisions++; decisions >= u.changes[0].attempts() {
			return eventstore.Commit{}, fmt.Errorf("after %d decisions: %w", decisions, err)
		}
		if err := pause(ctx, decisions); err != nil {
			return eventstore.Commit{}, err
		}
	}
}

// attempt decides and appends once. It asks for another where the decision was
// made on a state that is not the log's any more.
func (u *update) attempt(ctx context.Context, fresh bool) (_ eventstore.Commit, again bool, _ error) {
	locked, keep := 0, false
	defer func() {
		for _, c := range u.ordered[:locked] {
			if !keep { // an error or a panic: nobody knows what was done to the states
				c.drop()
			}
			c.unlock()
		}
	}()
	u.cached = false
	for _, c := range u.ordered {
		if err := c.lock(ctx, fresh); err != nil {
			return eventstore.Commit{}, false, err
		}
		locked++
		u.cached = u.cached || c.cached()
	}
	batch, err := u.decide(ctx)
	if err != nil {
		// A refusal is believed only of a state that was read just now.
		return eventstore.Commit{}, u.cached, err
	}
	if len(batch.Writes) == 0 && (u.cached || u.id == "") {
		// So is a decision that there is nothing to do.
		keep = true
		return eventstore.Commit{}, u.cached, nil
	}
	commit, err := u.store.Append(ctx, batch)
	switch {
	case errors.Is(err, eventstore.ErrConflict):
		// What is new will be folded onto the states.
		u.dropAhead(err)
		keep = true
		return eventstore.Commit{}, true, err
	case err != nil:
		return eventstore.Commit{}, u.id != "" && errors.Is(err, eventstore.ErrIDReused), err
	case commit.Duplicate:
		return commit, false, nil
	}
	u.stored(ctx, batch, commit)
	keep = true
	return commit, false, nil
}

// dropAhead forgets the states that are ahead of the log, to which nothing new
// leads.
func (u *update) dropAhead(err error) {
	conflict, ok := errors.AsType[*eventstore.ConflictError](err)
	for _, c := range u.changes {
		behind := func(x eventstore.Conflict) bool { return x.Stream == c.stream() && x.Actual < c.version() }
		if !ok || slices.ContainsFunc(conflict.Conflicts, behind) {
			c.drop()
		}
	}
}

// decide makes all decisions into one batch, in the order given.
func (u *update) decide(ctx context.Context) (eventstore.Batch, error) {
	batch := eventstore.Batch{ID: u.id}
	meta := metadata(ctx)
	for _, c := range u.changes {
		events, err := c.decide()
		if err != nil {
			return eventstore.Batch{}, err
		}
		if len(events) == 0 {
			batch.Guards = append(batch.Guards, eventstore.Guard{Stream: c.stream(), Expect: eventstore.Exactly(c.version())})
			continue
		}
		for i := range events {
			events[i].Metadata = meta
		}
		batch.Writes = append(batch.Writes, eventstore.Write{Stream: c.stream(), Expect: eventstore.Exactly(c.version()), Events: events})
	}
	return batch, nil
}

func (u *update) stored(ctx context.Context, batch eventstore.Batch, commit eventstore.Commit) {
	at := make(map[string]eventstore.StreamCommit, len(commit.Streams))
	for _, s := range commit.Streams {
		at[s.Stream] = s
	}
	written := make(map[string][]eventstore.EventData, len(batch.Writes))
	for _, w := range batch.Writes {
		written[w.Stream] = w.Events
	}
	for _, c := range u.changes {
		if events := written[c.stream()]; len(events) > 0 {
			c.stored(ctx, events, at[c.stream()])
		}
	}
}

// metadata returns what the context says about the events to be, and the
// command they come from.
func metadata(ctx context.Context) eventstore.Metadata {
	m := eventstore.MetadataFrom(ctx)
	command := eventstore.CommandFrom(ctx)
	if command == nil || command.ID() == "" {
		return m
	}
	m = maps.Clone(m)
	if m == nil {
		m = eventstore.Metadata{}
	}
	m[eventstore.CommandID] = command.ID()
	return m
}

// pause waits a random part of a time that doubles with each attempt.
func pause(ctx context.Context, attempt int) error {
	limit := min(maxPause, firstPause<<min(attempt, 10))
	timer := time.NewTimer(rand.N(limit))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
