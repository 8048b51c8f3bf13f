//go:build unix

package sqlite

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/disk"
	"github.com/leat-go/leat/internal/parts"
)

// intake is a directory that may be a backup.
type intake struct {
	dir   string
	names []string // to be taken
	// strangers are no part of a store, at least not of this program's.
	strangers []string
	close     func() error
}

// takenPiece is how much is copied or hashed before a context is looked at again.
const takenPiece = 4 << 20

// look looks what is in a directory that may be a backup, or a store that
// nobody owns, and keeps owners out until close. What is no part of a backup
// is refused: it may be something that a newer program cannot do without. In a
// store it may be anybody's.
func look(dir string) (_ *intake, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w: name the directory of a backup", ErrNotStore, err)
	}
	if err := checkFinished(dir); err != nil {
		return nil, err
	}
	in := &intake{dir: dir}
	in.names, in.strangers = sortOut(entries)
	if err := in.complete(); err != nil {
		return nil, err
	}
	release, err := Hold(dir)
	if errors.Is(err, eventstore.ErrInUse) {
		return nil, fmt.Errorf("%w: take a Backup of it, and restore that", err)
	}
	in.close = release
	return in, err
}

// sortOut tells the files of a backup, or of a store, from what is neither nor
// passed over.
func sortOut(entries []os.DirEntry) (names, strangers []string) {
	taken := []string{logName, logName + "-wal", witnessName, manifestName}
	passed := []string{lockName, "views", parts.FileName, parts.FileName + disk.TempSuffix, logName + "-shm", witnessName + disk.TempSuffix, manifestName + disk.TempSuffix}
	for _, name := range companionNames() {
		taken, passed = append(taken, name, name+"-wal"), append(passed, name+"-shm")
	}
	for _, e := range entries {
		switch name := e.Name(); {
		case slices.Contains(taken, name):
			names = append(names, name)
		case !slices.Contains(passed, name):
			strangers = append(strangers, name)
		}
	}
	return names, strangers
}

// complete returns an error where there is no log, or something else as well in
// a backup: ErrCorrupt where a manifest says that it is one, which was once
// whole.
func (in *intake) complete() error {
	logless, err := isLogless(in.dir)
	if err != nil {
		return err
	}
	if !logless && (len(in.strangers) == 0 || !in.has(manifestName)) {
		return nil
	}
	m, err := readManifest(filepath.Join(in.dir, manifestName))
	if err != nil && !errors.Is(err, eventstore.ErrCorrupt) {
		return err
	}
	if of := in.beside(); logless && of != "" && (m != nil || !in.has(manifestName)) {
		return &eventstore.CorruptError{Where: filepath.Join(in.dir, logName), Reason: fmt.Sprintf("it is missing or empty, but %s is there: %s", of, anotherBackup)}
	}
	if len(in.strangers) > 0 && in.has(manifestName) {
		name := in.strangers[0]
		path := filepath.Join(in.dir, name)
		if m != nil && !m.names(name) {
			return &eventstore.CorruptError{Where: path, Reason: "it is there, which the manifest does not name: move it away, or take another backup"}
		}
		return fmt.Errorf("%w: %q is no part of a backup, at least not of this program's: move it away, or use a newer program", ErrNotStore, path)
	}
	if in.has(manifestName) {
		return &eventstore.CorruptError{Where: filepath.Join(in.dir, logName), Reason: "it is missing or empty, but the manifest of a backup is there: " + anotherBackup}
	}
	if in.has(logName) {
		return nil // and empty, which is said by whoever opens it
	}
	return fmt.Errorf("%w: %s holds no %s: name the directory of a backup", ErrNotStore, in.dir, logName)
}

// isLogless tells whether a directory has no log, or nothing in it: one that was
// just made may have everything in its write-ahead log.
func isLogless(dir string) (bool, error) {
	for _, name := range []string{logName, logName + "-wal"} {
		switch info, err := os.Lstat(filepath.Join(dir, name)); {
		case errors.Is(err, os.ErrNotExist):
			if name == logName {
				return true, nil
			}
		case err != nil:
			return false, fmt.Errorf("eventstore/sqlite: %w", err)
		case info.Size() > 0 || !info.Mode().IsRegular():
			return false, nil
		}
	}
	return true, nil
}

// beside says what belongs to a log and is there; empty where nothing is.
func (in *intake) beside() string {
	if in.has(manifestName) {
		return "the manifest of a backup"
	}
	for _, name := range append(companionNames(), witnessName) {
		if in.has(name) {
			return name + " of a store"
		}
	}
	return ""
}

// namedStrangers is how many strangers are named.
const namedStrangers = 10

// left says what is not taken; empty where that is nothing.
func (in *intake) left() string {
	if len(in.strangers) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("not of this program's store, and not copied: ")
	for i, name := range in.strangers {
		switch {
		case i == namedStrangers:
			fmt.Fprintf(&b, " and %d more", len(in.strangers)-i)
			return b.String()
		case i > 0:
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", name)
	}
	return b.String()
}

func (in *intake) has(name string) bool { return slices.Contains(in.names, name) }

// take copies everything, synced, and returns what it copied beside the
// manifest.
func (in *intake) take(ctx context.Context, to *staging) (files []part, err error) {
	for _, name := range in.names {
		p, err := takeFile(ctx, filepath.Join(in.dir, name), to.path(name))
		if err != nil {
			return nil, err
		}
		if p.Name = name; name != manifestName {
			files = append(files, p)
		}
	}
	return files, nil
}

// openTaken opens a regular file, through no link and no pipe. To close it drops
// the locks that SQLite has on it, so nobody here may have it open there.
func openTaken(path string) (_ *os.File, err error) {
	src, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, &eventstore.CorruptError{Where: path, Reason: "it is a symbolic link: a backup holds the files themselves"}
	}
	if err != nil {
		return nil, fmt.Errorf("eventstore/sqlite: %w", err)
	}
	info, err := src.Stat()
	if err == nil && !info.Mode().IsRegular() {
		return nil, errors.Join(&eventstore.CorruptError{Where: path, Reason: "it is not a regular file"}, src.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("eventstore/sqlite: %w", err), src.Close())
	}
	return src, nil
}

// takeFile copies a file, and syncs the copy. See openTaken.
func takeFile(ctx context.Context, from, to string) (_ part, err error) {
	src, err := openTaken(from)
	if err != nil {
		return part{}, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	if err := disk.CreateFile(to); err != nil {
		return part{}, fmt.Errorf("eventstore/sqlite: %w", err)
	}
	dst, err := os.OpenFile(to, os.O_WRONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return part{}, fmt.Errorf("eventstore/sqlite: %w", err)
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	p, err := pour(ctx, dst, src)
	if err != nil {
		return part{}, fmt.Errorf("eventstore/sqlite: copy: %w", err)
	}
	if err := dst.Sync(); err != nil {
		return part{}, fmt.Errorf("eventstore/sqlite: copy: %w", err)
	}
	return p, nil
}

// pour copies all of src to dst, and returns what a manifest says of it, but
// for its name.
func pour(ctx context.Context, dst io.Writer, src io.Reader) (p part, err error) {
	sum := sha256.New()
	for {
		if err := ctx.Err(); err != nil {
			return part{}, err
		}
		n, err := io.CopyN(io.MultiWriter(dst, sum), src, takenPiece)
		p.Bytes += n
		if errors.Is(err, io.EOF) {
			p.SHA256 = hex.EncodeToString(sum.Sum(nil))
			return p, nil
		}
		if err != nil {
			return part{}, err
		}
	}
}
