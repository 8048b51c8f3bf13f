-- What the file is. One row, written in the transaction that ran the schema:
-- a file without it was never finished.
CREATE TABLE leat_view (
  id          INTEGER PRIMARY KEY CHECK (id = 1),
  name        TEXT    NOT NULL,
  version     INTEGER NOT NULL CHECK (version >= 1),
  schema_hash BLOB    NOT NULL CHECK (length(schema_hash) = 32),
  purpose     TEXT    NOT NULL CHECK (purpose IN ('first', 'upgrade', 'rebuild'))
) STRICT;

-- The last position whose effects are in this file. One row.
CREATE TABLE leat_checkpoint (
  id       INTEGER PRIMARY KEY CHECK (id = 1),
  epoch    TEXT    NOT NULL,
  position INTEGER NOT NULL CHECK (position >= 0),
  hash     BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT;

INSERT INTO leat_checkpoint (id, epoch, position, hash)
VALUES (1, '', 0, zeroblob(32));

-- The event after the checkpoint that failed, and how often. At most one row.
-- Times are Unix nanoseconds UTC.
CREATE TABLE leat_attempt (
  id       INTEGER PRIMARY KEY CHECK (id = 1),
  position INTEGER NOT NULL,
  attempts INTEGER NOT NULL CHECK (attempts >= 1),
  since    INTEGER NOT NULL,
  error    TEXT    NOT NULL
) STRICT;

-- Events that wait because they, or one before them in their stream, failed.
-- An event that was not tried yet has 0 attempts.
CREATE TABLE leat_parked (
  position INTEGER PRIMARY KEY,
  stream   TEXT    NOT NULL,
  type     TEXT    NOT NULL,
  attempts INTEGER NOT NULL CHECK (attempts >= 0),
  since    INTEGER NOT NULL,
  error    TEXT    NOT NULL
) STRICT;

CREATE INDEX leat_parked_stream ON leat_parked (stream, position);

-- Events that were given up.
CREATE TABLE leat_dead_letter (
  position INTEGER PRIMARY KEY,
  stream   TEXT    NOT NULL,
  version  INTEGER NOT NULL,
  type     TEXT    NOT NULL,
  attempts INTEGER NOT NULL CHECK (attempts >= 1),
  at       INTEGER NOT NULL,
  error    TEXT    NOT NULL
) STRICT;
