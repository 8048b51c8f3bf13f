//go:build unix

package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/leat-go/leat/eventstore"
)

// Hold keeps owners out of the store in dir until release is called, and
// neither creates nor changes anything: it is for a look at a store that
// nobody owns. Any number of callers, in any process, may hold it at once.
// Where there is no lock file, or this process may not open it, nobody is known
// to own the store, but somebody may begin to meanwhile. It returns eventstore.ErrInUse where somebody owns it, be it
// another part of this process.
func Hold(dir string) (release func() error, err error) {
	path := filepath.Join(dir, lockName)
	nothing := func() error { return nil }
	// Not through a link, and not waiting for the other end of a pipe.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission):
		return nothing, nil
	case err != nil:
		return nil, fmt.Errorf("eventstore/sqlite: lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = fmt.Errorf("%w: %s is locked", eventstore.ErrInUse, path)
		} else {
			err = fmt.Errorf("eventstore/sqlite: lock %s: %w", path, err)
		}
		return nil, errors.Join(err, f.Close())
	}
	return func() error { return unlockFile(f) }, nil
}
