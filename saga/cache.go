package saga

import (
	"encoding/binary"
	"hash/maphash"
)

// cacheBytes is how much memory is kept in instances: those of 100,000 with
// small states. One counts with its row, which has some hundred bytes beside
// its state, and with cacheEntry for the tables that find it. One of more than
// cacheRow is not kept.
const (
	cacheBytes = 24 << 20
	cacheEntry = 80
	cacheRow   = 64 << 10
)

// cache holds instances as the file has them. Nobody else writes the file, so
// it is right as long as it follows every commit, and is dropped where the
// outcome of one is unknown. It holds their rows packed, a quarter of what they
// take unpacked; where there is no room, others go by chance. Whoever holds the
// gate owns it.
type cache struct {
	rows  map[int64]string // by id
	ids   map[uint64]int64 // by a hash of the key; of two with the same, the last
	seed  maphash.Seed
	bytes int
}

// clear forgets everything.
func (c *cache) clear() {
	*c = cache{rows: map[int64]string{}, ids: map[uint64]int64{}, seed: maphash.MakeSeed()}
}

// forget forgets the instance with the id.
func (c *cache) forget(id int64) {
	row, ok := c.rows[id]
	if !ok {
		return
	}
	c.bytes -= len(row) + cacheEntry
	delete(c.rows, id)
	if h := c.hash(unpack(row).unique()); c.ids[h] == id {
		delete(c.ids, h)
	}
}

// keep takes in an instance as it is saved.
func (c *cache) keep(i *instance) {
	row := i.pack()
	if len(row) > cacheRow {
		c.forget(i.id)
		return
	}
	if before, ok := c.rows[i.id]; ok {
		c.bytes -= len(before) + cacheEntry
	}
	c.rows[i.id], c.ids[c.hash(i.unique())] = row, i.id
	c.bytes += len(row) + cacheEntry
	for c.bytes > cacheBytes {
		for id := range c.rows { // from a random place
			c.forget(id)
			break
		}
	}
}

// byID returns the instance with the id, unpacked for the caller alone, nil
// where it is not kept.
func (c *cache) byID(id int64) *instance {
	if row, ok := c.rows[id]; ok {
		return unpack(row)
	}
	return nil
}

// byKey is byID by its key.
func (c *cache) byKey(k instanceKey) *instance {
	id, ok := c.ids[c.hash(k)]
	if !ok {
		return nil
	}
	if i := c.byID(id); i != nil && i.unique() == k {
		return i
	}
	return nil // another with the same hash
}

func (c *cache) hash(k instanceKey) uint64 { return maphash.Comparable(c.seed, k) }

// unique returns what no two instances have in common.
func (i *instance) unique() instanceKey { return instanceKey{i.saga, i.key, i.stray} }

// pack returns the instance in few bytes: numbers as varints, each string with
// its length before it.
func (i *instance) pack() string {
	room := [512]byte{}
	b := room[:0]
	for _, n := range i.numbers() {
		b = binary.AppendVarint(b, *n)
	}
	b = binary.AppendVarint(b, int64(i.stateVersion))
	b = binary.AppendVarint(b, int64(i.undoHops))
	b = binary.AppendVarint(b, int64(i.attempts))
	flags := byte(0)
	for n, f := range i.flags() {
		if *f {
			flags |= 1 << n
		}
	}
	b = append(b, flags)
	b = appendText(b, string(i.status))
	for _, s := range i.texts() {
		b = appendText(b, *s)
	}
	for _, a := range i.armed {
		b = binary.AppendVarint(appendText(b, a.name), a.due)
	}
	return string(b)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// numbers, flags and texts are what pack and unpack have to carry of the
// instance, beside those of other types.
func (i *instance) numbers() [15]*int64 {
	return [...]*int64{&i.id, &i.saga, &i.version, &i.cursor, &i.sequence, &i.journal, &i.journalLast, &i.waited, &i.undoRoot, &i.undoAt,
		&i.failedAt, &i.nextAttempt, &i.created, &i.updated, &i.completed}
}

func (i *instance) flags() [2]*bool { return [...]*bool{&i.stray, &i.undoing} }

func (i *instance) texts() [5]*string {
	return [...]*string{&i.key, &i.state, &i.undos, &i.correlation, &i.reason}
}

// unpack returns what pack was given, as it is saved and without its binding.
func unpack(row string) *instance {
	i := &instance{}
	r := packed{row}
	for _, n := range i.numbers() {
		*n = r.number()
	}
	i.stateVersion, i.undoHops, i.attempts = int(r.number()), int(r.number()), int(r.number())
	flags := r.rest[0]
	r.rest = r.rest[1:]
	for n, f := range i.flags() {
		*f = flags&(1<<n) != 0
	}
	i.status = Status(r.text())
	for _, s := range i.texts() {
		*s = r.text()
	}
	for r.rest != "" {
		i.armed = append(i.armed, armed{r.text(), r.number()})
	}
	i.asSaved()
	return i
}

// packed is what is left to read of a row.
type packed struct{ rest string }

func (r *packed) unsigned() (n uint64) {
	for shift := 0; ; shift += 7 {
		b := r.rest[0]
		r.rest = r.rest[1:]
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return n
		}
	}
}

func (r *packed) number() int64 {
	n := r.unsigned()
	return int64(n>>1) ^ -int64(n&1)
}

func (r *packed) text() string {
	n := r.unsigned()
	s := r.rest[:n]
	r.rest = r.rest[n:]
	return s
}
