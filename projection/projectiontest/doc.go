// Package projectiontest tests a read model: given these events, whatever way
// they are delivered, then these rows.
//
//	projectiontest.Check(t, Board, projectiontest.Case{
//		Given: projectiontest.Log(
//			projectiontest.In("ride-1", RideRequested{…}, RideAccepted{…}),
//			projectiontest.In("ride-2", RideRequested{…}),
//		),
//		Then: []projectiontest.Rows{
//			{Query: "SELECT id, status FROM ride ORDER BY id", Want: [][]any{{"ride-1", "accepted"}, {"ride-2", "requested"}}},
//		},
//	})
//
// Check applies the events once, twice, in every page size, and interrupted and
// started again at every point with some delivered again, and rebuilds: each
// time the rows must be the same. It finds handlers that keep something outside
// their tables, that depend on the clock or on chance, and schemas or
// constraints that only hold for some sizes of page.
//
// It does not test that the rows are right for other events, nor speed.
package projectiontest
