//go:build linux && cgo

package faultvfs

// #cgo CFLAGS: -std=gnu99 -Wall -Wno-unused-parameter
// #cgo LDFLAGS: -lpthread
// #include <stdlib.h>
// #include "faultvfs.h"
import "C"

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"unsafe"

	"github.com/mattn/go-sqlite3" // links the SQLite that is wrapped

	"github.com/leat-go/leat/internal/crashstates"
	"github.com/leat-go/leat/internal/disk"
)

// Register makes the VFS SQLite's default until unregister is called. What was
// opened through it stays open through it.
func Register() (unregister func() error, err error) {
	if code := C.fv_register(); code != 0 {
		return nil, fmt.Errorf("faultvfs: register: %w", sqlite3.ErrNo(code))
	}
	return sync.OnceValue(func() error {
		if code := C.fv_unregister(); code != 0 {
			return fmt.Errorf("faultvfs: unregister: %w", sqlite3.ErrNo(code))
		}
		return nil
	}), nil
}

// Recording is what has been done to the files below a directory since Record.
// It is safe for concurrent use.
type Recording struct {
	dir    string
	forget func()
}

var recording sync.Mutex // held while there is one

// Record begins to record what is done to files below dir. There is one
// recording at a time. The caller ends it with Stop.
func Record(dir string) (*Recording, error) {
	if !recording.TryLock() {
		return nil, errors.New("faultvfs: a recording is under way: stop it first")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		recording.Unlock()
		return nil, fmt.Errorf("faultvfs: record: %w", err)
	}
	r := &Recording{dir: dir}
	name := C.CString(dir)
	defer C.free(unsafe.Pointer(name))
	C.fv_record(name)
	r.forget = disk.Observe(r.observe)
	return r, nil
}

// Mark notes a text between the operations.
func (r *Recording) Mark(text string) { note(C.FV_MARK, "", []byte(text)) }

// Len returns how many operations are on record.
func (r *Recording) Len() int { return int(C.fv_count()) }

// observe notes what is done to files beside SQLite.
func (r *Recording) observe(op disk.Op) {
	if !r.holds(op.Path) {
		return
	}
	switch op.Kind {
	case disk.Write:
		note(C.FV_REPLACE, op.Path, op.Data)
	case disk.Sync:
		note(C.FV_PATH_SYNC, op.Path, nil)
	case disk.Rename:
		note(C.FV_RENAME, op.Path, []byte(op.To))
	}
}

func (r *Recording) holds(path string) bool {
	return path == r.dir || strings.HasPrefix(path, r.dir+string(filepath.Separator))
}

func note(kind C.int, path string, data []byte) {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	C.fv_note(kind, name, unsafe.Pointer(unsafe.SliceData(data)), C.size_t(len(data)))
}

// Log returns what is on record so far, and goes on recording.
func (r *Recording) Log() crashstates.Log {
	runtime.LockOSThread() // the mutex is let go by the thread that holds it
	defer runtime.UnlockOSThread()
	var n C.longlong
	ops := C.fv_hold(&n)
	defer C.fv_let_go()
	log := make(crashstates.Log, n)
	for i, op := range unsafe.Slice(ops, n) {
		log[i] = r.op(&op)
	}
	return log
}

// Stop ends the recording and returns it.
func (r *Recording) Stop() crashstates.Log {
	r.forget()
	C.fv_stop()
	log := r.Log()
	C.fv_forget()
	recording.Unlock()
	return log
}

var kinds = map[C.int]crashstates.Kind{
	C.FV_OPEN: crashstates.Open, C.FV_DELETE: crashstates.Delete, C.FV_WRITE: crashstates.Write, C.FV_TRUNCATE: crashstates.Truncate,
	C.FV_SYNC: crashstates.Sync, C.FV_CLOSE: crashstates.Close, C.FV_DIR_SYNC: crashstates.SyncDir, C.FV_RENAME: crashstates.Rename,
	C.FV_REPLACE: crashstates.Create, C.FV_PATH_SYNC: crashstates.SyncPath, C.FV_MARK: crashstates.Mark,
}

func (r *Recording) op(op *C.fv_op) crashstates.Op {
	to := crashstates.Op{
		Kind: kinds[op.kind], Path: r.relative(C.GoString(op.path)), Offset: int64(op.offset), Size: int64(op.size),
		Inode: uint64(op.inode), Start: int(op.start), Failed: op.failed != 0,
	}
	if op.data != nil {
		to.Data = C.GoBytes(op.data, C.int(op.size))
	}
	if to.Kind == crashstates.Rename {
		to.To, to.Data = r.relative(string(to.Data)), nil
	}
	return to
}

func (r *Recording) relative(path string) string {
	if path == r.dir {
		return "."
	}
	return filepath.ToSlash(strings.TrimPrefix(path, r.dir+string(filepath.Separator)))
}
