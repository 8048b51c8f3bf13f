package serverless_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/experiment"
	"github.com/leat-go/leat/saga"
	"github.com/leat-go/leat/serverless"
)

// mirror deposits into a mirrored account what is deposited into another.
func mirror() *saga.Definition {
	key := func(e Deposited) string {
		if strings.HasPrefix(e.Account, "a") {
			return e.Account
		}
		return ""
	}
	return saga.Define("mirror", 1, saga.Starts(key, func(_ *struct{}, c *saga.Context, e Deposited) error {
		c.Send(Deposit{Account: "m" + strings.TrimPrefix(e.Account, "a"), Cents: e.Cents})
		c.Complete()
		return nil
	}))
}

// TestExperimentBackupsUnderLoad takes backups of a host at work. Of each
// restored store every checkpoint must lie on the log, although consumers went
// on while the log was copied, and what its sagas sent meanwhile must be in the
// log: sent again it is a Duplicate, and every mirror is deposited once.
func TestExperimentBackupsUnderLoad(t *testing.T) {
	e := experiment.Start(t, "backup under load", "0 checkpoints past the restored log, 0 commands lost, 0 carried out twice")
	const each = 4 // backups of a store
	var sum copied
	for range e.N(2, 100) {
		sum.add(backUpUnderLoad(t, each))
		if t.Failed() {
			break
		}
	}
	e.Figure("backups", sum.backups)
	e.Figure("checkpoints on the log", sum.checkpoints)
	e.Figure("mirrored once", sum.commands)
	e.Figure("sent again and answered Duplicate", sum.duplicates)
	if experiment.Long() {
		require.Positive(t, sum.duplicates, "the log was never ahead of the sagas: nothing was shown")
	}
}

// copied counts what was found in restored stores.
type copied struct{ backups, checkpoints, commands, duplicates int }

func (c *copied) add(other copied) {
	c.backups += other.backups
	c.checkpoints += other.checkpoints
	c.commands += other.commands
	c.duplicates += other.duplicates
}

func backUpUnderLoad(t *testing.T, times int) (sum copied) {
	t.Helper()
	root := experiment.Dir(t)
	defer func() { require.NoError(t, os.RemoveAll(root)) }()
	store, err := sqlite.Open(t.Context(), filepath.Join(root, "store"), &sqlite.Options{Logger: quiet()})
	require.NoError(t, err)
	b := wireBank(store, serverless.Options{Logger: quiet()})
	b.Saga(mirror())
	(&calls{}).register()(b)
	require.NoError(t, b.Open(t.Context()))
	stop := b.running(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		var err error
		for n := 0; ctx.Err() == nil && err == nil; n++ {
			_, err = b.Invoke(context.WithoutCancel(ctx), "deposit", Deposit{Account: fmt.Sprintf("a%d", n), Cents: int64(n)})
		}
		done <- err
	}()
	for i := range times {
		backup, dir := filepath.Join(root, fmt.Sprint("backup", i)), filepath.Join(root, fmt.Sprint("restored", i))
		require.NoError(t, store.Backup(t.Context(), backup))
		_, err := sqlite.Restore(t.Context(), backup, dir, nil)
		require.NoError(t, err)
		one := copied{backups: 1, checkpoints: checkpointsLie(t, dir)}
		one.duplicates, one.commands = mirrored(t, dir)
		sum.add(one)
	}
	cancel()
	require.NoError(t, <-done)
	stop()
	require.NoError(t, errors.Join(b.Close(), store.Close()))
	return sum
}

// checkpointsLie demands that every checkpoint of a restored store lies on its
// log, and returns how many there are.
func checkpointsLie(t *testing.T, dir string) int {
	t.Helper()
	log, err := sqlite.OpenReadOnly(t.Context(), dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, log.Close()) }()
	head, err := log.Head(t.Context())
	require.NoError(t, err)
	consumers, err := serverless.InspectConsumers(t.Context(), dir)
	require.NoError(t, err)
	sagas, err := saga.Inspect(t.Context(), dir)
	require.NoError(t, err)
	require.Empty(t, append(consumers.Findings, sagas.Findings...))
	all := append(consumers.Consumers, sagas.Consumers...)
	for _, c := range all {
		require.NoError(t, eventstore.CheckAnchor(t.Context(), log, c.Checkpoint), c.Consumer)
		require.LessOrEqual(t, c.Last, head, c.Consumer)
	}
	return len(all)
}

// mirrored works the restored store off, demands that every deposit is mirrored
// once, and returns how many were sent again although the log had them.
func mirrored(t *testing.T, dir string) (duplicates, commands int) {
	t.Helper()
	store := openStore(t, dir, nil)
	h := serverless.New(store, &serverless.Options{Logger: quiet()})
	var again atomic.Int64
	serverless.Command(h, "deposit", func(ctx context.Context, c Deposit) (eventstore.Commit, error) {
		id := eventstore.CommandFrom(ctx).ID()
		_, known, err := store.Committed(ctx, id)
		if err != nil {
			return eventstore.Commit{}, err
		}
		if known {
			again.Add(1)
		}
		e, err := eventstore.Encode(Deposited(c))
		if err != nil {
			return eventstore.Commit{}, err
		}
		return store.Append(ctx, eventstore.Batch{ID: id, Writes: []eventstore.Write{{Stream: "account-" + c.Account, Events: []eventstore.EventData{e}}}})
	})
	h.Saga(mirror())
	serverless.OnEvent(h, "receipt", func(context.Context, eventstore.Of[Deposited]) error { return nil })
	_, err := h.Drain(t.Context(), serverless.Budget{Time: time.Minute})
	require.NoError(t, errors.Join(err, h.Close()))
	times := map[string]int{}
	for e, err := range eventstore.Log(t.Context(), store, 0, eventstore.Filter{}) {
		require.NoError(t, err)
		times[strings.TrimPrefix(e.Stream, "account-")]++
	}
	require.NoError(t, store.Close())
	for account, n := range times {
		require.Equal(t, 1, n, account)
		if other, ok := strings.CutPrefix(account, "a"); ok {
			require.Equal(t, 1, times["m"+other], "the mirror of %s", account)
			commands++
		}
	}
	return int(again.Load()), commands
}
