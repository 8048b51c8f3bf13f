package aggregate_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
)

func ExampleRepository_Update() {
	ctx := context.Background()
	accounts := aggregate.NewRepository(memory.New(nil), Accounts, nil)

	commit, err := accounts.Update(ctx, "7", func(*Account) (aggregate.Events, error) {
		return aggregate.Events{Deposited{Cents: 500}}, nil
	})
	fmt.Println(commit.Streams, err)

	_, err = accounts.Update(ctx, "7", func(a *Account) (aggregate.Events, error) {
		if a.Balance < 900 {
			return nil, ErrOverdrawn
		}
		return aggregate.Events{Withdrawn{Cents: 900}}, nil
	})
	fmt.Println(err, errors.Is(err, ErrOverdrawn))
	// Output:
	// [{account-7 1 1}] <nil>
	// the account does not hold so much (overdrawn) true
}

func ExampleUpdateAll() {
	ctx, _ := eventstore.WithCommand(context.Background(), "transfer-1")
	accounts := aggregate.NewRepository(memory.New(nil), Accounts, nil)

	commit, err := aggregate.UpdateAll(ctx,
		accounts.Change("ann", func(*Account) (aggregate.Events, error) { return aggregate.Events{Deposited{Cents: 5}}, nil }),
		accounts.Change("bob", func(*Account) (aggregate.Events, error) { return aggregate.Events{Deposited{Cents: 7}}, nil }))
	fmt.Println(commit.Events(), "events in batch", commit.ID, err)

	a, version, err := accounts.Load(ctx, "bob")
	fmt.Println(a.Balance, "at version", version, err)
	// Output:
	// 2 events in batch transfer-1 <nil>
	// 7 at version 1 <nil>
}

func ExampleDefine() {
	type Counter struct{ N int }
	counters := aggregate.Define("counter",
		aggregate.On(func(c *Counter, _ Deposited) { c.N++ }),
		aggregate.Ignore[Counter]("withdrawn"),
		aggregate.FoldVersion[Counter](2))
	fmt.Println(counters.Name(), counters.Stream("7"))
	// Output: counter counter-7
}
