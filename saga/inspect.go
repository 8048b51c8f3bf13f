package saga

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/sqlite"
)

const remedy = "restore sagas.db and the log from one backup"

// Inspect looks at dir/sagas.db, with or without an engine that has it open
// and without the definitions, and changes nothing. It returns the checkpoint
// of every saga and what is not as an engine would have written it: what
// SQLite's own check finds, timers, commands, inputs and entries of the
// journal of instances that do not exist, a journal that is not whole,
// instances that are past their saga's checkpoint. Reading many instances
// keeps the file's WAL from being reset for as long.
//
// An error means that it could not look; without the file it is
// fs.ErrNotExist, with one of a newer program sqlite's.
func Inspect(ctx context.Context, dir string) (bus.Inspection, error) {
	r := bus.Inspection{File: FileName}
	sub, err := fs.Sub(migrations, "migration")
	if err != nil {
		return r, fmt.Errorf("saga: %w", err)
	}
	format := sqlite.Format{ApplicationID: applicationID, Migrations: sub, Relations: relations, Later: map[int][]string{timersByDue: timerRelations, formerNames: nameRelations}}
	problems, err := sqlite.Inspect(ctx, filepath.Join(dir, FileName), format, func(tx *sql.Tx) (err error) {
		r.Consumers, err = inspectCheckpoints(ctx, tx)
		return err
	})
	if err != nil {
		return r, fmt.Errorf("saga: %w", err)
	}
	for _, p := range problems {
		r.Findings = append(r.Findings, eventstore.Finding{File: FileName, Place: p.Place, Reason: p.Reason, Remedy: remedy})
	}
	return r, nil
}

func inspectCheckpoints(ctx context.Context, tx *sql.Tx) (list []bus.Inspected, err error) {
	rows, err := tx.QueryContext(ctx, `
		SELECT s.name, s.epoch, s.position, s.hash, MAX(s.silent, COALESCE((SELECT MAX(position) FROM early WHERE saga = s.id), 0))
		FROM saga AS s
		ORDER BY s.name`)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var c bus.Inspected
		var hash []byte
		if err := rows.Scan(&c.Consumer, &c.Checkpoint.Epoch, &c.Checkpoint.Position, &hash, &c.Last); err != nil {
			return nil, err
		}
		copy(c.Checkpoint.Hash[:], hash)
		list = append(list, c)
	}
	return list, rows.Err()
}

// named spells an instance out.
const named = `'saga "' || COALESCE((SELECT name FROM saga WHERE id = i.saga), i.saga) || '" key "' || i.key || '"'`

// relations hold after every transaction of an engine. Each returns where one
// does not, and what was found there. SQLite checks no CHECK of a file that is
// opened read-only, so that the one that matters is among them.
var relations = []string{`
	SELECT 'engine', 'it has ' || COUNT(*) || ' rows in place of one'
	FROM engine
	HAVING COUNT(*) <> 1`, `
	SELECT ` + named + `, 'its saga is missing'
	FROM instance AS i
	WHERE NOT EXISTS (SELECT 1 FROM saga WHERE id = i.saga)`, `
	SELECT ` + named + `, 'it was given the event at position ' || i.cursor || ', but its saga has seen the log up to ' || s.position
	FROM instance AS i
	JOIN saga AS s ON s.id = i.saga
	WHERE i.cursor > s.position`, `
	SELECT ` + named + `, 'its state or its undos are no JSON'
	FROM instance AS i
	WHERE NOT json_valid(i.state) OR i.undo <> '' AND NOT json_valid(i.undo)`, `
	SELECT ` + named + `, 'it is in no status that there is: ' || i.status
	FROM instance AS i
	WHERE i.status NOT IN ('running', 'compensating', 'completed', 'compensated', 'failed', 'parked')`, `
	SELECT 'alias "' || a.key || '"', 'its instance ' || a.instance || ' does not exist'
	FROM alias AS a
	WHERE NOT EXISTS (SELECT 1 FROM instance WHERE id = a.instance AND saga = a.saga)`, `
	SELECT 'early event at position ' || e.position, 'its saga does not exist'
	FROM early AS e
	WHERE NOT EXISTS (SELECT 1 FROM saga WHERE id = e.saga)`, `
	SELECT 'timer "' || t.name || '"', 'its instance ' || t.instance || ' does not exist'
	FROM timer AS t
	WHERE NOT EXISTS (SELECT 1 FROM instance WHERE id = t.instance)`, `
	SELECT ` + named + `, 'it is ' || i.status || ', but its timer "' || t.name || '" is set'
	FROM timer AS t
	JOIN instance AS i ON i.id = t.instance
	WHERE i.status IN ('completed', 'compensated', 'failed')`, `
	SELECT 'command ' || o.id, 'its instance ' || o.instance || ' does not exist'
	FROM outbox AS o
	WHERE NOT EXISTS (SELECT 1 FROM instance WHERE id = o.instance)`, `
	SELECT ` + named + `, 'its command ' || o.id || ' is number ' || o.sequence || ' of ' || i.sequence
	FROM outbox AS o
	JOIN instance AS i ON i.id = o.instance
	WHERE o.sequence NOT BETWEEN 1 AND i.sequence`, `
	SELECT 'waiting input ' || w.sequence, 'its instance ' || w.instance || ' does not exist'
	FROM waiting AS w
	WHERE NOT EXISTS (SELECT 1 FROM instance WHERE id = w.instance)`, `
	SELECT ` + named + `, 'its waiting input ' || w.sequence || ' is the event at position ' || w.position || ', which its saga has not seen'
	FROM waiting AS w
	JOIN instance AS i ON i.id = w.instance
	JOIN saga AS s ON s.id = i.saga
	WHERE w.sequence NOT BETWEEN 1 AND i.waited OR w.kind = 'event' AND w.position NOT BETWEEN 1 AND s.position`, `
	SELECT 'entry ' || j.id || ' of the journal', 'its instance ' || j.instance || ' does not exist'
	FROM journal AS j
	WHERE NOT EXISTS (SELECT 1 FROM instance WHERE id = j.instance)`, `
	SELECT 'entry ' || j.id || ' of the journal', 'the entry before it, ' || j.prev || ', is missing or another'
	FROM journal AS j
	WHERE j.prev <> 0 AND NOT EXISTS (SELECT 1 FROM journal WHERE id = j.prev AND instance = j.instance AND sequence = j.sequence - 1)`, `
	SELECT ` + named + `, 'the last entry of its journal, ' || i.journal_last || ', is missing or another'
	FROM instance AS i
	WHERE i.journal_last <> 0 AND NOT EXISTS (SELECT 1 FROM journal WHERE id = i.journal_last AND instance = i.id AND sequence = i.journal)`,
}

// timerRelations are those of the timers and the instances that name them.
var timerRelations = []string{`
	SELECT ` + named + `, 'its timers are no JSON'
	FROM instance AS i
	WHERE i.timers <> '' AND NOT json_valid(i.timers)`, `
	SELECT ` + named + `, 'its timer "' || a.key || '", due at ' || a.value || ', is missing'
	FROM instance AS i
	JOIN json_each(iif(json_valid(i.timers), i.timers, '{}')) AS a
	WHERE NOT EXISTS (SELECT 1 FROM timer WHERE held IN (0, 1) AND due = a.value AND instance = i.id AND name = a.key)`, `
	SELECT ` + named + `, 'it does not know of its timer "' || t.name || '", due at ' || t.due
	FROM timer AS t
	JOIN instance AS i ON i.id = t.instance
	WHERE NOT EXISTS (SELECT 1 FROM json_each(iif(json_valid(i.timers), i.timers, '{}')) WHERE key = t.name AND value = t.due)`, `
	SELECT ` + named + `, 'its timer "' || t.name || '" is ' || iif(t.held, 'held', 'not held') || ', and the instance is ' || iif(t.held, 'not ', '') || 'waiting'
	FROM timer AS t
	JOIN instance AS i ON i.id = t.instance
	WHERE t.held <> (i.status = 'parked' OR i.next_attempt > 0)`,
}

// nameRelations are those of the sagas and the names that they had.
var nameRelations = []string{`
	SELECT 'former saga name "' || f.name || '"', 'its saga ' || f.saga || ' does not exist'
	FROM former AS f
	WHERE NOT EXISTS (SELECT 1 FROM saga WHERE id = f.saga)`, `
	SELECT 'saga "' || s.name || '"', 'its name is a former one'
	FROM saga AS s
	WHERE EXISTS (SELECT 1 FROM former WHERE name = s.name)`, `
	SELECT 'saga "' || s.name || '"', 'it is said to have begun as "' || s.identity || '", which is none of its names'
	FROM saga AS s
	WHERE s.identity <> s.name AND NOT EXISTS (SELECT 1 FROM former WHERE name = s.identity AND saga = s.id)`,
}
