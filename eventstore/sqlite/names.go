package sqlite

import (
	"fmt"
	"sync"

	"github.com/mattn/go-sqlite3"

	"github.com/leat-go/leat/eventstore"
)

const (
	selectStreamName = `
		SELECT name
		FROM streams
		WHERE id = ?`
	selectTypeName = `
		SELECT name
		FROM types
		WHERE id = ?`
	selectTypes = `
		SELECT id, name
		FROM types`
)

// names holds the names of streams and types for reading: of streams those
// that were used lately, of types all, since they are as many as the program
// has.
type names struct {
	mu      sync.Mutex // guards both
	streams *cache[int64, string]
	types   map[int64]string
}

// numbers are those of an event's stream and type.
type numbers struct {
	stream, typ int64
}

// resolve fills in the names of the events that have these numbers, and looks
// up on c those that are not held.
func (n *names) resolve(c *sqlite3.SQLiteConn, events []eventstore.Recorded, of []numbers) error {
	streams, types := n.fill(events, of)
	if len(streams)+len(types) == 0 {
		return nil
	}
	for _, missing := range []struct {
		ids  map[int64]string
		text string
	}{{streams, selectStreamName}, {types, selectTypeName}} {
		for id := range missing.ids {
			err := query(c, missing.text, 1, func(r *row) error {
				missing.ids[id] = r.text(0)
				return nil
			}, id)
			if err != nil {
				return err
			}
		}
	}
	for i := range events {
		e := &events[i]
		if e.Stream == "" {
			e.Stream = streams[of[i].stream]
		}
		if e.Type == "" {
			e.Type = types[of[i].typ]
		}
		if e.Stream == "" || e.Type == "" {
			return &eventstore.CorruptError{Where: fmt.Sprintf("position %d", e.Position), Reason: "the name of its stream or type is missing: restore the store from a backup"}
		}
	}
	n.learn(streams, types)
	return nil
}

// fill fills in the names that are held and returns the numbers of the others.
func (n *names) fill(events []eventstore.Recorded, of []numbers) (streams, types map[int64]string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range events {
		e, id := &events[i], of[i]
		var ok bool
		if e.Stream, ok = n.streams.get(id.stream); !ok {
			streams = with(streams, id.stream)
		}
		if e.Type, ok = n.types[id.typ]; !ok {
			types = with(types, id.typ)
		}
	}
	return streams, types
}

func with(m map[int64]string, id int64) map[int64]string {
	if m == nil {
		m = map[int64]string{}
	}
	m[id] = ""
	return m
}

func (n *names) learn(streams, types map[int64]string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, name := range streams {
		if name != "" {
			n.streams.put(id, name)
		}
	}
	for id, name := range types {
		if name != "" {
			n.types[id] = name
		}
	}
}
