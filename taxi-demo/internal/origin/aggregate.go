package origin

import (
	"fmt"
	"slices"

	"github.com/leat-go/leat/aggregate"
)

// StoreID is the id of the one origin there is; its stream is origin-store.
const StoreID = "store"

// MaxFiles is how many files may be imported into one store.
const MaxFiles = 10_000

// Why something is refused.
var (
	ErrAnother = aggregate.Reject("another_origin", "one store does not mix them")
	ErrFull    = aggregate.Reject("too_many_imports", "no more files may be imported into one store")
)

// Origin is what the store is of: nothing yet, a city, or files.
type Origin struct {
	City  *uint64         `json:"city,omitempty"`  // its seed
	Files map[string]File `json:"files,omitempty"` // by source
	// Open are the sources whose import is not finished.
	Open []string `json:"open,omitempty"`
}

// Origins is the definition of the aggregate.
var Origins = aggregate.Define("origin", aggregate.On((*Origin).founded), aggregate.On((*Origin).begun), aggregate.On((*Origin).finished))

func (o *Origin) founded(e CityFounded) { o.City = &e.Seed }

func (o *Origin) begun(e ImportBegun) {
	if o.Files == nil {
		o.Files = map[string]File{}
	}
	o.Files[e.File.Source], o.Open = e.File, append(o.Open, e.File.Source)
}

func (o *Origin) finished(e ImportFinished) {
	o.Open = slices.DeleteFunc(o.Open, func(source string) bool { return source == e.Source })
}

func (o *Origin) String() string {
	switch {
	case o.City != nil:
		return fmt.Sprintf("the generated city of seed %d", *o.City)
	case len(o.Open) > 0:
		f := o.Files[o.Open[0]]
		return fmt.Sprintf("the import of %s (%d rows), which was interrupted", f.Name, f.Rows)
	case len(o.Files) == 1:
		for _, f := range o.Files {
			return fmt.Sprintf("the import of %s", f.Name)
		}
	}
	return fmt.Sprintf("the import of %d files", len(o.Files))
}

// Found goes on with the city of a seed, or begins it in a new store.
func (o *Origin) Found(seed uint64) (aggregate.Events, error) {
	switch {
	case o.City != nil && *o.City == seed:
		return nil, nil
	case o.City != nil || len(o.Files) > 0:
		return nil, fmt.Errorf("it holds %v: %w", o, ErrAnother)
	}
	return aggregate.Events{CityFounded{Seed: seed}}, nil
}

// Begin goes on with the import of a file, or begins it where no other was left
// unfinished but one of the call, which is finished by it as well.
func (o *Origin) Begin(f File, call []string) (aggregate.Events, error) {
	others := slices.ContainsFunc(o.Open, func(source string) bool { return source != f.Source && !slices.Contains(call, source) })
	_, known := o.Files[f.Source]
	switch {
	case o.City != nil || others:
		return nil, fmt.Errorf("it holds %v: %w", o, ErrAnother)
	case known:
		return nil, nil
	case len(o.Files) >= MaxFiles:
		return nil, ErrFull
	}
	return aggregate.Events{ImportBegun{File: f}}, nil
}

// Finish ends the import of a file.
func (o *Origin) Finish(source string) (aggregate.Events, error) {
	if !slices.Contains(o.Open, source) {
		return nil, nil
	}
	return aggregate.Events{ImportFinished{Source: source}}, nil
}
