package serverless_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/serverless"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("LEAT_CHILD"); dir != "" {
		child(dir)
		return
	}
	if dir := os.Getenv(shopDir); dir != "" {
		shopChild(dir, os.Getenv(shopLife))
		return
	}
	goleak.VerifyTestMain(m)
}

// An account, the smallest domain that can refuse.

type Deposited struct {
	Account string
	Cents   int64
}

func (Deposited) EventType() string { return "deposited" }

type Withdrawn struct {
	Account string
	Cents   int64
}

func (Withdrawn) EventType() string { return "withdrawn" }

type Account struct{ Balance int64 }

var Accounts = aggregate.Define("account",
	aggregate.On(func(a *Account, e Deposited) { a.Balance += e.Cents }),
	aggregate.On(func(a *Account, e Withdrawn) { a.Balance -= e.Cents }))

var ErrPoor = aggregate.Reject("insufficient_funds", "the account holds less than that")

type Deposit struct {
	Account string
	Cents   int64
}

func (Deposit) CommandType() string { return "deposit" }

type Withdraw struct {
	Account string
	Cents   int64
}

func (Withdraw) CommandType() string { return "withdraw" }

const balancesSQL = `CREATE TABLE balance (
	account  TEXT PRIMARY KEY,
	cents    INTEGER NOT NULL,
	position INTEGER NOT NULL
) STRICT`

func defineBalances(version int) *projection.Definition {
	add := func(tx *projection.Tx, account string, cents, position int64) error {
		_, err := tx.Exec(`
			INSERT INTO balance (account, cents, position)
			VALUES (?, ?, ?)
			ON CONFLICT (account) DO UPDATE
			SET cents = cents + excluded.cents, position = excluded.position`, account, cents, position)
		return err
	}
	return projection.Define("balances", version, balancesSQL,
		projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[Deposited]) error {
			return add(tx, e.Payload.Account, e.Payload.Cents, e.Position)
		}),
		projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[Withdrawn]) error {
			return add(tx, e.Payload.Account, -e.Payload.Cents, e.Position)
		}))
}

// Balance asks for the balance of an account.
type Balance struct{ Account string }

// bank is a host with the accounts' functions and read model.
type bank struct {
	*serverless.Host
	store    *sqlite.Store
	balances *serverless.Model
	decided  atomic.Int64 // calls of a decision
}

func openStore(t testing.TB, dir string, clk clock.Clock) *sqlite.Store {
	t.Helper()
	return openLogging(t, dir, clk, quiet())
}

func openLogging(t testing.TB, dir string, clk clock.Clock, logger *slog.Logger) *sqlite.Store {
	t.Helper()
	store, err := sqlite.Open(context.Background(), dir, &sqlite.Options{Clock: clk, Logger: logger})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// newBank makes a bank in a directory; register adds to it before it is used.
func newBank(t testing.TB, dir string, opts serverless.Options, register ...func(*bank)) *bank {
	t.Helper()
	if opts.Logger == nil {
		opts.Logger = quiet()
	}
	store := openLogging(t, dir, opts.Clock, opts.Logger)
	b := wireBank(store, opts)
	for _, fn := range register {
		fn(b)
	}
	t.Cleanup(func() {
		require.NoError(t, b.Close())
		sound(t, dir)
	})
	return b
}

// sound demands that nothing is found in the file of the event functions.
func sound(t testing.TB, dir string) {
	t.Helper()
	in, err := serverless.InspectConsumers(context.Background(), dir)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	require.NoError(t, err)
	require.Empty(t, in.Findings)
}

func wireBank(store *sqlite.Store, opts serverless.Options) *bank {
	b := &bank{Host: serverless.New(store, &opts), store: store}
	accounts := aggregate.NewRepository(store, Accounts, nil)
	serverless.Command(b.Host, "deposit", func(ctx context.Context, c Deposit) (eventstore.Commit, error) {
		return accounts.Update(ctx, c.Account, func(*Account) (aggregate.Events, error) {
			b.decided.Add(1)
			return aggregate.Events{Deposited(c)}, nil
		})
	})
	serverless.Command(b.Host, "withdraw", func(ctx context.Context, c Withdraw) (eventstore.Commit, error) {
		return accounts.Update(ctx, c.Account, func(a *Account) (aggregate.Events, error) {
			if a.Balance < c.Cents {
				return nil, ErrPoor
			}
			return aggregate.Events{Withdrawn(c)}, nil
		})
	})
	b.balances = b.Project(defineBalances(1))
	serverless.Query(b.Host, "balance", func(ctx context.Context, q Balance) (int64, error) {
		var cents int64
		err := b.balances.Read(ctx, 0, func(r *projection.Reader) error {
			return r.QueryRow(`SELECT coalesce(sum(cents), 0) FROM balance WHERE account = ?`, q.Account).Scan(&cents)
		})
		return cents, err
	})
	return b
}

func (b *bank) deposit(t testing.TB, account string, cents int64) serverless.Result {
	t.Helper()
	r, err := b.Invoke(context.Background(), "deposit", Deposit{Account: account, Cents: cents})
	require.NoError(t, err)
	return r
}

func (b *bank) balance(t testing.TB, account string) int64 {
	t.Helper()
	r, err := b.Invoke(context.Background(), "balance", Balance{Account: account})
	require.NoError(t, err)
	return r.Value.(int64)
}

func (b *bank) drain(t testing.TB) serverless.Report {
	t.Helper()
	report, err := b.Drain(context.Background(), serverless.Budget{Time: time.Minute})
	require.NoError(t, err)
	return report
}

// running runs the host beside the test and returns what stops it.
func (b *bank) running(t testing.TB) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	stop = func() {
		cancel()
		require.NoError(t, <-done)
	}
	return stop
}

// files lists what is in a directory, with its parents' names.
func files(t testing.TB, dir string) (names []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, path)
		}
		return err
	}))
	return names
}

// modified is a digest of a file that no process has open.
func modified(t testing.TB, path string) [32]byte {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return sha256.Sum256(data)
}

var errBoom = fmt.Errorf("boom")
