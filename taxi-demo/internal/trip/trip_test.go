package trip

import (
	"testing"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/aggregate/aggregatetest"
)

var (
	row     = Recorded{Source: "city", Row: 1, Class: "meter", RideID: "r", Fare: 850}
	way     = Planned{RideID: "r", RiderID: "p"}
	refund  = Recorded{Source: "file", Row: 2, RideID: "r", Refund: true, Fare: -850}
	useless = Recorded{Source: "file", Row: 3, Class: "no_check"}
)

func plan(row Recorded, p Planned) func(*Trip) (aggregate.Events, error) {
	return func(t *Trip) (aggregate.Events, error) { return t.Plan(row, p) }
}

func record(row Recorded) func(*Trip) (aggregate.Events, error) {
	return func(t *Trip) (aggregate.Events, error) { return t.Record(row) }
}

func note(t *Trip) (aggregate.Events, error) { return t.Note(Note{RideID: "r", Kind: "lost"}) }

func TestATripIsRecordedAndPlannedOnce(t *testing.T) {
	aggregatetest.Given(t, Trips).
		When(plan(row, way)).Then(row, way).
		When(plan(row, way)).ThenRejected(ErrRecorded).
		When(record(useless)).ThenRejected(ErrRecorded)
}

func TestARowAndItsRideFit(t *testing.T) {
	aggregatetest.Given(t, Trips).
		When(plan(row, Planned{RideID: "q"})).ThenRejected(ErrInvalid).
		When(plan(refund, way)).ThenRejected(ErrInvalid).
		When(plan(useless, Planned{})).ThenRejected(ErrInvalid).
		When(record(row)).ThenRejected(ErrInvalid).
		When(record(Recorded{Row: 3})).ThenRejected(ErrInvalid)
}

func TestARowThatIsNotDrivenIsRecordedOnce(t *testing.T) {
	aggregatetest.Given(t, Trips).When(record(useless)).Then(useless).When(record(useless)).ThenRejected(ErrRecorded)
	aggregatetest.Given(t, Trips).When(record(refund)).Then(refund)
}

func TestADisturbanceIsNotedOfATripThatIsDriven(t *testing.T) {
	aggregatetest.Given(t, Trips).When(note).ThenRejected(ErrNotPlanned)
	aggregatetest.Given(t, Trips, row, way).When(note).Then(Disturbed{RideID: "r", Kind: "lost"})
}
