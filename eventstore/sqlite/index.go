package sqlite

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/mattn/go-sqlite3"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/crash"
	file "github.com/leat-go/leat/internal/sqlite"
)

// streamIndex leads from streams to those of their events that the table
// stream_index does not have yet, which are the newest. It is safe for
// concurrent use.
//
// An event leaves it after the table has it, and not before. So who asks it
// first and the table then misses nothing, but may meet an event in both.
type streamIndex struct {
	mu      sync.RWMutex // guards what follows
	through int64        // the position to which the table has every event
	end     int64        // the position from there to which every event is here
	streams map[int64]stretch
}

// stretch is the end of a stream, from one version on.
type stretch struct {
	first     int64   // its first version
	positions []int64 // of its events
}

// streamEvents are events of one stream that follow each other in it and in the
// log.
type streamEvents struct {
	stream, version, position, count int64
}

// size returns how many events are here.
func (x *streamIndex) size() int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.end - x.through
}

// last returns the version of the stream's last event, 0 where it has none here.
func (x *streamIndex) last(stream int64) int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if s, ok := x.streams[stream]; ok {
		return s.first + int64(len(s.positions)) - 1
	}
	return 0
}

// find returns the positions of a stream's events from a version on, those at or
// below head and so many at most, and the version of the first.
func (x *streamIndex) find(stream, from, head int64, limit int) (first int64, positions []int64) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	s := x.streams[stream]
	skip := max(from-s.first, 0)
	if skip >= int64(len(s.positions)) {
		return 0, nil
	}
	positions = s.positions[skip:]
	shown, _ := slices.BinarySearch(positions, head+1)
	return s.first + skip, slices.Clone(positions[:min(shown, limit)])
}

// add takes in what was appended, in the order of the log. It returns
// ErrCorrupt where a stream does not go on from what is here.
func (x *streamIndex) add(events ...streamEvents) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range events {
		if err := x.addLocked(e); err != nil {
			return err
		}
	}
	return nil
}

func (x *streamIndex) addLocked(e streamEvents) error {
	s, ok := x.streams[e.stream]
	if !ok {
		s.first = e.version
	}
	if next := s.first + int64(len(s.positions)); e.version != next {
		return &eventstore.CorruptError{
			Where:  fmt.Sprintf("position %d", e.position),
			Reason: fmt.Sprintf("its version in its stream is %d, and should be %d: restore the store from a backup", e.version, next),
		}
	}
	for i := range e.count {
		s.positions = append(s.positions, e.position+i)
	}
	if x.streams == nil {
		x.streams = map[int64]stretch{}
	}
	x.streams[e.stream] = s
	x.end = e.position + e.count - 1
	return nil
}

// leave lets go of the events at or below a position: the table has them.
func (x *streamIndex) leave(through int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.leaveLocked(through)
}

func (x *streamIndex) leaveLocked(through int64) {
	if through >= x.end {
		x.through, x.end, x.streams = through, through, nil
		return
	}
	for stream, s := range x.streams {
		gone, _ := slices.BinarySearch(s.positions, through+1)
		if gone == len(s.positions) {
			delete(x.streams, stream)
		} else if gone > 0 {
			x.streams[stream] = stretch{first: s.first + int64(gone), positions: slices.Clone(s.positions[gone:])}
		}
	}
	x.through = through
}

const (
	selectIndexed = `
		SELECT indexed
		FROM meta`
	selectNewest = `
		SELECT position, stream_id, version
		FROM events NOT INDEXED
		WHERE position > ?
		  AND position <= ?
		ORDER BY position`
)

// follow takes in what the log has up to head, and lets go of what the table
// has.
func (x *streamIndex) follow(c *sqlite3.SQLiteConn, head int64) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	err := query(c, selectIndexed, 1, func(r *row) error {
		if through := r.int(0); r.err == nil && through > x.through {
			x.leaveLocked(through)
		}
		return nil
	})
	if err != nil || x.end >= head {
		return err
	}
	return query(c, selectNewest, 3, func(r *row) error {
		e := streamEvents{position: r.int(0), stream: r.int(1), version: r.int(2), count: 1}
		if r.err != nil {
			return r.err
		}
		if e.position != x.end+1 {
			return missingEvent(x.end + 1)
		}
		return x.addLocked(e)
	}, x.end, head)
}

// selectIsIndexed tells of a position, and of the one after it, whether the
// table leads to its event.
const selectIsIndexed = `
	SELECT (SELECT COUNT(*) FROM events AS e JOIN stream_index AS i ON i.stream_id = e.stream_id AND i.version = e.version AND i.position = e.position WHERE e.position = ?1),
	       (SELECT COUNT(*) FROM events AS e JOIN stream_index AS i ON i.stream_id = e.stream_id AND i.version = e.version WHERE e.position = ?1 + 1)`

// loadIndex reads the index of the log at path that ends at head. What it says
// of itself is not taken on trust: versions are given by it.
func loadIndex(c *sqlite3.SQLiteConn, path string, head int64) (*streamIndex, error) {
	x := &streamIndex{}
	if err := x.follow(c, head); err != nil {
		return nil, err
	}
	sound := x.through <= head
	if sound {
		err := query(c, selectIsIndexed, 2, func(r *row) error {
			sound = (x.through == 0 || r.int(0) == 1) && r.int(1) == 0
			return nil
		}, x.through)
		if err != nil {
			return nil, err
		}
	}
	if !sound {
		return nil, &eventstore.CorruptError{Where: path, Reason: fmt.Sprintf("the index of streams does not end at position %d as it says: restore it from a backup", x.through)}
	}
	return x, nil
}

const (
	insertIndex = `
		INSERT INTO stream_index (stream_id, version, position)
		VALUES (?, ?, ?)`
	insertIndexes = insertIndex + `,
		       (?, ?, ?), (?, ?, ?), (?, ?, ?), (?, ?, ?), (?, ?, ?), (?, ?, ?), (?, ?, ?)`
	indexColumns  = 3
	indexRows     = 8 // of insertIndexes
	updateIndexed = `
		UPDATE meta
		SET indexed = ?`
)

// merge moves the index into its table, in a transaction of its own, once it has
// so many events as Options say. It is sorted: one that has many streams is
// written page by page then, and not a page an event.
func (w *writer) merge() error {
	size := w.index.size()
	if size < w.mergeAt {
		return nil
	}
	err := raw(w.conn, func(c *sqlite3.SQLiteConn) error {
		if err := w.store.db.WAL().Admit(c); err != nil {
			return err
		}
		return w.mergeInto(c)
	})
	if file.IsConstraint(err) {
		err = &eventstore.CorruptError{Where: w.store.path(logName), Reason: fmt.Sprintf("the index of streams has events after position %d already: restore it from a backup", w.index.through)}
	}
	if err != nil {
		w.mergeAt = size + int64(w.store.options.IndexEvents)/4 + 1 // and not with each append
		return err
	}
	w.index.leave(w.tip.position)
	w.mergeAt = int64(w.store.options.IndexEvents)
	return nil
}

func (w *writer) mergeInto(c *sqlite3.SQLiteConn) error {
	g := &group{w: w, conn: c, merging: true}
	if err := w.statements.begin.exec(); err != nil {
		return err
	}
	err := g.index()
	if err == nil {
		crash.At(crash.IndexMerged)
		if _, err = g.commit(); err == nil {
			crash.At(crash.IndexCommitted)
		}
		return err
	}
	if errors.Is(err, errEndedEarly) {
		return err
	}
	return errors.Join(err, g.undo())
}

// index writes the rows of the index that are not in its table.
func (g *group) index() error {
	x := g.w.index // which nobody else changes
	for _, stream := range slices.Sorted(maps.Keys(x.streams)) {
		s := x.streams[stream]
		for i, position := range s.positions {
			g.rows = append(g.rows, stream, s.first+int64(i), position)
			if len(g.rows) == indexRows*indexColumns {
				if err := g.exec(g.w.statements.insertIndexes, g.rows...); err != nil {
					return err
				}
				g.rows = g.rows[:0]
			}
		}
	}
	for rows := g.rows; len(rows) > 0; rows = rows[indexColumns:] {
		if err := g.exec(g.w.statements.insertIndex, rows[:indexColumns]...); err != nil {
			return err
		}
	}
	return g.exec(g.w.statements.updateIndexed, g.w.tip.position)
}
