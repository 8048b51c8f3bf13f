// Package views holds the read models of the demo: SQL in, one transaction
// with the position it is true of. Each is a table of handlers; none knows
// another.
package views

import (
	"github.com/leat-go/leat/projection"
)

// All returns every read model, in the order they are listed to people.
func All() []*projection.Definition {
	return []*projection.Definition{Rides, Drivers, Zones, Surge, Waits, Funnel, KPIs, Wallets, Earnings, Bills, FareCheck, Money, Branches}
}

// exec runs a statement whose result nobody needs.
func exec(tx *projection.Tx, query string, args ...any) error {
	_, err := tx.Exec(query, args...)
	return err
}
