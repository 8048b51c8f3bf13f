// Package functions is the commands of the taxi demo: for each a function that
// loads, lets an aggregate decide, and appends once.
//
// Most concern one stream. Those that give a ride to a driver or take it from
// him write both streams in one batch, so that there is no moment at which a
// driver has two rides or a ride a driver who does not know of it.
//
//	f := functions.New(store, functions.Deps{Nearest: nearest})
//	f.Register(host)
//
// Each is idempotent by the command's id, and refuses what is stale with an
// aggregate.Rejection, whose codes are those of the aggregates and ErrNoDriver.
// All are safe for concurrent use.
package functions
