package projection

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/sqlite"
)

// Audited is the result of an Audit.
type Audited struct {
	// Version is that of the live file, Position its checkpoint.
	Version  int
	Position int64
	// Identical says that every row of every table of the schema is what the
	// fold of the log through Position has. Virtual tables and what they keep
	// are not compared.
	Identical bool
	// LiveDigest and Digest are of the rows of the live file and of the fold,
	// in hexadecimal.
	LiveDigest, Digest string
	// Difference names the first row that differs, empty where none does.
	Difference string
	// Differences are the first rows that differ, by table and key,
	// MaxDifferences at most.
	Differences []Difference
}

// Audit folds the log, through the checkpoint of the live file of the read
// model in the store's directory dir, into a file of its own in the directory
// scratch, compares the two and removes its file again. The live file is not
// changed, and nobody may apply events to it meanwhile.
//
// Of the definitions, which are versions of one read model, it takes the one
// that the live file was made with. An event that fails and that the live file
// has as a dead letter or parked is set aside in the fold as well. It returns
// fs.ErrExist where scratch holds a file of the live one's name, ErrNoView where
// there is no live file, eventstore.ErrRewound where its
// checkpoint does not lie on the log, and ErrNewer where none of the
// definitions is of its version.
func Audit(ctx context.Context, dir string, log eventstore.LogReader, scratch string, defs ...*Definition) (_ Audited, err error) {
	def, id, err := audited(dir, defs)
	if err != nil {
		return Audited{}, err
	}
	p := &Projection{def: def, log: log, files: files{dir: filepath.Join(dir, viewsDir), name: def.name}}
	db, err := sqlite.Open(ctx, p.files.path(id), sqlite.Options{Durability: sqlite.Normal, ReadOnly: true})
	if err != nil {
		return Audited{}, fmt.Errorf("projection %s: %w", def.name, err)
	}
	live := &view{id: id, def: def, db: db}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := checkView(ctx, db, id, def); err != nil {
		return Audited{}, err
	}
	if err := live.load(ctx); err != nil {
		return Audited{}, err
	}
	if err := eventstore.CheckAnchor(ctx, log, live.saved); err != nil {
		return Audited{}, fmt.Errorf("projection %s: %s: %w", def.name, id, err)
	}
	p.adopt(live)

	own := files{dir: scratch, name: def.name}
	if exists(own.path(id)) { // perhaps the live one: it would be removed at the end
		return Audited{}, fmt.Errorf("projection %s: %s: %w: name another directory", def.name, own.path(id), fs.ErrExist)
	}
	v, err := createView(ctx, own, id, def, purposeRebuild)
	if err != nil {
		return Audited{}, err
	}
	defer func() { err = errors.Join(err, v.db.Close(), own.remove(id)) }()
	if err := p.inheritFor(ctx, v); err != nil {
		return Audited{}, err
	}
	v.once, v.logger = true, nil
	if err := p.fold(ctx, log, v, live.saved, false, func(int) error { return nil }); err != nil {
		return Audited{}, err
	}
	same, err := compare(ctx, live.db, v.db)
	if err != nil {
		return Audited{}, fmt.Errorf("projection %s: compare: %w", def.name, err)
	}
	return Audited{
		Version: id.version, Position: live.saved.Position,
		Identical: len(same.differences) == 0, LiveDigest: same.first, Digest: same.second,
		Difference: first(same.differences), Differences: same.differences,
	}, nil
}

// audited returns the live file and the definition that made it.
func audited(dir string, defs []*Definition) (*Definition, fileID, error) {
	if len(defs) == 0 {
		return nil, fileID{}, fmt.Errorf("%w: an audit needs a definition", ErrInvalid)
	}
	for _, d := range defs {
		if err := d.Err(); err != nil {
			return nil, fileID{}, err
		}
		if d.name != defs[0].name {
			return nil, fileID{}, fmt.Errorf("%w: an audit is of one read model, these are %q and %q", ErrInvalid, defs[0].name, d.name)
		}
	}
	at := files{dir: filepath.Join(dir, viewsDir), name: defs[0].name}
	found, ok, err := at.readPointer()
	if err != nil {
		return nil, fileID{}, err
	}
	if !ok {
		return nil, fileID{}, fmt.Errorf("%w: %s has none of the name %q", ErrNoView, at.dir, at.name)
	}
	for _, d := range defs {
		if d.version == found.Live.version {
			return d, found.Live, nil
		}
	}
	return nil, fileID{}, fmt.Errorf("%w: the read model %q is at version %d, and none of the definitions is", ErrNewer, at.name, found.Live.version)
}
