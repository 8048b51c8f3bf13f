package sqlite

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/mattn/go-sqlite3"

	"github.com/leat-go/leat/eventstore"
)

// The joins cost next to nothing where batches are read in their order. The
// plans are fixed by NOT INDEXED, since SQLite would rather walk the whole
// history of a stream than a window of the log.
const (
	eventColumns = `e.position, e.stream_id, e.version, e.type_id, e.schema_version, e.recorded_at, b.id, e.event_id, e.metadata, e.data`
	eventCount   = 10

	selectStreamID = `
		SELECT id
		FROM streams
		WHERE name = ?`
	selectStreamPage = `
		SELECT ` + eventColumns + `
		FROM stream_index AS i
		LEFT JOIN events AS e ON e.position = i.position
		LEFT JOIN batches AS b ON b.number = e.batch
		WHERE i.stream_id = ?
		  AND i.version >= ?
		  AND i.version < ?
		  AND i.position <= ?
		ORDER BY i.version
		LIMIT ?`
	selectPositions = `
		SELECT ` + eventColumns + `
		FROM json_each(?) AS p
		LEFT JOIN events AS e ON e.position = p.value
		LEFT JOIN batches AS b ON b.number = e.batch`
	selectLogPage = `
		SELECT ` + eventColumns + `
		FROM events AS e NOT INDEXED
		LEFT JOIN batches AS b ON b.number = e.batch
		WHERE e.position > ?
		  AND e.position <= ?`
	whereType = `
		  AND e.type_id IN (SELECT value FROM json_each(?))`
	whereStream = `
		  AND e.stream_id IN (SELECT value FROM json_each(?))`
	whereCategory = `
		  AND (SELECT category FROM streams WHERE id = e.stream_id) IN (SELECT value FROM json_each(?))`
	orderLogPage = `
		ORDER BY e.position
		LIMIT ?`
)

// page collects rows of events. Pages are kept: a router holds thousands of one
// event each. So the room made for one is what the log has for it.
type page struct {
	room   int // of the first allocation, in events
	events []eventstore.Recorded
	of     []numbers
	bytes  int
}

// Room made for a page at first, in events.
const (
	ordinaryPage = 512 // at most
	unknownPage  = 32  // where it is not known how many there are
)

func (p *page) add(r *row) error {
	if p.events == nil {
		p.events, p.of = make([]eventstore.Recorded, 0, p.room), make([]numbers, 0, p.room)
	}
	e := eventstore.Recorded{
		Position: r.int(0), Version: r.int(2), SchemaVersion: int(r.int(4)), Time: r.int(5), Data: r.blob(9),
	}
	if !r.null(6) {
		e.BatchID = r.text(6)
	}
	if copy(e.ID[:], r.blob(7)) != len(e.ID) {
		r.unexpected(7)
	}
	if !r.null(8) {
		e.Meta = r.blob(8)
	}
	p.events = append(p.events, e)
	p.of = append(p.of, numbers{stream: r.int(1), typ: r.int(3)})
	p.bytes += len(e.Data) + len(e.Meta)
	if r.err != nil {
		return &eventstore.CorruptError{Where: fmt.Sprintf("position %d", e.Position), Reason: r.err.Error() + ": restore the store from a backup"}
	}
	return nil
}

// ReadStream implements eventstore.StreamReader.
func (s *Store) ReadStream(ctx context.Context, stream string, from int64, limit int) ([]eventstore.Recorded, error) {
	if err := eventstore.CheckPage(limit); err != nil {
		return nil, err
	}
	if from < 1 {
		return nil, &eventstore.InvalidError{Field: "version", Value: fmt.Sprint(from), Reason: "must be 1 or more"}
	}
	p := page{room: min(limit, unknownPage)}
	err := s.read(ctx, "read a stream", func(c *sqlite3.SQLiteConn) error {
		head, err := s.head(ctx)
		if err != nil {
			return err
		}
		if err := s.readStream(c, &p, stream, from, head, limit); err != nil {
			return err
		}
		return s.names.resolve(c, p.events, p.of)
	})
	if err != nil {
		return nil, err
	}
	return p.events, nil
}

// readStream adds the events of a stream to an empty page: those that the table
// of the index leads to, then those that only the index in memory does.
func (s *Store) readStream(c *sqlite3.SQLiteConn, p *page, stream string, from, head int64, limit int) error {
	var id int64
	err := query(c, selectStreamID, 1, func(r *row) error {
		id = r.int(0)
		return nil
	}, stream)
	if err != nil || id == 0 {
		return err
	}
	if s.tip.Load() == nil { // another process appends
		if err := s.index.follow(c, s.path(logName), head); err != nil {
			return err
		}
	}
	add := func(r *row) error {
		if next := from + int64(len(p.events)); r.null(0) || r.int(1) != id || r.int(2) != next {
			return &eventstore.CorruptError{Where: fmt.Sprintf("stream %q", stream), Reason: fmt.Sprintf("version %d is missing: restore the store from a backup", next)}
		}
		return p.add(r)
	}
	first, newest := s.index.find(id, from, head, limit) // before the table
	if len(newest) == 0 {
		first = math.MaxInt64
	}
	if first > from {
		err := query(c, selectStreamPage, eventCount, add, id, from, first, head, int64(limit))
		if err != nil || len(p.events) == limit || len(newest) == 0 {
			return err
		}
	}
	newest = newest[:min(len(newest), limit-len(p.events))]
	list, err := json.Marshal(newest)
	if err != nil {
		return err
	}
	return query(c, selectPositions, eventCount, add, string(list))
}

// ReadLog implements eventstore.LogReader. A page ends early after PageBytes
// of payloads.
func (s *Store) ReadLog(ctx context.Context, after int64, limit int, f eventstore.Filter) (eventstore.Page, error) {
	if err := eventstore.CheckPage(limit); err != nil {
		return eventstore.Page{}, err
	}
	if err := f.Check(); err != nil {
		return eventstore.Page{}, err
	}
	if after < 0 {
		return eventstore.Page{}, &eventstore.InvalidError{Field: "position", Value: fmt.Sprint(after), Reason: "must be 0 or more"}
	}
	var result eventstore.Page
	err := s.read(ctx, "read the log", func(c *sqlite3.SQLiteConn) error {
		head, err := s.head(ctx)
		if err != nil {
			return err
		}
		if after > head {
			return pastHead(after, head)
		}
		p, through, err := s.readPage(c, after, head, limit, f)
		if err != nil {
			return err
		}
		if err := s.names.resolve(c, p.events, p.of); err != nil {
			return err
		}
		result.Events = p.events
		result.Through, err = s.anchor(c, through)
		return err
	})
	if err != nil {
		return eventstore.Page{}, err
	}
	return result, nil
}

func pastHead(position, head int64) error {
	return fmt.Errorf("%w: position %d is past the head %d", eventstore.ErrRewound, position, head)
}

// readPage returns the events after a position that the filter matches, and
// how far it looked for them. It stands inside the head.
func (s *Store) readPage(c *sqlite3.SQLiteConn, after, head int64, limit int, f eventstore.Filter) (*page, int64, error) {
	p := &page{room: min(limit, unknownPage)}
	if after == head {
		return p, head, nil
	}
	window := int64(eventstore.MaxScan)
	if f.All() {
		window = int64(limit)
	}
	through := min(head, after+window)
	if f.All() {
		p.room = min(int(through-after), ordinaryPage)
	}
	text := strings.Builder{}
	text.WriteString(selectLogPage)
	args := []driver.Value{after, through}
	possible, err := filter(c, f, &text, &args)
	if err != nil {
		return nil, 0, err
	}
	if !possible { // no event up to the head has such a stream or type
		return p, head, nil
	}
	text.WriteString(orderLogPage)
	args = append(args, int64(limit))
	last := after
	err = query(c, text.String(), eventCount, func(r *row) error {
		position := r.int(0)
		if f.All() && position != last+1 {
			return missingEvent(last + 1)
		}
		last = position
		if err := p.add(r); err != nil {
			return err
		}
		if p.bytes >= PageBytes {
			return errPageFull
		}
		return nil
	}, args...)
	switch {
	case errors.Is(err, errPageFull):
		return p, last, nil
	case err != nil:
		return nil, 0, err
	case len(p.events) == limit:
		return p, last, nil
	case f.All() && last != through:
		return nil, 0, missingEvent(last + 1)
	}
	return p, through, nil
}

var errPageFull = errors.New("page full")

func missingEvent(position int64) error {
	return &eventstore.CorruptError{Where: fmt.Sprintf("position %d", position), Reason: "its event is missing: restore the store from a backup"}
}

const (
	selectTypeIDs = `
		SELECT t.id
		FROM json_each(?) AS j
		JOIN types AS t ON t.name = j.value`
	selectStreamIDs = `
		SELECT s.id
		FROM json_each(?) AS j
		JOIN streams AS s ON s.name = j.value`
)

// filter adds the filter to the statement. Names are looked up once and
// compared as numbers. It returns false where nothing can match.
func filter(c *sqlite3.SQLiteConn, f eventstore.Filter, text *strings.Builder, args *[]driver.Value) (bool, error) {
	for _, part := range []struct {
		names         []string
		lookUp, where string
	}{{f.Types, selectTypeIDs, whereType}, {f.Streams, selectStreamIDs, whereStream}} {
		if len(part.names) == 0 {
			continue
		}
		names, err := json.Marshal(part.names)
		if err != nil {
			return false, err
		}
		ids := []int64{}
		err = query(c, part.lookUp, 1, func(r *row) error {
			ids = append(ids, r.int(0))
			return nil
		}, string(names))
		if err != nil || len(ids) == 0 {
			return false, err
		}
		list, err := json.Marshal(ids)
		if err != nil {
			return false, err
		}
		text.WriteString(part.where)
		*args = append(*args, string(list))
	}
	if len(f.Categories) > 0 {
		list, err := json.Marshal(f.Categories)
		if err != nil {
			return false, err
		}
		text.WriteString(whereCategory)
		*args = append(*args, string(list))
	}
	return true, nil
}

// Anchor implements eventstore.LogReader.
func (s *Store) Anchor(ctx context.Context, position int64) (a eventstore.Anchor, err error) {
	if position < 0 {
		return a, &eventstore.InvalidError{Field: "position", Value: fmt.Sprint(position), Reason: "must be 0 or more"}
	}
	err = s.read(ctx, "read an anchor", func(c *sqlite3.SQLiteConn) error {
		head, err := s.head(ctx)
		if err != nil {
			return err
		}
		if position > head {
			return pastHead(position, head)
		}
		a, err = s.anchor(c, position)
		return err
	})
	return a, err
}

// anchor returns the place of a position at or below the head.
func (s *Store) anchor(c *sqlite3.SQLiteConn, position int64) (eventstore.Anchor, error) {
	if position == 0 {
		return eventstore.Anchor{}, nil // the start of any log
	}
	a := eventstore.Anchor{Epoch: s.epochs.at(position), Position: position}
	if t := s.tip.Load(); t != nil && t.position == position {
		a.Hash = t.hash
		return a, nil
	}
	found := false
	err := query(c, selectHash, 1, func(r *row) error {
		a.Hash, found = r.hash(0), true
		return nil
	}, position)
	if err == nil && !found {
		err = missingEvent(position)
	}
	return a, err
}
