//go:build unix

package sqlite

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/disk"
)

// lockFile takes the lock of a store, creating its file where create is set,
// and holds it until the file is closed. It returns nil where the file does
// not exist and is not to be created.
func lockFile(path string, create bool) (*os.File, error) {
	flags := os.O_RDWR | syscall.O_NOFOLLOW | syscall.O_NONBLOCK // nor wait at a pipe
	if create {
		flags |= os.O_CREATE
	}
	const attempts = 100 // of losing a race against somebody who removes it
	for range attempts {
		f, err := os.OpenFile(path, flags, 0o600)
		if errors.Is(err, os.ErrNotExist) && !create {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("eventstore/sqlite: lock: %w", err)
		}
		if err := plainLock(f, create); err != nil {
			return nil, errors.Join(fmt.Errorf("eventstore/sqlite: lock: %w", err), f.Close())
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			err = errors.Join(lockError(path, err), f.Close())
			return nil, err
		}
		held, err := f.Stat()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("eventstore/sqlite: lock: %w", err), f.Close())
		}
		if named, err := os.Lstat(path); err == nil && os.SameFile(held, named) {
			return f, nil
		}
		if err := f.Close(); err != nil {
			return nil, fmt.Errorf("eventstore/sqlite: lock: %w", err)
		}
	}
	return nil, fmt.Errorf("%w: %s is created and removed all the time", eventstore.ErrInUse, path)
}

// unlockFile lets go of the lock, also where a process that is being started
// has a copy of the descriptor until it becomes another program: closing alone
// would leave it locked for as long.
func unlockFile(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
	if err != nil {
		err = fmt.Errorf("eventstore/sqlite: unlock: %w", err)
	}
	return errors.Join(err, f.Close())
}

// plainLock refuses what is no regular file, and gives a new one its mode
// whatever the umask.
func plainLock(f *os.File, create bool) error {
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: %s is not a regular file", disk.ErrNotPlain, f.Name())
	case create:
		return f.Chmod(0o600)
	}
	return nil
}

func lockError(path string, err error) error {
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("%w: another process, or another part of this one, owns the store (%s): stop it, or read beside it with OpenReadOnly", eventstore.ErrInUse, path)
	}
	return fmt.Errorf("eventstore/sqlite: lock %s: %w", path, err)
}
