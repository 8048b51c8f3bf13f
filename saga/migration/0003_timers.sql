-- Timers lie in the order in which they are due, and nothing else finds them:
-- to set one changes a page that it shares with those set at about the same
-- time, not one for each instance. The instance says which it has: timers is a
-- JSON object of their names, each with when it is due, and empty without any.
-- Timers of parked and failing instances are held, as not all were before.
ALTER TABLE instance ADD COLUMN timers TEXT NOT NULL DEFAULT '';
UPDATE instance
SET timers = (SELECT json_group_object(name, due) FROM timer WHERE timer.instance = instance.id)
WHERE id IN (SELECT instance FROM timer);

CREATE TABLE timer_by_due (
	held     INTEGER NOT NULL CHECK (held IN (0, 1)),
	due      INTEGER NOT NULL,
	instance INTEGER NOT NULL,
	name     TEXT NOT NULL,
	ref      TEXT NOT NULL,
	root     INTEGER NOT NULL,
	hops     INTEGER NOT NULL,
	PRIMARY KEY (held, due, instance, name)
) STRICT, WITHOUT ROWID;
INSERT INTO timer_by_due (held, due, instance, name, ref, root, hops)
SELECT i.status = 'parked' OR i.next_attempt > 0, t.due, t.instance, t.name, t.ref, t.root, t.hops
FROM timer t
JOIN instance i ON i.id = t.instance
ORDER BY 1, 2, 3, 4;
DROP TABLE timer;
ALTER TABLE timer_by_due RENAME TO timer;
