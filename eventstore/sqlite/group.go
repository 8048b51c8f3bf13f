package sqlite

import (
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/mattn/go-sqlite3"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/crash"
)

// group is a transaction in the making: what it adds to what the writer knows,
// so that nothing is left of it when it fails.
type group struct {
	w *writer
	// tip is the end of the log as it is inside the transaction.
	tip tip
	// streams are those it wrote; types those it named.
	streams map[string]streamState
	types   map[string]int64
	// careful: look up every event id before it is stored.
	careful bool
	// wrote: there is something to commit.
	wrote bool
	// rows are those that are not stored yet, the values of one after another.
	rows []driver.Value
	// moving: it stores rows of the index, and nothing else.
	moving bool
	// events are those that it stored.
	events []streamEvents
	conn   *sqlite3.SQLiteConn
}

var (
	errEndedEarly = errors.New("the transaction ended before its commit: something ended it, or a statement was cancelled")
	errStillOpen  = errors.New("a transaction could not be undone")
)

// run checks and stores the requests and commits.
func (g *group) run(c *sqlite3.SQLiteConn, requests []*request) (outcome, error) {
	g.conn = c
	st := &g.w.statements
	if err := st.begin.exec(); err != nil {
		return undone, err
	}
	crash.At(crash.LogBegun)
	for _, r := range requests {
		switch err := g.apply(r); {
		case err == nil:
		case errors.Is(err, errEndedEarly):
			return unknown, err // who knows what ended it, and how
		default:
			return undone, errors.Join(err, g.undo())
		}
	}
	if !g.wrote {
		return stored, g.undo()
	}
	switch err := g.flush(); {
	case errors.Is(err, errEndedEarly):
		return unknown, err
	case err != nil:
		return undone, errors.Join(err, g.undo())
	}
	if err := g.w.index.follows(g.events); err != nil {
		return undone, errors.Join(err, g.undo())
	}
	return g.commit()
}

// reached is a place of a group of appends at which tests kill the process.
func (g *group) reached(p crash.Point) {
	if !g.moving {
		crash.At(p)
	}
}

// commit ends the transaction. What it returns without an error is stored.
func (g *group) commit() (outcome, error) {
	if g.conn.AutoCommit() {
		return unknown, errEndedEarly
	}
	g.reached(crash.LogBeforeCommit)
	if err := g.w.statements.commit.exec(); err != nil {
		return unknown, errors.Join(err, g.undo())
	}
	g.reached(crash.LogAfterCommit)
	if err := g.inject("committed"); err != nil {
		return unknown, err
	}
	if err := g.w.store.db.WAL().Committed(g.conn); err != nil {
		return unknown, g.w.store.translate("commit", err)
	}
	g.reached(crash.LogChecked)
	return stored, nil
}

// inject calls the test's hand, if there is one.
func (g *group) inject(point string) error {
	if g.w.inject == nil {
		return nil
	}
	if g.moving {
		point = "index " + point
	}
	return g.w.inject(point, g.conn)
}

// exec runs a statement that writes, inside the transaction or not at all:
// where something has ended that, each statement would commit by itself, and a
// part of a batch be stored.
func (g *group) exec(st *stmt, args ...driver.Value) error {
	if err := g.inject("write"); err != nil {
		return err
	}
	if g.conn.AutoCommit() {
		return errEndedEarly
	}
	return st.exec(args...)
}

// undo ends the transaction unless SQLite has done so itself.
func (g *group) undo() error {
	if g.conn.AutoCommit() {
		return nil
	}
	if err := g.w.statements.rollback.exec(); err != nil && !g.conn.AutoCommit() {
		return errors.Join(errStillOpen, err)
	}
	return nil
}

// apply checks one request against the log and what is pending, and stores it.
// A refusal is the request's own; an error ends the transaction.
func (g *group) apply(r *request) error {
	r.commit, r.err = eventstore.Commit{}, nil
	if r.snapshot != nil {
		return g.saveSnapshot(r.snapshot)
	}
	if r.batch.ID != "" {
		if known, err := g.repeated(r); known || err != nil {
			return err
		}
	}
	streams := make([]streamState, len(r.batch.Writes))
	if refused, err := g.conflicts(r, streams); refused || err != nil {
		return err
	}
	if r.explicit || g.careful {
		if refused, err := g.usedIDs(r); refused || err != nil {
			return err
		}
	}
	return g.store(r, streams)
}

// repeated answers a request whose batch ID is in the log.
func (g *group) repeated(r *request) (bool, error) {
	commit, content, found, err := committed(g.conn, r.batch.ID, g.tip.batch)
	switch {
	case err != nil || !found:
		return false, err
	case content != r.content:
		r.err = &eventstore.IDReusedError{Kind: "batch", ID: r.batch.ID, Position: commit.Last}
	default:
		r.commit = commit
	}
	return true, nil
}

// conflicts looks up the streams that are written and checks every
// expectation and guard.
func (g *group) conflicts(r *request, streams []streamState) (bool, error) {
	var failed []eventstore.Conflict
	check := func(name string, e eventstore.Expectation, guard bool) (streamState, error) {
		s, err := g.stream(name)
		if err == nil && !e.Holds(s.version) {
			failed = append(failed, eventstore.Conflict{Stream: name, Expected: e, Actual: s.version, Guard: guard})
		}
		return s, err
	}
	var err error
	for i, w := range r.batch.Writes {
		if streams[i], err = check(w.Stream, w.Expect, false); err != nil {
			return false, err
		}
	}
	for _, guard := range r.batch.Guards {
		if _, err := check(guard.Stream, guard.Expect, true); err != nil {
			return false, err
		}
	}
	if len(failed) > 0 {
		r.err = &eventstore.ConflictError{Conflicts: failed}
	}
	return len(failed) > 0, nil
}

const selectStream = `
	SELECT id, (SELECT COALESCE(MAX(version), 0) FROM stream_index WHERE stream_id = streams.id)
	FROM streams
	WHERE name = ?`

// stream returns what is known of a stream inside the transaction.
func (g *group) stream(name string) (s streamState, err error) {
	if s, ok := g.streams[name]; ok {
		return s, nil
	}
	if s, ok := g.w.streams.get(name); ok {
		return s, nil
	}
	err = query(g.conn, selectStream, 2, func(r *row) error {
		s = streamState{id: r.int(0), version: r.int(1)}
		if last := g.w.index.last(s.id); last > 0 {
			s.version = last
		}
		if s.version == 0 && r.err == nil {
			return &eventstore.CorruptError{Where: fmt.Sprintf("stream %q", name), Reason: "it has no events, but a number: restore the store from a backup"}
		}
		return nil
	}, name)
	if err == nil && s.id != 0 {
		g.w.streams.put(name, s) // as committed: the transaction has not written it
	}
	return s, err
}

const selectEventID = `
	SELECT position
	FROM events
	WHERE event_id = ?`

// usedIDs refuses a request with an event id that is in the log, or twice in
// the request.
func (g *group) usedIDs(r *request) (bool, error) {
	if err := g.flush(); err != nil {
		return false, err
	}
	seen := make(map[uuid.UUID]int64, len(r.ids))
	for i, id := range r.ids {
		if id == uuid.Nil {
			continue
		}
		err := query(g.conn, selectEventID, 1, func(found *row) error {
			seen[id] = found.int(0)
			return nil
		}, id[:])
		if err != nil {
			return false, err
		}
		if position, used := seen[id]; used {
			r.err = &eventstore.IDReusedError{Kind: "event", ID: id.String(), Position: position}
			return true, nil
		}
		seen[id] = g.tip.position + int64(i) + 1
	}
	return false, nil
}

const (
	insertStream = `
		INSERT INTO streams (id, name, category)
		VALUES (?, ?, ?)`
	insertType = `
		INSERT INTO types (id, name)
		VALUES (?, ?)`
	insertEvent = `
		INSERT INTO events (position, stream_id, version, type_id, schema_version, recorded_at, batch, event_id, hash, metadata, data)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	insertEvents = insertEvent + `,
		       (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?),
		       (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?),
		       (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	insertColumns = 11
	insertRows    = 4 // of insertEvents; with more, groups of a few events lose what batches gain
	insertBatch   = `
		INSERT INTO batches (number, id, content, first, last, recorded_at, hash)
		VALUES (?, ?, ?, ?, ?, ?, ?)`
)

// store writes the rows of a request that was found good.
func (g *group) store(r *request, streams []streamState) error {
	g.wrote = true
	g.tip.time = max(g.tip.time, g.w.store.options.Clock.Now().UnixNano())
	r.commit = eventstore.Commit{
		ID: r.batch.ID, First: g.tip.position + 1, Last: g.tip.position + int64(len(r.ids)), Time: g.tip.time,
	}
	if len(streams) > 0 {
		r.commit.Streams = make([]eventstore.StreamCommit, 0, len(streams))
	}
	ids, meta := r.ids, r.meta
	for i, w := range r.batch.Writes {
		s := streams[i]
		if s.id == 0 {
			g.tip.streams++
			s.id = g.tip.streams
			if err := g.exec(g.w.statements.insertStream, s.id, w.Stream, eventstore.Category(w.Stream)); err != nil {
				return err
			}
		}
		first := s.version + 1
		g.events = append(g.events, streamEvents{stream: s.id, version: first, position: g.tip.position + 1, count: int64(len(w.Events))})
		for j := range w.Events {
			s.version++
			if err := g.insert(r, w.Stream, s, &w.Events[j], ids[j], meta[j]); err != nil {
				return err
			}
		}
		ids, meta = ids[len(w.Events):], meta[len(w.Events):]
		g.streams[w.Stream] = s
		r.commit.Streams = append(r.commit.Streams, eventstore.StreamCommit{Stream: w.Stream, First: first, Last: s.version})
	}
	if r.batch.ID == "" {
		return nil
	}
	if err := g.flush(); err != nil { // who finds the batch finds its events
		return err
	}
	g.tip.batch++
	b := batchRow{number: g.tip.batch, id: r.batch.ID, content: r.content, first: r.commit.First, last: r.commit.Last, time: g.tip.time}
	g.tip.batchHash = g.w.chain.batch(g.tip.batchHash, b)
	crash.At(crash.LogHalfBatch)
	return g.exec(g.w.statements.insertBatch, b.number, b.id, b.content[:], b.first, b.last, b.time, g.tip.batchHash[:])
}

var noData = []byte{}

// insert has one event written, with those before it and after it in the
// group: nothing but flush makes sure that it is.
func (g *group) insert(r *request, stream string, s streamState, e *eventstore.EventData, id uuid.UUID, meta []byte) error {
	typeID, err := g.typeID(e.Type)
	if err != nil {
		return err
	}
	g.tip.position++
	if id == uuid.Nil {
		id = newID(g.tip.time)
	}
	recorded := eventstore.Recorded{
		Position: g.tip.position, Stream: stream, Version: s.version, ID: id, Type: e.Type,
		SchemaVersion: max(e.SchemaVersion, 1), Data: e.Data, Meta: meta, Time: g.tip.time, BatchID: r.batch.ID,
	}
	g.tip.hash = g.w.chain.event(g.tip.hash, &recorded)
	var batch, metadata driver.Value
	if r.batch.ID != "" {
		batch = g.tip.batch + 1 // whose row follows its events
	}
	if len(meta) > 0 {
		metadata = meta
	}
	data := e.Data
	if data == nil {
		data = noData
	}
	hash := g.tip.hash
	g.rows = append(g.rows, recorded.Position, s.id, s.version, typeID, int64(recorded.SchemaVersion),
		recorded.Time, batch, id[:], hash[:], metadata, data)
	if len(g.rows) < insertRows*insertColumns {
		return nil
	}
	err = g.exec(g.w.statements.insertEvents, g.rows...)
	g.rows = g.rows[:0]
	return err
}

// flush writes the events that are not stored yet.
func (g *group) flush() error {
	for rows := g.rows; len(rows) > 0; rows = rows[insertColumns:] {
		if err := g.exec(g.w.statements.insertEvent, rows[:insertColumns]...); err != nil {
			return err
		}
	}
	g.rows = g.rows[:0]
	return nil
}

// typeID returns the number of a type's name, giving it one where it is new.
func (g *group) typeID(name string) (int64, error) {
	if id, ok := g.types[name]; ok {
		return id, nil
	}
	if id, ok := g.w.types[name]; ok {
		return id, nil
	}
	g.tip.types++
	g.types[name] = g.tip.types
	return g.tip.types, g.exec(g.w.statements.insertType, g.tip.types, name)
}
