package sqlite

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/leat-go/leat/eventstore"
	file "github.com/leat-go/leat/internal/sqlite"
)

// ErrDiskFull: there was no room, for an append, a backup or a restored store.
// Writes go on as soon as there is. An append that is refused with it is
// eventstore.ErrBusy as well, and was not stored; where the room ran out during
// the commit it is eventstore.ErrOutcomeUnknown instead, to be repeated with
// the same batch ID.
var ErrDiskFull = errors.New("eventstore/sqlite: disk full")

// ErrReadOnly: the store was opened with OpenReadOnly.
var ErrReadOnly = errors.New("eventstore/sqlite: opened read-only")

// ErrNotStore: the directory is not a store, or a store of a format that this
// program does not read.
var ErrNotStore = errors.New("eventstore/sqlite: not a store of this program")

// fileError translates an error of SQLite on the file at path.
func fileError(path, doing string, err error) error {
	switch {
	case file.IsNotDatabase(err), errors.Is(err, file.ErrForeign), errors.Is(err, file.ErrNewer):
		return fmt.Errorf("%w: %s: %w", ErrNotStore, doing, err)
	case errors.Is(err, file.ErrSchema): // which says what to do
		return &eventstore.CorruptError{Where: path, Reason: fmt.Sprintf("%s: %v", doing, err)}
	case file.IsTooBig(err): // appends are bounded before
		return &eventstore.CorruptError{Where: path, Reason: fmt.Sprintf("%s: a row or value has more than %d bytes, which is not this program's: restore it from a backup", doing, file.MaxRow)}
	case file.IsUnreadable(err), errors.As(err, new(*unexpectedError)): // the statements are constants
		return &eventstore.CorruptError{Where: path, Reason: fmt.Sprintf("%s: %v: restore it from a backup", doing, err)}
	default:
		return fmt.Errorf("eventstore/sqlite: %s: %s: %w", path, doing, err)
	}
}

// diskFull marks the error of making a backup or a store for which there was no
// room.
func diskFull(err error) error {
	if file.IsFull(err) || errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("%w: free some space, or name another disk: %w", ErrDiskFull, err)
	}
	return err
}

// isPassing tells whether a transaction failed for a reason that may be gone
// when the next is tried.
func isPassing(err error) bool {
	return file.IsFull(err) || file.IsBusy(err) || file.IsMemory(err) || errors.Is(err, file.ErrWALFull)
}

// notStored translates the error of a transaction that was undone before its
// commit.
func notStored(path string, err error) error {
	switch {
	case file.IsFull(err):
		return fmt.Errorf("%w: %w: nothing was stored in %s: free some space and append again: %w", eventstore.ErrBusy, ErrDiskFull, path, err)
	case errors.Is(err, file.ErrWALFull):
		return fmt.Errorf("%w: nothing was stored: %w", eventstore.ErrBusy, err)
	case file.IsBusy(err):
		return fmt.Errorf("%w: another program holds the write lock of %s, nothing was stored: %w", eventstore.ErrBusy, path, err)
	default:
		return fileError(path, "append, nothing was stored", err)
	}
}
