package serverless

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/parts"
	"github.com/leat-go/leat/internal/sqlite"
)

// ledgerFile is the file of the event functions in a host's directory.
const ledgerFile = "consumers.db"

// ledgerID marks consumers.db.
const ledgerID = 0x1ea70003

//go:embed migration/*.sql
var migrations embed.FS

// ledger is consumers.db: what event functions must not forget. It is primary
// data, hence durable. It implements bus.Checkpoints.
type ledger struct {
	bus.Leases
	db *sqlite.DB
}

func openLedger(ctx context.Context, dir string, logger *slog.Logger) (*ledger, error) {
	sub, err := fs.Sub(migrations, "migration")
	if err != nil {
		return nil, fmt.Errorf("serverless: %w", err)
	}
	db, err := parts.Open(ctx, dir, ledgerFile, sqlite.Format{ApplicationID: ledgerID, Migrations: sub}, sqlite.Options{Durability: sqlite.Full, Logger: logger})
	if err != nil {
		return nil, fmt.Errorf("serverless: %w", err)
	}
	return &ledger{db: db}, nil
}

func (l *ledger) close() error {
	if err := l.db.Close(); err != nil {
		return fmt.Errorf("serverless: close %s: %w", ledgerFile, err)
	}
	return nil
}

// Load implements bus.Checkpoints.
func (l *ledger) Load(ctx context.Context, consumer string) (eventstore.Anchor, error) {
	a, _, err := l.checkpoint(ctx, consumer)
	return a, err
}

// Save implements bus.Checkpoints.
func (l *ledger) Save(ctx context.Context, consumer string, from, to eventstore.Anchor) error {
	return l.write(ctx, "save checkpoint", func(tx *sqlite.Tx) error {
		return moveCheckpoint(tx, consumer, from, to)
	})
}

func (l *ledger) write(ctx context.Context, doing string, fn func(*sqlite.Tx) error) error {
	if err := l.db.Write(ctx, fn); err != nil {
		return fmt.Errorf("serverless: %s: %w", doing, err)
	}
	return nil
}

// checkpoint returns a consumer's checkpoint, and whether it has one.
func (l *ledger) checkpoint(ctx context.Context, consumer string) (eventstore.Anchor, bool, error) {
	a, err := scanAnchor(l.db.Reader().QueryRowContext(ctx, selectCheckpoint, consumer))
	if errors.Is(err, sql.ErrNoRows) {
		return eventstore.Anchor{}, false, nil
	}
	if err != nil {
		return eventstore.Anchor{}, false, fmt.Errorf("serverless: load checkpoint of %q: %w", consumer, err)
	}
	return a, true, nil
}

const selectCheckpoint = `
	SELECT epoch, position, hash
	FROM checkpoint
	WHERE consumer = ?`

func scanAnchor(row interface{ Scan(dest ...any) error }) (eventstore.Anchor, error) {
	var a eventstore.Anchor
	var hash []byte
	if err := row.Scan(&a.Epoch, &a.Position, &hash); err != nil {
		return eventstore.Anchor{}, err
	}
	copy(a.Hash[:], hash) // the schema holds it to its length
	return a, nil
}

// moveCheckpoint is a compare-and-swap: it returns bus.ErrCheckpointMoved
// where the checkpoint is not at from. A consumer without one is at the zero
// Anchor.
func moveCheckpoint(tx *sqlite.Tx, consumer string, from, to eventstore.Anchor) error {
	now, err := scanAnchor(tx.QueryRow(selectCheckpoint, consumer))
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if now != from {
		return &bus.CheckpointMovedError{Consumer: consumer, Expected: from.Position, Actual: now.Position}
	}
	_, err = tx.Exec(`
		INSERT INTO checkpoint (consumer, epoch, position, hash)
		VALUES (?, ?, ?, ?)
		ON CONFLICT (consumer) DO UPDATE
		SET epoch = excluded.epoch, position = excluded.position, hash = excluded.hash`,
		consumer, to.Epoch, to.Position, to.Hash[:])
	return err
}

// partitionName is the durable name of one partition of a function: the
// function's own where it has but one. Function names hold no '#'.
func partitionName(function string, index, of int) string {
	if of < 2 {
		return function
	}
	return fmt.Sprintf("%s#%d/%d", function, index, of)
}

// enroll gives every partition of a function a checkpoint: that which it has;
// the lowest of what its former partitions had, where their number changed
// (events above it are given again); or start, where the function is new. It
// tells whether it is new.
func (l *ledger) enroll(ctx context.Context, function string, of int, start eventstore.Anchor) (isNew bool, err error) {
	err = l.write(ctx, "enroll "+function, func(tx *sqlite.Tx) error {
		former, err := formerPartitions(tx, function)
		if err != nil {
			return err
		}
		current := 0
		for i := range of {
			if _, ok := former[partitionName(function, i, of)]; ok {
				current++
			}
		}
		if current == of && len(former) == of {
			return nil
		}
		isNew = len(former) == 0
		first := true
		for _, a := range former {
			if first || a.Position < start.Position {
				start, first = a, false
			}
		}
		for name := range former {
			if _, err := tx.Exec(`DELETE FROM checkpoint WHERE consumer = ?`, name); err != nil {
				return err
			}
			if _, err := tx.Exec(`DELETE FROM attempt WHERE consumer = ?`, name); err != nil {
				return err
			}
		}
		for i := range of {
			if err := moveCheckpoint(tx, partitionName(function, i, of), eventstore.Anchor{}, start); err != nil {
				return err
			}
		}
		return nil
	})
	return isNew, err
}

func formerPartitions(tx *sqlite.Tx, function string) (_ map[string]eventstore.Anchor, err error) {
	rows, err := tx.Query(`
		SELECT consumer, epoch, position, hash
		FROM checkpoint
		WHERE consumer = ?1 OR substr(consumer, 1, length(?1) + 1) = ?1 || '#'`, function)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	former := map[string]eventstore.Anchor{}
	for rows.Next() {
		var name string
		var a eventstore.Anchor
		var hash []byte
		if err := rows.Scan(&name, &a.Epoch, &a.Position, &hash); err != nil {
			return nil, err
		}
		copy(a.Hash[:], hash)
		former[name] = a
	}
	return former, rows.Err()
}

// attempt is what is known of the event that a consumer fails on.
type attempt struct {
	Position        int64
	Attempts        int
	FirstAt, NextAt int64 // wall time, Unix nanoseconds
	Error           string
}

// failing returns the event that the consumer fails on; a zero attempt where
// there is none.
func (l *ledger) failing(ctx context.Context, consumer string) (attempt, error) {
	var a attempt
	err := l.db.Reader().QueryRowContext(ctx, `
		SELECT position, attempts, first_at, next_at, error
		FROM attempt
		WHERE consumer = ?`, consumer).Scan(&a.Position, &a.Attempts, &a.FirstAt, &a.NextAt, &a.Error)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return attempt{}, fmt.Errorf("serverless: load attempts of %q: %w", consumer, err)
	}
	return a, nil
}

// failed records an attempt that failed.
func (l *ledger) failed(ctx context.Context, consumer string, a attempt) error {
	return l.write(ctx, "record attempt", func(tx *sqlite.Tx) error {
		_, err := tx.Exec(`
			INSERT INTO attempt (consumer, position, attempts, first_at, next_at, error)
			VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (consumer) DO UPDATE
			SET position = excluded.position, attempts = excluded.attempts, first_at = excluded.first_at,
			    next_at = excluded.next_at, error = excluded.error`,
			consumer, a.Position, a.Attempts, a.FirstAt, a.NextAt, a.Error)
		return err
	})
}

func clearAttempt(tx *sqlite.Tx, consumer string) error {
	_, err := tx.Exec(`DELETE FROM attempt WHERE consumer = ?`, consumer)
	return err
}

// maxErrorText bounds the text of an error that is kept, in bytes.
const maxErrorText = 4096

func errorText(err error) string {
	text := strings.ToValidUTF8(err.Error(), "�")
	if len(text) > maxErrorText {
		text = strings.ToValidUTF8(text[:maxErrorText], "") + "…"
	}
	return text
}
