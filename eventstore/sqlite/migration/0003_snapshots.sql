-- Snapshots get a checksum: the SHA-256 over stream, fold, version and state,
-- since a damaged one would give a wrong state and no chain covers it. Those
-- that are there are dropped, and made again as they are needed.
DROP TABLE snapshots;

CREATE TABLE snapshots (
  stream TEXT NOT NULL,
  fold TEXT NOT NULL,
  version INTEGER NOT NULL CHECK (version > 0),
  state BLOB NOT NULL,
  checksum BLOB NOT NULL CHECK (length(checksum) = 32),
  UNIQUE (stream, fold)
) STRICT;
