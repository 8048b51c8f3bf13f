//go:build linux && cgo

package faultvfs

// #include <stdlib.h>
// #include "faultvfs.h"
import "C"

import (
	"errors"
	"fmt"
	"path/filepath"
	"unsafe"

	"github.com/mattn/go-sqlite3"
)

// Kind is a set of kinds of operations.
type Kind int

// The kinds of operations that can be made to fail.
const (
	Open     Kind = C.FV_OPEN
	Delete   Kind = C.FV_DELETE
	Read     Kind = C.FV_READ
	Write    Kind = C.FV_WRITE
	Truncate Kind = C.FV_TRUNCATE
	Sync     Kind = C.FV_SYNC
	Size     Kind = C.FV_SIZE
	Lock     Kind = C.FV_LOCK
	ShmMap   Kind = C.FV_SHM_MAP
	ShmLock  Kind = C.FV_SHM_LOCK
	// Changes are those that change files: when all of them fail, the files
	// stay as they are, as if the process had been killed.
	Changes = Open | Delete | Write | Truncate | Sync
	// Anything is every kind.
	Anything = Changes | Read | Size | Lock | ShmMap | ShmLock
)

// Kinds are all kinds, one by one.
func Kinds() []Kind {
	return []Kind{Open, Delete, Read, Write, Truncate, Sync, Size, Lock, ShmMap, ShmLock}
}

var kindNames = map[Kind]string{
	Open: "open", Delete: "delete", Read: "read", Write: "write", Truncate: "truncate", Sync: "sync", Size: "size", Lock: "lock",
	ShmMap: "shm-map", ShmLock: "shm-lock", Changes: "changes", Anything: "anything",
}

func (k Kind) String() string {
	if name, ok := kindNames[k]; ok {
		return name
	}
	return fmt.Sprintf("Kind(%d)", int(k))
}

// Errors that operations fail with.
const (
	// Full is SQLITE_FULL: the disk is full.
	Full sqlite3.ErrNoExtended = 13
	// IO is SQLite's I/O error for the kind of operation.
	IO sqlite3.ErrNoExtended = 0
)

// Forever as Times has a fault last until it is removed.
const Forever = -1

// MaxFaults is how many faults there can be at once.
const MaxFaults = C.FV_MAX_FAULTS

// Fault says which operations fail, and how.
type Fault struct {
	// Kind are the kinds of operations.
	Kind Kind
	// Dir limits it to files below a directory. Defaults to none.
	Dir string
	// Suffix ends the paths of the files: "-wal", "log.db". Defaults to all.
	Suffix string
	// N is the first operation that fails, 1 or more. Defaults to 1.
	N int
	// Times is how many fail. Defaults to 1.
	Times int
	// Error is what they fail with. Defaults to IO.
	Error sqlite3.ErrNoExtended
	// Torn carries out half of a write before it fails.
	Torn bool
	// Dead takes the process for dead: with Changes for ever, the files are
	// left as a kill leaves them, and a sync that was refused is one that
	// nobody tried.
	Dead bool
}

func (f Fault) String() string {
	what := "an I/O error"
	if f.Error != IO {
		what = f.Error.Error()
	}
	text := fmt.Sprintf("%s %d of *%s fails with %s", f.Kind, max(f.N, 1), f.Suffix, what)
	switch {
	case f.Times == Forever:
		text += " for ever"
	case f.Times > 1:
		text += fmt.Sprintf(" %d times", f.Times)
	}
	if f.Torn {
		text += ", torn"
	}
	return text
}

// Injected is a fault in force. It is safe for concurrent use.
type Injected struct {
	slot         C.int
	seen, failed int
	removed      bool
}

// Inject puts a fault in force until it is removed.
func Inject(f Fault) (*Injected, error) {
	if f.Dir != "" {
		dir, err := filepath.Abs(f.Dir)
		if err != nil {
			return nil, fmt.Errorf("faultvfs: inject: %w", err)
		}
		f.Dir = dir + string(filepath.Separator)
	}
	prefix, suffix := C.CString(f.Dir), C.CString(f.Suffix)
	defer C.free(unsafe.Pointer(prefix))
	defer C.free(unsafe.Pointer(suffix))
	how := 0
	if f.Torn {
		how |= C.FV_TORN
	}
	if f.Dead {
		how |= C.FV_UNTRIED
	}
	times := f.Times
	if times == 0 {
		times = 1
	}
	slot := C.fv_fail(C.int(f.Kind), prefix, suffix, C.longlong(max(f.N, 1)), C.longlong(times), C.int(f.Error), C.int(how))
	if slot < 0 {
		return nil, errors.New("faultvfs: too many faults: remove one")
	}
	return &Injected{slot: slot}, nil
}

// Seen returns how many operations matched.
func (i *Injected) Seen() int {
	if i.removed {
		return i.seen
	}
	return int(C.fv_seen(i.slot))
}

// Failed returns how many of them failed.
func (i *Injected) Failed() int {
	if i.removed {
		return i.failed
	}
	return int(C.fv_failed(i.slot))
}

// Remove ends the fault. No other call may run at once; Seen and Failed say
// what they said last.
func (i *Injected) Remove() {
	if i.removed {
		return
	}
	i.seen, i.failed, i.removed = i.Seen(), i.Failed(), true
	C.fv_clear(i.slot)
}
