package bank

import (
	"context"
	"fmt"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/projection"
)

// Versions is how many versions the read model of the balances has.
const Versions = 2

// balancesSQL is the schema of a version: the second has a column more.
func balancesSQL(version int) string {
	last := ""
	if version > 1 {
		last = ", last INTEGER NOT NULL DEFAULT 0"
	}
	return fmt.Sprintf(`CREATE TABLE balance (account TEXT PRIMARY KEY, cents INTEGER NOT NULL, moves INTEGER NOT NULL%s) STRICT`, last)
}

// Balances returns the read model that has a row for each account.
func Balances(version int) *projection.Definition {
	move := func(tx *projection.Tx, account string, cents, position int64) error {
		if _, err := tx.Exec(`
			INSERT INTO balance (account, cents, moves)
			VALUES (?, ?, 1)
			ON CONFLICT (account) DO UPDATE SET cents = cents + excluded.cents, moves = moves + 1`, account, cents); err != nil {
			return err
		}
		if version == 1 {
			return nil
		}
		_, err := tx.Exec(`UPDATE balance SET last = ? WHERE account = ?`, position, account)
		return err
	}
	return projection.Define("balances", version, balancesSQL(version),
		projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[Deposited]) error {
			return move(tx, e.Payload.Account, e.Payload.Cents, e.Position)
		}),
		projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[Debited]) error {
			return move(tx, e.Payload.Account, -e.Payload.Cents, e.Position)
		}),
		projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[Refunded]) error {
			return move(tx, e.Payload.Account, e.Payload.Cents, e.Position)
		}),
		projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[Credited]) error {
			return move(tx, e.Payload.Account, e.Payload.Cents, e.Position)
		}),
		projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[Uncredited]) error {
			return move(tx, e.Payload.Account, -e.Payload.Cents, e.Position)
		}))
}

// Entries returns the read model that has a row for each note and each money
// that arrives, and no key that would notice one that comes twice.
func Entries() *projection.Definition {
	enter := func(tx *projection.Tx, e eventstore.Recorded) error {
		_, err := tx.Exec(`INSERT INTO entry (position, stream, version, bytes) VALUES (?, ?, ?, ?)`, e.Position, e.Stream, e.Version, len(e.Data))
		return err
	}
	return projection.Define("entries", 1,
		`CREATE TABLE entry (position INTEGER NOT NULL, stream TEXT NOT NULL, version INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT`,
		projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[Noted]) error { return enter(tx, e.Recorded) }),
		projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[Credited]) error {
			return enter(tx, e.Recorded)
		}))
}
