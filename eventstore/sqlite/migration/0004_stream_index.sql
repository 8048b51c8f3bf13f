-- The index of streams stands apart from the log and follows it: the newest
-- events are indexed in the memory of whoever has the log open, and go into the
-- table many at a time, in the order of streams. An index that is kept with
-- each append costs a random page for each stream that is appended to, which is
-- most of the cost of a large log. The single writer makes versions dense.
ALTER TABLE events RENAME TO old_events;

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
  data BLOB NOT NULL
) STRICT;

INSERT INTO events (position, stream_id, version, type_id, schema_version, recorded_at, batch, event_id, hash, metadata, data)
SELECT position, stream_id, version, type_id, schema_version, recorded_at, batch, event_id, hash, metadata, data
FROM old_events
ORDER BY position;

CREATE TABLE stream_index (
  stream_id INTEGER NOT NULL,
  version INTEGER NOT NULL,
  position INTEGER NOT NULL,
  PRIMARY KEY (stream_id, version)
) STRICT, WITHOUT ROWID;

INSERT INTO stream_index (stream_id, version, position)
SELECT stream_id, version, position
FROM old_events NOT INDEXED
ORDER BY stream_id, version;

-- Through which position stream_index has every event, and no other.
ALTER TABLE meta ADD COLUMN indexed INTEGER NOT NULL DEFAULT 0 CHECK (indexed >= 0);

UPDATE meta
SET indexed = (SELECT COALESCE(MAX(position), 0) FROM old_events);

-- The positions that were given stay given.
DELETE FROM sqlite_sequence
WHERE name = 'events';

UPDATE sqlite_sequence
SET name = 'events'
WHERE name = 'old_events';

DROP TABLE old_events;

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

CREATE TRIGGER stream_index_is_not_changed
BEFORE UPDATE ON stream_index
BEGIN
  SELECT RAISE(ABORT, 'the log is append-only: the index of streams is not changed');
END;

CREATE TRIGGER stream_index_is_not_deleted
BEFORE DELETE ON stream_index
BEGIN
  SELECT RAISE(ABORT, 'the log is append-only: the index of streams is not deleted');
END;

CREATE TRIGGER indexed_does_not_go_back
BEFORE UPDATE OF indexed ON meta
WHEN new.indexed < old.indexed
BEGIN
  SELECT RAISE(ABORT, 'the log is append-only: the index of streams does not go back');
END;
