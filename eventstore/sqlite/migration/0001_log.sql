-- One row: which log this is. A restored log keeps its store id and gets
-- another epoch.
CREATE TABLE meta (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  store_id TEXT NOT NULL,
  epoch TEXT NOT NULL,
  created_at INTEGER NOT NULL -- Unix nanoseconds UTC, as all times here
) STRICT;

-- Names are stored once. Numbers keep the index of streams small: with a
-- million streams it is nine times faster to append to than one of names.
CREATE TABLE streams (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE CHECK (name <> ''),
  category TEXT NOT NULL CHECK (category = substr(name, 1, instr(name || '-', '-') - 1))
) STRICT;

CREATE TABLE types (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE CHECK (name <> '')
) STRICT;

-- The log. References are not declared as foreign keys: the single writer
-- makes them, verify checks them, and looking each up again would cost a
-- third of an append. The hash covers the row, names spelled out, and the
-- hash of the row before; it stands before the payload so that reading it
-- does not touch the payload's overflow pages.
CREATE TABLE events (
  position INTEGER PRIMARY KEY AUTOINCREMENT CHECK (position > 0),
  stream_id INTEGER NOT NULL,
  version INTEGER NOT NULL CHECK (version > 0),
  type_id INTEGER NOT NULL,
  schema_version INTEGER NOT NULL CHECK (schema_version > 0),
  recorded_at INTEGER NOT NULL,
  batch INTEGER, -- batches.number; NULL where the batch had no ID
  event_id BLOB NOT NULL UNIQUE CHECK (length(event_id) = 16),
  hash BLOB NOT NULL CHECK (length(hash) = 32),
  metadata BLOB, -- a JSON object
  data BLOB NOT NULL,
  UNIQUE (stream_id, version)
) STRICT;

CREATE TRIGGER events_are_not_changed
BEFORE UPDATE ON events
BEGIN
  SELECT RAISE(ABORT, 'the log is append-only: events are not changed');
END;

CREATE TRIGGER events_are_not_deleted
BEFORE DELETE ON events
BEGIN
  SELECT RAISE(ABORT, 'the log is append-only: events are not deleted');
END;

-- Batch IDs, for ever: what makes an append idempotent. The positions of an
-- empty batch are first = last + 1 and last = the head it was stored after.
CREATE TABLE batches (
  number INTEGER PRIMARY KEY AUTOINCREMENT CHECK (number > 0),
  id TEXT NOT NULL UNIQUE CHECK (id <> ''),
  content BLOB NOT NULL CHECK (length(content) = 32),
  first INTEGER NOT NULL,
  last INTEGER NOT NULL CHECK (last >= first - 1),
  recorded_at INTEGER NOT NULL,
  hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;

CREATE TRIGGER batches_are_not_changed
BEFORE UPDATE ON batches
BEGIN
  SELECT RAISE(ABORT, 'the log is append-only: batches are not changed');
END;

CREATE TRIGGER batches_are_not_deleted
BEFORE DELETE ON batches
BEGIN
  SELECT RAISE(ABORT, 'the log is append-only: batches are not deleted');
END;

-- Folded states: a convenience, of which nothing is lost when it is lost.
CREATE TABLE snapshots (
  stream TEXT NOT NULL,
  fold TEXT NOT NULL,
  version INTEGER NOT NULL CHECK (version > 0),
  state BLOB NOT NULL,
  UNIQUE (stream, fold)
) STRICT;
