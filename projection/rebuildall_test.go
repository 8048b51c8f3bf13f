package projection

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
)

// countingLog counts how many events were read, by where their page begins.
type countingLog struct {
	*tape
	mu    sync.Mutex
	begun map[int64]int
}

func (l *countingLog) ReadLog(ctx context.Context, after int64, limit int, f eventstore.Filter) (eventstore.Page, error) {
	l.mu.Lock()
	l.begun[after]++
	l.mu.Unlock()
	return l.tape.ReadLog(ctx, after, limit, f)
}

// several opens n read models of a log and brings them to its end. The last
// handles notes as well.
func several(t testing.TB, log eventstore.LogReader, l *tape, n int) (all []*Projection) {
	t.Helper()
	dir := t.TempDir()
	for i := range n {
		d := Define(fmt.Sprint("ledger-", i), 1, ledgerSchema, On(func(_ context.Context, tx *Tx, e eventstore.Of[moved]) error {
			_, err := tx.Exec(`
				INSERT INTO account (id, mix, moves)
				VALUES (?1, ?2, 1)
				ON CONFLICT (id) DO UPDATE SET mix = (mix * 31 + ?2) % 1000000007, moves = moves + 1`, e.Payload.Account, e.Payload.Cents)
			return err
		}))
		if i == n-1 {
			On(func(_ context.Context, tx *Tx, e eventstore.Of[noted]) error {
				_, err := tx.Exec(`INSERT INTO line (account, cents) VALUES ((SELECT MIN(id) FROM account), ?)`, e.Position)
				return err
			})(d)
		}
		p, err := Open(t.Context(), dir, log, d, nil)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, p.Close()) })
		for at, err := p.Checkpoint(t.Context()); at.Position < l.head(); at, err = p.Checkpoint(t.Context()) {
			require.NoError(t, err)
			next := page(l, at.Position, 5000)
			read, err := l.ReadLog(t.Context(), at.Position, 5000, p.Filter())
			require.NoError(t, err)
			next.Events, next.Through = read.Events, read.Through
			require.NoError(t, p.Apply(t.Context(), next))
		}
		all = append(all, p)
	}
	return all
}

func TestSeveralRebuildsReadTheLogOnce(t *testing.T) {
	l := newTape()
	someMoves(l, 6*RebuildPage)
	log := &countingLog{tape: l, begun: map[int64]int{}}
	all := several(t, log, l, 5)
	clear(log.begun)
	var inside atomic.Int32
	said := map[string]Progress{}
	got, err := RebuildAll(t.Context(), all, func(name string, p Progress) {
		require.Equal(t, int32(1), inside.Add(1), "one at a time")
		require.LessOrEqual(t, said[name].Done, p.Done)
		said[name] = p
		inside.Add(-1)
	})
	require.NoError(t, err)
	require.Len(t, got, 5)
	for i, o := range got {
		require.NoError(t, o.Err)
		require.Equal(t, all[i].Name(), o.Projection)
		require.True(t, o.Identical, o.Difference)
		require.Equal(t, l.head(), o.Position)
		require.Equal(t, l.head(), said[o.Projection].Done)
		require.Equal(t, 2, all[i].live.id.generation)
	}
	require.Equal(t, int64(6*RebuildPage), got[0].Events)
	require.Equal(t, l.head(), got[4].Events)
	again := 0
	for _, n := range log.begun {
		again += n - 1
	}
	require.Zero(t, again, "a page but the last of each is read once: %v", log.begun)
}

// They are at different places, one fails, one is closed and one has nothing
// to do: the others do not wait for them.
func TestRebuildsOfWhichSomeEndEarly(t *testing.T) {
	l, f := newTape(), &faults{}
	someMoves(l, 2*RebuildPage)
	all := several(t, l, l, 3)
	someMoves(l, 4*RebuildPage)
	short := openTest(t, t.TempDir(), l, ledger(1, nil)) // nothing applied
	failing := openTest(t, t.TempDir(), l, ledger(1, f.fail))
	require.NoError(t, deliver(t, failing, l, 5000))
	f.set(RebuildPage+7, always)
	closed := openTest(t, t.TempDir(), l, ledger(1, nil))
	require.NoError(t, closed.Close())
	long := openTest(t, t.TempDir(), l, ledger(1, nil))
	require.NoError(t, deliver(t, long, l, 5000))
	got, err := RebuildAll(t.Context(), append(all, short, failing, closed, long, long), nil)
	require.NoError(t, err)
	for i, at := range []int64{all[0].Position(), all[1].Position(), all[2].Position(), 0} {
		require.NoError(t, got[i].Err)
		require.True(t, got[i].Identical)
		require.Equal(t, at, got[i].Position)
	}
	require.ErrorIs(t, got[4].Err, errFault)
	require.ErrorIs(t, got[5].Err, ErrClosed)
	if got[6].Err != nil { // one of the two came first
		got[6], got[7] = got[7], got[6]
	}
	require.NoError(t, got[6].Err)
	require.True(t, got[6].Identical, got[6].Difference)
	require.Equal(t, l.head(), got[6].Position)
	require.ErrorIs(t, got[7].Err, ErrBuilding)

	other := openTest(t, t.TempDir(), newTape(), ledger(1, nil))
	_, err = RebuildAll(t.Context(), []*Projection{short, other}, nil)
	require.ErrorContains(t, err, "different logs")
	_, err = RebuildAll(t.Context(), make([]*Projection, MaxTogether+1), nil)
	require.ErrorContains(t, err, "64 at once")
	got, err = RebuildAll(t.Context(), nil, nil)
	require.NoError(t, err)
	require.Empty(t, got)

	ctx, cancel := context.WithCancel(t.Context())
	got, err = RebuildAll(ctx, all, func(string, Progress) { cancel() })
	require.NoError(t, err)
	for _, o := range got {
		require.ErrorIs(t, o.Err, context.Canceled)
	}
}

// One after the other, and side by side from one reading.
func BenchmarkRebuildAll(b *testing.B) {
	l := newTape()
	someMoves(l, 40_000)
	for _, n := range []int{1, 2, 4, 8} {
		all := several(b, l, l, n)
		for name, run := range map[string]func(){
			"alone": func() {
				for _, p := range all {
					_, err := p.Rebuild(b.Context(), nil)
					require.NoError(b, err)
				}
			},
			"together": func() {
				got, err := RebuildAll(b.Context(), all, nil)
				require.NoError(b, err)
				for _, o := range got {
					require.NoError(b, o.Err)
				}
			},
		} {
			b.Run(fmt.Sprintf("models=%d/%s", n, name), func(b *testing.B) {
				for b.Loop() {
					run()
				}
				b.ReportMetric(float64(b.N)*float64(n)*40_000/b.Elapsed().Seconds(), "events/s")
			})
		}
	}
}

// As many busy threads of low priority as there are processors would keep
// everybody else from them.
func TestRebuildsLeaveAProcessorToOthers(t *testing.T) {
	before := runtime.GOMAXPROCS(2)
	defer runtime.GOMAXPROCS(before)
	l := newTape()
	someMoves(l, RebuildPage+7)
	var inside, most atomic.Int32
	var all []*Projection
	for i := range 3 {
		name := fmt.Sprint("ledger-", i)
		p := openTest(t, t.TempDir(), l, Define(name, 1, ledgerSchema, On(func(context.Context, *Tx, eventstore.Of[moved]) error {
			if now := inside.Add(1); now > most.Load() {
				most.Store(now)
			}
			runtime.Gosched()
			inside.Add(-1)
			return nil
		})))
		require.NoError(t, deliver(t, p, l, 1000))
		all = append(all, p)
	}
	most.Store(0)
	got, err := RebuildAll(t.Context(), all, nil)
	require.NoError(t, err)
	for _, o := range got {
		require.NoError(t, o.Err)
		require.True(t, o.Identical)
	}
	require.Equal(t, int32(1), most.Load())
}
