//go:build unix

package sqlite

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// ErrReplaced: another program has removed or replaced a file of an open
// database. See ReplacedError.
var ErrReplaced = errors.New("sqlite: a file of an open database was removed or replaced")

// ReplacedError says which file is no longer the one that is open: what is
// committed goes where nobody will find it.
type ReplacedError struct {
	// Path is the database, its write-ahead log or its index of that.
	Path string
	// Reason says what was found in its place.
	Reason string
	// Saved says that everything committed has been moved into the database
	// itself since, through the connection that is still open.
	Saved bool
}

func (e *ReplacedError) Error() string {
	saved := ""
	if e.Saved {
		saved = "; what was committed until then was moved into the database itself"
	}
	return fmt.Sprintf("%v: %s: %s: nothing but SQLite may touch the files of an open database%s", ErrReplaced, e.Path, e.Reason, saved)
}

func (e *ReplacedError) Unwrap() error { return ErrReplaced }

// identity tells two files of one name apart.
type identity struct {
	device, inode uint64
}

// parts are what a database consists of while it is open.
var parts = [...]string{"", "-wal", "-shm"}

// identities are those of the parts of a database.
type identities [len(parts)]identity

// identify returns who the parts of the database at path are, and the size of
// its write-ahead log. It opens nothing: closing a descriptor would drop
// SQLite's locks.
func identify(path string) (all identities, size int64, err error) {
	for i, part := range parts {
		id, bytes, err := look(path + part)
		if err != nil {
			return all, 0, &os.PathError{Op: "stat", Path: path + part, Err: err}
		}
		all[i] = id
		if part == "-wal" {
			size = bytes
		}
	}
	return all, size, nil
}

// lstat is look as every system has it.
func lstat(path string) (identity, int64, error) {
	var st syscall.Stat_t
	err := syscall.Lstat(path, &st)
	return identity{device: uint64(st.Dev), inode: st.Ino}, st.Size, err //nolint:unconvert // int32 on some systems
}

// check returns a ReplacedError where a part of the database at path is not the
// one that was opened, another error where the system does not say, and the size
// of the write-ahead log where all are.
func (all identities) check(path string) (size int64, err error) {
	now, size, err := identify(path)
	if err == nil && now == all {
		return size, nil
	}
	if gone, ok := errors.AsType[*os.PathError](err); ok && (errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENOTDIR)) {
		return 0, &ReplacedError{Path: gone.Path, Reason: gone.Err.Error()}
	}
	if err != nil { // the system does not say now: perhaps it does later
		return 0, fmt.Errorf("sqlite: look whether the files are those that were opened: %w", err)
	}
	for i, part := range parts {
		if now[i] != all[i] {
			return 0, &ReplacedError{Path: path + part, Reason: "another file has its name"}
		}
	}
	return size, nil
}
