// Package bus carries the log: to projections, sagas and functions through
// Watermill's router, to ordinary Watermill handlers as a Pub/Sub, and to other
// brokers through a Relay. It also dispatches commands to their handlers.
//
// Watermill's Router starts a goroutine for each message and knows no order:
// order and backpressure come only from a Subscriber that holds back the next
// message until Ack. The bus brings such subscribers. A message carries a page
// of the log: events in position order and how far the log was scanned for
// them, so that a lone event waits for nothing and a backlog travels in
// hundreds.
//
//	router, err := bus.NewRouter(store, nil)
//	err = router.Add(board)        // a projection, a saga engine, any Consumer
//	err = router.Run(ctx)          // until ctx ends and the last handler returned
//
//	sub, err := bus.NewSubscriber(store, checkpoints, &bus.SubscriberOptions{Group: "mailer"})
//	pub, err := bus.NewPublisher(store, nil)
//
// What it guarantees: a consumer is given every event that its filter matches,
// in position order, one page at a time, the next only after the one before
// was applied; a failing consumer stops or waits alone; a shutdown is never
// taken for a failure; an idle bus neither polls nor writes.
//
// What it does not: exactly-once is the consumer's, which commits its effects
// and its checkpoint in one transaction and passes over what it has applied;
// a Relay and a Subscriber deliver at least once.
package bus
