package crashstates

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Strategy is a way to choose what was on the disk of that which was not
// synced.
type Strategy string

// The strategies.
const (
	// None of it is there.
	None Strategy = "none"
	// All of it is there.
	All Strategy = "all"
	// Prefix: all up to some operation is there, nothing from it on.
	Prefix Strategy = "prefix"
	// Torn is Prefix, and a part of the operation that it ends at.
	Torn Strategy = "torn"
	// Subset: of each operation chance decides, also whether it is torn.
	Subset Strategy = "subset"
	// Reordered: the later operations reached the disk before the earlier
	// ones, of which a few are missing or torn.
	Reordered Strategy = "reordered"
	// Later: nothing up to some operation is there, all from it on.
	Later Strategy = "later"
)

// Strategies are all of them.
func Strategies() []Strategy {
	return []Strategy{None, All, Prefix, Torn, Subset, Reordered, Later}
}

// Image is what a disk holds.
type Image struct {
	// Files are their contents by name, which is relative to the directory.
	Files map[string][]byte
	// Strategy chose it, at the cut before operation Cut.
	Strategy Strategy
	Cut      int
	// Pending is how many operations were not durable, Kept how many of them
	// are there, whole or in part.
	Pending, Kept int
	// Choices says of each what became of it.
	Choices []string
}

func (m *Image) String() string {
	return fmt.Sprintf("cut before operation %d, %s: %d of %d unsynced operations kept:\n%s", m.Cut, m.Strategy, m.Kept, m.Pending, strings.Join(m.Choices, "\n"))
}

// fate is what becomes of an operation that is not durable.
type fate int

const (
	lost fate = iota
	kept
	torn
)

// draw chooses fates by a strategy.
type draw struct {
	rand     *rand.Rand
	strategy Strategy
	at       int     // of Prefix, Torn and Later: the operation's number
	odds     float64 // of Subset and Reordered: that an operation is kept
	last     int     // number of the last pending operation
}

func (d *draw) fate(number int) fate {
	switch d.strategy {
	case All:
		return kept
	case Prefix, Torn:
		switch {
		case number < d.at:
			return kept
		case number == d.at && d.strategy == Torn:
			return torn
		}
	case Later:
		if number >= d.at {
			return kept
		}
	case Subset:
		return d.chance(d.odds)
	case Reordered: // what is later is likelier to be there
		return d.chance(float64(number+1) / float64(d.last+1) * (0.5 + d.odds/2))
	}
	return lost
}

func (d *draw) chance(odds float64) fate {
	switch x := d.rand.Float64(); {
	case x >= odds:
		return lost
	case x >= 0.8*odds:
		return torn
	}
	return kept
}

// Image returns what may be there when the power goes out now, by a strategy
// and chance.
func (d *Disk) Image(strategy Strategy, chance *rand.Rand) *Image {
	m := &Image{Files: map[string][]byte{}, Strategy: strategy, Cut: d.number}
	var numbers []int
	for _, c := range d.names {
		numbers = append(numbers, c.number)
	}
	for _, f := range d.inodes {
		for _, w := range f.pending {
			numbers = append(numbers, w.number)
		}
	}
	slices.Sort(numbers)
	m.Pending = len(numbers)
	choose := &draw{rand: chance, strategy: strategy, odds: chance.Float64()}
	if len(numbers) > 0 {
		choose.at, choose.last = numbers[chance.IntN(len(numbers))], numbers[len(numbers)-1]
	}
	names := maps.Clone(d.durable)
	for _, c := range d.names {
		f := choose.fate(c.number)
		if f == torn {
			f = fate(chance.IntN(2))
		}
		m.note(f, c.String())
		if f == kept {
			c.apply(names)
		}
	}
	contents := map[*inode][]byte{}
	for _, f := range d.inodes { // in their order, so that chance falls the same way each time
		contents[f] = m.content(f, choose)
	}
	for name, f := range names {
		if !f.dir && reachable(names, name) {
			m.Files[name] = contents[f]
		}
	}
	m.noise(chance)
	return m
}

func (c change) String() string {
	switch {
	case c.from == "":
		return fmt.Sprintf("%d: create %s", c.number, c.to)
	case c.to == "":
		return fmt.Sprintf("%d: delete %s", c.number, c.from)
	}
	return fmt.Sprintf("%d: rename %s to %s", c.number, c.from, c.to)
}

func (m *Image) note(f fate, what string) {
	if f != lost {
		m.Kept++
	}
	m.Choices = append(m.Choices, what+": "+[]string{"lost", "kept", "torn"}[f])
}

// reachable tells whether the directories of the name are there.
func reachable(names map[string]*inode, name string) bool {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if f := names[dir]; f == nil || !f.dir {
			return false
		}
	}
	return true
}

// content returns what a file holds.
func (m *Image) content(f *inode, choose *draw) []byte {
	data := bytes.Clone(f.durable)
	for _, w := range f.pending {
		what := choose.fate(w.number)
		m.note(what, fmt.Sprintf("%d: %s", w.number, w.op))
		end := w.op.Offset + int64(len(w.op.Data))
		switch {
		case what == kept, what == torn && w.op.Kind == Truncate:
			data = apply(data, w.op)
			continue
		case what == torn:
			data = tear(data, w.op, choose.rand)
		}
		// The file may have grown all the same.
		if w.op.Kind == Write && choose.strategy != None && end > int64(len(data)) && choose.rand.IntN(2) == 0 {
			data = resize(data, end)
		}
	}
	return data
}

// sector and block are what a write may be torn into.
const (
	sector = 512
	block  = 4096
)

// tear applies a part of a write.
func tear(data []byte, op *Op, chance *rand.Rand) []byte {
	n := int64(len(op.Data))
	if n == 0 {
		return data
	}
	if chance.IntN(3) == 0 { // its beginning
		return put(data, op.Offset, op.Data[:chance.Int64N(n)])
	}
	unit := int64(sector)
	if chance.IntN(2) == 0 {
		unit = block
	}
	for from := int64(0); from < n; { // some of its sectors, as they lie in the file
		to := min(n, (op.Offset+from)/unit*unit+unit-op.Offset)
		if chance.IntN(2) == 0 {
			data = put(data, op.Offset+from, op.Data[from:to])
		}
		from = to
	}
	return data
}

// noise leaves shared memory behind, which nobody may believe.
func (m *Image) noise(chance *rand.Rand) {
	for _, name := range slices.Sorted(maps.Keys(m.Files)) {
		if database, ok := strings.CutSuffix(name, "-wal"); ok && chance.IntN(4) == 0 {
			data := make([]byte, 32<<10)
			for i := range data[:512] {
				data[i] = byte(chance.Uint32())
			}
			m.Files[database+"-shm"] = data
		}
	}
}

// WriteTo writes the files into dir, which must exist.
func (m *Image) WriteTo(dir string) error {
	for name, data := range m.Files {
		to := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(to, data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Read returns the files of a directory, as NewDisk takes them. No process
// may have a database among them open.
func Read(dir string) (map[string][]byte, error) {
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(name string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.HasSuffix(name, "-shm") {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		files[filepath.ToSlash(rel)], err = os.ReadFile(name)
		return err
	})
	return files, err
}

// State returns the i-th state of a recording: what may be on the disk when
// the power goes out somewhere between operations from and to. It depends on
// its arguments alone.
func State(base map[string][]byte, log Log, from, to int, seed, i uint64) (*Image, error) {
	if from < 0 || to < from || to > len(log) {
		return nil, errors.New("crashstates: the cut does not lie in the log")
	}
	chance := rand.New(rand.NewPCG(seed, i))
	d := NewDisk(base)
	d.Run(log, from+chance.IntN(to-from+1))
	all := Strategies()
	return d.Image(all[chance.IntN(len(all))], chance), nil
}
