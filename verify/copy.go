package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/parts"
	"github.com/leat-go/leat/saga"
)

// Names in a store's directory. They are as durable as the files.
const (
	logName       = "log.db"
	witnessName   = "witness"
	manifestName  = "manifest" // of a backup
	viewsDir      = "views"
	pointerSuffix = ".live"
)

// databases are those at the top of the directory.
var databases = []string{logName, saga.FileName, "consumers.db"}

// MaxFiles is how many files of a directory are copied at most.
const MaxFiles = 10_000

// chunk is how much is copied without a look at the context, in bytes.
const chunk = 4 << 20

// source is a file of the store.
type source struct {
	path string // in the directory
	info os.FileInfo
}

// list returns the files that belong to a store: regular ones, and as a
// finding each that should be and is not, which is not followed.
func list(dir string) (files []source, odd []eventstore.Finding, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	var views []os.DirEntry
	switch info, err := os.Lstat(filepath.Join(dir, viewsDir)); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, nil, err
	case !info.IsDir():
		odd = append(odd, notLookedAt(viewsDir, "directory", info))
	default:
		if views, err = os.ReadDir(filepath.Join(dir, viewsDir)); err != nil {
			return nil, nil, err
		}
	}
	for _, e := range entries {
		if belongs(e.Name()) {
			files = append(files, source{path: e.Name()})
		}
	}
	for _, e := range views {
		if strings.HasSuffix(e.Name(), pointerSuffix) || isDatabase(e.Name()) {
			files = append(files, source{path: filepath.Join(viewsDir, e.Name())})
		}
	}
	if len(files) > MaxFiles {
		return nil, nil, fmt.Errorf("it has %d files, %d can be verified", len(files), MaxFiles)
	}
	regular := files[:0]
	for _, f := range files {
		if f.info, err = os.Lstat(filepath.Join(dir, f.path)); err != nil {
			return nil, nil, fmt.Errorf("%w: %w", errUnsettled, err)
		}
		if f.info.Mode().IsRegular() {
			regular = append(regular, f)
			continue
		}
		odd = append(odd, notLookedAt(f.path, "regular file", f.info))
	}
	return regular, odd, nil
}

func notLookedAt(path, what string, info os.FileInfo) eventstore.Finding {
	return eventstore.Finding{
		File: path, Reason: fmt.Sprintf("it is not a %s (%v), and was not looked at", what, info.Mode().Type()),
		Remedy: "put the " + what + " itself in its place",
	}
}

// belongs tells whether a file of the directory is one of a store.
func belongs(name string) bool {
	return name == witnessName || name == manifestName || name == parts.FileName || slices.Contains(databases, databaseOf(name))
}

// The files of a database: itself, what stands beside it and is part of it.
// The index of a write-ahead log is not: it is made anew.
var sideFiles = []string{"-wal", "-journal"}

func databaseOf(name string) string {
	for _, suffix := range sideFiles {
		name = strings.TrimSuffix(name, suffix)
	}
	return name
}

func isDatabase(name string) bool { return strings.HasSuffix(databaseOf(name), ".db") }

// copyFiles copies them. It returns errUnsettled where anything has changed
// meanwhile, so that the copy would be of no one moment.
func copyFiles(ctx context.Context, from, to string, files []source) error {
	if err := os.Mkdir(filepath.Join(to, viewsDir), 0o700); err != nil {
		return err
	}
	for _, f := range files {
		if err := copyFile(ctx, filepath.Join(from, f.path), filepath.Join(to, f.path), f.info); err != nil {
			return fmt.Errorf("copy %s: %w", f.path, err)
		}
	}
	now, _, err := list(from)
	if err != nil {
		return err
	}
	if !slices.EqualFunc(files, now, func(a, b source) bool { return a.path == b.path && same(a.info, b.info) }) {
		return errUnsettled
	}
	return nil
}

func same(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

func copyFile(ctx context.Context, from, to string, info os.FileInfo) (err error) {
	// Neither through a link nor waiting for the other end of a pipe that has
	// taken the file's place.
	in, err := os.OpenFile(from, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return errUnsettled
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	if now, err := in.Stat(); err != nil || !same(info, now) {
		return errors.Join(errUnsettled, err)
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	for left := info.Size(); left > 0; left -= chunk {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.CopyN(out, in, min(left, chunk))
		switch {
		case errors.Is(err, io.EOF):
			return errUnsettled
		case errors.Is(err, syscall.ENOSPC):
			return fmt.Errorf("after %d of %d bytes of it: %w: name a directory with more room in TMPDIR", info.Size()-left+n, info.Size(), err)
		case err != nil:
			return err
		}
	}
	return nil
}

// openHere tells whether this process has one of the files open. A read-only
// opening that begins between this look and the end of the copy loses its locks
// when the copy closes the file: harmless, since nobody owns the store then, so
// that nobody writes or moves what it reads.
func openHere(files []source) bool {
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		return false // a system that does not tell
	}
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		var open syscall.Stat_t
		if err != nil || syscall.Fstat(n, &open) != nil {
			continue // closed since
		}
		if slices.ContainsFunc(files, func(f source) bool {
			st, ok := f.info.Sys().(*syscall.Stat_t)
			return ok && st.Dev == open.Dev && st.Ino == open.Ino
		}) {
			return true
		}
	}
	return false
}
