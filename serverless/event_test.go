package serverless_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/serverless"
)

// calls is an event function that notes what it is called with, and fails as
// told.
type calls struct {
	mu   sync.Mutex
	seen []string // "account:cents"
	ids  []string
	fail func(e eventstore.Of[Deposited]) error
}

func (c *calls) handle(_ context.Context, e eventstore.Of[Deposited]) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, fmt.Sprintf("%s:%d", e.Payload.Account, e.Payload.Cents))
	c.ids = append(c.ids, e.ID.String())
	if c.fail != nil {
		return c.fail(e)
	}
	return nil
}

func (c *calls) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := c.seen
	c.seen = nil
	return seen
}

func (c *calls) register(opts ...serverless.EventOption) func(*bank) {
	return func(b *bank) { serverless.OnEvent(b.Host, "receipt", c.handle, opts...) }
}

// failing returns a function that fails with the events of one account.
func failing(account string) func(eventstore.Of[Deposited]) error {
	return func(e eventstore.Of[Deposited]) error {
		if e.Payload.Account == account {
			return errBoom
		}
		return nil
	}
}

func once(p serverless.Policy) []serverless.EventOption {
	return []serverless.EventOption{serverless.Retry(serverless.RetryPolicy{Attempts: 1}), serverless.OnFailure(p)}
}

// reopen closes the bank and its store and makes it anew.
func reopen(t *testing.T, b *bank, dir string, opts serverless.Options, register ...func(*bank)) *bank {
	t.Helper()
	if b != nil {
		require.NoError(t, b.Close())
		require.NoError(t, b.store.Close())
	}
	return newBank(t, dir, opts, register...)
}

func TestAnEventFunctionIsCalledInOrderAndGoesOnAfterARestart(t *testing.T) {
	dir, c := t.TempDir(), &calls{}
	var metas []eventstore.Metadata
	note := func(b *bank) {
		serverless.OnEvent(b.Host, "note", func(ctx context.Context, e eventstore.Of[Withdrawn]) error {
			metas = append(metas, eventstore.MetadataFrom(ctx))
			require.Equal(t, e.Position, serverless.MinPosition(ctx))
			return nil
		})
	}
	b := reopen(t, nil, dir, serverless.Options{}, c.register(), note)
	for i := range 5 {
		b.deposit(t, "1", int64(i))
	}
	b.drain(t)
	require.Equal(t, []string{"1:0", "1:1", "1:2", "1:3", "1:4"}, c.take())
	b.drain(t)
	require.Empty(t, c.take())
	_, err := b.Do(t.Context(), serverless.Request{Function: "withdraw", Payload: Withdraw{Account: "1", Cents: 1}, Metadata: eventstore.Metadata{eventstore.CorrelationID: "c-9"}})
	require.NoError(t, err)

	b = reopen(t, b, dir, serverless.Options{}, c.register(), note)
	b.deposit(t, "2", 7)
	b.drain(t)
	require.Equal(t, []string{"2:7"}, c.take())
	require.Len(t, metas, 1)
	require.Equal(t, "c-9", metas[0][eventstore.CorrelationID])
	require.NotEmpty(t, metas[0][eventstore.CausationID])
}

func TestANewFunctionOnAnOldLogBeginsAfterItUnlessToldOtherwise(t *testing.T) {
	dir, later, all := t.TempDir(), &calls{}, &calls{}
	b := newBank(t, dir, serverless.Options{})
	b.deposit(t, "1", 1)
	b = reopen(t, b, dir, serverless.Options{}, later.register(), func(b *bank) {
		serverless.OnEvent(b.Host, "history", all.handle, serverless.FromStart())
	})
	require.NoError(t, b.Open(t.Context()))
	b = reopen(t, b, dir, serverless.Options{}, later.register(), func(b *bank) {
		serverless.OnEvent(b.Host, "history", all.handle)
	})
	b.deposit(t, "1", 2)
	b.drain(t)
	require.Equal(t, []string{"1:2"}, later.take())
	require.Equal(t, []string{"1:1", "1:2"}, all.take())
}

func TestAShutdownParksNothingAndCountsNoAttempt(t *testing.T) {
	dir := t.TempDir()
	entered := make(chan struct{})
	b := reopen(t, nil, dir, serverless.Options{Grace: time.Millisecond}, func(b *bank) {
		serverless.OnEvent(b.Host, "receipt", func(ctx context.Context, _ eventstore.Of[Deposited]) error {
			close(entered)
			<-ctx.Done()
			return fmt.Errorf("connection lost: %w", errors.Join(ctx.Err(), errBoom))
		}, once(serverless.Park)...)
	})
	b.deposit(t, "1", 1)
	stop := b.running(t)
	<-entered
	stop()
	c := &calls{}
	b = reopen(t, b, dir, serverless.Options{}, c.register(once(serverless.Park)...))
	b.drain(t)
	require.Equal(t, []string{"1:1"}, c.take())
	letters, err := b.DeadLetters(t.Context(), "", 0, 10)
	require.NoError(t, err)
	require.Empty(t, letters)
}

func TestAnUndecodableEventIsNotRetriedAndAPanicIsAFailure(t *testing.T) {
	c := &calls{fail: func(eventstore.Of[Deposited]) error { panic("boom") }}
	b := newBank(t, t.TempDir(), serverless.Options{}, func(b *bank) {
		serverless.OnEvent(b.Host, "patient", c.handle, serverless.OnFailure(serverless.Skip))
		serverless.OnEvent(b.Host, "hasty", c.handle, once(serverless.Skip)...)
	})
	require.NoError(t, b.Open(t.Context()))
	_, err := b.store.Append(t.Context(), eventstore.Batch{Writes: []eventstore.Write{{
		Stream: "other-1", Events: []eventstore.EventData{{Type: "deposited", Data: []byte(`{"Cents":"x"}`)}},
	}}})
	require.NoError(t, err)
	_, err = b.Drain(t.Context(), serverless.Budget{})
	require.ErrorIs(t, err, serverless.ErrMoreWork, "the projection cannot read it either, and backs off")
	letters, err := b.DeadLetters(t.Context(), "", 0, 10)
	require.NoError(t, err)
	require.Len(t, letters, 2)
	require.Equal(t, []int{1, 1}, []int{letters[0].Attempts, letters[1].Attempts})
	require.Empty(t, c.take())

	b2 := newBank(t, t.TempDir(), serverless.Options{}, c.register(once(serverless.Skip)...))
	b2.deposit(t, "1", 1)
	b2.drain(t)
	letters, err = b2.DeadLetters(t.Context(), "receipt", 0, 10)
	require.NoError(t, err)
	require.Contains(t, letters[0].Error, `function "receipt": panic: boom`)
}

func TestATimeoutEndsTheContextAndIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBank(t, t.TempDir(), serverless.Options{}, func(b *bank) {
			serverless.OnEvent(b.Host, "slow", func(ctx context.Context, _ eventstore.Of[Deposited]) error {
				<-ctx.Done()
				return context.Cause(ctx)
			}, append(once(serverless.Skip), serverless.Timeout(time.Hour))...)
		})
		b.deposit(t, "1", 1)
		report, err := b.Drain(t.Context(), serverless.Budget{})
		require.NoError(t, err)
		require.Equal(t, time.Hour, report.Elapsed)
		letters, err := b.DeadLetters(t.Context(), "", 0, 10)
		require.NoError(t, err)
		require.Contains(t, letters[0].Error, "took longer than 1h0m0s")
	})
}

func TestConcurrencyRunsStreamsBesideEachOtherAndEachInOrder(t *testing.T) {
	const partitions, streams, each = 4, 16, 5
	dir := t.TempDir()
	var mu sync.Mutex
	busy, last := map[string]bool{}, map[string]int64{}
	most, now := 0, 0
	opt := serverless.Concurrency(partitions)
	handle := func(_ context.Context, e eventstore.Of[Deposited]) error {
		mu.Lock()
		require.False(t, busy[e.Stream], "a stream is never worked on twice at once")
		require.Equal(t, last[e.Stream]+1, e.Version)
		busy[e.Stream] = true
		now++
		most = max(most, now)
		mu.Unlock()
		for range 100 { // lets others in
			if n := func() int { mu.Lock(); defer mu.Unlock(); return most }(); n > 1 {
				break
			}
		}
		mu.Lock()
		defer mu.Unlock()
		busy[e.Stream], last[e.Stream] = false, e.Version
		now--
		return nil
	}
	register := func(b *bank) { serverless.OnEvent(b.Host, "receipt", handle, opt) }
	b := reopen(t, nil, dir, serverless.Options{}, register)
	for range each {
		for s := range streams {
			b.deposit(t, fmt.Sprint(s), 1)
		}
	}
	b.drain(t)
	require.Len(t, last, streams)
	for _, v := range last {
		require.EqualValues(t, each, v)
	}

	// Another number of partitions goes on from where all of them were.
	opt = serverless.Concurrency(2)
	b = reopen(t, b, dir, serverless.Options{}, register)
	for s := range streams {
		b.deposit(t, fmt.Sprint(s), 1)
	}
	b.drain(t)
	for _, v := range last {
		require.EqualValues(t, each+1, v)
	}
}

func TestAnIdleHostWritesNothing(t *testing.T) {
	dir, c := t.TempDir(), &calls{}
	b := reopen(t, nil, dir, serverless.Options{}, c.register())
	b.deposit(t, "1", 1)
	b.drain(t)
	require.NoError(t, b.Close())
	before := modified(t, dir+"/consumers.db")
	b = reopen(t, b, dir, serverless.Options{}, c.register())
	b.drain(t)
	b.drain(t)
	require.NoError(t, b.Close())
	require.Equal(t, before, modified(t, dir+"/consumers.db"))
}
