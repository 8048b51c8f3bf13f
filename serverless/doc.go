// Package serverless hosts functions over one store: commands decide, queries
// answer, event functions act on the outside world, projections see, sagas
// act. A function is the unit of code, identity, retries and deployment; it
// keeps nothing between calls, and the host may die at any instruction.
//
//	h := serverless.New(store, nil)
//	serverless.Command(h, "place_order", placeOrder)
//	serverless.OnEvent(h, "receipt", sendReceipt, serverless.OnFailure(serverless.Park))
//	orders := h.Project(Orders)
//	serverless.Query(h, "order", func(ctx context.Context, q GetOrder) (Order, error) { … orders.Read … })
//	h.Saga(Fulfilment)
//
//	err := h.Run(ctx)                              // long-lived, until ctx ends
//	report, err := h.Drain(ctx, serverless.Budget{}) // until caught up: cron, jobs
//	result, err := h.Invoke(ctx, "place_order", order)
//
// What it guarantees: a command called under an id takes effect once, for
// ever, also across restarts; projections and sagas see each event exactly
// once; event functions at least once, in order, with the event's id as key,
// their attempts kept in the store; nothing is passed over silently, and a
// shutdown is never counted as a failure; everything that is wrong with what
// was registered is listed before a file is touched.
//
// In virtual time (clock.Virtual) Drain moves the clock itself: it settles
// what acts, then goes to the next timer or outside input, and in the end waits
// for the read models. With Options.Ordered equal inputs give equal logs.
//
// What it does not: event functions are not exactly once, since the world
// outside takes no part in the store's transactions; one log has one host at a
// time. It does not know the domain.
package serverless
