package sagatest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/saga"
)

// ReplayJournal runs changed definitions on what a store has recorded: every
// input of every instance of theirs in dir/sagas.db, with the events of
// dir/log.db, through the handlers as they are now. It returns the first effect
// of each instance that would be another (see saga.Replay for what is
// compared), nil where there is none. It logs how much it has looked at.
//
// dir is the directory of a store that nobody has open, or a backup. It is
// copied to a temporary directory, which takes as much room, and not changed;
// nothing is ever sent. The test fails where it could not look.
func ReplayJournal(t testing.TB, dir string, defs ...*saga.Definition) []saga.Difference {
	t.Helper()
	private := t.TempDir()
	if err := copyStore(dir, private); err != nil {
		t.Fatalf("replay journal: %v", err)
	}
	log, err := sqlite.OpenReadOnly(t.Context(), private)
	if err != nil {
		t.Fatalf("replay journal: %v", err)
	}
	defer func() {
		if err := log.Close(); err != nil {
			t.Errorf("replay journal: %v", err)
		}
	}()
	r, err := saga.Replay(t.Context(), private, log, defs)
	if err != nil {
		t.Fatalf("replay journal: %v", err)
	}
	t.Logf("replayed %d entries of %d instances, of which %d have entries that are too old: %d differ", r.Entries, r.Instances, r.Old, len(r.Differences))
	if r.Cut {
		t.Logf("there are more: %d are reported", saga.MaxDifferences)
	}
	return r.Differences
}

// copied are the files of a store that a replay reads.
var copied = []string{"log.db", "log.db-wal", "witness", saga.FileName, saga.FileName + "-wal"}

// copyStore copies them. It refuses a store that somebody has open: what is
// copied meanwhile is of no one moment.
func copyStore(from, to string) (err error) {
	release, err := sqlite.Hold(from)
	if err != nil {
		return fmt.Errorf("%w: close the store, or replay a backup of it", err)
	}
	defer func() { err = errors.Join(err, release()) }()
	for _, name := range copied {
		err := copyFile(filepath.Join(from, name), filepath.Join(to, name))
		if errors.Is(err, fs.ErrNotExist) && name != "log.db" && name != saga.FileName {
			continue
		}
		if err != nil {
			return fmt.Errorf("copy %s: %w", filepath.Join(from, name), err)
		}
	}
	return nil
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}
