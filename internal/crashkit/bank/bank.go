package bank

import (
	"context"
	"log/slog"
	"time"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/serverless"
)

// Receipt is the name of the event function: it takes effect outside with each
// credit.
const Receipt = "receipt"

// Functions are the event types of the event functions, by name.
var Functions = map[string]string{Receipt: creditedType}

// Models are the read models, each with all its versions.
func Models() [][]*projection.Definition {
	var balances []*projection.Definition
	for v := 1; v <= Versions; v++ {
		balances = append(balances, Balances(v))
	}
	return [][]*projection.Definition{balances, {Entries()}}
}

// How an event function is tried: seldom, so that some are given up.
const (
	receiptAttempts = 2
	receiptFails    = 3 // one time in so many
	firstWait       = 2 * time.Millisecond
	longestWait     = 5 * time.Millisecond
)

// snapshotEvery is how many events of an account there are between snapshots.
const snapshotEvery = 5

// Options of New.
type Options struct {
	// Clock is the host's. Give the store the same.
	Clock clock.Clock
	// Version is that of Balances.
	Version int
	// Effect is called where the event function takes effect outside, and
	// returns once that is on record. Nil records nothing.
	Effect func(function, eventID string)
}

// Bank is the host of the domain.
type Bank struct {
	*serverless.Host
	// Balances and Entries are its read models.
	Balances, Entries *serverless.Model
}

// New wires the domain over the store.
func New(store *sqlite.Store, o Options) *Bank {
	quiet := slog.New(slog.DiscardHandler)
	b := &Bank{Host: serverless.New(store, &serverless.Options{Clock: o.Clock, Logger: quiet})}
	accounts := aggregate.NewRepository(store, Accounts, &aggregate.Options{SnapshotEvery: snapshotEvery, Logger: quiet})
	transfers := aggregate.NewRepository(store, Transfers, nil)

	serverless.Command(b.Host, string(Deposit), func(ctx context.Context, c MakeDeposit) (eventstore.Commit, error) {
		d := deposit(c.Label)
		return accounts.Update(ctx, d.Account, decide(d, nil))
	}, serverless.RequireID())
	serverless.Command(b.Host, string(Transfer), func(ctx context.Context, c Request) (eventstore.Commit, error) {
		r := request(c.Label)
		return transfers.Update(ctx, r.ID, func(*struct{}) (aggregate.Events, error) { return aggregate.Events{r}, nil })
	}, serverless.RequireID())

	serverless.Command(b.Host, Debit{}.CommandType(), func(ctx context.Context, c Debit) (eventstore.Commit, error) {
		return accounts.Update(ctx, c.Account, decide(Debited(c), func(a *Account) error {
			if a.Cents < c.Cents {
				return errOverdrawn
			}
			return nil
		}))
	})
	serverless.Command(b.Host, Credit{}.CommandType(), func(ctx context.Context, c Credit) (eventstore.Commit, error) {
		return accounts.Update(ctx, c.Account, decide(Credited(c), func(a *Account) error {
			if a.Cents+c.Cents > Full || c.Cents%10 == digit {
				return errFull
			}
			if unlucky(failing) {
				return errBadLuck
			}
			return nil
		}))
	})
	serverless.Command(b.Host, Refund{}.CommandType(), func(ctx context.Context, c Refund) (eventstore.Commit, error) {
		return accounts.Update(ctx, c.Account, decide(Refunded(c), nil))
	})
	serverless.Command(b.Host, Uncredit{}.CommandType(), func(ctx context.Context, c Uncredit) (eventstore.Commit, error) {
		return accounts.Update(ctx, c.Account, decide(Uncredited(c), nil))
	})
	serverless.Command(b.Host, Touch{}.CommandType(), func(ctx context.Context, c Touch) (eventstore.Commit, error) {
		return accounts.Update(ctx, c.Account, func(*Account) (aggregate.Events, error) { return nil, nil })
	})

	serverless.OnEvent(b.Host, Receipt, func(_ context.Context, e eventstore.Of[Credited]) error {
		if unlucky(receiptFails) {
			return errBadLuck
		}
		if o.Effect != nil {
			o.Effect(Receipt, e.ID.String())
		}
		return nil
	}, serverless.FromStart(), serverless.OnFailure(serverless.Park),
		serverless.Retry(serverless.RetryPolicy{Attempts: receiptAttempts, First: firstWait, Longest: longestWait}))
	b.Balances, b.Entries = b.Project(Balances(o.Version)), b.Project(Entries())
	b.Saga(Process)
	return b
}

// decide returns a decision for one event, unless check refuses it.
func decide(e eventstore.Event, check func(*Account) error) func(*Account) (aggregate.Events, error) {
	return func(a *Account) (aggregate.Events, error) {
		if check != nil {
			if err := check(a); err != nil {
				return nil, err
			}
		}
		return aggregate.Events{e}, nil
	}
}
