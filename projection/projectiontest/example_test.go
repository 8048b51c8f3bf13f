package projectiontest_test

import (
	"testing"

	"github.com/leat-go/leat/projection/projectiontest"
)

// A test of a read model is a list of events and the rows they end in.
func ExampleCheck() {
	_ = func(t *testing.T) { // func TestSeats(t *testing.T)
		projectiontest.Check(t, seats(take), projectiontest.Case{
			Given: projectiontest.Log(
				projectiontest.In("show-1", seatTaken{Show: "hamlet", Row: 3}, seatTaken{Show: "hamlet", Row: 9}),
				projectiontest.In("show-2", seatTaken{Show: "faust", Row: 1}),
			),
			Then: []projectiontest.Rows{
				{Query: "SELECT show, taken FROM seats ORDER BY show", Want: [][]any{{"faust", 1}, {"hamlet", 2}}},
			},
		})
	}
}
