package telemetry

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/aggregate/aggregatetest"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/taxi-demo/internal/meter"
)

// point is one of five seconds at 0.0125 miles: 50,000 of 600,000 in a unit.
func point(seq int) meter.Point { return meter.Point{Seq: seq, MS: 5000, Dist: 12_500} }

func points(seqs ...int) []meter.Point {
	all := make([]meter.Point, len(seqs))
	for i, seq := range seqs {
		all[i] = point(seq)
	}
	return all
}

func record(seqs ...int) func(*Trip) (aggregate.Events, error) {
	return func(t *Trip) (aggregate.Events, error) {
		return t.Record(Record{RideID: "r", Points: points(seqs...)})
	}
}

func stop(last int) func(*Trip) (aggregate.Events, error) {
	return func(t *Trip) (aggregate.Events, error) { return t.Close(Close{RideID: "r", Last: last}) }
}

func recorded(seqs ...int) Recorded { return Recorded{RideID: "r", Points: points(seqs...)} }

func TestAReportRecordsItsPoints(t *testing.T) {
	aggregatetest.Given(t, Trips).
		When(record(1, 2, 3)).Then(recorded(1, 2, 3)).
		When(record()).Then()
}

func TestASequenceNumberCountsOnce(t *testing.T) {
	aggregatetest.Given(t, Trips, recorded(1, 2)).
		When(record(2, 3, 3)).Then(Recorded{RideID: "r", Points: points(3), Duplicates: 2}).
		When(record(1, 2, 3)).Then(Repeated{RideID: "r", Duplicates: 3}).
		When(stop(3)).Then(Closed{RideID: "r", Units: 150_000, Points: 3})
}

func TestAPointThatComesAfterALaterOneIsReordered(t *testing.T) {
	aggregatetest.Given(t, Trips, recorded(1, 4)).
		When(record(2)).Then(Recorded{RideID: "r", Points: points(2), Reordered: true}).
		When(record(6, 5)).Then(Recorded{RideID: "r", Points: points(6, 5), Reordered: true}).
		When(record(7)).Then(recorded(7))
}

func TestWhatNeverCameIsCountedWhenTheMeterCloses(t *testing.T) {
	aggregatetest.Given(t, Trips, recorded(1, 4)).
		When(stop(6)).Then(Closed{RideID: "r", Units: 100_000, Points: 2, Missing: 4})
}

func TestAMeterClosesOnce(t *testing.T) {
	aggregatetest.Given(t, Trips).
		When(stop(0)).Then(Closed{RideID: "r"}).
		When(stop(0)).ThenRejected(ErrClosed)
}

func TestPointsAfterClosingAreLateWithTheUnitsAsTheyWouldBe(t *testing.T) {
	aggregatetest.Given(t, Trips, recorded(1, 2), Closed{RideID: "r", Units: 100_000, Points: 2}).
		When(record(2, 3)).Then(Late{RideID: "r", Points: points(3), Units: 150_000}).
		When(record(3)).Then(Repeated{RideID: "r", Duplicates: 1}).
		When(record(4)).Then(Late{RideID: "r", Points: points(4), Units: 200_000})
}

func TestWhatIsNoMeasurementIsRefused(t *testing.T) {
	for name, p := range map[string]meter.Point{
		"no number":        {Seq: 0, MS: 1},
		"beyond the limit": {Seq: MaxPoints + 1, MS: 1},
		"backwards":        {Seq: 2, MS: -1},
		"a leap":           {Seq: 2, MS: 1, Dist: meter.MaxPointDistance + 1},
	} {
		t.Run(name, func(t *testing.T) {
			aggregatetest.Given(t, Trips).When(func(tr *Trip) (aggregate.Events, error) {
				return tr.Record(Record{RideID: "r", Points: []meter.Point{point(1), p}})
			}).ThenRejected(ErrInvalidPoint)
		})
	}
	aggregatetest.Given(t, Trips).When(stop(-1)).ThenRejected(ErrInvalidPoint).
		When(stop(MaxPoints + 1)).ThenRejected(ErrInvalidPoint)
}

func TestUnitsDependNeitherOnOrderNorOnDuplicatesNorOnReports(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		all := make([]meter.Point, rapid.IntRange(1, 60).Draw(rt, "points"))
		for i := range all {
			all[i] = meter.Point{
				Seq: i + 1, MS: rapid.Int32Range(0, 15_000).Draw(rt, "ms"), Dist: rapid.Int64Range(0, 300_000).Draw(rt, "dist"),
			}
		}
		want := meter.Measure(slices.Values(all))
		sent := rapid.Permutation(append(slices.Clone(all), rapid.SliceOf(rapid.SampledFrom(all)).Draw(rt, "again")...)).Draw(rt, "sent")
		closeAt := rapid.IntRange(0, len(sent)).Draw(rt, "close before")

		var trip Trip
		got, kept := meter.Units(0), 0
		decide := func(events aggregate.Events, err error) {
			require.NoError(rt, err)
			for _, e := range events {
				switch e := e.(type) {
				case Recorded:
					kept += len(e.Points)
				case Closed:
					got = e.Units
				case Late:
					kept += len(e.Points)
					got = e.Units
				}
				data, err := eventstore.Encode(e)
				require.NoError(rt, err)
				require.NoError(rt, Trips.Fold(&trip, eventstore.Recorded{Type: data.Type, SchemaVersion: data.SchemaVersion, Data: data.Data}))
			}
		}
		for at := 0; at < len(sent); {
			if !trip.Closed && at >= closeAt {
				decide(trip.Close(Close{RideID: "r", Last: len(all)}))
			}
			n := rapid.IntRange(1, len(sent)-at).Draw(rt, "report")
			decide(trip.Record(Record{RideID: "r", Points: sent[at : at+n]}))
			at += n
		}
		if !trip.Closed {
			decide(trip.Close(Close{RideID: "r", Last: len(all)}))
		}
		require.Equal(rt, want, got)
		require.Equal(rt, len(all), kept, "each point is stored once")
		require.Empty(rt, trip.Meter.Ahead, "the state is a few integers again")
	})
}
