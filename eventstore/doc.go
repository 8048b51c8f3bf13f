// Package eventstore is the contract of the log: what it means to remember.
//
// A stream holds the events of one entity, numbered by version 1, 2, 3 …
// without holes. The log holds all streams in one order, by position. An
// append is one atomic Batch over one stream or several:
//
//	commit, err := store.Append(ctx, eventstore.Batch{
//		ID: "order-7-placed",
//		Writes: []eventstore.Write{{
//			Stream: "order-7",
//			Expect: eventstore.NoStream(),
//			Events: []eventstore.EventData{placed},
//		}},
//	})
//
// It promises that an acknowledged append is kept, that a batch is stored
// whole or not at all, that repeating a batch ID stores nothing twice, that
// exactly one of several competitors with the same expectation wins, and that
// once a position has been seen no new event appears at or below it.
//
// It does not know aggregates, routers or SQL. Engines stand in the packages
// sqlite (embedded, durable) and memory (the reference model); storetest holds
// the clauses that each must meet.
package eventstore
