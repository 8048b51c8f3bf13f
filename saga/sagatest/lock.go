//go:build unix

package sagatest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/leat-go/leat/eventstore"
)

// lockStore keeps owners away from a store while it is copied. A directory
// without the file, such as a backup, has none.
func lockStore(path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, fmt.Errorf("lock the store: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %s (%w): close the store, or replay a backup of it", eventstore.ErrInUse, path, err), f.Close())
	}
	return f.Close, nil // which lets go of the lock
}
