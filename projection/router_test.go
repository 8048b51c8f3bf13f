package projection_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
	"github.com/leat-go/leat/projection"
)

type Deposited struct {
	Account string
	Cents   int64
}

func (Deposited) EventType() string { return "deposited" }

const balanceSQL = `CREATE TABLE balance (account TEXT PRIMARY KEY, cents INTEGER NOT NULL) STRICT`

func onDeposited(_ context.Context, tx *projection.Tx, e eventstore.Of[Deposited]) error {
	_, err := tx.Exec(`
		INSERT INTO balance (account, cents)
		VALUES (?, ?)
		ON CONFLICT (account) DO UPDATE SET cents = cents + excluded.cents`, e.Payload.Account, e.Payload.Cents)
	return err
}

func deposit(ctx context.Context, store eventstore.Appender, account string, cents int64) (eventstore.Commit, error) {
	data, err := eventstore.Encode(Deposited{account, cents})
	if err != nil {
		return eventstore.Commit{}, err
	}
	return store.Append(ctx, eventstore.Batch{Writes: []eventstore.Write{{Stream: "account-" + account, Events: []eventstore.EventData{data}}}})
}

// A read model follows the log, and whoever wrote can read what it wrote.
func Example() {
	dir, err := os.MkdirTemp("", "leat")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx, stop := context.WithCancel(context.Background())
	store := memory.New(nil)

	balances := projection.Define("balances", 1, balanceSQL, projection.On(onDeposited))
	p, err := projection.Open(ctx, dir, store, balances, nil)
	if err != nil {
		log.Fatal(err)
	}
	router, err := bus.NewRouter(store, nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := router.Add(p); err != nil {
		log.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- router.Run(ctx) }()

	if _, err := deposit(ctx, store, "ada", 500); err != nil {
		log.Fatal(err)
	}
	commit, err := deposit(ctx, store, "ada", 250)
	if err != nil {
		log.Fatal(err)
	}
	err = p.Read(ctx, commit.Last, func(r *projection.Reader) error {
		var cents int64
		err := r.QueryRow(`SELECT cents FROM balance WHERE account = ?`, "ada").Scan(&cents)
		fmt.Println("ada has", cents)
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	rebuilt, err := p.Rebuild(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("rebuilt from", rebuilt.Events, "events, identical:", rebuilt.Identical)

	stop()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		log.Fatal(err)
	}
	if err := p.Close(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// ada has 750
	// rebuilt from 2 events, identical: true
}

func TestThroughARouter(t *testing.T) {
	store := memory.New(nil)
	var broken atomic.Bool
	d := projection.Define("balances", 1, balanceSQL, projection.On(func(ctx context.Context, tx *projection.Tx, e eventstore.Of[Deposited]) error {
		if broken.Load() && e.Payload.Account == "bad" {
			return errors.New("broken")
		}
		return onDeposited(ctx, tx, e)
	}), projection.Retries(2, time.Minute))
	p, err := projection.Open(t.Context(), t.TempDir(), store, d, nil)
	require.NoError(t, err)
	router, err := bus.NewRouter(store, nil)
	require.NoError(t, err)
	require.NoError(t, router.Add(p))
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- router.Run(ctx) }()
	var last eventstore.Commit
	for i := range 500 {
		last, err = deposit(t.Context(), store, fmt.Sprint(i%10), 1)
		require.NoError(t, err)
	}
	total := func() (cents int64) {
		require.NoError(t, p.Read(t.Context(), last.Last, func(r *projection.Reader) error {
			return r.QueryRow(`SELECT SUM(cents) FROM balance`).Scan(&cents)
		}))
		return cents
	}
	require.Equal(t, int64(500), total())

	broken.Store(true)
	last, err = deposit(t.Context(), store, "bad", 1)
	require.NoError(t, err)
	blocked := &bus.BlockedError{}
	require.ErrorAs(t, p.WaitFor(t.Context(), last.Last), &blocked, "after two attempts it is blocked, and who waits is told")
	require.Equal(t, last.Last, blocked.Position)
	require.NoError(t, router.Settle(t.Context(), last.Last))
	require.Equal(t, bus.StateBlocked, router.Status()[0].State)
	broken.Store(false)
	require.NoError(t, router.Resume(p.Name()))
	require.NoError(t, router.Settle(t.Context(), last.Last))
	require.Equal(t, int64(501), total())
	stop()
	if err := <-done; err != nil {
		require.ErrorIs(t, err, context.Canceled)
	}
	require.NoError(t, p.Close())
}
