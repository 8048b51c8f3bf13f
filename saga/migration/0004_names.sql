-- What a saga is called may change; what the ids of its commands are made of
-- may not, or steps that are repeated after a restore would ask for new ones.
-- identity is the name that the saga began with, of one of before the name that
-- it has now. It is its name or one of its former ones.
ALTER TABLE saga ADD COLUMN identity TEXT NOT NULL DEFAULT '';
UPDATE saga
SET identity = name;
CREATE UNIQUE INDEX saga_identity ON saga (identity);

-- Names that sagas had before, which no other saga may have.
CREATE TABLE former (
	name TEXT PRIMARY KEY,
	saga INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
