package serverless_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/experiment"
	"github.com/leat-go/leat/saga"
	"github.com/leat-go/leat/serverless"
	"github.com/leat-go/leat/verify"
)

// leakPatience is how long what was closed may take to be gone: goroutines of
// a pool end when they get to run.
const leakPatience = 3 * time.Second

// held is what the process holds: where its descriptors lead, and what is
// mapped of the files below a directory.
func held(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.HasSuffix(to, "/fd") {
			list = append(list, to)
		}
	}
	maps, err := os.ReadFile("/proc/self/maps")
	require.NoError(t, err)
	for line := range strings.Lines(string(maps)) {
		if at := strings.Index(line, dir); at >= 0 {
			list = append(list, "mapped "+strings.TrimSpace(line[at:]))
		}
	}
	slices.Sort(list)
	return list
}

// more returns what is in after and not in before, as often as it is.
func more(before, after []string) (list []string) {
	counts := map[string]int{}
	for _, what := range before {
		counts[what]++
	}
	for _, what := range after {
		if counts[what]--; counts[what] < 0 {
			list = append(list, what)
		}
	}
	return list
}

// leaks opens, uses and closes things in a directory, where a store is.
type leaks struct {
	*rand.Rand
	t   *testing.T
	dir string // of this round
}

func (l *leaks) path(name string) string { return filepath.Join(l.dir, name) }

// soon returns a context that ends in the midst of things, or never.
func (l *leaks) soon() (context.Context, context.CancelFunc) {
	if l.IntN(2) == 0 {
		return context.WithCancel(l.t.Context())
	}
	return context.WithTimeout(l.t.Context(), time.Duration(l.IntN(4000))*time.Microsecond)
}

// open opens the store, or fails to because its context ended.
func (l *leaks) open(ctx context.Context) (*sqlite.Store, bool) {
	s, err := sqlite.Open(ctx, l.path("store"), &sqlite.Options{Logger: quiet()})
	if err != nil {
		require.ErrorIs(l.t, err, ctx.Err())
		return nil, false
	}
	return s, true
}

// store opens a store, leaves waiters and readers to their fate, and closes it.
func (l *leaks) store() {
	ctx, cancel := l.soon()
	defer cancel()
	s, ok := l.open(ctx)
	if !ok {
		return
	}
	waited := make(chan error, 2)
	go func() { _, err := s.Wait(ctx, 1<<40); waited <- err }()
	go func() { _, err := s.Wait(context.Background(), 1<<40); waited <- err }()
	for range l.IntN(5) {
		_, err := s.Append(ctx, credits("1", 3))
		require.True(l.t, err == nil || errors.Is(err, ctx.Err()), "%v", err)
	}
	for range eventstore.Log(ctx, s, 0, eventstore.Filter{}) {
		break // in the middle of a page
	}
	require.NoError(l.t, s.Close())
	for range 2 {
		err := <-waited
		require.True(l.t, errors.Is(err, eventstore.ErrClosed) || errors.Is(err, ctx.Err()), "%v", err)
	}
}

func credits(account string, n int) eventstore.Batch {
	w := eventstore.Write{Stream: "account-" + account}
	for i := range n {
		data, err := eventstore.Encode(Deposited{Account: account, Cents: int64(i + 1)})
		if err != nil {
			panic(err)
		}
		w.Events = append(w.Events, data)
	}
	return eventstore.Batch{Writes: []eventstore.Write{w}}
}

// beside reads beside an owner, and without one.
func (l *leaks) beside() {
	s, _ := l.open(l.t.Context())
	for range 2 {
		ctx, cancel := l.soon()
		r, err := sqlite.OpenReadOnly(ctx, l.path("store"))
		if err == nil {
			waiting, stop := context.WithTimeout(ctx, time.Millisecond)
			_, err = r.Wait(waiting, 1<<40)
			require.Error(l.t, err)
			stop()
			_, err = r.ReadLog(ctx, 0, 10, eventstore.Filter{})
			require.True(l.t, err == nil || errors.Is(err, ctx.Err()), "%v", err)
			require.NoError(l.t, r.Close())
		}
		cancel()
		require.NoError(l.t, s.Close())
	}
}

// backup backs up, restores, verifies, and goes on with the copy; or is
// cancelled while it does.
func (l *leaks) backup() {
	s, _ := l.open(l.t.Context())
	ctx, cancel := l.soon()
	defer cancel()
	err := s.Backup(ctx, l.path("backup"))
	require.NoError(l.t, s.Close())
	if err == nil {
		_, err = sqlite.Restore(ctx, l.path("backup"), l.path("restored"), nil)
	}
	if err == nil {
		_, err = verify.Dir(ctx, l.path("restored"))
	}
	if err != nil {
		require.ErrorIs(l.t, err, ctx.Err())
		return
	}
	s, err = sqlite.Open(l.t.Context(), l.path("restored"), nil)
	require.NoError(l.t, err)
	require.NoError(l.t, s.Close())
}

// refused opens what cannot be opened.
func (l *leaks) refused() {
	s, _ := l.open(l.t.Context())
	_, err := sqlite.Open(l.t.Context(), l.path("store"), nil)
	require.ErrorIs(l.t, err, eventstore.ErrInUse)
	require.Error(l.t, s.Backup(l.t.Context(), l.path("store")))
	require.NoError(l.t, s.Close())
	_, err = sqlite.OpenReadOnly(l.t.Context(), l.path("absent"))
	require.Error(l.t, err)
	_, err = sqlite.Restore(l.t.Context(), l.path("absent"), l.path("restored"), nil)
	require.Error(l.t, err)

	damage := []string{"log.db", "witness"}[l.IntN(2)]
	whole, err := os.ReadFile(l.path("store/" + damage)) // nobody has it open
	require.NoError(l.t, err)
	broken := slices.Clone(whole)
	for range 1 + l.IntN(40) {
		broken[l.IntN(len(broken))] ^= byte(1 + l.IntN(255))
	}
	require.NoError(l.t, os.WriteFile(l.path("store/"+damage), broken[:len(broken)/(1+l.IntN(2))], 0o600))
	if s, err := sqlite.Open(l.t.Context(), l.path("store"), nil); err == nil {
		_, _ = s.Verify(l.t.Context())                  // which may find it
		_, _ = s.Append(l.t.Context(), credits("2", 1)) // which may stop the store
		_ = s.Close()
	}
	if r, err := sqlite.OpenReadOnly(l.t.Context(), l.path("store")); err == nil {
		_, _ = r.ReadLog(l.t.Context(), 0, 100, eventstore.Filter{})
		require.NoError(l.t, r.Close())
	}
	_, _ = verify.Dir(l.t.Context(), l.path("store"))
}

// host makes a host with functions, a read model and a saga, has it work, and
// closes it, in the midst of a run or after a drain.
func (l *leaks) host() {
	c := &calls{fail: failing("bad")}
	b := newBank(l.t, l.path("store"), serverless.Options{Grace: time.Second}, c.register(once(serverless.Skip)...), withSaving)
	for _, account := range []string{"1", "bad"} {
		b.deposit(l.t, account, 5)
	}
	_, err := b.Invoke(l.t.Context(), "start_plan", StartPlan{Plan: "p", Rounds: 2, Every: time.Hour})
	require.NoError(l.t, err)
	switch l.IntN(3) {
	case 0:
		b.drain(l.t)
		_, err := b.balances.Rebuild(l.t.Context(), nil)
		require.NoError(l.t, err)
	case 1:
		stop := b.running(l.t)
		b.deposit(l.t, "1", 7)
		stop()
	default:
		ctx, cancel := l.soon()
		_, err := b.Drain(ctx, serverless.Budget{Time: time.Duration(l.IntN(5)) * time.Millisecond})
		require.True(l.t, err == nil || errors.Is(err, serverless.ErrMoreWork) || errors.Is(err, ctx.Err()), "%v", err)
		cancel()
	}
	require.NoError(l.t, b.Close())
	require.NoError(l.t, b.store.Close())
}

// hostRefused has hosts that cannot be opened: what is registered is wrong, or
// one of their files is.
func (l *leaks) hostRefused() {
	b := newBank(l.t, l.path("store"), serverless.Options{}, func(b *bank) { b.Project(defineBalances(1)) })
	require.Error(l.t, b.Open(l.t.Context()), "a name twice")
	require.NoError(l.t, b.Close())
	require.NoError(l.t, b.store.Close())
	l.hostWithoutSaga()
	file := []string{"consumers.db", "sagas.db", "views/balances.live"}[l.IntN(3)]
	require.NoError(l.t, os.MkdirAll(l.path("store/views"), 0o700))
	require.NoError(l.t, os.WriteFile(l.path("store/"+file), []byte(strings.Repeat("dear diary, ", 1000)), 0o600))
	b = newBank(l.t, l.path("store"), serverless.Options{}, withSaving)
	require.Error(l.t, b.Open(l.t.Context()), file)
	require.NoError(l.t, b.Close())
	require.NoError(l.t, b.store.Close())
}

// hostWithoutSaga has a host that knows nothing of a saga that has timers.
func (l *leaks) hostWithoutSaga() {
	b := newBank(l.t, l.path("plans"), serverless.Options{}, withSaving)
	_, err := b.Invoke(l.t.Context(), "start_plan", StartPlan{Plan: "p", Rounds: 2, Every: time.Hour})
	require.NoError(l.t, err)
	b.drain(l.t)
	require.NoError(l.t, b.Close())
	require.NoError(l.t, b.store.Close())
	b = newBank(l.t, l.path("plans"), serverless.Options{}, func(b *bank) {
		b.Saga(saga.Define("other", 1, saga.Starts(func(e PlanStarted) string { return e.Plan },
			func(*struct{}, *saga.Context, PlanStarted) error { return nil })))
	})
	require.Error(l.t, b.Open(l.t.Context()))
	require.NoError(l.t, b.Close())
	require.NoError(l.t, b.store.Close())
}

// TestExperimentLeaks: what is opened, used and closed, or cannot be opened,
// leaves no goroutine, no descriptor and no mapping behind.
func TestExperimentLeaks(t *testing.T) {
	e := experiment.Start(t, "goroutine and descriptor leaks", "1,000 times opened and closed, or refused: 0 goroutines, 0 descriptors")
	n := e.N(24, 1000)
	root := experiment.Dir(t)
	kinds := []string{"store", "beside", "backup", "refused", "host", "host refused"}
	done := map[string]int{}
	before := held(t, root)
	goroutines := goleak.IgnoreCurrent()
	// Nothing is collected in a round: a file that is forgotten would be closed.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for i := range n {
		kind := kinds[i%len(kinds)]
		l := &leaks{Rand: e.Rand(i), t: t, dir: filepath.Join(root, fmt.Sprint(i))}
		s, err := sqlite.Open(t.Context(), l.path("store"), nil)
		require.NoError(t, err)
		_, err = s.Append(t.Context(), credits("1", 20))
		require.NoError(t, err)
		require.NoError(t, s.Close())
		map[string]func(){
			"store": l.store, "beside": l.beside, "backup": l.backup, "refused": l.refused, "host": l.host, "host refused": l.hostRefused,
		}[kind]()
		done[kind]++
		if left := l.left(before, root); len(left) > 0 {
			t.Fatalf("round %d, %s, leaves: %s", i, kind, strings.Join(left, ", "))
		}
		require.NoError(t, os.RemoveAll(l.dir))
		if i%10 == 9 {
			runtime.GC()
		}
		if i%100 == 99 || i == n-1 {
			require.NoError(t, goleak.Find(goroutines), "after round %d", i)
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(done)) {
		e.Figure(kind, done[kind])
	}
	e.Asserted("descriptors and mappings left")
	e.Asserted("goroutines left")
}

// left returns what is held that was not before, once it has had time to go.
func (l *leaks) left(before []string, root string) (list []string) {
	for began := time.Now(); ; {
		if list = more(before, held(l.t, root)); len(list) == 0 || time.Since(began) > leakPatience {
			return list
		}
		time.Sleep(time.Millisecond) // what is closed by goroutines that end is gone soon
	}
}
