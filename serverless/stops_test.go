package serverless_test

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/experiment"
	dbfile "github.com/leat-go/leat/internal/sqlite"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/serverless"
)

const (
	// drainTimeout is how long a stop may take: the grace, and then only what
	// it takes to come to an end.
	drainTimeout = 5 * time.Second
	// longestLife is how long the shop lives at most once it has an order.
	longestLife = 30 * time.Millisecond
)

// TestExperimentStops stops a host again and again while its consumers fail,
// back off and hang: a stop is nobody's failure.
func TestExperimentStops(t *testing.T) {
	e := experiment.Start(t, "SIGTERM during retries", "500 stops: 0 parked because of the stop, 0 acked-unprocessed, exit within the drain timeout")
	stops, signals := e.N(20, 500), e.N(2, 20)
	dir := experiment.Dir(t)
	took := make([]time.Duration, 0, stops)
	before := map[string]int{}
	for life := range stops {
		chance := e.Rand(life)
		stop := stopInProcess
		if life%(stops/signals) == 0 {
			stop = stopBySignal
		}
		failed := failuresSoFar(t, dir)
		took = append(took, stop(t, dir, life, chance))
		require.Less(t, took[life], drainTimeout, "stop %d", life)
		before = attemptsAfterAStop(t, dir, before, failed)
	}
	slices.Sort(took)
	e.Figure("stops", stops)
	e.Figure("by SIGTERM", signals)
	e.Figure("stop p99", took[(len(took)-1)*99/100])
	finish(t, e, dir)
}

// stopInProcess lives for a while in this process, and returns how long the
// stop took.
func stopInProcess(t *testing.T, dir string, life int, chance *rand.Rand) time.Duration {
	t.Helper()
	s, err := openShop(t.Context(), dir, chance.Uint64(), false)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.close()) }()
	require.NoError(t, s.Open(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	placing, placed := make(chan error, 1), make(chan struct{})
	go func() { placing <- s.place(context.Background(), life, func() { close(placed) }) }()
	<-placed
	time.Sleep(time.Duration(chance.IntN(int(longestLife)))) // of a life at random
	began := time.Now()
	cancel()
	require.NoError(t, <-ended)
	took := time.Since(began)
	require.NoError(t, <-placing)
	return took
}

// stopBySignal lives for a while in a process of its own.
func stopBySignal(t *testing.T, dir string, life int, chance *rand.Rand) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), shopDir+"="+dir, shopLife+"="+strconv.Itoa(life), "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan(), "it has an order before it ends")
	time.Sleep(time.Duration(chance.IntN(int(longestLife)))) // of a life at random
	began := time.Now()
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait(), "a stop is no failure")
	return time.Since(began)
}

func shopNotes(t *testing.T, dir string) *notes {
	t.Helper()
	n, err := openNotes(filepath.Join(dir, "notes"))
	require.NoError(t, err)
	require.NoError(t, n.file.Close())
	return n
}

// failuresSoFar returns how often what failed by itself, by "who where".
func failuresSoFar(t *testing.T, dir string) map[string]int {
	t.Helper()
	all := map[string]int{}
	for line, n := range shopNotes(t, dir).counts {
		if key, ok := strings.CutPrefix(line, "fail "); ok {
			all[key] = n
		}
	}
	return all
}

// attemptsAfterAStop demands that nothing is parked or given up, and that what
// is counted as attempts of a function or a command is what failed by itself,
// no less and no more: but for a last failure that the stop overtook. It
// returns the attempts, by "who where".
func attemptsAfterAStop(t *testing.T, dir string, before, failed map[string]int) map[string]int {
	t.Helper()
	n := shopNotes(t, dir)
	now := map[string]int{}
	store := filepath.Join(dir, "store")
	inFile(t, filepath.Join(store, "consumers.db"), func(db *sql.DB) {
		none(t, db, `SELECT COUNT(*) FROM dead_letter`)
		none(t, db, `SELECT COUNT(*) FROM waiting`)
		eachAttempt(t, db, `SELECT consumer, position, attempts FROM attempt`, func(consumer, position string, attempts int) {
			who, _, _ := strings.Cut(consumer, "#")
			now[who+" "+position] = attempts
		})
	})
	inFile(t, filepath.Join(store, "sagas.db"), func(db *sql.DB) {
		none(t, db, `SELECT COUNT(*) FROM instance WHERE status = 'parked'`)
		none(t, db, `SELECT COUNT(*) FROM outbox WHERE parked = 1`)
		eachAttempt(t, db, `SELECT type, data, attempts FROM outbox WHERE attempts > 0`, func(typ, data string, attempts int) {
			var c Charge
			require.NoError(t, json.Unmarshal([]byte(data), &c))
			now[typ+" "+c.Order] = attempts
		})
	})
	for key, all := range failedSince(n, failed, before) {
		if n.counts["done "+key] > 0 {
			require.Zero(t, now[key], "%s: it is done", key)
			continue
		}
		require.LessOrEqual(t, now[key], before[key]+all, "%s: attempts are counted that were none", key)
		require.GreaterOrEqual(t, now[key], before[key]+max(all-1, 0), "%s: attempts are forgotten", key)
	}
	for key := range now {
		require.Positive(t, n.counts["fail "+key], "%s never failed by itself", key)
	}
	for _, name := range []string{orders, patientOrders} {
		inFile(t, filepath.Join(store, "views", name+".v1.1.db"), func(db *sql.DB) {
			none(t, db, `SELECT COUNT(*) FROM leat_parked`)
			none(t, db, `SELECT COUNT(*) FROM leat_dead_letter`)
			eachAttempt(t, db, `SELECT 'orders', position, attempts FROM leat_attempt`, func(_, position string, attempts int) {
				require.LessOrEqual(t, attempts, n.counts["fail "+name+" "+position])
			})
		})
	}
	return now
}

// failedSince returns, for all functions and commands with attempts, how often
// they failed by themselves since.
func failedSince(n *notes, since, before map[string]int) map[string]int {
	all := map[string]int{}
	for key := range before {
		all[key] = 0
	}
	for line, total := range n.counts {
		key, ok := strings.CutPrefix(line, "fail ")
		if ok && !strings.HasPrefix(key, orders) && total > since[key] {
			all[key] = total - since[key]
		}
	}
	return all
}

// inFile looks into a file of a store that nobody has open.
func inFile(t *testing.T, path string, fn func(*sql.DB)) {
	t.Helper()
	db, err := dbfile.Open(t.Context(), path, dbfile.Options{ReadOnly: true, Readers: 1})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	fn(db.Reader())
}

func none(t *testing.T, db *sql.DB, count string) {
	t.Helper()
	var n int
	require.NoError(t, db.QueryRowContext(t.Context(), count).Scan(&n))
	require.Zero(t, n, count)
}

func eachAttempt(t *testing.T, db *sql.DB, query string, fn func(who, where string, attempts int)) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	for rows.Next() {
		var who, where string
		var attempts int
		require.NoError(t, rows.Scan(&who, &where, &attempts))
		fn(who, where, attempts)
	}
	require.NoError(t, rows.Err())
}

// finish mends what failed and demands that everything comes to its end: once
// where the effect is in the store, under one key where it is outside.
func finish(t *testing.T, e *experiment.Experiment, dir string) {
	t.Helper()
	s, err := openShop(t.Context(), dir, e.Seed(), true)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.close()) }()
	deadline := time.Now().Add(time.Minute)
	for err = serverless.ErrMoreWork; errors.Is(err, serverless.ErrMoreWork); {
		require.Less(t, time.Now(), deadline, "it does not come to its end: %v", err)
		_, err = s.Drain(t.Context(), serverless.Budget{Time: time.Second})
	}
	require.NoError(t, err)
	st, err := s.Status(t.Context())
	require.NoError(t, err)
	require.Zero(t, st.DeadLetters)
	n := shopNotes(t, dir)
	placed, charged := shopLog(t, s.store)
	for line := range n.counts {
		if order, ok := strings.CutPrefix(line, "acked order "); ok {
			require.Contains(t, placed, order, "it was acknowledged")
		}
	}
	require.Equal(t, slices.Sorted(maps.Keys(placed)), slices.Sorted(maps.Keys(charged)))
	seen := map[string]int{}
	require.NoError(t, s.model.Read(t.Context(), 0, func(r *projection.Reader) error {
		rows, err := r.Query(`SELECT position, times FROM seen`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var position string
			var times int
			if err := rows.Scan(&position, &times); err != nil {
				return err
			}
			seen[position] = times
		}
		return rows.Err()
	}))
	require.Len(t, seen, len(placed))
	again := 0
	for order, ev := range placed {
		position := strconv.FormatInt(ev.Position, 10)
		require.Equal(t, 1, charged[order], "the command of order %s took effect once", order)
		require.Equal(t, 1, seen[position], "order %s is in the read model once", order)
		for _, who := range []string{mailer, patientMailer} {
			done := n.counts[fmt.Sprintf("done %s %s", who, position)]
			require.Positive(t, done, "%s was called with order %s", who, order)
			require.True(t, n.keys[fmt.Sprintf("%s %s %s", who, position, ev.ID)])
			again += done - 1
		}
	}
	require.Len(t, n.keys, n.callees(), "each is always called under the same key")
	e.Figure("events", len(placed)+len(charged))
	e.Figure("calls that failed", n.total("fail"))
	e.Figure("calls that a stop cut off", n.total("cut"))
	e.Figure("functions called again", again)
	e.Asserted("parked")
	e.Asserted("acked and not processed")
	require.Positive(t, n.total("cut"), "no call was under way in a stop")
	require.Positive(t, n.total("fail"), "nothing was tried again")
}

// shopLog returns the orders that the log has, and how often each was charged.
func shopLog(t *testing.T, store *sqlite.Store) (placed map[string]eventstore.Recorded, charged map[string]int) {
	t.Helper()
	placed, charged = map[string]eventstore.Recorded{}, map[string]int{}
	for at := int64(0); ; {
		page, err := store.ReadLog(t.Context(), at, eventstore.MaxPage, eventstore.Filter{})
		require.NoError(t, err)
		for _, ev := range page.Events {
			order := strings.TrimPrefix(ev.Stream, "order-")
			if ev.Type == (Charged{}).EventType() {
				charged[order]++
				continue
			}
			require.NotContains(t, placed, order, "it was placed twice")
			placed[order] = ev
		}
		if page.Through.Position == at {
			return placed, charged
		}
		at = page.Through.Position
	}
}

// callees returns how many pairs of who and where there were calls of.
func (n *notes) callees() int {
	all := 0
	for line := range n.counts {
		if strings.HasPrefix(line, "call ") {
			all++
		}
	}
	return all
}

// total returns how many lines say what.
func (n *notes) total(what string) int {
	all := 0
	for line, times := range n.counts {
		if strings.HasPrefix(line, what+" ") {
			all += times
		}
	}
	return all
}
