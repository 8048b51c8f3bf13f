package sqlite

// cache is a bounded map that forgets what was not used lately: when the young
// half is full it becomes the old one, whose entries were not asked for since.
// It holds at most size entries. It is not safe for concurrent use.
type cache[K comparable, V any] struct {
	half       int
	young, old map[K]V
}

func newCache[K comparable, V any](size int) *cache[K, V] {
	return &cache[K, V]{half: max(size/2, 1), young: map[K]V{}}
}

func (c *cache[K, V]) get(k K) (V, bool) {
	if v, ok := c.young[k]; ok {
		return v, true
	}
	v, ok := c.old[k]
	if ok {
		c.put(k, v)
	}
	return v, ok
}

func (c *cache[K, V]) put(k K, v V) {
	if _, ok := c.young[k]; !ok && len(c.young) >= c.half {
		c.old, c.young = c.young, make(map[K]V, c.half)
	}
	c.young[k] = v
}
