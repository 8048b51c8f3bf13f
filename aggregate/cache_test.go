package aggregate_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/eventstore"
)

func TestCachedStateIsAppendedAgainstWithoutReading(t *testing.T) {
	b := newBank(t, nil)
	b.update("1", deposit(1))
	require.Equal(t, []int64{1}, b.spy.read())
	for range 5 {
		b.update("1", deposit(1))
	}
	require.Empty(t, b.spy.read())

	b.meanwhile("1", deposit(10))
	b.meanwhile("1", deposit(10))
	b.update("1", withdraw(6))
	require.Equal(t, []int64{7}, b.spy.read(), "only what is new is read after a conflict")
	b.update("1", withdraw(20))
	require.Empty(t, b.spy.read())
	require.Zero(t, b.balance("1"))
}

func TestCacheDropsTheLeastRecentlyUsed(t *testing.T) {
	b := newBank(t, &aggregate.Options{Cache: 2})
	for _, step := range []struct {
		id    string
		reads int
	}{{"a", 1}, {"b", 1}, {"a", 0}, {"c", 1}, {"a", 0}, {"b", 1}, {"c", 1}, {"b", 0}} {
		b.update(step.id, deposit(1))
		require.Len(t, b.spy.read(), step.reads, "update of %s", step.id)
	}
}

func TestNoCache(t *testing.T) {
	b := newBank(t, &aggregate.Options{Cache: -1})
	for range 3 {
		b.update("1", deposit(1))
		require.Equal(t, []int64{1}, b.spy.read())
	}
}

// The cache holds what the log will give back, not what the decision returned.
func TestCacheHoldsFoldsOfDecodedEvents(t *testing.T) {
	def := aggregate.Define("list", aggregate.On(func(l *listing, e listed) { l.Items, l.Extra = append(l.Items, e.Items...), e.Extra }))
	b := newBank(t, nil)
	lists := aggregate.NewRepository(b.spy, def, nil)
	items := []string{"a", "b"}
	_, err := lists.Update(t.Context(), "1", func(*listing) (aggregate.Events, error) {
		return aggregate.Events{listed{Items: items, Extra: 7}}, nil
	})
	require.NoError(t, err)
	items[0] = "changed"
	b.spy.read()
	_, err = lists.Update(t.Context(), "1", func(l *listing) (aggregate.Events, error) {
		require.Equal(t, &listing{Items: []string{"a", "b"}, Extra: 7.0}, l, "as JSON gives it back")
		return aggregate.Events{listed{}}, nil
	})
	require.NoError(t, err)
	require.Empty(t, b.spy.read())
}

type listing struct {
	Items []string
	Extra any
}

type listed struct {
	Items []string
	Extra any
}

func (listed) EventType() string { return "listed" }

func TestSnapshotsShortenLoading(t *testing.T) {
	b := newBank(t, &aggregate.Options{SnapshotEvery: 10})
	for range 25 {
		b.update("1", deposit(1))
	}
	reopened := func(version int) *aggregate.Repository[Account] {
		def := aggregate.Define("account",
			aggregate.On(func(a *Account, e Deposited) { a.Balance += e.Cents * int64(version); a.Entries++ }),
			aggregate.FoldVersion[Account](version))
		return aggregate.NewRepository(b.spy, def, &aggregate.Options{SnapshotEvery: 10})
	}
	b.spy.read()
	a, at, err := reopened(1).Load(t.Context(), "1")
	require.NoError(t, err)
	require.Equal(t, &Account{Balance: 25, Entries: 25}, a)
	require.Equal(t, int64(25), at)
	require.Equal(t, []int64{21}, b.spy.read())

	// Changed code never reads the snapshot of the old.
	a, _, err = reopened(2).Load(t.Context(), "1")
	require.NoError(t, err)
	require.Equal(t, int64(50), a.Balance)
	require.Equal(t, []int64{1}, b.spy.read())

	early, err := reopened(1).LoadAt(t.Context(), "1", 3)
	require.NoError(t, err)
	require.Equal(t, int64(3), early.Balance)
}

func TestABatchMayPassSeveralSnapshots(t *testing.T) {
	b := newBank(t, &aggregate.Options{SnapshotEvery: 10})
	b.update("1", func(*Account) (aggregate.Events, error) {
		var events aggregate.Events
		for range 1234 {
			events = append(events, Deposited{1})
		}
		return events, nil
	})
	s, ok, err := b.spy.LoadSnapshot(t.Context(), "account-1", "account/1")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, int64(1234), s.Version)
	a, version, err := aggregate.NewRepository(b.spy.Store, Accounts, nil).Load(t.Context(), "1")
	require.NoError(t, err)
	require.Equal(t, int64(1234), a.Balance, "folded over several pages")
	require.Equal(t, int64(1234), version)
}

func TestASnapshotThatCannotBeReadCostsOnlyTime(t *testing.T) {
	var heard bytes.Buffer
	b := newBank(t, &aggregate.Options{SnapshotEvery: 10, Logger: slog.New(slog.NewTextHandler(&heard, nil))})
	b.meanwhile("1", deposit(5))
	require.NoError(t, b.spy.SaveSnapshot(t.Context(), eventstore.Snapshot{Stream: "account-1", Fold: "account/1", Version: 1, State: []byte("{nonsense")}))
	b.update("1", withdraw(5))
	require.Contains(t, heard.String(), "snapshot not read")
	require.Contains(t, heard.String(), "account-1")
}

func BenchmarkUpdate(b *testing.B) {
	for _, events := range []int{10, 1000} {
		for name, opts := range map[string]*aggregate.Options{"on": nil, "off": {Cache: -1}, "snapshots": {Cache: -1, SnapshotEvery: 100}} {
			b.Run(fmt.Sprintf("cache=%s/stream=%d", name, events), func(b *testing.B) {
				store := newSpy()
				repo := aggregate.NewRepository(store, Accounts, opts)
				history := make(aggregate.Events, events)
				for i := range history {
					history[i] = Deposited{1}
				}
				id, updates := "", 0
				b.ReportAllocs()
				for b.Loop() {
					if updates++; updates%100 == 1 { // streams stay about as long as they were
						b.StopTimer()
						id = fmt.Sprint(updates)
						_, err := repo.Update(b.Context(), id, func(*Account) (aggregate.Events, error) { return history, nil })
						if err != nil {
							b.Fatal(err)
						}
						b.StartTimer()
					}
					if _, err := repo.Update(b.Context(), id, deposit(1)); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
			})
		}
	}
}
