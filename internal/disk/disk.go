// Package disk does what Leat does with files beside SQLite so that it
// survives a power cut: replace a small file, sync a directory. Each step can
// be watched, which is how tests build the states that a power cut leaves.
package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
)

// Replace writes data to the file at path, mode 0600, so that after a power
// cut it holds what it held before or data: a file beside it, fsync, rename,
// fsync of the directory. A link at path is replaced and not followed. Two
// calls for one path must not run at once.
func Replace(path string, data []byte) error { return ReplaceIn(path, data, Steps{}) }

// Steps are called between the steps of ReplaceIn, where they are not nil; an
// error of one ends it.
type Steps struct {
	// Written: the file beside is written and synced, and has its name still.
	Written func() error
	// Renamed: it has the name of the other, which is not durable yet.
	Renamed func() error
}

// ReplaceIn is Replace with something to do between its steps.
func ReplaceIn(path string, data []byte, steps Steps) (err error) {
	temp := path + TempSuffix
	if err := os.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) // never through a link
	if err != nil {
		return err
	}
	write := Op{Kind: Write, Path: temp, Data: data}
	if err = errors.Join(f.Chmod(0o600), ask(write)); err == nil { // the umask may have taken more away
		tell(write)
		_, err = f.Write(data)
	}
	if err == nil {
		err = syncFile(f, temp)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	if steps.Written != nil {
		if err := steps.Written(); err != nil {
			return err
		}
	}
	rename := Op{Kind: Rename, Path: temp, To: path}
	if err := ask(rename); err != nil {
		return err
	}
	tell(rename)
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	if steps.Renamed != nil {
		if err := steps.Renamed(); err != nil {
			return err
		}
	}
	return SyncPath(filepath.Dir(path))
}

// MoveDir gives a directory, whose content is synced, another name in the same
// directory, so that after a power cut it has the one or the other: rename,
// fsync of the directory they stand in. Nothing may have the name. moved, where
// it is not nil, is called in between. An error after the rename leaves it
// under the new name.
func MoveDir(from, to string, moved func()) error {
	op := Op{Kind: Rename, Path: from, To: to}
	if err := ask(op); err != nil {
		return err
	}
	tell(op)
	if err := os.Rename(from, to); err != nil {
		return err
	}
	if moved != nil {
		moved()
	}
	return SyncPath(filepath.Dir(to))
}

// TempSuffix ends the name of the file that Replace writes first.
const TempSuffix = ".tmp"

// SyncPath syncs a directory, or a file that SQLite does not have open.
func SyncPath(path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return syncFile(f, path)
}

// syncFile syncs f, and tells that it did.
func syncFile(f *os.File, path string) error {
	op := Op{Kind: Sync, Path: path}
	if err := ask(op); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	tell(op)
	return nil
}

// Kind of a step.
type Kind string

// The steps.
const (
	Write  Kind = "write"  // Data is what the file holds, from its beginning
	Sync   Kind = "sync"   // of a file, or of a directory's entries
	Rename Kind = "rename" // of Path to To, not durable until their directory is synced
)

// Op is a step that was taken.
type Op struct {
	Kind     Kind
	Path, To string
	Data     []byte
}

// observer and obstacle are what is shared here, and only tests set them.
var (
	observer atomic.Pointer[func(Op)]
	obstacle atomic.Pointer[func(Op) error]
)

// Observe has fn told of every step, a sync after it succeeded and the others
// before they are tried, until stop is called. For tests.
func Observe(fn func(Op)) (stop func()) {
	observer.Store(&fn)
	return func() { observer.CompareAndSwap(&fn, nil) }
}

// Obstruct has fn asked before every step, until stop is called: where it
// returns an error the step is not tried and fails with that. For tests.
func Obstruct(fn func(Op) error) (stop func()) {
	obstacle.Store(&fn)
	return func() { obstacle.CompareAndSwap(&fn, nil) }
}

func tell(op Op) {
	if fn := observer.Load(); fn != nil {
		(*fn)(op)
	}
}

func ask(op Op) error {
	if fn := obstacle.Load(); fn != nil {
		return (*fn)(op)
	}
	return nil
}
