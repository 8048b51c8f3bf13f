package sqlite

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/mattn/go-sqlite3"

	"github.com/leat-go/leat/eventstore"
)

const (
	selectStreamNames = `
		SELECT id, name
		FROM streams
		WHERE id IN (SELECT value FROM json_each(?))`
	selectTypeNames = `
		SELECT id, name
		FROM types
		WHERE id IN (SELECT value FROM json_each(?))`
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
	if err := lookUp(c, selectStreamNames, streams); err != nil {
		return err
	}
	if err := lookUp(c, selectTypeNames, types); err != nil {
		return err
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

// lookUp fills in the names of the numbers, with one query: a page of a log of
// many short streams has hundreds that are not held.
func lookUp(c *sqlite3.SQLiteConn, text string, names map[int64]string) error {
	if len(names) == 0 {
		return nil
	}
	list, err := json.Marshal(slices.Sorted(maps.Keys(names)))
	if err != nil {
		return err
	}
	return query(c, text, 2, func(r *row) error {
		names[r.int(0)] = r.text(1)
		return nil
	}, string(list))
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
