package tlc

import (
	"encoding/binary"
	"errors"
	"io"
)

// Limits of a Parquet file's footer. The files of the years have some 20 KiB
// and 20 columns.
const (
	// maxFooter is its size, in bytes.
	maxFooter = 4 << 20
	// maxSchema is how many columns it names, groups of columns included.
	maxSchema = 1000
	// maxDepth is how deep it is nested.
	maxDepth = 64
)

var errFooter = errors.New("its footer promises more than it holds")

// checkFooter looks through a footer before the library does: that reserves
// memory for as many things as a list says it has, which in a crafted file is
// more than any machine has, and then no error is returned but the process is
// gone.
func checkFooter(r io.ReaderAt, size int64) error {
	var tail [8]byte
	if _, err := r.ReadAt(tail[:], size-8); err != nil {
		return err
	}
	length := int64(binary.LittleEndian.Uint32(tail[:4]))
	if length > maxFooter || length > size-12 {
		return errFooter
	}
	data := make([]byte, length)
	if _, err := r.ReadAt(data, size-8-length); err != nil {
		return err
	}
	return (&thrift{data: data}).structure(0)
}

// thrift walks through a value in Thrift's compact protocol.
type thrift struct{ data []byte }

// Kinds of values that are not of a fixed size.
const (
	kindTrue, kindFalse, kindByte = 1, 2, 3
	kindI16, kindI32, kindI64     = 4, 5, 6
	kindDouble, kindBinary        = 7, 8
	kindList, kindSet             = 9, 10
	kindStruct, kindUUID          = 12, 13
)

// idSchema is the field of the outermost structure that lists the columns.
const idSchema = 2

func (t *thrift) byte() (byte, error) {
	if len(t.data) == 0 {
		return 0, errFooter
	}
	b := t.data[0]
	t.data = t.data[1:]
	return b, nil
}

func (t *thrift) varint() (uint64, error) {
	n, size := binary.Uvarint(t.data)
	if size <= 0 {
		return 0, errFooter
	}
	t.data = t.data[size:]
	return n, nil
}

func (t *thrift) skip(n uint64) error {
	if n > uint64(len(t.data)) {
		return errFooter
	}
	t.data = t.data[n:]
	return nil
}

// structure walks through the fields of a structure.
func (t *thrift) structure(depth int) error {
	for id := int64(0); ; {
		head, err := t.byte()
		if err != nil || head == 0 {
			return err
		}
		if delta := head >> 4; delta != 0 {
			id += int64(delta)
		} else {
			n, err := t.varint()
			if err != nil {
				return err
			}
			id = int64(n>>1) ^ -int64(n&1)
		}
		kind, most := head&15, uint64(len(t.data))
		if depth == 0 && id == idSchema {
			most = maxSchema
		}
		if kind == kindTrue || kind == kindFalse {
			continue // the kind is the value
		}
		if err := t.value(kind, depth+1, most); err != nil {
			return err
		}
	}
}

// value walks through a value; a list has so many elements at most.
func (t *thrift) value(kind byte, depth int, most uint64) error {
	if depth > maxDepth {
		return errFooter
	}
	switch kind {
	case kindTrue, kindFalse, kindByte:
		return t.skip(1)
	case kindI16, kindI32, kindI64:
		_, err := t.varint()
		return err
	case kindDouble:
		return t.skip(8)
	case kindUUID:
		return t.skip(16)
	case kindBinary:
		n, err := t.varint()
		if err != nil {
			return err
		}
		return t.skip(n)
	case kindList, kindSet:
		return t.list(depth, most)
	case kindStruct:
		return t.structure(depth)
	default: // maps, of which Parquet has none, and what there is not
		return errFooter
	}
}

func (t *thrift) list(depth int, most uint64) error {
	head, err := t.byte()
	if err != nil {
		return err
	}
	n := uint64(head >> 4)
	if n == 15 {
		if n, err = t.varint(); err != nil {
			return err
		}
	}
	if n > min(most, uint64(len(t.data))) { // every element has a byte at least
		return errFooter
	}
	for range n {
		if err := t.value(head&15, depth+1, uint64(len(t.data))); err != nil {
			return err
		}
	}
	return nil
}
