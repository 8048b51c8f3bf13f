package sqlite

import (
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
)

// newID returns a UUIDv7 for an event recorded at this time: milliseconds,
// their fraction in twelve bits, and 62 random bits, so that the index of ids
// grows at its end.
func newID(nanoseconds int64) (id uuid.UUID) {
	ms := nanoseconds / int64(time.Millisecond)
	fraction := nanoseconds % int64(time.Millisecond) << 12 / int64(time.Millisecond)
	hi := uint64(ms)<<16 | 7<<12 | uint64(fraction)&0xfff
	lo := rand.Uint64()&(1<<62-1) | 1<<63
	for i := range 8 {
		id[i] = byte(hi >> (56 - 8*i))
		id[8+i] = byte(lo >> (56 - 8*i))
	}
	return id
}
