package aggregate_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
)

// Bugs of peers in repositories: docs/peers.md lists them all.

// Stock is what is left of something, as those who took it were told.
type Stock struct{ Left []int }

type stocked struct{ Left int }

func (stocked) EventType() string { return "stocked" }

type taken struct{ Left int }

func (taken) EventType() string { return "taken" }

var (
	errSoldOut = aggregate.Reject("sold_out", "nothing is left")
	stocks     = aggregate.Define("stock",
		aggregate.On(func(s *Stock, e stocked) { s.Left = append(s.Left, e.Left) }),
		aggregate.On(func(s *Stock, e taken) { s.Left = append(s.Left, e.Left) }))
)

// There: a repository that retried a conflict appended the events of its first
// decision again, and ten tickets were sold more than ten times.
// Here: competitors for the last ten, each of whose events says what it saw.
func TestChronicle_ARetryDecidesAgain(t *testing.T) {
	const units, buyers = 10, 25
	store := memory.New(nil)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	shop := func() *aggregate.Repository[Stock] { // a process of its own
		return aggregate.NewRepository(store, stocks, &aggregate.Options{Attempts: buyers})
	}
	_, err := shop().Update(t.Context(), "1", func(*Stock) (aggregate.Events, error) { return aggregate.Events{stocked{units}}, nil })
	require.NoError(t, err)
	var sold, refused, decisions atomic.Int64
	var together sync.WaitGroup
	together.Add(buyers)
	var buying sync.WaitGroup
	for range buyers {
		buying.Go(func() {
			first := sync.OnceFunc(func() { together.Done(); together.Wait() }) // all decide on the same state first
			_, err := shop().Update(context.Background(), "1", func(s *Stock) (aggregate.Events, error) {
				decisions.Add(1)
				first()
				left := s.Left[len(s.Left)-1]
				if left == 0 {
					return nil, errSoldOut
				}
				return aggregate.Events{taken{left - 1}}, nil
			})
			switch {
			case err == nil:
				sold.Add(1)
			case errors.Is(err, errSoldOut):
				refused.Add(1)
			default:
				t.Errorf("buy: %v", err)
			}
		})
	}
	buying.Wait()
	require.EqualValues(t, units, sold.Load())
	require.EqualValues(t, buyers-units, refused.Load())
	require.Greater(t, decisions.Load(), int64(buyers), "there were conflicts")
	s, _, err := shop().Load(t.Context(), "1")
	require.NoError(t, err)
	want := []int{10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0}
	require.Equal(t, want, slices.Clip(s.Left))
}

// There: a conflict came as the driver's error, and the events to be saved were
// taken off the aggregate before they were: a second Save saved nothing.
// Here: an append that fails for whatever reason, and the same decision again.
func TestEsja_AFailedSaveLosesNothingAndSaysWhy(t *testing.T) {
	busy := errors.New("the disk is slow today")
	for name, fail := range map[string]error{"busy": eventstore.ErrBusy, "anything": busy} {
		t.Run(name, func(t *testing.T) {
			b := newBank(t, nil)
			b.update("1", deposit(5))
			three := func(*Account) (aggregate.Events, error) {
				return aggregate.Events{Deposited{1}, Deposited{2}, Deposited{3}}, nil
			}
			b.spy.before = func(n int, _ eventstore.Batch) {
				if n == 2 {
					b.spy.Store, b.spy.answer = memory.New(nil), func(int, eventstore.Commit, error) (eventstore.Commit, error) {
						return eventstore.Commit{}, fail
					}
				}
			}
			kept := b.spy.Store
			_, err := b.Update(t.Context(), "1", three)
			require.ErrorIs(t, err, fail)
			require.NoError(t, b.spy.Store.Close())
			b.spy.Store, b.spy.answer = kept, nil
			require.Len(t, b.stream("1"), 1)
			a, version, err := b.Load(t.Context(), "1")
			require.NoError(t, err)
			require.Equal(t, &Account{Balance: 5, Entries: 1}, a, "what was not saved is not seen")
			require.EqualValues(t, 1, version)
			b.update("1", three)
			require.Len(t, b.stream("1"), 4)
			require.EqualValues(t, 11, b.balance("1"))
		})
	}
	b := newBank(t, &aggregate.Options{Attempts: 1})
	b.spy.before = func(int, eventstore.Batch) { b.meanwhile("1", deposit(1)) }
	_, err := b.Update(t.Context(), "1", deposit(100))
	conflict, ok := errors.AsType[*eventstore.ConflictError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, eventstore.Conflict{Stream: "account-1", Expected: eventstore.NoStream(), Actual: 1}, conflict.Conflicts[0])
}
