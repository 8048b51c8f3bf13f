package projection

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/leat-go/leat/internal/crash"
	"github.com/leat-go/leat/internal/disk"
)

// viewsDir is the directory of all read models in a store's directory.
const viewsDir = "views"

// fileID names one file of a read model: <name>.v<version>.<generation>.db.
// Generations of a name only grow, so that no file's name is used twice.
type fileID struct {
	name       string
	version    int
	generation int
}

func (f fileID) String() string {
	return fmt.Sprintf("%s.v%d.%d.db", f.name, f.version, f.generation)
}

var fileRule = regexp.MustCompile(`^([a-z][a-z0-9_-]*)\.v([1-9][0-9]{0,8})\.([1-9][0-9]{0,8})\.db$`)

func parseFile(base string) (fileID, bool) {
	m := fileRule.FindStringSubmatch(base)
	if m == nil {
		return fileID{}, false
	}
	version, err1 := strconv.Atoi(m[2])
	generation, err2 := strconv.Atoi(m[3])
	return fileID{m[1], version, generation}, err1 == nil && err2 == nil
}

// pointer is the content of <name>.live, the one thing that says which file is
// served. It changes by rename.
type pointer struct {
	Live fileID
	// Previous is the file that was live before; zero where there was none.
	Previous fileID
}

type pointerJSON struct {
	Live     string `json:"live"`
	Previous string `json:"previous,omitempty"`
}

// files is the directory of the read models, seen by one of them.
type files struct {
	dir    string // .../views
	name   string
	logger *slog.Logger // of files that are written; nil: slog.Default()
}

func (f files) path(id fileID) string { return filepath.Join(f.dir, id.String()) }
func (f files) pointerPath() string   { return filepath.Join(f.dir, f.name+".live") }

// prepare creates the directory. One that is a link is refused: removing what
// is left over would remove files elsewhere.
func (f files) prepare() error {
	if _, err := disk.MakeDir(f.dir); err != nil {
		return fmt.Errorf("projection %s: %w", f.name, err)
	}
	return nil
}

// readPointer returns the pointer and whether there is one.
func (f files) readPointer() (pointer, bool, error) {
	raw, err := disk.ReadSmall(f.pointerPath(), maxPointer)
	if errors.Is(err, fs.ErrNotExist) {
		return pointer{}, false, nil
	}
	if err != nil && !errors.Is(err, disk.ErrNotPlain) {
		return pointer{}, false, fmt.Errorf("projection %s: %w", f.name, err)
	}
	p, ok := parsePointer(f.name, raw)
	if err != nil || !ok {
		return pointer{}, false, &DamagedError{Projection: f.name, File: f.pointerPath(), Err: errors.New("it does not name a file of the read model")}
	}
	return p, true, nil
}

// maxPointer bounds a pointer file, in bytes. It has about 100.
const maxPointer = 4096

// parsePointer reads the content of the pointer of the read model of that
// name.
func parsePointer(name string, raw []byte) (p pointer, ok bool) {
	var j pointerJSON
	if err := json.Unmarshal(raw, &j); err != nil {
		return pointer{}, false
	}
	if p.Live, ok = parseFile(j.Live); !ok || p.Live.name != name {
		return pointer{}, false
	}
	if j.Previous == "" {
		return p, true
	}
	if p.Previous, ok = parseFile(j.Previous); !ok || p.Previous.name != name {
		return pointer{}, false
	}
	return p, true
}

func (p pointer) encode() ([]byte, error) {
	j := pointerJSON{Live: p.Live.String()}
	if p.Previous != (fileID{}) {
		j.Previous = p.Previous.String()
	}
	raw, err := json.Marshal(j)
	return append(raw, '\n'), err
}

// writePointer replaces the pointer: a temporary file, fsync, rename, fsync of
// the directory. step is called before the rename and after it.
func (f files) writePointer(p pointer, step func(string) error) (err error) {
	raw, err := p.encode()
	if err != nil {
		return fmt.Errorf("projection %s: pointer: %w", f.name, err)
	}
	err = disk.ReplaceIn(f.pointerPath(), raw, disk.Steps{
		Written: func() error {
			crash.At(crash.ViewPointerWritten)
			return step(stepPointerWritten)
		},
		Renamed: func() error {
			crash.At(crash.ViewPointerRenamed)
			return step(stepPointerRenamed)
		},
	})
	if err != nil {
		return fmt.Errorf("projection %s: pointer: %w", f.name, err)
	}
	return nil
}

// list returns the files of the read model.
func (f files) list() ([]fileID, error) {
	entries, err := os.ReadDir(f.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("projection %s: %w", f.name, err)
	}
	seen := map[fileID]bool{}
	var ids []fileID
	for _, e := range entries {
		base := e.Name()
		for _, suffix := range sideFiles {
			base = strings.TrimSuffix(base, suffix)
		}
		if id, ok := parseFile(base); ok && id.name == f.name && !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// next returns a name for a new file.
func (f files) next(version int) (fileID, error) {
	ids, err := f.list()
	if err != nil {
		return fileID{}, err
	}
	p, _, err := f.readPointer()
	if err != nil {
		return fileID{}, err
	}
	last := max(p.Live.generation, p.Previous.generation)
	for _, id := range ids {
		last = max(last, id.generation)
	}
	return fileID{f.name, version, last + 1}, nil
}

var sideFiles = []string{"-wal", "-shm", "-journal"}

// remove deletes a file and what SQLite keeps beside it. Nobody of this
// process has it open. The database goes first: what is left over without it
// is recognised by list.
func (f files) remove(id fileID) error {
	var errs []error
	for _, suffix := range append([]string{""}, sideFiles...) {
		if err := os.Remove(f.path(id) + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("projection %s: %w", f.name, err))
		}
	}
	return errors.Join(errs...)
}

// sweep removes every file of the read model but these.
func (f files) sweep(keep ...fileID) error {
	ids, err := f.list()
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		kept := false
		for _, k := range keep {
			kept = kept || id == k
		}
		if !kept {
			errs = append(errs, f.remove(id))
		}
	}
	if err := os.Remove(f.pointerPath() + disk.TempSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, fmt.Errorf("projection %s: %w", f.name, err))
	}
	return errors.Join(errs...)
}

// Remove deletes every file of the read model with this name in a store's
// directory, its dead letters and parked events included, so that the next
// Open builds it anew from the log. No process may have it open.
func Remove(dir, name string) error {
	f := files{dir: filepath.Join(dir, viewsDir), name: name}
	if len(name) > MaxNameLength || !nameRule.MatchString(name) {
		return fmt.Errorf("projection: remove %q: that is no name of a projection", name)
	}
	if info, err := os.Lstat(f.dir); err == nil && !info.IsDir() {
		return fmt.Errorf("projection %s: %w: %s is not a directory", name, disk.ErrNotPlain, f.dir)
	}
	// The pointer goes first: files without one are leftovers.
	if err := os.Remove(f.pointerPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("projection %s: %w", name, err)
	}
	return f.sweep()
}
