package invariant_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/internal/crashkit/bank"
	"github.com/leat-go/leat/internal/invariant"
	file "github.com/leat-go/leat/internal/sqlite"
	"github.com/leat-go/leat/serverless"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if lived.dir != "" {
			if err := os.RemoveAll(filepath.Dir(lived.dir)); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = max(code, 1)
			}
		}
		os.Exit(code)
	}))
}

var quiet = slog.New(slog.DiscardHandler)

// lived is a store that has lived a while, in the middle of things, and all
// that is known of it.
var lived = struct {
	once sync.Once
	dir  string
	know []func(*invariant.History)
}{}

// copyOf returns a copy of that store, and its history.
func copyOf(t *testing.T) (dir string, h *invariant.History) {
	t.Helper()
	lived.once.Do(func() { live(t) })
	dir, h = filepath.Join(t.TempDir(), "store"), invariant.NewHistory()
	require.NoError(t, os.CopyFS(dir, os.DirFS(lived.dir)))
	for _, know := range lived.know {
		know(h)
	}
	return dir, h
}

func live(t *testing.T) {
	t.Helper()
	ctx, know := t.Context(), func(fn func(*invariant.History)) { lived.know = append(lived.know, fn) }
	parent, err := os.MkdirTemp("", "leat-lived-")
	require.NoError(t, err)
	lived.dir = filepath.Join(parent, "store")
	clk := clock.NewVirtual(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	store, err := sqlite.Open(ctx, lived.dir, &sqlite.Options{Clock: clk, Logger: quiet})
	require.NoError(t, err)
	b := bank.New(store, bank.Options{Clock: clk, Version: 2, Effect: func(function, id string) {
		know(func(h *invariant.History) { h.Effect(function, id) })
	}})
	require.NoError(t, b.Open(ctx))
	for n := range 25 {
		for a, kind := range bank.Appenders {
			label := bank.Label(0, a, n)
			batch, err := bank.Batch(label)
			require.NoError(t, err)
			var commit eventstore.Commit
			switch kind {
			case bank.Deposit:
				commit = do(ctx, t, b, label, kind, bank.MakeDeposit{Label: label})
			case bank.Transfer:
				commit = do(ctx, t, b, label, kind, bank.Request{Label: label})
			default:
				commit, err = store.Append(ctx, batch)
				require.NoError(t, err)
			}
			know(func(h *invariant.History) { h.Sent(label, batch); h.Acked(label, commit.First, commit.Last) })
		}
	}
	// Some timers have fired, some have not.
	_, err = b.Drain(ctx, serverless.Budget{Until: clk.Now().Add(60 * time.Millisecond)})
	require.NoError(t, err)
	require.NoError(t, b.Close())
	require.NoError(t, store.Close())
}

func do(ctx context.Context, t *testing.T, b *bank.Bank, label string, kind bank.Kind, payload any) eventstore.Commit {
	t.Helper()
	r, err := b.Do(ctx, serverless.Request{Function: string(kind), ID: label, Payload: payload})
	require.NoError(t, err)
	return r.Commit
}

func check(t *testing.T, dir string, h *invariant.History) invariant.Report {
	t.Helper()
	r, err := invariant.Check(t.Context(), dir, &invariant.Options{
		History: h, Models: bank.Models(), Functions: bank.Functions, Laws: []invariant.Law{bank.Money(false)},
	})
	require.NoError(t, err)
	return r
}

// change runs statements on a file of the store.
func change(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := file.Open(t.Context(), path, file.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	for _, s := range statements {
		result, err := db.Writer().ExecContext(t.Context(), s)
		require.NoError(t, err, s)
		n, err := result.RowsAffected()
		require.NoError(t, err)
		require.Positive(t, n, s)
	}
}

func TestASoundStoreBreaksNothing(t *testing.T) {
	dir, h := copyOf(t)
	r := check(t, dir, h)
	require.NoError(t, r.Err())
	require.Equal(t, 2, r.Models)
	require.Greater(t, r.Commands, 25)
	require.Positive(t, r.Timers)
	require.NoError(t, check(t, dir, h).Err(), "again, with what the first has seen and appended")

	label := bank.Label(1, 0, 0)
	b, err := bank.Batch(label)
	require.NoError(t, err)
	h.Sent(label, b)
	r = check(t, dir, h)
	require.NoError(t, r.Err())
	require.Equal(t, 1, r.Repeated, "what is unknown is repeated")
	require.Empty(t, h.Unknown())

	entries, err := os.ReadDir(filepath.Dir(dir))
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing is left beside the store")
}

func TestWhatIsKnownIsComparedWithTheLog(t *testing.T) {
	dir, h := copyOf(t)
	require.NoError(t, check(t, dir, h).Err())
	notes, loose := bank.Label(0, 0, 7), bank.Label(9, 2, 0)
	gone, err := bank.Batch(loose)
	require.NoError(t, err)
	other, err := bank.Batch(bank.Label(0, 1, 7))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		know func(h *invariant.History)
		want string
	}{
		"an acknowledgement of what is not there": {func(h *invariant.History) { h.Sent("lost", gone); h.Acked("lost", 900, 901) }, "I1"},
		"at another position":                     {func(h *invariant.History) { h.Sent(notes, eventstore.Batch{}); h.Acked(notes, 1, 1) }, "I1"},
		"at two positions":                        {func(h *invariant.History) { h.Sent("x", gone); h.Acked("x", 1, 1); h.Acked("x", 2, 2) }, "I1"},
		"a refusal of what is there":              {func(h *invariant.History) { h.Sent(notes, eventstore.Batch{}); h.Refused(notes) }, "I1"},
		"other content":                           {func(h *invariant.History) { other.ID = notes; h.Sent(notes, other) }, "I1"},
		"another event was read there":            {func(h *invariant.History) { h.Saw(3, "other") }, "I3"},
		"an event was read past the end":          {func(h *invariant.History) { h.Saw(1_000_000, "other") }, "I3"},
		"an effect nobody has on record":          {func(*invariant.History) {}, "I9"},
	} {
		t.Run(name, func(t *testing.T) {
			h := invariant.NewHistory()
			c.know(h)
			r := check(t, dir, h)
			require.NotEmpty(t, r.Violations)
			var kinds []string
			for _, v := range r.Violations {
				kinds = append(kinds, v.Invariant)
			}
			require.Contains(t, kinds, c.want, r.Err())
		})
	}
}

// What came from a process that is dead, without an ID, comes late or never.
func TestALooseBatchThatWasNotThereNeverComes(t *testing.T) {
	dir, h := copyOf(t)
	label := bank.Label(3, 2, 0)
	b, err := bank.Batch(label)
	require.NoError(t, err)
	h.Sent(label, b)
	require.NoError(t, check(t, dir, h).Err())
	store, err := sqlite.Open(t.Context(), dir, nil)
	require.NoError(t, err)
	_, err = store.Append(t.Context(), b)
	require.NoError(t, err)
	require.NoError(t, store.Close())
	require.ErrorContains(t, check(t, dir, h).Err(), "was refused, and is in the log")
}

func TestWhatIsWrongInAFileIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		file       string
		statements []string
		want       string
	}{
		"a row of a read model":    {"views/balances.v2.1.db", []string{`UPDATE balance SET cents = cents + 1 WHERE account = (SELECT MIN(account) FROM balance)`}, "I5: balances"},
		"a row twice":              {"views/entries.v1.1.db", []string{`INSERT INTO entry SELECT * FROM entry LIMIT 1`}, "I5: entries"},
		"a timer that is gone":     {"sagas.db", []string{`DELETE FROM timer`}, "I6: the timer"},
		"a timer that came back":   {"sagas.db", []string{`INSERT INTO timer (held, due, instance, name, ref, root, hops) SELECT 0, 1, id, 'hold', 'r', 0, 0 FROM instance WHERE status = 'failed' LIMIT 1`}, "is there, though it fired or was cancelled"},
		"a command nobody knows":   {"sagas.db", []string{`UPDATE journal SET effects = effects || ' send:debit' WHERE name = 'requested'`, `UPDATE instance SET sequence = sequence + 1`}, "neither in the outbox nor in the log"},
		"a command never asked":    {"sagas.db", []string{`UPDATE instance SET sequence = sequence + 1`}, "its journal has"},
		"an event given twice":     {"sagas.db", []string{`UPDATE journal SET ref = (SELECT MIN(ref) FROM journal), kind = 'event' WHERE instance = 1`}, "more than once"},
		"an event function's past": {"consumers.db", []string{`UPDATE checkpoint SET position = position - 1`}, "I9: the checkpoint"},
		"an event":                 {"log.db", []string{`DROP TRIGGER events_are_not_changed`}, "I7"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, h := copyOf(t)
			if strings.HasPrefix(c.statements[0], "DROP") {
				db, err := file.Open(t.Context(), filepath.Join(dir, c.file), file.Options{})
				require.NoError(t, err)
				_, err = db.Writer().ExecContext(t.Context(), c.statements[0]+`; UPDATE events SET data = x'7b7d' WHERE position = 5`)
				require.NoError(t, err)
				require.NoError(t, db.Close())
			} else {
				change(t, filepath.Join(dir, c.file), c.statements...)
			}
			require.ErrorContains(t, check(t, dir, h).Err(), c.want)
		})
	}
}
