package eventstore_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/experiment"
)

func TestMain(m *testing.M) {
	if engine := os.Getenv(serveVariable); engine != "" {
		if err := serve(engine); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

const (
	// A history is short, since the search for an order of it grows fast.
	linearClients = 6
	linearCalls   = 9 // of each client; a last read of everything follows
	// decided is how long the search may take; longer is undecided.
	decided = 30 * time.Second
	// sideBySide is how many histories are made at once.
	sideBySide = 4
)

// TestExperimentLinearizable records what concurrent clients ask and are
// answered, and looks for an order of the calls that explains all answers.
// Some histories go through a process that is killed in their midst and
// started again; what it had not answered may have been stored or not.
func TestExperimentLinearizable(t *testing.T) {
	e := experiment.Start(t, "linearizability, with kills in the history", "10,000 histories: 0 illegal, 0 undecided; a skipped check is caught within 100")
	inMemory, inSQLite, killed := e.N(100, 4000), e.N(60, 4000), e.N(8, 2000)
	all := newTally(t)
	all.run(inMemory, func(i int) history {
		return record(e.Rand(i), i%4 == 0, newLocal(memory.New(nil)))
	})
	dir := experiment.Dir(t)
	all.run(inSQLite, func(i int) history {
		path := filepath.Join(dir, fmt.Sprint(i))
		s, err := sqlite.Open(t.Context(), path, &sqlite.Options{IndexEvents: 10})
		if err != nil {
			t.Error(err)
			return nil
		}
		defer func() { closeAndRemove(t, s.Close, path) }()
		return record(e.Rand(inMemory+i), i%4 == 0, newLocal(s))
	})
	kills, unknown := killedHistories(t, e, all, "sqlite", inMemory+inSQLite, killed)
	e.Figure("histories", inMemory+inSQLite+killed)
	e.Figure("with kills", killed)
	e.Figure("kills", kills)
	e.Figure("calls", all.calls.Load())
	e.Figure("of them beside others", all.overlapping.Load())
	e.Figure("appends the killed left unanswered", unknown)
	e.Figure("illegal", all.illegal.Load())
	e.Figure("undecided", all.undecided.Load())
	require.Zero(t, all.illegal.Load())
	require.Zero(t, all.undecided.Load())
	require.Positive(t, unknown, "a kill that leaves nothing unanswered shows little")
	worst := 0
	for trial := range e.N(1, 20) {
		n := caughtAfter(t, e, 1_000_000*(trial+1))
		require.LessOrEqual(t, n, 100, "histories until a skipped check is seen")
		worst = max(worst, n)
	}
	e.Figure("a skipped check is caught within", worst)
}

// TestALogThatForgetsIsNotLinearizable seeds the loss that kills are there to
// find: a process that keeps its log in memory.
func TestALogThatForgetsIsNotLinearizable(t *testing.T) {
	e := experiment.Start(t, "linearizability: a log that forgets", "caught")
	all := newTally(t)
	all.seeded = true
	killedHistories(t, e, all, "memory", 0, 4)
	e.Figure("illegal", all.illegal.Load())
	require.Positive(t, all.illegal.Load())
	require.Zero(t, all.undecided.Load())
}

func closeAndRemove(t *testing.T, shut func() error, path string) {
	if err := shut(); err != nil {
		t.Error(err)
	}
	if err := os.RemoveAll(path); err != nil {
		t.Error(err)
	}
}

// caughtAfter returns how many histories of a store that skips one version
// check in 1,000 it takes to see one that nothing explains; 101 for none in 100.
func caughtAfter(t *testing.T, e *experiment.Experiment, first int) int {
	var checks atomic.Int64
	for i := range 100 {
		h := record(e.Rand(first+i), true, newLocal(&skipping{Store: memory.New(nil), checks: &checks}))
		result := porcupine.CheckOperationsTimeout(linearModel, h, decided)
		require.NotEqual(t, porcupine.Unknown, result)
		if result == porcupine.Illegal {
			return i + 1
		}
	}
	return 101
}

// skipping breaks a store: one version check in 1,000 is not made.
type skipping struct {
	eventstore.Store
	checks *atomic.Int64 // of all stores of a trial
}

func (s *skipping) Append(ctx context.Context, b eventstore.Batch) (eventstore.Commit, error) {
	skip := func(x *eventstore.Expectation) {
		if *x != eventstore.Any() && s.checks.Add(1)%1000 == 0 {
			*x = eventstore.Any()
		}
	}
	for i := range b.Writes {
		skip(&b.Writes[i].Expect)
	}
	for i := range b.Guards {
		skip(&b.Guards[i].Expect)
	}
	return s.Store.Append(ctx, b)
}

type history = []porcupine.Operation

// tally judges histories.
type tally struct {
	t                         *testing.T
	seeded                    bool // with a bug that is to be found
	calls, illegal, undecided atomic.Int64
	overlapping               atomic.Int64 // calls that others were made beside
}

func newTally(t *testing.T) *tally { return &tally{t: t} }

// run makes n histories, some at a time, and judges them.
func (a *tally) run(n int, make func(i int) history) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range sideBySide {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && !a.t.Failed(); i = int(next.Add(1)) - 1 {
				a.judge(i, make(i))
			}
		})
	}
	wg.Wait()
}

func (a *tally) judge(i int, h history) {
	a.calls.Add(int64(len(h)))
	for _, op := range h {
		if slices.ContainsFunc(h, func(o porcupine.Operation) bool {
			return o.ClientId != op.ClientId && o.Call < op.Return && op.Call < o.Return
		}) {
			a.overlapping.Add(1)
		}
	}
	switch porcupine.CheckOperationsTimeout(linearModel, h, decided) {
	case porcupine.Illegal:
		if a.illegal.Add(1) == 1 && !a.seeded {
			a.t.Logf("history %d has no order that explains it:\n%s", i, describe(h))
		}
	case porcupine.Unknown:
		a.undecided.Add(1)
	}
}

// caller carries out calls.
type caller interface {
	// do carries out a call. The reply of a call that a kill cut off is lost,
	// and given when the log is served again.
	do(c call) (reply, error)
}

// record has clients call at random, stubborn ones or not, and returns what
// they saw.
func record(rnd *rand.Rand, stubborn bool, to caller) history {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex // guards h
		h     history
		began = time.Now()
	)
	perform := func(client int, c call) reply {
		at := time.Since(began).Nanoseconds()
		runtime.Gosched() // so that the calls of a fast store overlap, too
		r, err := to.do(c)
		runtime.Gosched()
		back := time.Since(began).Nanoseconds()
		if err != nil {
			r = reply{Kind: "failed: " + err.Error()} // which no order explains
		}
		if r.Kind == lost && c.Op != opAppend {
			return r // nobody saw anything
		}
		mu.Lock()
		defer mu.Unlock()
		h = append(h, porcupine.Operation{ClientId: client, Input: c, Call: at, Output: r, Return: back})
		return r
	}
	for client := range linearClients {
		g := &generator{Rand: rand.New(rand.NewPCG(rnd.Uint64(), uint64(client))), client: client, stubborn: stubborn}
		wg.Go(func() {
			for n := range linearCalls {
				c := g.call(client*linearCalls + n)
				g.learn(c, perform(client, c))
			}
		})
	}
	wg.Wait()
	perform(linearClients, call{Op: opLog, Limit: eventstore.MaxPage})
	return h
}

// generator makes the calls of one client, who remembers what it was told.
type generator struct {
	*rand.Rand
	client int
	// stubborn: nearly all calls are appends that expect something of every
	// stream, and are likely wrong.
	stubborn bool
	known    [linearStreams]int64
	head     int64
}

const firstTag = '!'

func (g *generator) call(n int) call {
	x := g.IntN(100)
	if g.stubborn {
		x *= 4
	}
	switch {
	case x < 6:
		return call{Op: opStream, Stream: g.IntN(linearStreams), After: g.Int64N(3), Limit: 1 + g.IntN(60)}
	case x < 11:
		return call{Op: opLog, After: g.Int64N(g.head + 3), Limit: 1 + g.IntN(60)}
	case x < 13:
		return call{Op: opHead}
	case x < 15 && g.head > 0:
		return call{Op: opWait, After: g.head - 1}
	case x < 18:
		return call{Op: opCommitted, ID: 1 + g.IntN(linearIDs)}
	case x < 28:
		return g.withID()
	}
	order := g.Perm(linearStreams)
	c := call{Op: opAppend, Tag: firstTag + byte(n)}
	writes := 1
	if g.IntN(6) == 0 {
		writes = 2
	}
	for _, stream := range order[:writes] {
		c.Writes = append(c.Writes, linearWrite{Stream: stream, Expect: g.expect(stream), Events: 1 + g.IntN(4)/3})
	}
	for _, stream := range order[writes:] {
		if g.stubborn || g.IntN(12) == 0 {
			c.Guards = append(c.Guards, linearGuard{Stream: stream, Expect: g.expect(stream)})
		}
	}
	if g.IntN(8) == 0 {
		c.Cancel = 1 + g.IntN(400)
	}
	return c
}

// withID appends under one of a few IDs, each with one of two contents.
func (g *generator) withID() call {
	id, variant := 1+g.IntN(linearIDs), g.IntN(8)/7
	first := (id + variant) % linearStreams
	c := call{Op: opAppend, ID: id, Tag: firstTag + linearClients*linearCalls + byte(2*id+variant)}
	for _, stream := range []int{first, (first + 1) % linearStreams}[:1+id%2] {
		c.Writes = append(c.Writes, linearWrite{Stream: stream, Expect: g.expect(stream), Events: 1})
	}
	return c
}

func (g *generator) expect(stream int) int64 {
	x := g.IntN(12)
	switch {
	case g.stubborn && x < 9:
		return g.known[stream] + 1 + g.Int64N(2)
	case x < 4:
		return max(0, g.known[stream]+g.Int64N(5)-2)
	case x < 10:
		return g.known[stream]
	case x == 10:
		return expectExists
	default:
		return expectAny
	}
}

// learn remembers what a reply says of the versions.
func (g *generator) learn(c call, r reply) {
	g.head = max(g.head, r.Last)
	if r.Kind != stored && r.Kind != conflict {
		return
	}
	for field := range strings.FieldsSeq(r.Text) {
		v, err := strconv.ParseInt(field[strings.LastIndexAny(field, "abc-")+1:], 10, 64)
		if err == nil {
			g.known[field[0]-'a'] = v
		}
	}
}
