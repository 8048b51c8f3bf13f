// Command bank is an aggregate and a read model: decide, remember, see.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/serverless"
)

type Opened struct{ Owner string } // events are facts, each under a durable name
type Deposited struct{ Cents int64 }
type Withdrawn struct{ Cents int64 }

func (Opened) EventType() string    { return "opened" }
func (Deposited) EventType() string { return "deposited" }
func (Withdrawn) EventType() string { return "withdrawn" }

type Account struct{ Cents int64 } // the fold of its events

var Accounts = aggregate.Define("account", aggregate.On(func(*Account, Opened) {}),
	aggregate.On(func(a *Account, e Deposited) { a.Cents += e.Cents }),
	aggregate.On(func(a *Account, e Withdrawn) { a.Cents -= e.Cents }))
var ErrOverdrawn = aggregate.Reject("overdrawn", "the account holds less than that")

var Balances = projection.Define("balances", 1, // a read model: SQL in, one transaction with its position
	`CREATE TABLE balance (account TEXT PRIMARY KEY, cents INTEGER NOT NULL) STRICT`,
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[Deposited]) error {
		return add(tx, e.Stream, e.Payload.Cents)
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[Withdrawn]) error {
		return add(tx, e.Stream, -e.Payload.Cents)
	}))

func add(tx *projection.Tx, account string, cents int64) error {
	_, err := tx.Exec(`INSERT INTO balance VALUES (?1, ?2) ON CONFLICT DO UPDATE SET cents = cents + ?2`, account, cents)
	return err
}

type Open struct{ Account, Owner string } // commands are requests
type Amount struct {
	Account string
	Cents   int64
}

// bank has the functions: each loads an account, lets it decide, and appends.
type bank struct{ *aggregate.Repository[Account] }

func (b bank) open(ctx context.Context, c Open) (eventstore.Commit, error) {
	return b.Update(ctx, c.Account, func(*Account) (aggregate.Events, error) {
		return aggregate.Events{Opened{Owner: c.Owner}}, nil
	})
}

func (b bank) deposit(ctx context.Context, c Amount) (eventstore.Commit, error) {
	return b.Update(ctx, c.Account, func(*Account) (aggregate.Events, error) {
		return aggregate.Events{Deposited{Cents: c.Cents}}, nil
	})
}

func (b bank) withdraw(ctx context.Context, c Amount) (eventstore.Commit, error) {
	return b.Update(ctx, c.Account, func(a *Account) (aggregate.Events, error) {
		if a.Cents < c.Cents {
			return nil, ErrOverdrawn // the domain says no: nothing is stored
		}
		return aggregate.Events{Withdrawn{Cents: c.Cents}}, nil
	})
}

func run(ctx context.Context, dir string) (err error) {
	store, err := sqlite.Open(ctx, dir, nil)
	if err != nil {
		return err
	}
	b := bank{aggregate.NewRepository(store, Accounts, nil)}
	host := serverless.New(store, nil)
	serverless.Command(host, "open", b.open)
	serverless.Command(host, "deposit", b.deposit)
	serverless.Command(host, "withdraw", b.withdraw)
	balances := host.Project(Balances)
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- host.Run(ctx) }() // the read model follows the log
	defer func() { stop(); err = errors.Join(err, <-ended, store.Close()) }()
	seen := int64(0)
	for _, request := range []serverless.Request{
		{Function: "open", ID: "1", Payload: Open{Account: "7", Owner: "Ada"}}, // an id takes effect once, for ever
		{Function: "deposit", ID: "2", Payload: Amount{Account: "7", Cents: 100_00}},
		{Function: "withdraw", ID: "3", Payload: Amount{Account: "7", Cents: 30_00}},
		{Function: "withdraw", ID: "4", Payload: Amount{Account: "7", Cents: 80_00}},
	} {
		result, err := host.Do(ctx, request)
		if refused, ok := bus.RejectionOf(err); ok {
			fmt.Printf("%s refused: %v\n", request.Function, refused)
		} else if err != nil {
			return err
		}
		seen = max(seen, result.Position)
	}
	return balances.Read(ctx, seen, func(r *projection.Reader) (err error) { // waits: one reads one's own writes
		var cents int64
		err = r.QueryRow(`SELECT cents FROM balance WHERE account = ?`, Accounts.Stream("7")).Scan(&cents)
		fmt.Printf("balance at position %d: %d cents\n", seen, cents)
		return err
	})
}

func main() {
	if err := run(context.Background(), "bank-data"); err != nil {
		log.Fatal(err)
	}
}
