// Package sqlite is the embedded engine of the log: a directory that one
// process owns, with SQLite inside.
//
//	store, err := sqlite.Open(ctx, "data", nil)
//	if err != nil { … }
//	defer store.Close()
//	commit, err := store.Append(ctx, batch)
//
// It implements eventstore.Store and eventstore.Snapshots. An append that was
// acknowledged survives the death of the process and, on a disk that honours
// fsync, the loss of power (Durability says how to give that up, and for
// what). Concurrent appends are committed together: 64 appenders cost about as
// many syncs as six. One process owns the directory; another gets
// eventstore.ErrInUse, or reads beside the owner with OpenReadOnly.
//
// # Damage is found
//
// Every event's row holds a SHA-256 over the row and the hash of the row
// before; batch IDs are chained likewise. A small file beside the log, the
// witness, remembers a recent head from the log's creation on, and Open refuses
// a log that fell behind it or has lost it. Verify reads everything and reports what is not as it was written. What
// is not promised: a hash chain without a key finds damage and clumsy hands,
// not somebody who recomputes the whole chain and the witness; and what was
// appended in the last second before a power cut is not under the witness.
//
// # Back up and restore
//
// Backup copies the whole store while it is in use, into a directory of which
// Restore makes a store again, once it has verified it. A restored log begins a
// new epoch: checkpoints from before the backup go on, later ones are
// eventstore.ErrRewound, however far the log has grown.
//
// # When the disk fails
//
// After an I/O error, a damaged page or a write-ahead log that was removed or
// replaced by another program, writes stop with eventstore.ErrOutcomeUnknown;
// reads go on, and Err tells the cause. Reopen has them go on in place once that
// is gone, which a serverless.Host calls by itself, but not where files were
// taken away: then Backup copies what was acknowledged from what is still open.
// A full disk is no such case: the append is refused with ErrDiskFull and the
// next one is tried again. Nor is a write-ahead log at Options.MaxWAL, which a
// read that does not end keeps from being emptied: eventstore.ErrBusy.
//
// Nothing but SQLite may open log.db, log.db-wal and log.db-shm while the
// store is open, not even to copy them: closing them drops the locks that keep
// the log alive. Use Backup, or the sqlite3 program.
package sqlite
