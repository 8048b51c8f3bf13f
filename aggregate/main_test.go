package aggregate_test

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type Deposited struct{ Cents int64 }

func (Deposited) EventType() string { return "deposited" }

type Withdrawn struct{ Cents int64 }

func (Withdrawn) EventType() string { return "withdrawn" }

type Account struct {
	Balance int64
	Entries int
}

var (
	ErrOverdrawn = aggregate.Reject("overdrawn", "the account does not hold so much")

	Accounts = aggregate.Define("account",
		aggregate.On(func(a *Account, e Deposited) { a.Balance += e.Cents; a.Entries++ }),
		aggregate.On(func(a *Account, e Withdrawn) { a.Balance -= e.Cents; a.Entries++ }),
		aggregate.Ignore[Account]("account_noted"))
)

type decision = func(*Account) (aggregate.Events, error)

func deposit(cents int64) decision {
	return func(*Account) (aggregate.Events, error) { return aggregate.Events{Deposited{Cents: cents}}, nil }
}

func withdraw(cents int64) decision {
	return func(a *Account) (aggregate.Events, error) {
		if a.Balance < cents {
			return nil, ErrOverdrawn
		}
		return aggregate.Events{Withdrawn{Cents: cents}}, nil
	}
}

func nothing(*Account) (aggregate.Events, error) { return nil, nil }

// counted counts how often the decision is made.
func counted(n *int, d decision) decision {
	return func(a *Account) (aggregate.Events, error) {
		*n++
		return d(a)
	}
}

// spy is a store that tells what was asked of it and lets others in between.
type spy struct {
	*memory.Store
	mu     sync.Mutex                                                             // guards reads and asked
	reads  []int64                                                                // the versions that were read from
	asked  int                                                                    // how often for a command
	before func(n int, b eventstore.Batch)                                        // the n-th append, from 1
	answer func(n int, c eventstore.Commit, err error) (eventstore.Commit, error) // instead of the store's
	n      int
}

func newSpy() *spy { return &spy{Store: memory.New(nil)} }

func (s *spy) Append(ctx context.Context, b eventstore.Batch) (eventstore.Commit, error) {
	s.mu.Lock()
	s.n++
	n := s.n
	s.mu.Unlock()
	if s.before != nil {
		s.before(n, b)
	}
	c, err := s.Store.Append(ctx, b)
	if s.answer != nil {
		c, err = s.answer(n, c, err)
	}
	return c, err
}

func (s *spy) Committed(ctx context.Context, id string) (eventstore.Commit, bool, error) {
	s.mu.Lock()
	s.asked++
	s.mu.Unlock()
	return s.Store.Committed(ctx, id)
}

func (s *spy) ReadStream(ctx context.Context, stream string, from int64, limit int) ([]eventstore.Recorded, error) {
	s.mu.Lock()
	s.reads = append(s.reads, from)
	s.mu.Unlock()
	return s.Store.ReadStream(ctx, stream, from, limit)
}

// read returns the versions read from since the last call.
func (s *spy) read() []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	reads := s.reads
	s.reads = nil
	return reads
}

// bank is a repository over a spy, and a second one over the same log, as
// another process would have it.
type bank struct {
	*testing.T
	*aggregate.Repository[Account]
	spy   *spy
	other *aggregate.Repository[Account]
}

func newBank(t *testing.T, opts *aggregate.Options) *bank {
	s := newSpy()
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return &bank{T: t, spy: s, Repository: aggregate.NewRepository(s, Accounts, opts), other: aggregate.NewRepository(s.Store, Accounts, nil)}
}

func (b *bank) update(id string, d decision) eventstore.Commit {
	b.Helper()
	c, err := b.Update(b.Context(), id, d)
	require.NoError(b, err)
	return c
}

// meanwhile lets the other process decide.
func (b *bank) meanwhile(id string, d decision) {
	b.Helper()
	_, err := b.other.Update(b.Context(), id, d)
	require.NoError(b, err)
}

// balance is what the log says.
func (b *bank) balance(id string) int64 {
	b.Helper()
	a, _, err := aggregate.NewRepository(b.spy.Store, Accounts, nil).Load(b.Context(), id)
	require.NoError(b, err)
	return a.Balance
}

func (b *bank) stream(id string) []eventstore.Recorded {
	b.Helper()
	events, err := b.spy.Store.ReadStream(b.Context(), Accounts.Stream(id), 1, eventstore.MaxPage)
	require.NoError(b, err)
	return events
}
