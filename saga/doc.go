// Package saga acts: an event-sourced process manager without a replay engine
// and without determinism rules.
//
// A saga is a table of handlers. A handler changes the instance's state and
// asks, through its Context, for commands, timers and undos; it cannot do I/O:
//
//	var Dispatch = saga.Define("dispatch", 1,
//		saga.Starts(func(e RideRequested) string { return e.RideID }, (*dispatching).requested),
//		saga.On(func(e RideAccepted) string { return e.RideID }, (*dispatching).accepted),
//		saga.Timer("offer", (*dispatching).offerExpired),
//		saga.Rejected((*dispatching).holdRejected))
//
//	func (d *dispatching) requested(c *saga.Context, e RideRequested) error {
//		c.Undo("hold", ReleaseHold{RideID: e.RideID})
//		c.Send(PlaceHold{RideID: e.RideID, Amount: e.Quote})
//		c.After("offer", 15*time.Second)
//		return nil
//	}
//
// The Engine keeps all sagas in one file, sagas.db. It guarantees:
//
//   - A step is whole: state, timers, commands, journal and checkpoint are one
//     transaction, and a handler that fails leaves nothing behind.
//   - A command takes effect once in the log: it leaves after its step has
//     committed, under an id that its input determines, and that id is the ID
//     of the batch it causes. Towards the outside world it is at least once,
//     with that id as the key.
//   - A rejection of a command is an input of the instance.
//   - A timer never fires early, survives restarts, and fires after every
//     event that the log held when it fired. What is recorded later comes
//     later: the aggregate refuses the stale command.
//   - An instance that keeps failing is parked alone, its inputs wait in their
//     order, and others go on.
//   - What has finished stays finished: its key is never started again.
//
// It does not promise that handlers see state of other streams, nor that
// commands of different instances leave in any order, unless Options.Ordered.
//
// The Engine is a bus.Consumer; its Outbox is a message.Subscriber whose
// messages the Dispatcher handles:
//
//	engine, err := saga.Open(ctx, dir, store, clock.System(), []*saga.Definition{Dispatch}, nil)
//	router.Add(engine)
//	router.AddHandler("outbox", "outbox", engine.Outbox(), engine.Dispatcher(commands.Dispatch))
//	go engine.RunTimers(ctx)
//
// Package sagatest tests definitions without any of that, kills them at every
// boundary, and replays what a store has recorded; Was, TimerWas, CommandWas and
// Migrate change them while instances are in flight: see docs/sagas.md. Events
// whose payload cannot be read park their stream, since nobody knows which
// instance they are for (see Instance.Stream and OfStream).
package saga
