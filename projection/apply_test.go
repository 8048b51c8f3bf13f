package projection

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/sqlite"
)

func TestAnEventDeliveredAgainIsPassedOver(t *testing.T) {
	l := newTape()
	someMoves(l, 40)
	p := openTest(t, t.TempDir(), l, ledger(1, nil))
	for after := range l.head() { // every page overlaps the one before
		require.NoError(t, p.Apply(t.Context(), page(l, after, 3)))
		requireFold(t, p, l)
	}
	require.NoError(t, p.Apply(t.Context(), page(l, 0, 1000)))
	require.Equal(t, l.head(), requireFold(t, p, l))
}

func TestAPageThatLeavesAGapBlocks(t *testing.T) {
	l := newTape()
	someMoves(l, 10)
	p := openTest(t, t.TempDir(), l, ledger(1, nil))
	_, blocked := errors.AsType[*bus.BlockedError](p.Apply(t.Context(), page(l, 3, 3)))
	require.True(t, blocked)
	require.Zero(t, requireFold(t, p, l))
	require.NoError(t, deliver(t, p, l, 3))
	require.Equal(t, Running, p.Status().State)
}

func TestARewoundLogIsNoticed(t *testing.T) {
	l, dir := newTape(), t.TempDir()
	someMoves(l, 10)
	p := openTest(t, dir, l, ledger(1, nil))
	require.NoError(t, deliver(t, p, l, 100))

	foreign := page(l, 0, 100)
	foreign.Through.Epoch, foreign.Through.Position = "other", 1000
	require.ErrorIs(t, p.Apply(t.Context(), foreign), eventstore.ErrRewound)
	require.NoError(t, p.Close())

	l.epoch = "restored"
	_, err := Open(t.Context(), dir, l, ledger(1, nil), nil)
	require.ErrorIs(t, err, eventstore.ErrRewound)
	require.ErrorContains(t, err, "remove the read model")
	l.epoch = "tape"
	l.events = l.events[:5]
	_, err = Open(t.Context(), dir, l, ledger(1, nil), nil)
	require.ErrorIs(t, err, eventstore.ErrRewound)
	require.NoError(t, Remove(dir, "ledger"))
	p = openTest(t, dir, l, ledger(1, nil))
	require.NoError(t, deliver(t, p, l, 100))
	requireFold(t, p, l)
}

func TestACheckpointMovedBySomebodyElseBlocks(t *testing.T) {
	l := newTape()
	someMoves(l, 20)
	p := openTest(t, t.TempDir(), l, ledger(1, nil))
	require.NoError(t, p.Apply(t.Context(), page(l, 0, 5)))
	_, err := p.live.db.Writer().Exec(`UPDATE leat_checkpoint SET position = position + 1`)
	require.NoError(t, err)
	err = p.Apply(t.Context(), page(l, 5, 5))
	require.ErrorIs(t, err, bus.ErrCheckpointMoved)
	_, blocked := errors.AsType[*bus.BlockedError](err)
	require.True(t, blocked)
}

// waysToFail are what a handler may do with its transaction that is a failure.
func waysToFail() map[string]func(tx *Tx) error {
	return map[string]func(tx *Tx) error{
		"error": func(*Tx) error { return errFault },
		"panic": func(*Tx) error { panic("oh") },
		"constraint": func(tx *Tx) error {
			_, err := tx.Exec(`INSERT INTO account (id, mix, moves) VALUES ('a-1', 0, 0)`)
			return err
		},
		"a deferred constraint": func(tx *Tx) error {
			_, err := tx.Exec(`INSERT INTO line (account, cents) VALUES ('nobody', 1)`)
			return err
		},
		"an end of the transaction that is swallowed": func(tx *Tx) error {
			_, _ = tx.Exec(`INSERT OR ROLLBACK INTO account (id, mix, moves) VALUES ('a-1', 0, 0)`)
			_, _ = tx.Exec(`INSERT INTO account (id, mix, moves) VALUES ('ghost', 0, 0)`)
			return nil
		},
		"a COMMIT behind another statement": func(tx *Tx) error {
			_, err := tx.Exec(`DELETE FROM line WHERE account = 'zz'; COMMIT`)
			return err
		},
		"a ROLLBACK behind another statement": func(tx *Tx) error {
			_, err := tx.Exec(`DELETE FROM line WHERE account = 'zz'; ROLLBACK; BEGIN`)
			return err
		},
		"an end of the savepoint behind another statement": func(tx *Tx) error {
			_, err := tx.Exec(`DELETE FROM line WHERE account = 'zz'; RELEASE leat`)
			return err
		},
		"a forbidden statement": func(tx *Tx) error {
			_, err := tx.Exec(` -- end it
				/* now */ commit`)
			return err
		},
		"an error of rows that nobody looks at": func(tx *Tx) error {
			rows, err := tx.Query(`SELECT json(CASE WHEN n > 1 THEN 'no json' ELSE '1' END) FROM (SELECT 1 AS n UNION ALL SELECT 2)`)
			if err != nil {
				return err
			}
			for rows.Next() {
			}
			return nil
		},
	}
}

// However the event fails, what came before it in the page is kept, nothing of
// it is, and exactly it is named.
func TestExactlyTheFailingEventIsFound(t *testing.T) {
	for name, way := range waysToFail() {
		t.Run(name, func(t *testing.T) {
			l := newTape()
			someMoves(l, 30)
			var bad int64
			d := Define("ledger", 1, ledgerSchema, On(func(ctx context.Context, tx *Tx, e eventstore.Of[moved]) error {
				for _, o := range ledger(1, nil).handlers {
					if err := o.apply(ctx, tx, &e.Recorded, nil); err != nil {
						return err
					}
				}
				if e.Position == bad {
					return way(tx)
				}
				return nil
			}), once)
			for _, bad = range []int64{2, 13, 36} {
				p := openTest(t, t.TempDir(), l, d)
				for range 2 { // blocked, and blocked again after a restart
					err := deliver(t, p, l, 1000)
					blocked, ok := errors.AsType[*bus.BlockedError](err)
					require.True(t, ok, "%v", err)
					require.Equal(t, bad, blocked.Position)
					at := requireFold(t, p, l)
					require.LessOrEqual(t, at, bad-1)
					for _, e := range l.events[at : bad-1] {
						require.NotEqual(t, "moved", e.Type, "the good prefix is kept")
					}
				}
				require.Equal(t, 2, p.Status().Attempts)
				require.Equal(t, Blocked, p.Status().State)
				stop := bad
				bad = 0
				require.NoError(t, deliver(t, p, l, 1000))
				require.Equal(t, l.head(), requireFold(t, p, l))
				require.Equal(t, Running, p.Status().State)
				bad = stop
			}
		})
	}
}

func TestAnUndecodableEventIsAFailureOfThatEvent(t *testing.T) {
	l := newTape()
	someMoves(l, 10)
	bad := l.raw("a-1", "moved", []byte("{"))
	someMoves(l, 10)
	p := openTest(t, t.TempDir(), l, ledger(1, nil, once))
	err := deliver(t, p, l, 1000)
	require.ErrorIs(t, err, eventstore.ErrDecode)
	require.Equal(t, bad, p.Status().Failed)
	require.Contains(t, p.Status().String(), fmt.Sprintf("blocked at %d: projection ledger v1: moved at position %d", bad, bad))
}

func TestRowsThatAHandlerLeavesOpenHangNothing(t *testing.T) {
	l := newTape()
	someMoves(l, 10)
	d := Define("open", 1, "CREATE TABLE t (id INTEGER PRIMARY KEY) STRICT", On(func(_ context.Context, tx *Tx, e eventstore.Of[moved]) error {
		stmt, err := tx.Prepare("INSERT INTO t (id) VALUES (?)")
		if err != nil {
			return err
		}
		if _, err := stmt.Exec(e.Position); err != nil {
			return err
		}
		tx.QueryRow("SELECT id FROM t")
		_, err = tx.Query("SELECT id FROM t")
		return err
	}))
	p := openTest(t, t.TempDir(), l, d)
	require.NoError(t, deliver(t, p, l, 4))
}

func TestAttemptsSurviveARestartAndEndInABlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, dir, f := newTape(), t.TempDir(), &faults{}
		someMoves(l, 20)
		f.set(7, always)
		d := ledger(1, f.fail, Retries(3, time.Hour))
		for want := 1; want <= 2; want++ {
			p := openTest(t, dir, l, d)
			retry, ok := errors.AsType[*bus.RetryError](deliver(t, p, l, 1000))
			require.True(t, ok)
			require.Equal(t, int64(7), retry.Position)
			require.Equal(t, want, retry.Attempt)
			require.Positive(t, retry.After)
			require.LessOrEqual(t, retry.After, FirstBackoff<<(want-1))
			s := p.Status()
			require.Equal(t, BackingOff, s.State)
			require.Equal(t, want, s.Attempts)
			require.Equal(t, time.Now().Add(retry.After), s.NextAttempt)
			require.NoError(t, p.Close())
		}
		p := openTest(t, dir, l, d)
		_, blocked := errors.AsType[*bus.BlockedError](deliver(t, p, l, 1000))
		require.True(t, blocked)
		require.ErrorIs(t, p.WaitFor(t.Context(), 7), errFault, "who waits for what is blocked is told")
		require.NoError(t, p.Close())

		f.set(7, 0) // a restart tries again
		p = openTest(t, dir, l, d)
		require.NoError(t, deliver(t, p, l, 1000))
		require.Equal(t, l.head(), requireFold(t, p, l))
		require.Zero(t, p.live.attempt)
		require.NoError(t, p.Close())
	})
}

func TestRetriesEndWithTheAgeOfTheFirstFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, f := newTape(), &faults{}
		someMoves(l, 5)
		f.set(3, always)
		p := openTest(t, t.TempDir(), l, ledger(1, f.fail, Retries(1000, time.Minute)))
		began := time.Now()
		for {
			err := deliver(t, p, l, 1000)
			retry, ok := errors.AsType[*bus.RetryError](err)
			if !ok {
				_, blocked := errors.AsType[*bus.BlockedError](err)
				require.True(t, blocked)
				break
			}
			require.LessOrEqual(t, retry.After, MaxBackoff)
			time.Sleep(retry.After) // virtual
		}
		require.GreaterOrEqual(t, time.Since(began), time.Minute)
		require.Less(t, time.Since(began), time.Minute+MaxBackoff)
		require.NoError(t, p.Close())
	})
}

// openmeter PR#3141: a shutdown must not poison.
func TestAShutdownParksNothingAndCountsNothing(t *testing.T) {
	for _, policy := range []Policy{Block, Park, Skip} {
		for _, stopped := range []int{1, 2} { // with the page, or with the event alone
			l, calls := newTape(), 0
			someMoves(l, 20)
			ctx, cancel := context.WithCancel(t.Context())
			d := ledger(1, func(e eventstore.Recorded) error {
				if e.Position != 7 || ctx.Err() != nil {
					return nil
				}
				if calls++; calls == stopped {
					cancel()
				}
				return errors.New("interrupted")
			}, OnFailure(policy), once)
			p := openTest(t, t.TempDir(), l, d)
			require.ErrorIs(t, p.Apply(ctx, page(l, 0, 100)), context.Canceled)
			require.Equal(t, stopped, calls)
			s := p.Status()
			require.Equal(t, CatchingUp, s.State)
			require.Zero(t, s.ParkedEvents+s.DeadLetters+s.Attempts)
			requireFold(t, p, l)
			require.NoError(t, deliver(t, p, l, 100))
			require.Equal(t, l.head(), requireFold(t, p, l))
		}
	}
}

func TestAFullDiskIsNotTheEventsFault(t *testing.T) {
	l := newTape()
	for range 3000 {
		l.add("a-1", moved{"a-1", 5})
	}
	p := openTest(t, t.TempDir(), l, ledger(1, nil, OnFailure(Skip), once))
	w := p.live.db.Writer()
	var pages int
	require.NoError(t, w.QueryRow(`PRAGMA page_count`).Scan(&pages))
	_, err := w.Exec(fmt.Sprintf(`PRAGMA max_page_count = %d`, pages+3))
	require.NoError(t, err)
	err = deliver(t, p, l, 500)
	require.True(t, sqlite.IsFull(err), "%v", err)
	_, retry := errors.AsType[*bus.RetryError](err)
	_, blocked := errors.AsType[*bus.BlockedError](err)
	require.False(t, retry || blocked)
	require.Zero(t, p.Status().DeadLetters)
	requireFold(t, p, l)
	_, err = w.Exec(`PRAGMA max_page_count = 100000`)
	require.NoError(t, err)
	require.NoError(t, deliver(t, p, l, 500))
	require.Equal(t, l.head(), requireFold(t, p, l))
}

// Eventuous #222, #559: a filtered checkpoint that does not advance.
func TestPagesWithoutEventsAdvanceMemoryAtOnceAndTheFileLazily(t *testing.T) {
	l, dir := newTape(), t.TempDir()
	l.add("a-1", moved{"a-1", 1})
	p := openTest(t, dir, l, ledger(1, nil))
	require.NoError(t, deliver(t, p, l, 100))
	saved := func() (at int64) {
		require.NoError(t, p.live.db.Reader().QueryRow("SELECT position FROM leat_checkpoint").Scan(&at))
		return at
	}
	for range 50 {
		l.add("note-1", noted{})
		require.NoError(t, deliver(t, p, l, 10))
		require.NoError(t, p.WaitFor(t.Context(), l.head()))
		require.Equal(t, int64(1), saved())
		require.Equal(t, l.head(), requireFold(t, p, l))
	}
	require.NoError(t, p.Close())
	p = openTest(t, dir, l, ledger(1, nil))
	require.Equal(t, l.head(), saved(), "Close saves it")
	require.Equal(t, l.head(), p.Position())
	for range lazyCheckpoint {
		l.add("note-1", noted{})
	}
	require.NoError(t, deliver(t, p, l, 10))
	require.Equal(t, l.head(), saved())
	l.add("note-1", noted{})
	l.add("a-1", moved{"a-1", 1})
	require.NoError(t, deliver(t, p, l, 10))
	require.Equal(t, l.head(), saved())
}

// TestAPageIsOneCommit: rows and checkpoint are saved together, so that no kill
// comes between them.
func TestAPageIsOneCommit(t *testing.T) {
	l := newTape()
	someMoves(l, 100)
	p := openTest(t, t.TempDir(), l, ledger(1, nil))
	commits := 0
	conn, err := p.live.db.Writer().Conn(t.Context())
	require.NoError(t, err)
	require.NoError(t, conn.Raw(func(driver any) error {
		driver.(interface{ RegisterCommitHook(func() int) }).RegisterCommitHook(func() int { commits++; return 0 })
		return nil
	}))
	require.NoError(t, conn.Close())
	for pages := 1; p.Position() < l.head(); pages++ {
		require.NoError(t, p.Apply(t.Context(), page(l, p.Position(), 10)))
		require.Equal(t, pages, commits)
	}
	require.Equal(t, 10, commits)
	require.Equal(t, l.head(), requireFold(t, p, l))
}
