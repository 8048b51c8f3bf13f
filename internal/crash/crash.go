// Package crash names the places at which tests kill a process: between two
// steps that belong together. A program that is built with the tag leatcrash
// and started with LEAT_CRASH=name:n in its environment kills itself when it
// reaches the place called name for the n-th time. In every other build At
// compiles to nothing.
package crash

// Point is a place at which a process can be killed, named after what has just
// happened.
type Point string

// The log, in the order of an append.
const (
	// LogBegun: a transaction has begun, nothing is written.
	LogBegun Point = "log-begun"
	// LogHalfBatch: the events of a batch are written, the row of its ID is not.
	LogHalfBatch Point = "log-half-batch"
	// LogSnapshot: a snapshot is written beside appends.
	LogSnapshot Point = "log-snapshot"
	// LogBeforeCommit: the rows of a group are written, COMMIT is not issued.
	LogBeforeCommit Point = "log-before-commit"
	// LogAfterCommit: a group is committed, the write-ahead log is not checked.
	LogAfterCommit Point = "log-after-commit"
	// LogChecked: the write-ahead log is checked, nobody knows of the group.
	LogChecked Point = "log-checked"
	// LogPublished: readers see the group, nobody has been answered.
	LogPublished Point = "log-published"
	// IndexMoved: the index of streams is written into its table, COMMIT is not
	// issued.
	IndexMoved Point = "index-moved"
	// IndexCommitted: it is committed, the one in memory is as it was.
	IndexCommitted Point = "index-committed"
)

// The witness, and the creation, opening and closing of a store.
const (
	// WitnessWritten: the new witness is written and synced under another name.
	WitnessWritten Point = "witness-written"
	// WitnessRenamed: it has its name, the directory is not synced.
	WitnessRenamed Point = "witness-renamed"
	// StoreDir: the directory of a new store is made.
	StoreDir Point = "store-dir"
	// StoreLock: the file of its lock is made, and locked.
	StoreLock Point = "store-lock"
	// FileMade: a database file is made, and is empty.
	FileMade Point = "file-made"
	// FileMigrated: a migration of a database file is committed.
	FileMigrated Point = "file-migrated"
	// StoreIdentified: a new log has its names.
	StoreIdentified Point = "store-identified"
	// StoreLoaded: the end of the log is read, appends are not taken yet.
	StoreLoaded Point = "store-loaded"
	// StoreDrained: the last appends are answered, the last witness is to come.
	StoreDrained Point = "store-drained"
	// StoreWitnessed: the last witness is written, the log is still open.
	StoreWitnessed Point = "store-witnessed"
)

// Read models.
const (
	// ViewApplied: a page's events are applied, their checkpoint is not moved.
	ViewApplied Point = "view-applied"
	// ViewBeforeCommit: the checkpoint is moved, COMMIT is not issued.
	ViewBeforeCommit Point = "view-before-commit"
	// ViewCommitted: a page is committed, the router does not know.
	ViewCommitted Point = "view-committed"
	// ViewMade: the file of a read model is made, with its tables.
	ViewMade Point = "view-made"
	// ViewLooked: the files of a read model are chosen, leftovers are there.
	ViewLooked Point = "view-looked"
	// ViewBuilding: a page is applied to a file that is rebuilt.
	ViewBuilding Point = "view-building"
	// ViewPaused: the live file is held, the new one is not brought up to it.
	ViewPaused Point = "view-paused"
	// ViewCaughtUp: the new file is brought up to it, they are not compared.
	ViewCaughtUp Point = "view-caught-up"
	// ViewCompared: they are compared.
	ViewCompared Point = "view-compared"
	// ViewSettled: the new file holds all of its write-ahead log.
	ViewSettled Point = "view-settled"
	// ViewPointerWritten: the pointer to it is written under another name.
	ViewPointerWritten Point = "view-pointer-written"
	// ViewPointerRenamed: the pointer has its name, the directory is not synced.
	ViewPointerRenamed Point = "view-pointer-renamed"
	// ViewSwapped: the new file is served, the one before the old is not removed.
	ViewSwapped Point = "view-swapped"
	// ViewRemoved: it is removed.
	ViewRemoved Point = "view-removed"
	// ViewWentBack: the file of the former version is live again.
	ViewWentBack Point = "view-went-back"
)

// Sagas.
const (
	// SagaSwept: what was kept of a finished instance is cleared.
	SagaSwept Point = "saga-swept"
	// SagaStepped: state, timers and commands of a step are in the transaction,
	// the checkpoint is not.
	SagaStepped Point = "saga-stepped"
	// SagaBeforeCommit: all is in it, COMMIT is not issued.
	SagaBeforeCommit Point = "saga-before-commit"
	// SagaAfterCommit: a step is committed, memory does not follow.
	SagaAfterCommit Point = "saga-after-commit"
	// SagaFired: a timer has fired, its step is not committed.
	SagaFired Point = "saga-fired"
	// SagaUnwinding: an undo is taken from the stack and put into the outbox.
	SagaUnwinding Point = "saga-unwinding"
	// SagaSending: a command is about to be carried out.
	SagaSending Point = "saga-sending"
	// SagaCarriedOut: it is carried out, and still in the outbox.
	SagaCarriedOut Point = "saga-carried-out"
	// SagaRejected: it was refused, and is still in the outbox.
	SagaRejected Point = "saga-rejected"
	// SagaRemoved: it is out of the outbox, that is not committed.
	SagaRemoved Point = "saga-removed"
	// SagaClock: the time of the last step is kept, that is not committed.
	SagaClock Point = "saga-clock"
	// SagaDrained: the engine has ended, its last outcomes are not recorded.
	SagaDrained Point = "saga-drained"
)

// Functions and relays.
const (
	// FunctionCalled: an event function has returned, its checkpoint is not moved.
	FunctionCalled Point = "function-called"
	// FunctionFailed: it has failed, the attempt is not counted.
	FunctionFailed Point = "function-failed"
	// FunctionCounted: the attempt is counted.
	FunctionCounted Point = "function-counted"
	// FunctionMoved: its checkpoint is in the transaction, what became of the
	// event is not.
	FunctionMoved Point = "function-moved"
	// FunctionCommitted: checkpoint and effect are committed.
	FunctionCommitted Point = "function-committed"
	// LetterWritten: a dead letter is in the transaction.
	LetterWritten Point = "letter-written"
	// LetterWaits: an event that waits behind one is in it.
	LetterWaits Point = "letter-waits"
	// LetterRetried: the function has taken a dead letter after all, it is
	// still there.
	LetterRetried Point = "letter-retried"
	// LetterSettled: it is removed, the next of its stream is not promoted.
	LetterSettled Point = "letter-settled"
	// RelayPublished: a relay has published a page, its checkpoint is not moved.
	RelayPublished Point = "relay-published"
	// ClockAdvanced: the virtual clock has moved, what is due has not fired.
	ClockAdvanced Point = "clock-advanced"
)

// Backups and restores of a store.
const (
	// BackupBegun: the files beside the log are copied, the log is not.
	BackupBegun Point = "backup-begun"
	// BackupCopied: the log is copied, it has no witness.
	BackupCopied Point = "backup-copied"
	// BackupWritten: the backup is whole, and has no name.
	BackupWritten Point = "backup-written"
	// BackupNamed: it has its name, the directory above is not synced.
	BackupNamed Point = "backup-named"
	// RestoreCopied: the files of a backup are copied, nothing is verified.
	RestoreCopied Point = "restore-copied"
	// RestoreVerified: they are verified, no epoch has begun.
	RestoreVerified Point = "restore-verified"
	// RestoreBegun: an epoch has begun, the witness is of the one before.
	RestoreBegun Point = "restore-begun"
	// RestoreWritten: the store is whole, and has no name.
	RestoreWritten Point = "restore-written"
	// RestoreNamed: it has its name, the directory above is not synced.
	RestoreNamed Point = "restore-named"
)

// Points are all places.
func Points() []Point {
	return []Point{
		LogBegun, LogHalfBatch, LogSnapshot, LogBeforeCommit, LogAfterCommit, LogChecked, LogPublished, IndexMoved, IndexCommitted,
		WitnessWritten, WitnessRenamed, StoreDir, StoreLock, FileMade, FileMigrated, StoreIdentified, StoreLoaded, StoreDrained, StoreWitnessed,
		ViewApplied, ViewBeforeCommit, ViewCommitted, ViewMade, ViewLooked, ViewBuilding, ViewPaused, ViewCaughtUp, ViewCompared,
		ViewSettled, ViewPointerWritten, ViewPointerRenamed, ViewSwapped, ViewRemoved, ViewWentBack,
		SagaSwept, SagaStepped, SagaBeforeCommit, SagaAfterCommit, SagaFired, SagaUnwinding, SagaSending, SagaCarriedOut,
		SagaRejected, SagaRemoved, SagaClock, SagaDrained,
		FunctionCalled, FunctionFailed, FunctionCounted, FunctionMoved, FunctionCommitted, LetterWritten, LetterWaits, LetterRetried, LetterSettled,
		RelayPublished, ClockAdvanced,
		BackupBegun, BackupCopied, BackupWritten, BackupNamed,
		RestoreCopied, RestoreVerified, RestoreBegun, RestoreWritten, RestoreNamed,
	}
}
