-- The sagas that are or were registered, each with its checkpoint: how far of
-- the log it has seen. Commands of steps at or below "silent" are not sent.
CREATE TABLE saga (
	id       INTEGER PRIMARY KEY,
	name     TEXT NOT NULL UNIQUE,
	active   INTEGER NOT NULL CHECK (active IN (0, 1)),
	silent   INTEGER NOT NULL,
	epoch    TEXT NOT NULL,
	position INTEGER NOT NULL CHECK (position >= 0),
	hash     BLOB NOT NULL
) STRICT;

-- One row: the clock at the last step, in Unix nanoseconds, and how often the
-- file was opened, by which an engine notices that another has taken over.
CREATE TABLE engine (
	id        INTEGER PRIMARY KEY CHECK (id = 1),
	last_time INTEGER NOT NULL,
	owner     INTEGER NOT NULL
) STRICT;
INSERT INTO engine (id, last_time, owner) VALUES (1, 0, 0);

-- One row for each instance, for ever: what is finished leaves its key as a
-- tombstone. A stray row stands for a stream with events that cannot be read;
-- its key is the stream. undo is the stack of what Compensate would undo, and
-- undo_root, undo_hops and undo_at are those of its next command. next_attempt and failed_at are wall time, the other
-- times are the clock's; 0 is none.
CREATE TABLE instance (
	id            INTEGER PRIMARY KEY,
	saga          INTEGER NOT NULL,
	key           TEXT NOT NULL,
	stray         INTEGER NOT NULL CHECK (stray IN (0, 1)),
	status        TEXT NOT NULL CHECK (status IN ('running', 'compensating', 'completed', 'compensated', 'failed', 'parked')),
	undoing       INTEGER NOT NULL CHECK (undoing IN (0, 1)),
	state         TEXT NOT NULL,
	state_version INTEGER NOT NULL,
	version       INTEGER NOT NULL,
	cursor        INTEGER NOT NULL,
	sequence      INTEGER NOT NULL,
	journal       INTEGER NOT NULL,
	journal_last  INTEGER NOT NULL,
	waited        INTEGER NOT NULL,
	undo          TEXT NOT NULL,
	undo_root     INTEGER NOT NULL,
	undo_hops     INTEGER NOT NULL,
	undo_at       INTEGER NOT NULL,
	correlation   TEXT NOT NULL,
	reason        TEXT NOT NULL,
	attempts      INTEGER NOT NULL,
	failed_at     INTEGER NOT NULL,
	next_attempt  INTEGER NOT NULL,
	created       INTEGER NOT NULL,
	updated       INTEGER NOT NULL,
	completed     INTEGER NOT NULL,
	swept         INTEGER NOT NULL CHECK (swept IN (0, 1)),
	UNIQUE (saga, key, stray)
) STRICT;
CREATE INDEX instance_failing ON instance (next_attempt) WHERE next_attempt > 0;
CREATE INDEX instance_finished ON instance (saga, completed) WHERE completed > 0 AND swept = 0;
CREATE INDEX instance_parked ON instance (saga, id) WHERE status = 'parked';

-- Further keys of instances.
CREATE TABLE alias (
	saga     INTEGER NOT NULL,
	key      TEXT NOT NULL,
	instance INTEGER NOT NULL,
	PRIMARY KEY (saga, key)
) STRICT, WITHOUT ROWID;

-- Pending timers. ref is what makes a timer armed again another timer. Timers
-- of parked and failing instances are held.
CREATE TABLE timer (
	instance INTEGER NOT NULL,
	name     TEXT NOT NULL,
	due      INTEGER NOT NULL,
	ref      TEXT NOT NULL,
	root     INTEGER NOT NULL,
	hops     INTEGER NOT NULL,
	held     INTEGER NOT NULL CHECK (held IN (0, 1)),
	PRIMARY KEY (instance, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX timer_due ON timer (due) WHERE held = 0;

-- Commands that are not known to be done. A row goes when its command is done
-- or rejected: the log knows it by its id, the journal by its step.
CREATE TABLE outbox (
	instance     INTEGER NOT NULL,
	sequence     INTEGER NOT NULL,
	id           TEXT NOT NULL,
	type         TEXT NOT NULL,
	data         TEXT NOT NULL,
	metadata     TEXT NOT NULL,
	root         INTEGER NOT NULL,
	hops         INTEGER NOT NULL,
	at           INTEGER NOT NULL,
	undo         INTEGER NOT NULL CHECK (undo IN (0, 1)),
	parked       INTEGER NOT NULL CHECK (parked IN (0, 1)),
	attempts     INTEGER NOT NULL,
	failed_at    INTEGER NOT NULL,
	next_attempt INTEGER NOT NULL,
	reason       TEXT NOT NULL,
	PRIMARY KEY (instance, sequence)
) STRICT, WITHOUT ROWID;

-- Inputs that wait for a parked or failing instance, in their order. The
-- payload of an event stays in the log.
CREATE TABLE waiting (
	instance INTEGER NOT NULL,
	sequence INTEGER NOT NULL,
	kind     TEXT NOT NULL CHECK (kind IN ('event', 'timer', 'rejection')),
	position INTEGER NOT NULL,
	data     TEXT NOT NULL,
	PRIMARY KEY (instance, sequence)
) STRICT, WITHOUT ROWID;

-- Continuations that wait for the start of their instance.
CREATE TABLE early (
	saga     INTEGER NOT NULL,
	key      TEXT NOT NULL,
	position INTEGER NOT NULL,
	PRIMARY KEY (saga, key, position)
) STRICT, WITHOUT ROWID;

-- What every instance was given and did about it, appended; prev is the entry
-- of the same instance before, and instance.journal_last the last one. An index
-- by instance would dirty a page for every step.
CREATE TABLE journal (
	id       INTEGER PRIMARY KEY,
	instance INTEGER NOT NULL,
	sequence INTEGER NOT NULL,
	prev     INTEGER NOT NULL,
	kind     TEXT NOT NULL CHECK (kind IN ('event', 'timer', 'rejection', 'admin', 'undo')),
	ref      TEXT NOT NULL,
	name     TEXT NOT NULL,
	effects  TEXT NOT NULL,
	version  INTEGER NOT NULL,
	at       INTEGER NOT NULL
) STRICT;
