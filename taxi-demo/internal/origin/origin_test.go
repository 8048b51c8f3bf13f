package origin

import (
	"testing"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/aggregate/aggregatetest"
)

var a, b = File{Source: "aa", Name: "a.csv", Rows: 3}, File{Source: "bb", Name: "b.csv", Rows: 4}

func found(seed uint64) func(*Origin) (aggregate.Events, error) {
	return func(o *Origin) (aggregate.Events, error) { return o.Found(seed) }
}

func begin(f File, call ...string) func(*Origin) (aggregate.Events, error) {
	return func(o *Origin) (aggregate.Events, error) { return o.Begin(f, call) }
}

func finish(f File) func(*Origin) (aggregate.Events, error) {
	return func(o *Origin) (aggregate.Events, error) { return o.Finish(f.Source) }
}

func TestACityIsOfOneSeed(t *testing.T) {
	aggregatetest.Given(t, Origins).
		When(found(1)).Then(CityFounded{Seed: 1}).
		When(found(1)).Then().
		When(found(2)).ThenRejected(ErrAnother).
		When(begin(a)).ThenRejected(ErrAnother)
}

func TestAnImportIsFinishedBeforeAnother(t *testing.T) {
	aggregatetest.Given(t, Origins).
		When(begin(a)).Then(ImportBegun{File: a}).
		When(begin(a)).Then().
		When(begin(b)).ThenRejected(ErrAnother).
		When(found(1)).ThenRejected(ErrAnother).
		When(finish(b)).Then().
		When(finish(a)).Then(ImportFinished{Source: "aa"}).
		When(finish(a)).Then().
		When(found(1)).ThenRejected(ErrAnother).
		When(begin(b)).Then(ImportBegun{File: b}).
		When(begin(a)).ThenRejected(ErrAnother)
}

// TestFilesOfOneCallAreOneImport, whichever of them was interrupted.
func TestFilesOfOneCallAreOneImport(t *testing.T) {
	aggregatetest.Given(t, Origins, ImportBegun{File: a}).
		When(begin(b, "bb", "aa")).Then(ImportBegun{File: b}).
		When(finish(b)).Then(ImportFinished{Source: "bb"}).
		When(begin(b)).ThenRejected(ErrAnother).
		When(begin(a, "bb", "aa")).Then()
}
