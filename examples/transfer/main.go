// Command transfer is a saga: money leaves one account for another, or comes back.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/saga"
	"github.com/leat-go/leat/serverless"
)

type Requested struct { // events
	ID, From, To string
	Cents        int64
}
type Move struct { // of money, to or from an account
	Transfer, Account string
	Cents             int64
}
type Debited struct{ Move }
type Credited struct{ Move }

func (Requested) EventType() string { return "requested" }
func (Debited) EventType() string   { return "debited" }
func (Credited) EventType() string  { return "credited" }

type Debit struct{ Move } // commands that the saga sends
type Credit struct{ Move }

func (Debit) CommandType() string  { return "debit" }
func (Credit) CommandType() string { return "credit" }

type Account struct{ Cents int64 }

var Requests = aggregate.Define("transfer", aggregate.On(func(*struct{}, Requested) {}))
var Accounts = aggregate.Define("account", aggregate.On(func(a *Account, e Debited) { a.Cents -= e.Cents }),
	aggregate.On(func(a *Account, e Credited) { a.Cents += e.Cents }))

type Transfer struct{ To string } // the saga's state; its handlers only change it and send commands

var Transfers = saga.Define("transfer", 1,
	saga.Starts(func(e Requested) string { return e.ID }, func(t *Transfer, c *saga.Context, e Requested) error {
		t.To = e.To
		move := Move{Transfer: e.ID, Account: e.From, Cents: e.Cents}
		c.Undo("debit", Credit{move}) // pushed before acting, dropped where the debit is rejected
		c.Send(Debit{move})
		return nil
	}),
	saga.On(func(e Debited) string { return e.Transfer }, func(t *Transfer, c *saga.Context, e Debited) error {
		c.Send(Credit{Move{Transfer: e.Transfer, Account: t.To, Cents: e.Cents}})
		return nil
	}),
	saga.On(func(e Credited) string { return e.Transfer }, func(_ *Transfer, c *saga.Context, _ Credited) error { c.Complete(); return nil }),
	saga.Rejected(func(_ *Transfer, c *saga.Context, r saga.Rejection[Debit]) error { c.Fail(r.Reason); return nil }),
	// The other account says no: carry out the undos, the last pushed first.
	saga.Rejected(func(_ *Transfer, c *saga.Context, r saga.Rejection[Credit]) error { c.Compensate(r.Reason); return nil }))

func run(ctx context.Context, dir string) (err error) {
	store, err := sqlite.Open(ctx, dir, nil)
	if err != nil {
		return err
	}
	host := serverless.New(store, nil)
	defer func() { err = errors.Join(err, host.Close(), store.Close()) }()
	host.Saga(Transfers)
	requests, accounts := aggregate.NewRepository(store, Requests, nil), aggregate.NewRepository(store, Accounts, nil)
	serverless.Command(host, "request", func(ctx context.Context, c Requested) (eventstore.Commit, error) {
		return requests.Update(ctx, c.ID, func(*struct{}) (aggregate.Events, error) { return aggregate.Events{c}, nil })
	})
	serverless.Command(host, "debit", func(ctx context.Context, c Debit) (eventstore.Commit, error) {
		return accounts.Update(ctx, c.Account, func(a *Account) (aggregate.Events, error) {
			if a.Cents < c.Cents {
				return nil, aggregate.Reject("overdrawn", "the account holds less than that")
			}
			return aggregate.Events{Debited(c)}, nil
		})
	})
	serverless.Command(host, "credit", func(ctx context.Context, c Credit) (eventstore.Commit, error) {
		return accounts.Update(ctx, c.Account, func(a *Account) (aggregate.Events, error) {
			if a.Cents+c.Cents > 100 {
				return nil, aggregate.Reject("full", "an account holds 100 at most")
			}
			return aggregate.Events{Credited(c)}, nil
		})
	})
	for _, r := range []serverless.Request{
		{Function: "credit", ID: "cash-1", Payload: Credit{Move{Account: "ada", Cents: 90}}},
		{Function: "credit", ID: "cash-2", Payload: Credit{Move{Account: "bob", Cents: 100}}},
		{Function: "request", ID: "t-1", Payload: Requested{ID: "t-1", From: "ada", To: "cleo", Cents: 30}}, // arrives
		{Function: "request", ID: "t-2", Payload: Requested{ID: "t-2", From: "ada", To: "bob", Cents: 40}},  // bob is full
		{Function: "request", ID: "t-3", Payload: Requested{ID: "t-3", From: "dan", To: "ada", Cents: 10}},  // dan has none
	} {
		if _, err := host.Do(ctx, r); err != nil {
			return err
		}
	}
	if _, err := host.Drain(ctx, serverless.Budget{}); err != nil { // until every saga has had its say
		return err
	}
	ada, _, err := accounts.Load(ctx, "ada")
	if err != nil {
		return err
	}
	status, err := host.Status(ctx)
	fmt.Printf("ada has %d; transfers: %d completed, %d compensated, %d failed, %d open\n",
		ada.Cents, status.Sagas.Completed, status.Sagas.Compensated, status.Sagas.Failed, status.Sagas.Open())
	return err
}

func main() {
	if err := run(context.Background(), "transfer-data"); err != nil {
		log.Fatal(err)
	}
}
