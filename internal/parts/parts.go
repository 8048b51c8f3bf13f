// Package parts remembers which files a store's directory must have beside its
// log: sagas.db and consumers.db hold what is nowhere else, and a program that
// found none would make an empty one and begin anew. That they were there is
// written down in a file of its own, so that one that was removed is missed.
package parts

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/disk"
	"github.com/leat-go/leat/internal/sqlite"
)

// FileName is the name of the list in a store's directory: a file's name in
// each line. Lines that begin with # and empty ones are passed over. Whoever
// removes a line gives the file up.
const FileName = "parts"

const (
	most   = 4 << 10 // bytes of the list; it has about 200
	header = "# The files that this store must have beside log.db. To give one up for lost, remove its line.\n"
)

// Reason and Remedy are what there is to say of a listed file that is missing.
const (
	Reason = "it is missing or empty, but the store had it: what was in it is nowhere else"
	Remedy = "put it back, or restore the store from a backup; to give up what was in it, remove its line from the file " + FileName
)

// name is what a listed file is called. A list says nothing of other places.
var name = regexp.MustCompile(`^[a-z]{1,40}\.db$`)

// Open opens the database dir/name, a part of the store there, and lists it
// once it is made. It returns ErrCorrupt where the file is listed and missing.
// Two calls for one directory must not run at once.
func Open(ctx context.Context, dir, name string, f sqlite.Format, o sqlite.Options) (_ *sqlite.DB, err error) {
	listed, err := read(dir)
	if err != nil {
		return nil, err
	}
	path, here := filepath.Join(dir, name), slices.Contains(listed, name)
	if here {
		switch there, err := exists(path); {
		case err != nil:
			return nil, err
		case !there:
			return nil, &eventstore.CorruptError{Where: path, Reason: Reason + ": " + Remedy}
		}
	}
	db, err := sqlite.OpenFormat(ctx, path, f, o)
	if err != nil || here {
		return db, err
	}
	if err := List(dir, name); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// Missing returns the names of the files that are listed in dir and are not
// there, or have nothing in them; ErrCorrupt where the list cannot be read.
func Missing(dir string) (names []string, err error) {
	listed, err := read(dir)
	if err != nil {
		return nil, err
	}
	for _, n := range listed {
		there, err := exists(filepath.Join(dir, n))
		if err != nil {
			return nil, err
		}
		if !there {
			names = append(names, n)
		}
	}
	return names, nil
}

// List adds names to the list of dir, so that they are in it after a power cut
// as well. The files are there: of a database SQLite syncs the first page when
// it makes it, whatever the durability of commits.
func List(dir string, names ...string) error {
	listed, err := read(dir)
	if err != nil {
		return err
	}
	all := slices.Compact(slices.Sorted(slices.Values(slices.Concat(listed, names))))
	if len(all) == len(listed) {
		return nil
	}
	return disk.Replace(filepath.Join(dir, FileName), []byte(header+strings.Join(all, "\n")+"\n"))
}

// exists tells whether the database is there. It never is empty once it has
// been made: SQLite writes its first page before it has a write-ahead log, and
// throws away one that stands beside an empty file.
func exists(path string) (bool, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return info.Size() > 0 || !info.Mode().IsRegular(), nil // whoever opens it refuses what is no file
}

// read returns the names in the list of dir, none where there is no list.
func read(dir string) (names []string, err error) {
	path := filepath.Join(dir, FileName)
	data, err := disk.ReadSmall(path, most)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if errors.Is(err, disk.ErrNotPlain) {
		return nil, &eventstore.CorruptError{Where: path, Reason: err.Error()}
	}
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if !name.MatchString(line) {
			return nil, &eventstore.CorruptError{Where: path, Reason: fmt.Sprintf("%q is no name of a store's file: write what is there, a name in each line, or remove it to have it made anew", line)}
		}
		names = append(names, line)
	}
	if err := lines.Err(); err != nil {
		return nil, &eventstore.CorruptError{Where: path, Reason: err.Error()}
	}
	return slices.Compact(slices.Sorted(slices.Values(names))), nil
}
