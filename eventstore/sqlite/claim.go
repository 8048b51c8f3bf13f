package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/crash"
	"github.com/leat-go/leat/internal/disk"
	file "github.com/leat-go/leat/internal/sqlite"
)

// claim is a directory that was found fit to be opened, with its lock held.
type claim struct {
	dir         string
	lock        *os.File
	createdDir  bool
	createdLock bool
}

// beginnings are the files of a store whose creation was cut short.
var beginnings = []string{lockName, logName, logName + "-journal", logName + "-wal", logName + "-shm"}

// claimDir takes the lock of the store in dir. What it looks at before it has
// the lock it does not change, and a directory that is not a store it leaves
// as it was.
func claimDir(ctx context.Context, dir string, format file.Format) (_ *claim, err error) {
	if err := checkOwnable(dir); err != nil {
		return nil, err
	}
	c := &claim{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.abandon())
		}
	}()
	if c.createdDir, err = makeDir(dir); err != nil {
		return nil, err
	}
	if c.createdDir {
		crash.At(crash.StoreDir)
	}
	if err := disk.CheckLocal(dir); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotStore, err)
	}
	lock := filepath.Join(dir, lockName)
	if c.lock, err = lockFile(lock, false); err != nil {
		return nil, err
	}
	if err := checkOwnable(dir); err != nil { // a backup may have appeared meanwhile
		return nil, err
	}
	// Nobody else owns it: either the lock is held, or there was none yet.
	if err := inspect(ctx, dir, format); err != nil {
		return nil, err
	}
	if c.lock == nil {
		if c.lock, err = lockFile(lock, true); err != nil {
			return nil, err
		}
		c.createdLock = true
		crash.At(crash.StoreLock)
	}
	return c, nil
}

// abandon lets go of the directory and takes back what claimDir created.
func (c *claim) abandon() error {
	var errs []error
	if c.createdLock {
		errs = append(errs, os.Remove(c.lock.Name())) // while it is held
	}
	if c.lock != nil {
		errs = append(errs, unlockFile(c.lock))
	}
	if entries, err := os.ReadDir(c.dir); c.createdDir && err == nil && len(entries) == 0 {
		errs = append(errs, os.Remove(c.dir))
	}
	return errors.Join(errs...)
}

// checkOwnable returns ErrNotStore where dir is a backup, which would be one no
// more once it is written to, or what a Backup or Restore has not finished.
func checkOwnable(dir string) error {
	if strings.HasSuffix(real(dir), UnfinishedSuffix) {
		return fmt.Errorf("%w: %s: the name is one of what a backup or restore was making and has not finished: back up or restore again, or name another directory", ErrNotStore, dir)
	}
	backup, err := IsBackup(dir)
	if errors.Is(err, syscall.ENOTDIR) {
		return nil // which is said elsewhere
	}
	if err == nil && backup {
		err = fmt.Errorf("%w: %s: this is a backup (it has a %s): restore it to a new directory", ErrNotStore, dir, manifestName)
	}
	return err
}

func makeDir(dir string) (created bool, err error) {
	created, err = disk.EnsureDir(dir)
	switch {
	case errors.Is(err, disk.ErrNotPlain):
		return false, fmt.Errorf("%w: %w: name a directory", ErrNotStore, err)
	case err != nil:
		return created, fmt.Errorf("eventstore/sqlite: create: %w", err)
	}
	return created, nil
}

// inspect returns ErrNotStore or ErrCorrupt unless dir is a store, or the
// beginning of one, or empty.
func inspect(ctx context.Context, dir string, format file.Format) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("eventstore/sqlite: open: %w", err)
	}
	log := filepath.Join(dir, logName)
	switch info, err := os.Lstat(log); {
	case err == nil && witnessed(dir) && file.CutShort(log):
		return &eventstore.CorruptError{Where: log, Reason: "beside it lies a rollback journal that would empty it, and its witness is there: restore it from a backup, or remove the journal, which is not the store's"}
	case err == nil && (info.Size() > 0 || !info.Mode().IsRegular()):
		return inspectLog(ctx, log, format)
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("eventstore/sqlite: open: %w", err)
	}
	for _, e := range entries {
		if name := e.Name(); name == witnessName || slices.Contains(companionNames(), name) {
			return &eventstore.CorruptError{Where: log, Reason: "the log is missing or empty, but " + name + " is there, which belongs to it: restore it from a backup"}
		}
	}
	for _, e := range entries {
		if !slices.Contains(beginnings, e.Name()) {
			return fmt.Errorf("%w: %s holds no %s, but it is not empty (%s): name a store, or a new directory", ErrNotStore, dir, logName, e.Name())
		}
	}
	return nil
}

// inspectLog looks at what log.db says it is, and changes nothing.
func inspectLog(ctx context.Context, path string, format file.Format) error {
	if err := file.Preflight(ctx, path, format); err != nil {
		return fileError(path, "open", err)
	}
	return nil
}
