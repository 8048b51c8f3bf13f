package trip

import (
	"testing"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/taxi-demo/internal/domaintest"
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
	domaintest.Given(t, Trips).
		When(plan(row, way)).Then(row, way).
		When(plan(row, way)).ThenRefused(ErrRecorded).
		When(record(useless)).ThenRefused(ErrRecorded)
}

func TestARowAndItsRideFit(t *testing.T) {
	domaintest.Given(t, Trips).
		When(plan(row, Planned{RideID: "q"})).ThenRefused(ErrInvalid).
		When(plan(refund, way)).ThenRefused(ErrInvalid).
		When(plan(useless, Planned{})).ThenRefused(ErrInvalid).
		When(record(row)).ThenRefused(ErrInvalid).
		When(record(Recorded{Row: 3})).ThenRefused(ErrInvalid)
}

func TestARowThatIsNotDrivenIsRecordedOnce(t *testing.T) {
	domaintest.Given(t, Trips).When(record(useless)).Then(useless).When(record(useless)).ThenRefused(ErrRecorded)
	domaintest.Given(t, Trips).When(record(refund)).Then(refund)
}

func TestADisturbanceIsNotedOfATripThatIsDriven(t *testing.T) {
	domaintest.Given(t, Trips).When(note).ThenRefused(ErrNotPlanned)
	domaintest.Given(t, Trips, row, way).When(note).Then(Disturbed{RideID: "r", Kind: "lost"})
}
