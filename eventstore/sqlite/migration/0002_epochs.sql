-- The epochs of the log, one for its creation and one for each time it was
-- restored. An epoch reaches from the position after began_after to the
-- began_after of the next; batch is the last batch with an ID that it found.
-- The hash covers the row, the row before, which store this is, and the chain
-- hashes of that event and that batch, so that no epoch can be moved, renamed
-- or forgotten unnoticed. The first has nothing before it, and zeros.
CREATE TABLE epochs (
  number INTEGER PRIMARY KEY CHECK (number > 0),
  name TEXT NOT NULL UNIQUE CHECK (name <> ''),
  began_after INTEGER NOT NULL CHECK (began_after >= 0),
  batch INTEGER NOT NULL CHECK (batch >= 0),
  began_at INTEGER NOT NULL,
  hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;

INSERT INTO epochs (number, name, began_after, batch, began_at, hash)
SELECT 1, epoch, 0, 0, created_at, zeroblob(32)
FROM meta;

ALTER TABLE meta DROP COLUMN epoch;

CREATE TRIGGER epochs_are_not_changed
BEFORE UPDATE ON epochs
BEGIN
  SELECT RAISE(ABORT, 'the log is append-only: epochs are not changed');
END;

CREATE TRIGGER epochs_are_not_deleted
BEFORE DELETE ON epochs
BEGIN
  SELECT RAISE(ABORT, 'the log is append-only: epochs are not deleted');
END;
