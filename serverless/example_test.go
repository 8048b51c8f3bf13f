package serverless_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/serverless"
)

// exampleHost is a host over a store in a new directory. A program names its
// own directory and keeps it.
func exampleHost(clk clock.Clock) (*serverless.Host, *sqlite.Store, func()) {
	dir, err := os.MkdirTemp("", "example")
	check(err)
	store, err := sqlite.Open(context.Background(), dir, &sqlite.Options{Clock: clk})
	check(err)
	quiet := slog.New(slog.DiscardHandler)
	h := serverless.New(store, &serverless.Options{Clock: clk, Logger: quiet})
	return h, store, func() {
		check(h.Close()) // the host before its store
		check(store.Close())
		check(os.RemoveAll(dir))
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// deposit is a command function: it decides by an aggregate, and appends once.
func deposit(store eventstore.Store) func(context.Context, Deposit) (eventstore.Commit, error) {
	accounts := aggregate.NewRepository(store, Accounts, nil)
	return func(ctx context.Context, c Deposit) (eventstore.Commit, error) {
		return accounts.Update(ctx, c.Account, func(*Account) (aggregate.Events, error) {
			return aggregate.Events{Deposited(c)}, nil
		})
	}
}

func Example() {
	h, store, stop := exampleHost(clock.System())
	defer stop()
	serverless.Command(h, "deposit", deposit(store))
	balances := h.Project(defineBalances(1))
	serverless.Query(h, "balance", func(ctx context.Context, q Balance) (cents int64, err error) {
		err = balances.Read(ctx, 0, func(r *projection.Reader) error {
			return r.QueryRow(`SELECT cents FROM balance WHERE account = ?`, q.Account).Scan(&cents)
		})
		return cents, err
	})

	ctx := context.Background()
	_, err := h.Invoke(ctx, "deposit", Deposit{Account: "ann", Cents: 500})
	check(err)
	report, err := h.Drain(ctx, serverless.Budget{Time: time.Minute})
	check(err)
	answer, err := h.Invoke(ctx, "balance", Balance{Account: "ann"})
	check(err)
	fmt.Println("head", report.Head, "balance", answer.Value)
	// Output: head 1 balance 500
}

// A command with an id takes effect once, however often it is repeated.
func ExampleHost_Do() {
	h, store, stop := exampleHost(clock.System())
	defer stop()
	serverless.Command(h, "deposit", deposit(store), serverless.RequireID())
	for range 2 {
		r, err := h.Do(context.Background(), serverless.Request{
			Function: "deposit", ID: "payment-7", Payload: Deposit{Account: "ann", Cents: 500},
		})
		check(err)
		fmt.Println("position", r.Position, "duplicate", r.Commit.Duplicate)
	}
	// Output:
	// position 1 duplicate false
	// position 1 duplicate true
}

// What the domain refuses is told apart from what went wrong.
func ExampleHost_Invoke() {
	h, store, stop := exampleHost(clock.System())
	defer stop()
	accounts := aggregate.NewRepository(store, Accounts, nil)
	serverless.Command(h, "withdraw", func(ctx context.Context, c Withdraw) (eventstore.Commit, error) {
		return accounts.Update(ctx, c.Account, func(a *Account) (aggregate.Events, error) {
			if a.Balance < c.Cents {
				return nil, ErrPoor
			}
			return aggregate.Events{Withdrawn(c)}, nil
		})
	})
	_, err := h.Invoke(context.Background(), "withdraw", Withdraw{Account: "ann", Cents: 500})
	if refusal, ok := bus.RejectionOf(err); ok {
		fmt.Println(refusal.RejectionCode())
	}
	// Output: insufficient_funds
}

// A function with effects outside is called at least once, with the event's id
// as key; what it cannot handle is parked with its stream.
func ExampleOnEvent() {
	h, store, stop := exampleHost(clock.System())
	defer stop()
	serverless.Command(h, "deposit", deposit(store))
	online := false
	serverless.OnEvent(h, "receipt", func(_ context.Context, e eventstore.Of[Deposited]) error {
		if !online {
			return errors.New("the mail server is away")
		}
		fmt.Println("receipt for", e.Payload.Account)
		return nil
	}, serverless.Retry(serverless.RetryPolicy{Attempts: 1}), serverless.OnFailure(serverless.Park))

	ctx := context.Background()
	_, err := h.Invoke(ctx, "deposit", Deposit{Account: "ann", Cents: 500})
	check(err)
	_, err = h.Drain(ctx, serverless.Budget{})
	check(err)
	letters, err := h.DeadLetters(ctx, "receipt", 0, 10)
	check(err)
	fmt.Println("parked", letters[0].Stream)
	online = true
	check(h.RetryDeadLetter(ctx, "receipt", letters[0].Position))
	// Output:
	// parked account-ann
	// receipt for ann
}

// Drain is for jobs: the exit code says whether to come again.
func ExampleHost_Drain() {
	h, store, stop := exampleHost(clock.System())
	defer stop()
	serverless.Command(h, "deposit", deposit(store))
	h.Project(defineBalances(1))
	_, err := h.Drain(context.Background(), serverless.Budget{Time: 30 * time.Second})
	fmt.Println(serverless.ExitCode(err))
	// Output: 0
}

// Run is for servers: it ends with its context, and closes the host.
func ExampleHost_Run() {
	h, store, stop := exampleHost(clock.System())
	defer stop()
	serverless.Command(h, "deposit", deposit(store))
	balances := h.Project(defineBalances(1))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- h.Run(ctx) }()
	done, err := h.Invoke(ctx, "deposit", Deposit{Account: "ann", Cents: 500})
	check(err)
	check(balances.WaitFor(ctx, done.Position))
	cancel() // signal.NotifyContext in a program
	fmt.Println(<-ended)
	// Output: <nil>
}
