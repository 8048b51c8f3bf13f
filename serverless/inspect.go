package serverless

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/sqlite"
)

const remedy = "restore consumers.db and the log from one backup"

// InspectConsumers looks at dir/consumers.db, with or without a host that has
// it open and without its functions, and changes nothing. It returns the
// checkpoints of event functions, the highest position that each has failed on
// or given up, and what is not as a host would have written it: what SQLite's
// own check finds, and events that wait for one that is not parked.
//
// An error means that it could not look; without the file it is
// fs.ErrNotExist, with one of a newer program sqlite's.
func InspectConsumers(ctx context.Context, dir string) (bus.Inspection, error) {
	r := bus.Inspection{File: ledgerFile}
	sub, err := fs.Sub(migrations, "migration")
	if err != nil {
		return r, fmt.Errorf("serverless: %w", err)
	}
	format := sqlite.Format{ApplicationID: ledgerID, Migrations: sub, Relations: []string{selectStranded}}
	problems, err := sqlite.Inspect(ctx, filepath.Join(dir, ledgerFile), format, func(tx *sql.Tx) (err error) {
		r.Consumers, err = inspectCheckpoints(ctx, tx)
		return err
	})
	if err != nil {
		return r, fmt.Errorf("serverless: %w", err)
	}
	for _, p := range problems {
		r.Findings = append(r.Findings, eventstore.Finding{File: ledgerFile, Place: p.Place, Reason: p.Reason, Remedy: remedy})
	}
	return r, nil
}

const (
	selectInspected = `
		SELECT consumer, epoch, position, hash, COALESCE((SELECT MAX(position) FROM attempt AS a WHERE a.consumer = c.consumer), 0)
		FROM checkpoint AS c
		ORDER BY consumer`
	selectGivenUp = `
		SELECT function, MAX(position)
		FROM (SELECT function, position FROM dead_letter UNION ALL SELECT function, position FROM waiting)
		GROUP BY function`
	// SQLite checks no CHECK of a file that is opened read-only.
	selectStranded = `
		SELECT 'function "' || function || '"', 'its dead letter at position ' || position || ' is in no state that there is: ' || state
		FROM dead_letter
		WHERE state NOT IN ('parked', 'skipped', 'discarded')
		UNION ALL
		SELECT 'function "' || w.function || '"', 'the event at position ' || w.position || ' waits, but none of its stream "' || w.stream || '" is parked'
		FROM waiting AS w
		WHERE NOT EXISTS (SELECT 1 FROM dead_letter WHERE function = w.function AND stream = w.stream AND state = 'parked')`
)

func inspectCheckpoints(ctx context.Context, tx *sql.Tx) (list []bus.Inspected, err error) {
	last, err := givenUp(ctx, tx)
	if err != nil {
		return nil, err
	}
	rows, err := tx.QueryContext(ctx, selectInspected)
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
		function, _, _ := strings.Cut(c.Consumer, "#")
		c.Last = max(c.Last, last[function])
		list = append(list, c)
	}
	return list, rows.Err()
}

func givenUp(ctx context.Context, tx *sql.Tx) (_ map[string]int64, err error) {
	rows, err := tx.QueryContext(ctx, selectGivenUp)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	last := map[string]int64{}
	for rows.Next() {
		var function string
		var position int64
		if err := rows.Scan(&function, &position); err != nil {
			return nil, err
		}
		last[function] = position
	}
	return last, rows.Err()
}
