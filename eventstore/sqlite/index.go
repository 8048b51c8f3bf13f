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

// follows returns ErrCorrupt where events do not go on from what is here: they
// would be given a version twice. Of streams that are not here it knows nothing.
func (x *streamIndex) follows(events []streamEvents) error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	next := make(map[int64]int64, len(events))
	for _, e := range events {
		want, ok := next[e.stream]
		if s, here := x.streams[e.stream]; !ok && here {
			want, ok = s.first+int64(len(s.positions)), true
		}
		if ok && e.version != want {
			return errVersion(e, want)
		}
		next[e.stream] = e.version + e.count
	}
	return nil
}

func errVersion(e streamEvents, want int64) error {
	return &eventstore.CorruptError{
		Where:  fmt.Sprintf("position %d", e.position),
		Reason: fmt.Sprintf("its version in its stream is %d, and should be %d: restore the store from a backup", e.version, want),
	}
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
		return errVersion(e, next)
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
	// selectIndexed returns through which position the table has every event, and
	// whether it leads to the event there and to the one after it.
	selectIndexed = `
		SELECT m.indexed,
		       (SELECT COUNT(*) FROM events AS e JOIN stream_index AS i ON i.stream_id = e.stream_id AND i.version = e.version AND i.position = e.position WHERE e.position = m.indexed),
		       (SELECT COUNT(*) FROM events AS e JOIN stream_index AS i ON i.stream_id = e.stream_id AND i.version = e.version WHERE e.position = m.indexed + 1)
		FROM meta AS m`
	selectNewest = `
		SELECT position, stream_id, version
		FROM events NOT INDEXED
		WHERE position > ?
		  AND position <= ?
		ORDER BY position`
)

// follow takes in what the log at path has up to head, and lets go of what the
// table has. What the table says of itself is not taken on trust: versions are
// given by it, and streams read.
func (x *streamIndex) follow(c *sqlite3.SQLiteConn, path string, head int64) error {
	if x.reaches(head) {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	err := query(c, selectIndexed, 3, func(r *row) error {
		through := r.int(0)
		if r.err == nil && (through > 0 && r.int(1) != 1 || r.int(2) != 0) {
			return errIndexEnd(path, through)
		}
		if through > x.through {
			x.leaveLocked(through)
		}
		return nil
	})
	if x.end = max(x.end, x.through); err != nil || x.end >= head {
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

// reaches tells whether nothing up to head is unknown.
func (x *streamIndex) reaches(head int64) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.end >= head
}

func errIndexEnd(path string, through int64) error {
	return &eventstore.CorruptError{Where: path, Reason: fmt.Sprintf("the index of streams does not end at position %d as it says; the log may be whole: %s", through, remake)}
}

// remake says what to do about an index that is not what the log says.
const remake = "restore the store, from a copy of its own directory if there is no backup: that makes the index anew from the log"

// loadIndex reads the index of the log at path that ends at head.
func loadIndex(c *sqlite3.SQLiteConn, path string, head int64) (*streamIndex, error) {
	x := &streamIndex{end: -1} // so that even an empty log is looked at
	if err := x.follow(c, path, head); err != nil {
		return nil, err
	}
	if x.through > head {
		return nil, errIndexEnd(path, x.through)
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

// move moves the index into its table, in a transaction of its own, once it has
// so many events as Options say. It is sorted: one that has many streams is
// written page by page then, and not a page an event.
func (w *writer) move() error {
	size := w.index.size()
	if size < w.moveAt {
		return nil
	}
	err := raw(w.conn, func(c *sqlite3.SQLiteConn) error {
		if err := w.store.db.WAL().Admit(c); err != nil {
			return err
		}
		return w.moveInto(c)
	})
	if file.IsConstraint(err) {
		err = errIndexEnd(w.store.path(logName), w.index.through)
	}
	if err != nil {
		w.moveAt = size + int64(w.store.options.IndexEvents)/4 + 1 // and not with each append
		return err
	}
	w.index.leave(w.tip.position)
	w.moveAt = int64(w.store.options.IndexEvents)
	return nil
}

// maxUnindexed is how many times Options.IndexEvents may be in memory where the
// table cannot be written: then appends are refused, as by a full disk.
const maxUnindexed = 8

// boundIndex moves an index that has grown to its limit, before more is
// appended.
func (w *writer) boundIndex() error {
	if w.index.size() < maxUnindexed*int64(w.store.options.IndexEvents) {
		return nil
	}
	w.moveAt = 0
	return w.move()
}

func (w *writer) moveInto(c *sqlite3.SQLiteConn) error {
	g := &group{w: w, conn: c, moving: true}
	if err := w.statements.begin.exec(); err != nil {
		return err
	}
	err := g.insertIndex()
	if err == nil {
		crash.At(crash.IndexMoved)
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

// insertIndex writes the rows of the index that are not in its table.
func (g *group) insertIndex() error {
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
