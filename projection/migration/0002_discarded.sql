-- Events that somebody gave up for good, and why. They are not applied by a
-- build either. at is Unix nanoseconds UTC.
CREATE TABLE leat_discarded (
  position INTEGER PRIMARY KEY,
  stream   TEXT    NOT NULL,
  version  INTEGER NOT NULL,
  type     TEXT    NOT NULL,
  attempts INTEGER NOT NULL CHECK (attempts >= 0),
  at       INTEGER NOT NULL,
  error    TEXT    NOT NULL,
  reason   TEXT    NOT NULL CHECK (reason <> '')
) STRICT;
