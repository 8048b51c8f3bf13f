package eventstore

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"

	"github.com/google/uuid"
)

// ContentHash returns the SHA-256 of the batch's content: the ordered list of
// (stream, type, schema version, data). Expectations, guards, metadata, event
// ids and times do not count. Two appends of one batch ID are the same where
// their content hashes are equal.
func (b Batch) ContentHash() [32]byte {
	h := sha256.New()
	for _, w := range b.Writes {
		for _, e := range w.Events {
			writeField(h, w.Stream)
			writeField(h, e.Type)
			writeNumber(h, int64(max(e.SchemaVersion, 1)))
			writeField(h, string(e.Data))
		}
	}
	return [32]byte(h.Sum(nil))
}

// DeriveID returns the id of the event at ordinal (from 0) of the batch with
// this ID: a UUID of version 8 (RFC 9562) over SHA-256 of both.
func DeriveID(batchID string, ordinal int) uuid.UUID {
	h := sha256.New()
	writeField(h, batchID)
	writeNumber(h, int64(ordinal))
	id := uuid.UUID(h.Sum(nil)[:16])
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}

func writeField(h hash.Hash, s string) {
	writeNumber(h, int64(len(s)))
	h.Write([]byte(s))
}

func writeNumber(h hash.Hash, n int64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	h.Write(b[:])
}
