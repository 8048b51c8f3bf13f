// Command orders is an inbox that a cron job empties: read lines, place each
// as a command under its id, work until everything is done, report, exit.
//
//	printf '%s\n' 'o-1 espresso 2' 'o-2 lungo 1' | go run ./examples/orders
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/serverless"
)

type PlaceOrder struct {
	Order, Item string
	Quantity    int
}

type OrderPlaced struct {
	Order, Item string
	Quantity    int
}

func (OrderPlaced) EventType() string { return "order_placed" }

type Order struct{ Placed bool }

var Orders = aggregate.Define("order", aggregate.On(func(o *Order, _ OrderPlaced) { o.Placed = true }))

// Demand is a read model: how many of each item were ordered.
var Demand = projection.Define("demand", 1,
	`CREATE TABLE demand (item TEXT PRIMARY KEY, quantity INTEGER NOT NULL) STRICT`,
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[OrderPlaced]) error {
		_, err := tx.Exec(`INSERT INTO demand VALUES (?1, ?2) ON CONFLICT DO UPDATE SET quantity = quantity + ?2`,
			e.Payload.Item, e.Payload.Quantity)
		return err
	}))

// confirm acts on the world outside: at least once, with the event's id as the
// key that makes a repetition harmless.
func confirm(out io.Writer) func(context.Context, eventstore.Of[OrderPlaced]) error {
	return func(_ context.Context, e eventstore.Of[OrderPlaced]) error {
		_, err := fmt.Fprintf(out, "confirm %s: %d x %s\n", e.Payload.Order, e.Payload.Quantity, e.Payload.Item)
		return err
	}
}

func run(ctx context.Context, dir string, in io.Reader, out io.Writer) (err error) {
	store, err := sqlite.Open(ctx, dir, nil)
	if err != nil {
		return err
	}
	orders := aggregate.NewRepository(store, Orders, nil)
	host := serverless.New(store, nil)
	defer func() { err = errors.Join(err, host.Close(), store.Close()) }()
	serverless.Command(host, "place_order", func(ctx context.Context, c PlaceOrder) (eventstore.Commit, error) {
		return orders.Update(ctx, c.Order, func(o *Order) (aggregate.Events, error) {
			if o.Placed {
				return nil, nil // nothing to do
			}
			return aggregate.Events{OrderPlaced(c)}, nil
		})
	}, serverless.RequireID())
	serverless.OnEvent(host, "confirm", confirm(out))
	demand := host.Project(Demand)

	placed, known := 0, 0
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var c PlaceOrder
		if _, err := fmt.Sscan(lines.Text(), &c.Order, &c.Item, &c.Quantity); err != nil {
			return fmt.Errorf("line %q: want an id, an item and a quantity: %w", lines.Text(), err)
		}
		result, err := host.Do(ctx, serverless.Request{Function: "place_order", ID: "inbox-" + c.Order, Payload: c})
		if err != nil {
			return err
		}
		if result.Commit.Duplicate {
			known++
		} else {
			placed++
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	report, err := host.Drain(ctx, serverless.Budget{})
	fmt.Fprintf(out, "%d placed, %d known already, %d deliveries, head %d\n", placed, known, report.Delivered, report.Head)
	if err != nil {
		return err
	}
	return demand.Read(ctx, report.Head, func(r *projection.Reader) error {
		var items, quantity int
		err := r.QueryRow(`SELECT COUNT(*), COALESCE(SUM(quantity), 0) FROM demand`).Scan(&items, &quantity)
		fmt.Fprintf(out, "demand: %d pieces of %d items\n", quantity, items)
		return err
	})
}

func main() {
	err := run(context.Background(), "orders-data", os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "orders:", err)
	}
	os.Exit(serverless.ExitCode(err)) // 0 done, 75 run me again, 1 failed
}
