package aggregate

import (
	"container/list"
	"context"
	"sync"
)

// entry is one aggregate in memory. Whoever holds its lock owns its state.
type entry[S any] struct {
	stream  string
	lock    chan struct{} // holds one token while unlocked
	state   *S            // nil: not loaded; guarded by lock
	version int64         // guarded by lock
}

// cache holds folds of decoded events by stream, the most recently used ones.
// An entry that is dropped while somebody works with it lives on with them;
// two such workers are told apart by the log's versions, as two processes are.
type cache[S any] struct {
	size int

	mu      sync.Mutex // guards entries and order
	entries map[string]*list.Element
	order   *list.List // of *entry[S], the most recently used first
}

func newCache[S any](size int) *cache[S] {
	return &cache[S]{size: size, entries: make(map[string]*list.Element), order: list.New()}
}

// lock returns the stream's entry, locked, or ctx's error.
func (c *cache[S]) lock(ctx context.Context, stream string) (*entry[S], error) {
	e := c.get(stream)
	select {
	case <-e.lock:
		return e, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (e *entry[S]) unlock() { e.lock <- struct{}{} }

func (c *cache[S]) get(stream string) *entry[S] {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.entries[stream]; ok {
		c.order.MoveToFront(el)
		return el.Value.(*entry[S])
	}
	e := &entry[S]{stream: stream, lock: make(chan struct{}, 1)}
	e.unlock()
	if c.size > 0 {
		c.entries[stream] = c.order.PushFront(e)
		if c.order.Len() > c.size {
			last := c.order.Remove(c.order.Back()).(*entry[S])
			delete(c.entries, last.stream)
		}
	}
	return e
}
