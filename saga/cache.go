package saga

// cacheInstances is how many instances are kept in memory, at most twice: those
// changed last and those changed before.
const cacheInstances = 8192

// cache holds instances as the file has them. Nobody else writes the file, so
// it is right as long as it follows every commit, and is dropped where the
// outcome of one is unknown. Its instances are copied, never changed. Whoever
// holds the gate owns it.
type cache struct {
	young, old generation
}

type generation struct {
	ids  map[int64]*instance
	keys map[instanceKey]*instance
}

func newGeneration() generation {
	return generation{ids: map[int64]*instance{}, keys: map[instanceKey]*instance{}}
}

// clear forgets everything.
func (c *cache) clear() { c.young, c.old = newGeneration(), newGeneration() }

// keep takes in an instance of a work that is over: nobody changes it any more.
func (c *cache) keep(i *instance) {
	if len(c.young.ids) >= cacheInstances {
		c.young, c.old = newGeneration(), c.young
	}
	c.young.ids[i.id] = i
	c.young.keys[instanceKey{i.saga, i.key, i.stray}] = i
}

func (c *cache) byID(id int64) *instance {
	if i := c.young.ids[id]; i != nil {
		return i
	}
	return c.old.ids[id]
}

func (c *cache) byKey(k instanceKey) *instance {
	if i := c.young.keys[k]; i != nil {
		return i
	}
	return c.old.keys[k]
}
