-- How far each consumer has applied the log. The consumer is the name of an
-- event function, with the partition behind it where there are several.
CREATE TABLE checkpoint (
	consumer TEXT PRIMARY KEY CHECK (consumer <> ''),
	epoch    TEXT    NOT NULL,
	position INTEGER NOT NULL CHECK (position >= 0),
	hash     BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT, WITHOUT ROWID;

-- The event that a consumer fails on, one at most. Times are wall time, in
-- Unix nanoseconds UTC.
CREATE TABLE attempt (
	consumer TEXT PRIMARY KEY CHECK (consumer <> ''),
	position INTEGER NOT NULL CHECK (position > 0),
	attempts INTEGER NOT NULL CHECK (attempts > 0),
	first_at INTEGER NOT NULL,
	next_at  INTEGER NOT NULL,
	error    TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- Events that a function gave up. A parked one holds up the later events of
-- its stream, a skipped one does not; a discarded one was given up for good,
-- and is kept with the reason. The payload stays in the log.
CREATE TABLE dead_letter (
	function TEXT    NOT NULL CHECK (function <> ''),
	position INTEGER NOT NULL CHECK (position > 0),
	stream   TEXT    NOT NULL,
	event_id TEXT    NOT NULL,
	type     TEXT    NOT NULL,
	state    TEXT    NOT NULL CHECK (state IN ('parked', 'skipped', 'discarded')),
	attempts INTEGER NOT NULL CHECK (attempts >= 0),
	first_at INTEGER NOT NULL,
	last_at  INTEGER NOT NULL,
	error    TEXT    NOT NULL,
	reason   TEXT    NOT NULL DEFAULT '',
	PRIMARY KEY (function, position)
) STRICT, WITHOUT ROWID;

-- Each stream has one parked event at most: the one that the others wait for.
CREATE UNIQUE INDEX dead_letter_parked ON dead_letter (function, stream) WHERE state = 'parked';

-- Events that wait behind the parked one of their stream.
CREATE TABLE waiting (
	function TEXT    NOT NULL CHECK (function <> ''),
	stream   TEXT    NOT NULL,
	position INTEGER NOT NULL CHECK (position > 0),
	event_id TEXT    NOT NULL,
	type     TEXT    NOT NULL,
	PRIMARY KEY (function, stream, position)
) STRICT, WITHOUT ROWID;
