package verify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
)

// How it looked.
const (
	// BesideOwner: through SQLite, while a process has the store open.
	BesideOwner = "beside_owner"
	// PrivateCopy: at a copy of the directory, which nobody owns.
	PrivateCopy = "private_copy"
)

// What it looked at.
const (
	// KindStore is a store, or a backup that has lost its manifest: nothing else
	// tells them apart.
	KindStore = "store"
	// KindBackup is what sqlite.Store.Backup made: a directory that has a
	// manifest, to which it is held.
	KindBackup = "backup"
)

// Report is what was found. The zero Report is one of nothing, and not OK.
type Report struct {
	// Dir is the directory, as an absolute path.
	Dir string `json:"dir"`
	// Kind is KindStore or KindBackup.
	Kind string `json:"kind"`
	// Looked is BesideOwner or PrivateCopy.
	Looked string `json:"looked"`
	// Log is what was looked at of the log; zero where it could not be opened,
	// which is a finding.
	Log Log `json:"log"`
	// Files are the other files that were looked at, relative to Dir.
	Files []string `json:"files"`
	// Consumers are the checkpoints that were compared with the log.
	Consumers []Consumer `json:"consumers"`
	// Findings are what is not as it was written, the log's first. The store is
	// sound where there are none. They are bounded: a log that has more than
	// sqlite.MaxFindings is not looked at further.
	Findings []eventstore.Finding `json:"findings"`
	// Cut says that there may be more than those.
	Cut bool `json:"cut"`
}

// newReport returns one whose lists are empty, also in JSON.
func newReport(dir, looked string) Report {
	return Report{Dir: dir, Kind: KindStore, Looked: looked, Files: []string{}, Consumers: []Consumer{}, Findings: []eventstore.Finding{}}
}

// OK tells whether it was looked at and nothing was found.
func (r Report) OK() bool { return r.Looked != "" && len(r.Findings) == 0 }

// Log says what was verified of the log.
type Log struct {
	// Read tells whether it could be opened and read to its end. The rest is
	// of what was read.
	Read    bool  `json:"read"`
	Events  int64 `json:"events"`
	Batches int64 `json:"batches"`
	// Epoch, Position and Hash are the end of the log: Hash in hexadecimal.
	Epoch    string `json:"epoch"`
	Position int64  `json:"position"`
	Hash     string `json:"hash"`
}

// Consumer is a consumer's checkpoint.
type Consumer struct {
	File     string `json:"file"`
	Consumer string `json:"consumer"`
	Epoch    string `json:"epoch"`
	Position int64  `json:"position"`
	// Behind is how far it is behind Log.Position, in positions: 0 where it is
	// past that, as that of an owner may be.
	Behind int64 `json:"behind"`
}

// A store whose owner is just making, opening or closing it, or whose files
// change although nobody is known to own it, is looked at again, so often and
// with pauses that grow.
const (
	attempts  = 12
	pauseMost = time.Second
	pauseLess = 20 * time.Millisecond
)

// errUnsettled: look again.
var errUnsettled = errors.New("it is opened, closed or changed all the time")

// errRefused: the log of an owner cannot be opened beside it; look again, since
// the owner may be making it, and believe it at last.
var errRefused = fmt.Errorf("%w: the log cannot be opened", errUnsettled)

// errBackupOpen: to read its files for the manifest would drop the locks of who
// has them open; look again, since it may be another look.
var errBackupOpen = fmt.Errorf("%w: it is a backup that somebody has open: close it first: %w", eventstore.ErrInUse, errUnsettled)

// Dir looks at the store, or the backup, in a directory and changes nothing. See the package.
//
// An error means that it could not look: dir is not a directory, or holds no
// store, one of a newer program, or what a Backup or Restore has not finished
// (all sqlite.ErrNotStore), this process may not read it, there is no room for
// the copy, ctx has ended. The report is then of no use; the error is
// eventstore.ErrInvalid where dir is empty, and eventstore.ErrInUse where a
// backup is open in this process. Many may look at once.
func Dir(ctx context.Context, dir string) (Report, error) {
	if dir == "" {
		return Report{}, fmt.Errorf("verify: %w", &eventstore.InvalidError{Field: "store directory", Reason: "is empty"})
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return Report{}, fmt.Errorf("verify %s: %w", dir, err)
	}
	r, err := look(ctx, abs)
	pause := pauseLess
	for i := 1; errors.Is(err, errUnsettled) && i < attempts; i++ {
		select {
		case <-ctx.Done():
			return Report{}, ctx.Err()
		case <-time.After(pause):
			pause = min(2*pause, pauseMost)
			r, err = look(ctx, abs)
		}
	}
	if errors.Is(err, errRefused) {
		err = nil
	}
	if err != nil {
		return Report{}, fmt.Errorf("verify %s: %w", dir, err)
	}
	return r, nil
}

func look(ctx context.Context, dir string) (Report, error) {
	switch info, err := os.Stat(dir); {
	case err != nil:
		return Report{}, err
	case !info.IsDir():
		return Report{}, fmt.Errorf("%w: it is a file: name the directory of a store", sqlite.ErrNotStore)
	case strings.HasSuffix(dir, sqlite.UnfinishedSuffix):
		return Report{}, fmt.Errorf("%w: it is an unfinished backup or restore: make it again, or remove it", sqlite.ErrNotStore)
	}
	release, err := sqlite.Hold(dir)
	if errors.Is(err, eventstore.ErrInUse) {
		return beside(ctx, dir)
	}
	if err != nil {
		return Report{}, err
	}
	return alone(ctx, dir, sync.OnceValue(release))
}

// beside looks at a store that somebody has open.
func beside(ctx context.Context, dir string) (Report, error) {
	// Without a write-ahead log it is not open yet, or no more: opening it
	// would make one.
	if _, err := os.Lstat(filepath.Join(dir, logName+"-wal")); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("%w: %w", eventstore.ErrInUse, errUnsettled)
		}
		return Report{}, err
	}
	if backup, err := sqlite.IsBackup(dir); err != nil || backup {
		if err == nil {
			err = errBackupOpen
		}
		return Report{}, err
	}
	in := &inspection{dir: dir, report: newReport(dir, BesideOwner)}
	err := in.run(ctx)
	if err == nil && in.refused {
		err = errRefused
	}
	return in.report, err
}

// alone looks at a copy of a store that nobody owns and release gives back.
func alone(ctx context.Context, dir string, release func() error) (_ Report, err error) {
	defer func() { err = errors.Join(err, release()) }()
	files, odd, err := list(dir)
	if err != nil {
		return Report{}, err
	}
	backup, err := sqlite.IsBackup(dir)
	if err != nil {
		return Report{}, err
	}
	if openHere(files) {
		if backup {
			return Report{}, errBackupOpen
		}
		// It is open for reading in this process, whose locks on a file would
		// be dropped when a copier closes it.
		return beside(ctx, dir)
	}
	var differ []eventstore.Finding
	if backup {
		if differ, err = sqlite.CheckBackup(ctx, dir); err != nil {
			return Report{}, err
		}
	}
	temp, err := os.MkdirTemp("", "leat-verify-") // mode 0700
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	if err := copyFiles(ctx, dir, temp, files); err != nil {
		return Report{}, err
	}
	if err := release(); err != nil { // owners need not wait for the rest
		return Report{}, err
	}
	in := &inspection{dir: temp, private: true, report: newReport(dir, PrivateCopy)}
	if backup {
		in.report.Kind = KindBackup
		if err := os.Remove(filepath.Join(temp, manifestName)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return Report{}, err // as in a restored store
		}
	} else {
		differ = odd // of which the manifest has told, too
	}
	in.report.Findings = append(in.report.Findings, differ...)
	err = in.run(ctx)
	return in.report, err
}
