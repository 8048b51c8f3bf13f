// Package projection is how a program sees: read models, folded from the log
// into SQL tables.
//
//	log ▶ bus (pages) ▶ projection ▶ read model ▶ queries
//
// A projection is a name, a version, a schema and handlers:
//
//	var Board = projection.Define("board", 1,
//		`CREATE TABLE ride (id TEXT PRIMARY KEY, driver TEXT NOT NULL) STRICT`,
//		projection.On(func(ctx context.Context, tx *projection.Tx, e eventstore.Of[RideAccepted]) error {
//			_, err := tx.Exec(`INSERT INTO ride (id, driver) VALUES (?, ?)`, e.Payload.RideID, e.Payload.DriverID)
//			return err
//		}))
//
//	board, err := projection.Open(ctx, dir, log, Board, nil) // a bus.Consumer
//	err = board.Read(ctx, commit.Last, func(r *projection.Reader) error { … })
//
// # What it guarantees
//
//   - The tables equal the fold of events 1 to the checkpoint, after any crash:
//     effects and checkpoint commit in one transaction of the projection's own
//     file, the checkpoint by compare-and-swap. An event delivered again is
//     passed over. A log that was restored or rewound is noticed at Open.
//   - Nothing is skipped silently. A failing event is undone alone; what came
//     before it in its page is kept. It is retried, with attempts that survive
//     a restart, and then the projection blocks, parks the stream or makes a
//     dead letter, as OnFailure says. A shutdown counts as no failure.
//   - A read sees one state, of the position it asked for or later.
//   - A higher version, and Rebuild, build a new file beside the live one, which
//     goes on serving; a rename exchanges them, and GoBack exchanges them again.
//     A crash leaves one or the other.
//   - AsOf is the fold of the log through any position, and changes nothing.
//
// # What it does not
//
// Handlers may run again for an event whose transaction was rolled back, so
// they act through tx alone and depend on the event and the tables alone. A
// power cut can take the last commits away, together with their checkpoint
// (the file is not synced at each commit): the log has them, and they are
// applied again. Parked events are applied after later events of other
// streams. While a higher version is built, reads see the tables of the lower
// one, which stand still (Reader.Version), and a read that asks for a later
// position waits until the new one serves. A definition whose handlers changed
// is not told from one whose did not: raise the version, or Rebuild and look at
// the result.
//
// # Files
//
// In the store's directory: views/<name>.v<version>.<generation>.db, and
// views/<name>.live, which names the live file and the one before. Tables that
// begin with leat_ are the framework's.
package projection
