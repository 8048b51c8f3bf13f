package crashstates

import (
	"bytes"
	"maps"
	"path"
)

// Disk is the model: what is durable and what is not. It is not safe for
// concurrent use.
type Disk struct {
	number  int // of the next operation
	durable map[string]*inode
	live    map[string]*inode
	names   []change // to the names, not durable
	inodes  []*inode // that have, or may have, a name
}

// inode is a file or a directory, whatever its name.
type inode struct {
	identity uint64
	dir      bool
	durable  []byte
	owned    bool // durable is nobody else's
	pending  []write
}

// write is a write or a truncate that is not durable.
type write struct {
	number int
	op     *Op
	orphan bool // a sync of it failed: no later sync makes it durable
}

// change is one to the names of a directory: to is given, from is taken away.
type change struct {
	number   int
	from, to string
	file     *inode
}

// NewDisk returns a disk on which the files of base are durable. Their
// contents are shared and not changed.
func NewDisk(base map[string][]byte) *Disk {
	d := &Disk{durable: map[string]*inode{}, live: map[string]*inode{}}
	for name, data := range base {
		d.mkdir(path.Dir(name), true)
		f := &inode{durable: data[:len(data):len(data)]}
		d.durable[name], d.live[name] = f, f
		d.inodes = append(d.inodes, f)
	}
	return d
}

// Number is how many operations the disk has seen.
func (d *Disk) Number() int { return d.number }

// Run applies the operations up to number, exclusively.
func (d *Disk) Run(log Log, number int) {
	for d.number < number {
		d.apply(&log[d.number])
		d.number++
	}
}

func (d *Disk) apply(op *Op) {
	switch op.Kind {
	case Open:
		d.open(op)
	case Create:
		f := d.create(op.Path)
		f.pending = append(f.pending, write{number: d.number, op: op})
	case Write, Truncate:
		if f := d.live[op.Path]; f != nil {
			f.pending = append(f.pending, write{number: d.number, op: op})
		}
	case Sync:
		d.sync(op)
	case SyncDir:
		d.syncDir(op.Path, op.Start)
	case SyncPath:
		if f := d.live[op.Path]; f != nil && !f.dir {
			d.sync(op)
		} else {
			d.syncDir(op.Path, op.Start)
		}
	case Delete:
		if d.live[op.Path] != nil {
			delete(d.live, op.Path)
			d.names = append(d.names, change{number: d.number, from: op.Path})
		}
	case Rename:
		if f := d.live[op.Path]; f != nil {
			delete(d.live, op.Path)
			d.live[op.To] = f
			d.names = append(d.names, change{number: d.number, from: op.Path, to: op.To, file: f})
		}
	}
}

// open notices files that were created or replaced by somebody who does not
// tell.
func (d *Disk) open(op *Op) {
	f := d.live[op.Path]
	switch {
	case f == nil:
		f = d.create(op.Path)
	case f.identity != 0 && op.Inode != f.identity:
		f = d.create(op.Path)
	case f.identity == 0 && op.Size == 0 && len(f.content()) > 0:
		f = d.create(op.Path)
	}
	f.identity = op.Inode
}

func (d *Disk) create(name string) *inode {
	d.mkdir(path.Dir(name), false)
	f := &inode{}
	d.live[name] = f
	d.inodes = append(d.inodes, f)
	d.names = append(d.names, change{number: d.number, to: name, file: f})
	return f
}

// mkdir notes a directory below the one that is recorded, whose name is not
// durable until that of its parent is synced.
func (d *Disk) mkdir(name string, durable bool) {
	if name == "." || d.live[name] != nil {
		return
	}
	d.mkdir(path.Dir(name), durable)
	f := &inode{dir: true}
	d.live[name] = f
	if durable {
		d.durable[name] = f
		return
	}
	d.names = append(d.names, change{number: d.number, to: name, file: f})
}

// sync makes what was pending when it began durable. Where a write that is
// not to become durable lies between others, the later ones still are: they
// lie where they were written.
func (d *Disk) sync(op *Op) {
	f := d.live[op.Path]
	if f == nil {
		return
	}
	left := f.pending[:0:0]
	if !f.owned {
		f.durable, f.owned = bytes.Clone(f.durable), true
	}
	for _, w := range f.pending {
		switch {
		case w.number >= op.Start || w.orphan:
			left = append(left, w)
		case op.Failed && w.op.Kind == Write: // sizes and names are the file system's own, which does not forget them
			w.orphan = true
			left = append(left, w)
		case op.Failed:
			left = append(left, w)
		default:
			f.durable = apply(f.durable, w.op)
			left = overwritten(left, w.op)
		}
	}
	f.pending = left
}

// overwritten leaves out the orphans that the durable op lies upon.
func overwritten(pending []write, op *Op) []write {
	kept := pending[:0]
	for _, w := range pending {
		gone := w.orphan && op.Kind == Truncate && op.Size <= w.op.Offset
		if w.orphan && op.Kind == Write && w.op.Kind == Write {
			gone = op.Offset <= w.op.Offset && op.Offset+int64(len(op.Data)) >= w.op.Offset+int64(len(w.op.Data))
		}
		if !gone {
			kept = append(kept, w)
		}
	}
	return kept
}

func (d *Disk) syncDir(dir string, start int) {
	left := d.names[:0:0]
	for _, c := range d.names {
		if c.number >= start || c.dir() != dir {
			left = append(left, c)
			continue
		}
		c.apply(d.durable)
	}
	d.names = left
	d.forget()
}

func (c change) dir() string {
	if c.to != "" {
		return path.Dir(c.to)
	}
	return path.Dir(c.from)
}

func (c change) apply(names map[string]*inode) {
	if c.from != "" && (c.file == nil || names[c.from] == c.file) {
		delete(names, c.from)
	}
	if c.to != "" {
		names[c.to] = c.file
	}
}

// forget drops what no longer has a name and cannot get one back.
func (d *Disk) forget() {
	named := map[*inode]bool{}
	for f := range maps.Values(d.durable) {
		named[f] = true
	}
	for f := range maps.Values(d.live) {
		named[f] = true
	}
	for _, c := range d.names {
		named[c.file] = true
	}
	kept := d.inodes[:0]
	for _, f := range d.inodes {
		if named[f] {
			kept = append(kept, f)
		}
	}
	d.inodes = kept
}

// content is what a process reads.
func (f *inode) content() []byte {
	data := bytes.Clone(f.durable)
	for _, w := range f.pending {
		data = apply(data, w.op)
	}
	return data
}

// Content returns what a process reads in the file, and whether there is one.
func (d *Disk) Content(name string) ([]byte, bool) {
	f := d.live[name]
	if f == nil || f.dir {
		return nil, false
	}
	return f.content(), true
}

// Pending returns how many writes to the file are not durable.
func (d *Disk) Pending(name string) (n int) {
	if f := d.live[name]; f != nil {
		for _, w := range f.pending {
			if w.op.Kind == Write {
				n++
			}
		}
	}
	return n
}

// apply returns data after op, which it may change.
func apply(data []byte, op *Op) []byte {
	switch op.Kind {
	case Create:
		return append(data[:0:0], op.Data...)
	case Truncate:
		return resize(data, op.Size)
	}
	return put(data, op.Offset, op.Data)
}

func put(data []byte, offset int64, piece []byte) []byte {
	if len(piece) == 0 {
		return data
	}
	if end := offset + int64(len(piece)); end > int64(len(data)) {
		data = resize(data, end)
	}
	copy(data[offset:], piece)
	return data
}

func resize(data []byte, size int64) []byte {
	if size <= int64(len(data)) {
		return data[:size]
	}
	if size <= int64(cap(data)) {
		n := len(data)
		data = data[:size]
		clear(data[n:])
		return data
	}
	return append(data, make([]byte, size-int64(len(data)))...)
}
