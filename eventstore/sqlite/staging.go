package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/disk"
	"github.com/leat-go/leat/internal/parts"
)

// UnfinishedSuffix ends the name of the directory in which Backup and Restore
// make what is to appear under its own name, whole or not at all. One that a
// killed process left behind is of no use: the next Backup or Restore to the
// same place empties and reuses it, or remove it by hand.
const UnfinishedSuffix = ".unfinished"

// checkFinished returns ErrNotStore where the name of dir says that a Backup or
// Restore was making it and has not finished.
func checkFinished(dir string) error {
	if !strings.HasSuffix(real(dir), UnfinishedSuffix) {
		return nil
	}
	return fmt.Errorf("%w: %s: the name is one of an unfinished backup or restore: make it again, or remove it", ErrNotStore, dir)
}

// staging is a directory in the making.
type staging struct {
	final, dir string
	lock       *os.File
	created    bool     // the directory; else one was left over
	made       []string // of the directories above, the highest first
}

// stage begins to make what is to be the directory final, which must not
// exist, or be empty, and neither stand in other nor hold it. Nor may other be
// what an earlier attempt at final left.
func stage(final, other string) (_ *staging, err error) {
	if final == "" {
		return nil, &eventstore.InvalidError{Field: "destination", Reason: "is empty"}
	}
	if final, err = filepath.Abs(final); err != nil {
		return nil, fmt.Errorf("eventstore/sqlite: %w", err)
	}
	dir := final + UnfinishedSuffix // which is emptied
	if within(other, final) || within(final, other) || within(dir, other) {
		return nil, &eventstore.InvalidError{Field: "destination", Value: final, Reason: fmt.Sprintf("and %s stand one in the other: name a directory elsewhere", other)}
	}
	if err := checkVacant(final); err != nil {
		return nil, err
	}
	if err := checkLeft(dir); err != nil { // before anything is touched
		return nil, err
	}
	s := &staging{final: final, dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.abandon())
		}
	}()
	if s.made, err = missing(filepath.Dir(final)); err != nil {
		return nil, fmt.Errorf("eventstore/sqlite: create: %w", err)
	}
	if s.created, err = disk.MakeDir(s.dir); err != nil {
		return nil, fmt.Errorf("eventstore/sqlite: create: %w", err)
	}
	if s.lock, err = lockFile(s.path(lockName), true); err != nil {
		if errors.Is(err, eventstore.ErrInUse) {
			err = fmt.Errorf("%w: somebody else is making %s", eventstore.ErrInUse, final)
		}
		return nil, err
	}
	return s, s.clear()
}

func (s *staging) path(name string) string { return filepath.Join(s.dir, name) }

// staged are the files that may be in it, the lock but for.
func staged() []string {
	names := []string{witnessName, witnessName + disk.TempSuffix, manifestName, manifestName + disk.TempSuffix, parts.FileName, parts.FileName + disk.TempSuffix}
	for _, db := range append(companionNames(), logName) {
		names = append(names, db, db+"-wal", db+"-shm", db+"-journal")
	}
	return names
}

// checkLeft returns an error where dir holds what no earlier attempt left. What
// is not there, or no directory, it leaves to others.
func checkLeft(dir string) error {
	if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil // somebody else has just finished it
	}
	if err != nil {
		return fmt.Errorf("eventstore/sqlite: %w", err)
	}
	known := staged()
	for _, e := range entries {
		if name := e.Name(); name != lockName && (e.IsDir() || !slices.Contains(known, name)) {
			return fmt.Errorf("eventstore/sqlite: %s holds %q, which no backup does: move it away", dir, name)
		}
	}
	return nil
}

// clear removes what an earlier attempt left, and nothing else.
func (s *staging) clear() error {
	if err := checkLeft(s.dir); err != nil {
		return err
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("eventstore/sqlite: %w", err)
	}
	for _, e := range entries {
		if e.Name() == lockName {
			continue
		}
		if err := os.Remove(s.path(e.Name())); err != nil {
			return fmt.Errorf("eventstore/sqlite: %w", err)
		}
	}
	return nil
}

// publish gives the directory its name. It returns an error after that too,
// where it is not known to survive a power cut under it.
func (s *staging) publish(moved func()) error {
	if err := disk.SyncPath(s.dir); err != nil {
		return err
	}
	if err := os.Remove(s.final); err != nil && !errors.Is(err, os.ErrNotExist) { // it is empty
		return fmt.Errorf("eventstore/sqlite: %w", err)
	}
	if err := disk.MoveDir(s.dir, s.final, moved); err != nil {
		return fmt.Errorf("eventstore/sqlite: give %s its name: %w", s.final, err)
	}
	return nil
}

// abandon removes what was made, unless it has its name.
func (s *staging) abandon() error {
	var errs []error
	if s.lock == nil && s.created {
		errs = append(errs, os.Remove(s.dir))
	}
	if s.lock != nil {
		if held, err := s.lock.Stat(); err == nil {
			if named, err := os.Lstat(s.path(lockName)); err == nil && os.SameFile(held, named) {
				errs = append(errs, s.clear(), os.Remove(s.path(lockName)), os.Remove(s.dir))
			}
		}
		errs = append(errs, unlockFile(s.lock))
		s.lock = nil
	}
	for _, dir := range slices.Backward(s.made) {
		if err := os.Remove(dir); err != nil {
			break // somebody has begun to use it, or it is not there
		}
	}
	return errors.Join(errs...)
}

// close lets go of what was published.
func (s *staging) close() error { return unlockFile(s.lock) }

// checkVacant returns an error unless dir is absent or an empty directory.
func checkVacant(dir string) error {
	info, err := os.Lstat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("eventstore/sqlite: %w", err)
	case !info.IsDir():
		return fmt.Errorf("eventstore/sqlite: %s is not a directory: name a new one", dir)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("eventstore/sqlite: %w", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("eventstore/sqlite: %s is not empty: name a new directory", dir)
	}
	return nil
}

// missing returns dir and the directories above it that are not there, the
// highest first.
func missing(dir string) (dirs []string, err error) {
	for {
		_, err := os.Stat(dir)
		if err == nil {
			slices.Reverse(dirs)
			return dirs, nil
		}
		if !errors.Is(err, os.ErrNotExist) || dir == filepath.Dir(dir) {
			return nil, err
		}
		dirs = append(dirs, dir)
		dir = filepath.Dir(dir)
	}
}

// within tells whether path is dir or stands in it, links followed as far as
// there is something.
func within(dir, path string) bool {
	rel, err := filepath.Rel(real(dir), real(path))
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

func real(path string) string {
	rest := ""
	for {
		if found, err := filepath.EvalSymlinks(path); err == nil {
			return filepath.Join(found, rest)
		}
		above := filepath.Dir(path)
		if above == path {
			return filepath.Join(path, rest)
		}
		path, rest = above, filepath.Join(filepath.Base(path), rest)
	}
}
