// Package window gathers events by key and event time, in the tables of a read
// model: tumbling, sliding and session windows, and joins.
//
//	events ▶ handler ▶ feed (key, event time, watermark) ▶ windows ▶ tables
//
// A feed and its windows are declared beside the projection that keeps them:
//
//	var perMinute = window.Tumbling("sales_minute", time.Minute,
//		window.Count[Sold]("sales"),
//		window.Sum("cents", func(s Sold) int64 { return s.Cents }))
//
//	var sales = window.Define("sales", &window.Options{Lateness: 2 * time.Minute}, perMinute)
//
//	var Board = projection.Define("board", 1, "",
//		window.On(sales, func(e eventstore.Of[Sold]) (window.Point, Sold, bool) {
//			return window.Point{Key: e.Payload.Shop, Time: e.Payload.At}, e.Payload, true
//		}))
//
// and read with SQL: SELECT key, starts, sales, cents FROM sales_minute WHERE
// final = 1. Without the condition, windows that may still change are among the
// rows. docs/windows.md has a worked example.
//
// # What it guarantees
//
//   - State is in the read model's tables and nowhere else, written in the
//     transaction of the checkpoint: each event counts once, after any crash,
//     redelivery or size of page, and a rebuild gives the same rows.
//   - A window is final once the watermark, the greatest event time so far, is
//     past its end by Options.Lateness; then it never changes, and OnFinal is told
//     of it once.
//   - An event that comes too late for a window is counted, with its position
//     (Feed.Late), and changes nothing. Nothing else is left out.
//   - As long as no event is too late, the rows of the windows and the calls of
//     OnFinal are the same whatever the order in which events arrived, if no
//     source is ever idle. Only FoldInOrder looks at the log's order, among events
//     of one instant.
//
// # What it does not
//
// It never looks at a clock: without a further event no window becomes final. An
// event time far ahead takes the watermark with it, and what follows is too late:
// check times from outside before they become points. Items in no order of time,
// as of a file, are Point.Unordered and make nothing final. Parked events that are
// released are late by as long as they were parked. Final rows are kept until the
// user deletes them, who may do so once the watermark is Lateness and another
// length of the window past their end. Memory holds a page of windows at most.
//
// Declarations are safe for concurrent use. What takes a projection.Tx is called
// in handlers, by one goroutine at a time.
package window
