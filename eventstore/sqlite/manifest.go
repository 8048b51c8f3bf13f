package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/disk"
)

// companion is a database of a store's directory that is not the log's. The
// log does not know what is in it; that it is there, and whether its tables are
// those of this program, it must know, to copy it with the log and to trust a
// copy.
type companion struct {
	name          string
	applicationID int32
	// schemas are the digests of its schema after 1, 2, 3 … migrations.
	schemas []string
}

// companions are all that a store may have, in the order in which they are
// copied. TestRestoreKnowsTheSchemaOfEveryFile of package serverless holds the
// digests to the migrations.
func companions() []companion {
	return []companion{
		{name: "consumers.db", applicationID: 0x1ea70003, schemas: []string{"e722c255dd05757b442d99d77178befbcb1e951c6ce082535e64715797253cbc"}},
		{name: "sagas.db", applicationID: 0x1ea70002, schemas: []string{
			"01cd69cf6b9a7f4282a4f07d080cb9e5d208d0c7c8fb5b19b7fcda861f056b6e",
			"03ae40cc1d4bdcd055702915d6f19a014de79abc850cedc1403fec3622c4de58",
			"8c4f4c4f01c67858cd6e1f8103ec6282f652e3931daa764fa09c9a823e187eb4",
			"974e92ff963735884d9f48a81b75b29f7de587f26bcce6f3e77414ec245ad4c0",
		}},
	}
}

func companionNames() (names []string) {
	for _, c := range companions() {
		names = append(names, c.name)
	}
	return names
}

// manifestName is the file of a backup that says of what it consists.
const manifestName = "manifest"

const (
	manifestFormat = 1
	manifestMost   = 16 << 10 // bytes; it has about 600
)

// manifest is written last, so that a backup that has one is whole.
type manifest struct {
	Format   int    `json:"format"`
	Store    string `json:"store"`
	Epoch    string `json:"epoch"`
	Position int64  `json:"position"`
	Files    []part `json:"files"`
	// Missing are files that the store had and that had been removed when it was
	// copied, which is done for a store that has stopped.
	Missing []string `json:"missing,omitempty"`
}

// part is a file of a backup.
type part struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

func (m manifest) keep(path string) error {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	if err := disk.Replace(path, append(data, '\n')); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	return nil
}

// readManifest returns the manifest at path, nil where there is none.
func readManifest(path string) (*manifest, error) {
	data, err := disk.ReadSmall(path, manifestMost)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if errors.Is(err, disk.ErrNotPlain) {
		return nil, &eventstore.CorruptError{Where: path, Reason: err.Error()}
	}
	if err != nil {
		return nil, fmt.Errorf("eventstore/sqlite: manifest: %w", err)
	}
	m, err := parseManifest(data)
	if errors.Is(err, ErrNotStore) {
		return nil, fmt.Errorf("%w: %s", err, path)
	}
	if err != nil {
		return nil, &eventstore.CorruptError{Where: path, Reason: fmt.Sprintf("it cannot be read (%v)", err)}
	}
	return &m, nil
}

// parseManifest reads what a manifest holds. A name in it is compared with
// those of files, and never used as one.
func parseManifest(data []byte) (m manifest, err error) {
	var of struct {
		Format int `json:"format"`
	}
	if json.Unmarshal(data, &of) == nil && of.Format > manifestFormat { // whatever else it says
		return manifest{}, fmt.Errorf("%w: a backup of a newer program (format %d, this program knows %d): use that", ErrNotStore, of.Format, manifestFormat)
	}
	if err := decodeStrictly(data, &m); err != nil {
		return manifest{}, err
	}
	if m.Format != manifestFormat {
		return manifest{}, fmt.Errorf("its format is %d, this program knows %d", m.Format, manifestFormat)
	}
	seen := map[string]bool{}
	for _, f := range m.Files {
		if seen[f.Name] {
			return manifest{}, fmt.Errorf("it names %q twice", f.Name)
		}
		seen[f.Name] = true
	}
	return m, nil
}

// difference is in what a file of a backup is not as the manifest says.
type difference struct{ name, what string }

func (d difference) String() string { return d.name + " " + d.what }

// differences says in what a directory with these files is not what the
// manifest says; none where it is.
func (m manifest) differences(files []part) (all []difference) {
	for _, want := range m.Files {
		i := slices.IndexFunc(files, func(f part) bool { return f.Name == want.Name })
		switch {
		case i < 0:
			all = append(all, difference{want.Name, "is missing, which the manifest names"})
		case files[i] != want:
			all = append(all, difference{want.Name, fmt.Sprintf("is not the file that was backed up (%d bytes, %d then, or other content)", files[i].Bytes, want.Bytes)})
		}
	}
	for _, name := range m.Missing {
		all = append(all, difference{name, "had been removed when the backup was taken: what was in it is nowhere else"})
	}
	for _, f := range files {
		if !m.names(f.Name) {
			all = append(all, difference{f.Name, "is there, which the manifest does not name"})
		}
	}
	return all
}

// names tells whether a file of this name belongs to the backup.
func (m manifest) names(name string) bool {
	return slices.ContainsFunc(m.Files, func(f part) bool { return f.Name == name })
}

// agrees compares what the manifest says of the log with what the witness does,
// which is one of its files.
func (m manifest) agrees(said *testimony) []difference {
	if said == nil || m.Store == said.Store && m.Epoch == said.Epoch && m.Position == said.Position {
		return nil
	}
	return []difference{{manifestName, fmt.Sprintf("speaks of position %d of epoch %s of store %s, the witness beside it of position %d of epoch %s of store %s",
		m.Position, m.Epoch, m.Store, said.Position, said.Epoch, said.Store)}}
}

// measure returns what a manifest says of the file at path. See openTaken.
func measure(ctx context.Context, path, name string) (_ part, err error) {
	src, err := openTaken(path)
	if err != nil {
		return part{}, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	p, err := pour(ctx, io.Discard, src)
	if err != nil {
		return part{}, fmt.Errorf("eventstore/sqlite: read %s: %w", path, err)
	}
	p.Name = name
	return p, nil
}
