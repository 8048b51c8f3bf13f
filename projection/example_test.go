package projection_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
	"github.com/leat-go/leat/projection"
)

type paidIn struct{ Cents int64 }

func (paidIn) EventType() string { return "paid_in" }

var balances = projection.Define("balances", 1, `CREATE TABLE balance (account TEXT PRIMARY KEY, cents INTEGER NOT NULL) STRICT`,
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[paidIn]) error {
		_, err := tx.Exec(`
			INSERT INTO balance (account, cents)
			VALUES (?1, ?2)
			ON CONFLICT (account) DO UPDATE SET cents = cents + ?2`, e.Stream, e.Payload.Cents)
		return err
	}))

func payIn(ctx context.Context, store eventstore.Store, cents ...int64) {
	for _, c := range cents {
		e, err := eventstore.Encode(paidIn{c})
		check(err)
		_, err = store.Append(ctx, eventstore.Batch{Writes: []eventstore.Write{{Stream: "ada", Events: []eventstore.EventData{e}}}})
		check(err)
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// A read model as it was after the second event.
func ExampleAsOf() {
	ctx := context.Background()
	store := memory.New(nil)
	payIn(ctx, store, 100, 20, 3)

	past, err := projection.AsOf(ctx, "/no/owner/has/one", store, balances, 2, nil)
	check(err)
	defer func() { check(past.Close()) }()
	var cents int64
	check(past.Read(ctx, func(r *projection.Reader) error {
		return r.QueryRow(`SELECT cents FROM balance WHERE account = 'ada'`).Scan(&cents)
	}))
	fmt.Println(cents, "cents at position", past.Position())
	// Output: 120 cents at position 2
}

// A rebuild compares the new file with the one that served, which can be gone
// back to.
func ExampleProjection_GoBack() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "leat")
	check(err)
	defer func() { check(os.RemoveAll(dir)) }()
	store := memory.New(nil)
	payIn(ctx, store, 100, 20, 3)
	p, err := projection.Open(ctx, dir, store, balances, nil)
	check(err)
	defer func() { check(p.Close()) }()
	read, err := store.ReadLog(ctx, 0, 500, p.Filter()) // a bus.Router does this
	check(err)
	check(p.Apply(ctx, bus.Page{Events: read.Events, Through: read.Through}))

	outcomes, err := projection.RebuildAll(ctx, []*projection.Projection{p}, nil)
	check(err)
	fmt.Println(outcomes[0].Projection, "identical:", outcomes[0].Identical)
	back, err := p.GoBack(ctx)
	check(err)
	fmt.Println(back.Serves, "serves again, at position", back.Position)
	// Output:
	// balances identical: true
	// balances.v1.1.db serves again, at position 3
}
