package sqlite

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/leat-go/leat/eventstore"
)

// chain computes the hashes of rows. It keeps its buffer, so it is not safe
// for concurrent use.
//
// A field of varying length is preceded by its length, so that no two rows
// have the same bytes; the first bytes name the form, so that a later form can
// stand beside it.
type chain struct {
	buf []byte
}

const (
	eventForm = "leat/event/1\n"
	batchForm = "leat/batch/1\n"
	epochForm = "leat/epoch/1\n"
)

// event returns the hash of e on top of the hash of the event before it.
func (c *chain) event(previous [32]byte, e *eventstore.Recorded) [32]byte {
	b := append(c.buf[:0], eventForm...)
	b = append(b, previous[:]...)
	b = appendNumber(b, e.Position)
	b = appendString(b, e.Stream)
	b = appendNumber(b, e.Version)
	b = append(b, e.ID[:]...)
	b = appendString(b, e.Type)
	b = appendNumber(b, int64(e.SchemaVersion))
	b = appendNumber(b, e.Time)
	b = appendString(b, e.BatchID)
	b = appendBytes(b, e.Meta)
	b = appendBytes(b, e.Data)
	c.buf = b
	return sum(b)
}

// batchRow is a row of the table of batches.
type batchRow struct {
	number      int64
	id          string
	content     [32]byte
	first, last int64
	time        int64
}

// batch returns the hash of r on top of the hash of the batch before it.
func (c *chain) batch(previous [32]byte, r batchRow) [32]byte {
	b := append(c.buf[:0], batchForm...)
	b = append(b, previous[:]...)
	b = appendNumber(b, r.number)
	b = appendString(b, r.id)
	b = append(b, r.content[:]...)
	b = appendNumber(b, r.first)
	b = appendNumber(b, r.last)
	b = appendNumber(b, r.time)
	c.buf = b
	return sum(b)
}

func sum(b []byte) [32]byte { return sha256.Sum256(b) }

func appendNumber(b []byte, n int64) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(n))
}

func appendString(b []byte, s string) []byte {
	return append(appendNumber(b, int64(len(s))), s...)
}

func appendBytes(b, s []byte) []byte {
	return append(appendNumber(b, int64(len(s))), s...)
}
