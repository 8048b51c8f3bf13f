package aggregate_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
)

func TestUpdateStoresWhatIsDecided(t *testing.T) {
	b := newBank(t, nil)
	c := b.update("1", func(*Account) (aggregate.Events, error) { return aggregate.Events{Deposited{100}, Withdrawn{30}}, nil })
	require.Equal(t, []eventstore.StreamCommit{{Stream: "account-1", First: 1, Last: 2}}, c.Streams)
	require.Empty(t, c.ID)
	a, version, err := b.Load(t.Context(), "1")
	require.NoError(t, err)
	require.Equal(t, &Account{Balance: 70, Entries: 2}, a)
	require.Equal(t, int64(2), version)

	a, version, err = b.Load(t.Context(), "none")
	require.NoError(t, err)
	require.Equal(t, &Account{}, a)
	require.Zero(t, version)
}

func TestLoadedStateIsTheCallers(t *testing.T) {
	b := newBank(t, nil)
	b.update("1", deposit(100))
	a, _, err := b.Load(t.Context(), "1")
	require.NoError(t, err)
	a.Balance = -1
	b.update("1", withdraw(100))
	require.Zero(t, b.balance("1"))
}

func TestLoadAtFoldsAPrefix(t *testing.T) {
	b := newBank(t, nil)
	for range 3 {
		b.update("1", deposit(10))
	}
	for version, want := range map[int64]int64{-1: 0, 0: 0, 1: 10, 2: 20, 3: 30, 4: 30} {
		a, err := b.LoadAt(t.Context(), "1", version)
		require.NoError(t, err)
		require.Equal(t, want, a.Balance, "at version %d", version)
	}
}

func TestADecisionThatNothingIsToDoStoresNothing(t *testing.T) {
	b := newBank(t, nil)
	for range 2 {
		require.Equal(t, eventstore.Commit{}, b.update("1", nothing))
		b.update("2", deposit(1))
		require.Equal(t, eventstore.Commit{}, b.update("2", nothing))
	}
	require.Empty(t, b.stream("1"))
	require.Len(t, b.stream("2"), 2)
}

func TestMetadataComesFromTheContext(t *testing.T) {
	b := newBank(t, nil)
	ctx := eventstore.WithMetadata(t.Context(), eventstore.Metadata{eventstore.CorrelationID: "c", eventstore.TraceParent: "00-1-2-01", eventstore.Actor: "ann"})
	_, err := b.Update(ctx, "1", func(*Account) (aggregate.Events, error) { return aggregate.Events{Deposited{1}, Deposited{2}}, nil })
	require.NoError(t, err)
	for _, e := range b.stream("1") {
		m, err := e.Meta.Decode()
		require.NoError(t, err)
		require.Equal(t, eventstore.Metadata{eventstore.CorrelationID: "c", eventstore.TraceParent: "00-1-2-01", eventstore.Actor: "ann"}, m)
	}
}

// A retry that appended the old decision once more would take the money twice.
func TestRetryRunsTheDecisionAgain(t *testing.T) {
	b := newBank(t, nil)
	b.update("1", deposit(10))
	decisions := 0
	b.spy.before = func(n int, _ eventstore.Batch) {
		if n == 2 {
			b.meanwhile("1", withdraw(10))
		}
	}
	_, err := b.Update(t.Context(), "1", counted(&decisions, withdraw(10)))
	require.ErrorIs(t, err, ErrOverdrawn)
	require.Equal(t, 2, decisions)
	require.Zero(t, b.balance("1"))
	require.Len(t, b.stream("1"), 2)
}

func TestARefusalOnOldStateIsDecidedAgain(t *testing.T) {
	b := newBank(t, nil)
	b.update("1", deposit(10))
	b.meanwhile("1", deposit(90))
	b.update("1", withdraw(100))
	require.Zero(t, b.balance("1"))

	b.meanwhile("1", deposit(50))
	b.update("1", func(a *Account) (aggregate.Events, error) {
		if a.Balance == 0 {
			return nil, nil // nothing to do, it seems
		}
		return aggregate.Events{Withdrawn{a.Balance}}, nil
	})
	require.Zero(t, b.balance("1"))
}

// A state ahead of the log, which was rewound under the process, is refused by
// the log and then forgotten.
func TestVersionAboveTheHeadIsAConflict(t *testing.T) {
	first, second := memory.New(nil), memory.New(nil)
	store := &swapped{Store: first}
	repo := aggregate.NewRepository[Account](store, Accounts, nil)
	for range 3 {
		_, err := repo.Update(t.Context(), "1", deposit(10))
		require.NoError(t, err)
	}
	store.Store = second
	_, err := repo.Update(t.Context(), "1", deposit(1))
	require.NoError(t, err)
	a, version, err := repo.Load(t.Context(), "1")
	require.NoError(t, err)
	require.Equal(t, int64(1), version)
	require.Equal(t, int64(1), a.Balance)
	require.Equal(t, []string{"conflict", ""}, store.outcomes[3:])
}

type swapped struct {
	*memory.Store
	outcomes []string
}

func (s *swapped) Append(ctx context.Context, b eventstore.Batch) (eventstore.Commit, error) {
	c, err := s.Store.Append(ctx, b)
	outcome := ""
	if errors.Is(err, eventstore.ErrConflict) {
		outcome = "conflict"
	}
	s.outcomes = append(s.outcomes, outcome)
	return c, err
}

// Events must not be lost, nor taken as stored, when the append failed.
func TestAFailedAppendCanBeRepeated(t *testing.T) {
	for name, failure := range map[string]error{"busy": eventstore.ErrBusy, "closed": eventstore.ErrClosed, "cancelled": context.Canceled} {
		t.Run(name, func(t *testing.T) {
			b := newBank(t, nil)
			b.update("1", deposit(5))
			events := aggregate.Events{Deposited{7}}
			decide := func(*Account) (aggregate.Events, error) { return events, nil }
			b.spy.before = func(n int, batch eventstore.Batch) {
				if n == 2 { // the store refuses, having stored nothing
					batch.Writes[0].Expect = eventstore.Exactly(99)
				}
			}
			b.spy.answer = func(n int, c eventstore.Commit, err error) (eventstore.Commit, error) {
				if n == 2 {
					return eventstore.Commit{}, failure
				}
				return c, err
			}
			_, err := b.Update(t.Context(), "1", decide)
			require.ErrorIs(t, err, failure)
			require.Equal(t, int64(5), b.balance("1"))
			b.spy.read()
			b.update("1", decide)
			require.Equal(t, []int64{1}, b.spy.read(), "the state is read anew after an error")
			require.Equal(t, int64(12), b.balance("1"))
			require.Len(t, events, 1)
		})
	}
}

func TestAStateThatADecisionSpoiledIsForgotten(t *testing.T) {
	b := newBank(t, nil)
	b.update("1", deposit(10))
	b.update("2", deposit(10))
	spoil := func(a *Account) { a.Balance = 1_000_000 }

	_, err := b.Update(t.Context(), "1", func(a *Account) (aggregate.Events, error) { spoil(a); return nil, ErrOverdrawn })
	require.ErrorIs(t, err, ErrOverdrawn)
	_, err = b.Update(t.Context(), "1", withdraw(11))
	require.ErrorIs(t, err, ErrOverdrawn)

	require.Panics(t, func() {
		_, _ = b.Update(t.Context(), "1", func(a *Account) (aggregate.Events, error) { spoil(a); panic("a bug") })
	})
	_, err = b.Update(t.Context(), "1", withdraw(11))
	require.ErrorIs(t, err, ErrOverdrawn)

	// Of two decisions the first spoils its state and the second fails.
	_, err = aggregate.UpdateAll(t.Context(),
		b.Change("1", func(a *Account) (aggregate.Events, error) { spoil(a); return nil, nil }),
		b.Change("2", withdraw(11)))
	require.ErrorIs(t, err, ErrOverdrawn)
	_, err = b.Update(t.Context(), "1", withdraw(11))
	require.ErrorIs(t, err, ErrOverdrawn)
}

func TestAFoldThatPanicsHoldsNoLock(t *testing.T) {
	bad := true
	def := aggregate.Define("account", aggregate.On(func(a *Account, e Deposited) {
		if a.Balance += e.Cents; bad {
			panic("a bug")
		}
	}))
	repo := aggregate.NewRepository(memory.New(nil), def, nil)
	require.Panics(t, func() { _, _ = repo.Update(t.Context(), "1", deposit(5)) }, "when the stored event is folded")
	require.Panics(t, func() { _, _ = repo.Update(t.Context(), "1", deposit(5)) }, "when the stream is loaded")
	bad = false
	_, err := repo.Update(t.Context(), "1", func(a *Account) (aggregate.Events, error) {
		require.Equal(t, int64(5), a.Balance)
		return nil, nil
	})
	require.NoError(t, err)
}

func TestAttemptsAreBounded(t *testing.T) {
	b := newBank(t, &aggregate.Options{Attempts: 3})
	b.spy.before = func(int, eventstore.Batch) { b.meanwhile("1", deposit(1)) }
	decisions := 0
	_, err := b.Update(t.Context(), "1", counted(&decisions, withdraw(0)))
	require.ErrorIs(t, err, eventstore.ErrConflict)
	require.Contains(t, err.Error(), "after 3 decisions")
	require.Equal(t, 3, decisions)

	decisions = 0
	_, err = b.Update(t.Context(), "1", counted(&decisions, withdraw(0)))
	require.ErrorIs(t, err, eventstore.ErrConflict)
	require.Equal(t, 4, decisions, "one more, on what was in memory")
}

func TestACancelledUpdateStopsRetrying(t *testing.T) {
	b := newBank(t, &aggregate.Options{Attempts: 1000})
	ctx, cancel := context.WithCancel(t.Context())
	decisions := 0
	b.spy.before = func(n int, _ eventstore.Batch) {
		b.meanwhile("1", deposit(1))
		if n == 3 {
			cancel()
		}
	}
	_, err := b.Update(ctx, "1", counted(&decisions, withdraw(0)))
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 3, decisions)
}

func TestConcurrentUpdatesOfOneAggregate(t *testing.T) {
	const workers, each = 64, 5
	for name, opts := range map[string]*aggregate.Options{
		"cached":   nil,
		"uncached": {Cache: -1, Attempts: 1_000_000},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBank(t, opts)
			repos := []*aggregate.Repository[Account]{b.Repository, aggregate.NewRepository(b.spy, Accounts, &aggregate.Options{Attempts: 1_000_000})}
			var (
				wg       sync.WaitGroup
				accepted atomic.Int64
			)
			for w := range workers {
				wg.Go(func() {
					for range each {
						// The decision depends on the state: one cent, while it is below 250.
						_, err := repos[w%2].Update(t.Context(), "1", func(a *Account) (aggregate.Events, error) {
							if a.Balance >= 250 {
								return nil, ErrOverdrawn
							}
							return aggregate.Events{Deposited{1}}, nil
						})
						switch {
						case err == nil:
							accepted.Add(1)
						case name == "cached" && errors.Is(err, eventstore.ErrConflict): // its ten attempts are up
						case !errors.Is(err, ErrOverdrawn):
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			require.Equal(t, accepted.Load(), b.balance("1"))
			require.LessOrEqual(t, accepted.Load(), int64(250))
			if name == "uncached" {
				require.Equal(t, int64(250), accepted.Load())
			}
			for i, e := range b.stream("1") {
				require.Equal(t, int64(i+1), e.Version)
			}
		})
	}
}

func TestUpdateAllIsOneBatch(t *testing.T) {
	b := newBank(t, nil)
	b.update("a", deposit(100))
	transfer := func(cents int64) (eventstore.Commit, error) {
		return aggregate.UpdateAll(t.Context(), b.Change("b", deposit(cents)), b.Change("a", withdraw(cents)))
	}
	c, err := transfer(60)
	require.NoError(t, err)
	require.Equal(t, []eventstore.StreamCommit{{Stream: "account-b", First: 1, Last: 1}, {Stream: "account-a", First: 2, Last: 2}}, c.Streams)
	_, err = transfer(60)
	require.ErrorIs(t, err, ErrOverdrawn)
	require.Equal(t, int64(40), b.balance("a"))
	require.Equal(t, int64(60), b.balance("b"))
}

func TestAChangeWithoutEventsGuardsItsStream(t *testing.T) {
	b := newBank(t, nil)
	b.update("limit", deposit(10))
	decisions := 0
	b.spy.before = func(n int, batch eventstore.Batch) {
		if n == 2 {
			require.Equal(t, []eventstore.Guard{{Stream: "account-limit", Expect: eventstore.Exactly(1)}}, batch.Guards)
			b.meanwhile("limit", withdraw(10))
		}
	}
	_, err := aggregate.UpdateAll(t.Context(),
		b.Change("limit", counted(&decisions, func(a *Account) (aggregate.Events, error) {
			if a.Balance < 10 {
				return nil, ErrOverdrawn
			}
			return nil, nil
		})),
		b.Change("1", deposit(10)))
	require.ErrorIs(t, err, ErrOverdrawn)
	require.Equal(t, 2, decisions)
	require.Empty(t, b.stream("1"))
}

func TestUpdateAllChecksItsChanges(t *testing.T) {
	b, other := newBank(t, nil), newBank(t, nil)
	for says, changes := range map[string][]aggregate.Change{
		"without changes":        nil,
		"account-1 stands twice": {b.Change("1", deposit(1)), b.Change("1", deposit(1))},
		"in different stores":    {b.Change("1", deposit(1)), other.Change("2", deposit(1))},
	} {
		_, err := aggregate.UpdateAll(t.Context(), changes...)
		require.ErrorContains(t, err, says)
	}
	require.Empty(t, b.stream("1"))
}

func TestCrossingUpdatesNeverWaitForEachOther(t *testing.T) {
	const rounds, ids = 200, 5
	b := newBank(t, nil)
	for i := range ids {
		b.update(fmt.Sprint(i), deposit(1000))
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range rounds {
				from, to := fmt.Sprint((w+i)%ids), fmt.Sprint((w*i+1+(w+i)%ids)%ids)
				if from == to {
					continue
				}
				if _, err := aggregate.UpdateAll(t.Context(), b.Change(from, withdraw(1)), b.Change(to, deposit(1))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	sum := int64(0)
	for i := range ids {
		sum += b.balance(fmt.Sprint(i))
	}
	require.Equal(t, int64(1000*ids), sum)
}

func TestAnAggregateHasAnID(t *testing.T) {
	b := newBank(t, nil)
	_, err := b.Update(t.Context(), "", deposit(1))
	require.ErrorIs(t, err, eventstore.ErrInvalid)
	require.ErrorContains(t, err, "aggregate id")
}
