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
	"syscall"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/disk"
)

// intake is a directory that may be a backup.
type intake struct {
	dir   string
	names []string // to be taken
	close func() error
}

// takenPiece is how much is copied before a context is looked at again.
const takenPiece = 4 << 20

// look looks what is in a directory that may be a backup, or a store that
// nobody owns, and keeps owners out until close. What is no part of one is
// refused: it may be something that a newer program cannot do without.
func look(dir string) (_ *intake, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w: name the directory of a backup", ErrNotStore, err)
	}
	in := &intake{dir: dir}
	taken := []string{logName, logName + "-wal", witnessName, manifestName}
	passed := []string{lockName, "views", logName + "-shm", witnessName + disk.TempSuffix, manifestName + disk.TempSuffix}
	for _, name := range companionNames() {
		taken, passed = append(taken, name, name+"-wal"), append(passed, name+"-shm")
	}
	for _, e := range entries {
		switch name := e.Name(); {
		case slices.Contains(taken, name):
			in.names = append(in.names, name)
		case !slices.Contains(passed, name):
			return nil, fmt.Errorf("%w: %q is no part of a backup, at least not of this program's: move it away, or use a newer program", ErrNotStore, filepath.Join(dir, name))
		}
	}
	if !in.has(logName) {
		return nil, fmt.Errorf("%w: %s holds no %s: name the directory of a backup", ErrNotStore, dir, logName)
	}
	release, err := Hold(dir)
	if errors.Is(err, eventstore.ErrInUse) {
		return nil, fmt.Errorf("%w: take a Backup of it, and restore that", err)
	}
	in.close = release
	return in, err
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

// takeFile copies a regular file, through no link and from no pipe, and syncs
// the copy. It closes what it reads, so nobody here may have it open in SQLite.
func takeFile(ctx context.Context, from, to string) (_ part, err error) {
	src, err := os.OpenFile(from, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return part{}, &eventstore.CorruptError{Where: from, Reason: "it is a symbolic link: a backup holds the files themselves"}
	}
	if err != nil {
		return part{}, fmt.Errorf("eventstore/sqlite: %w", err)
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	info, err := src.Stat()
	if err != nil {
		return part{}, fmt.Errorf("eventstore/sqlite: %w", err)
	}
	if !info.Mode().IsRegular() {
		return part{}, &eventstore.CorruptError{Where: from, Reason: "it is not a regular file"}
	}
	if err := disk.CreateFile(to); err != nil {
		return part{}, fmt.Errorf("eventstore/sqlite: %w", err)
	}
	dst, err := os.OpenFile(to, os.O_WRONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return part{}, fmt.Errorf("eventstore/sqlite: %w", err)
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	sum, p := sha256.New(), part{}
	for {
		if err := ctx.Err(); err != nil {
			return part{}, err
		}
		n, err := io.CopyN(io.MultiWriter(dst, sum), src, takenPiece)
		p.Bytes += n
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return part{}, fmt.Errorf("eventstore/sqlite: copy: %w", err)
		}
	}
	p.SHA256 = hex.EncodeToString(sum.Sum(nil))
	if err := dst.Sync(); err != nil {
		return part{}, fmt.Errorf("eventstore/sqlite: copy: %w", err)
	}
	return p, nil
}
