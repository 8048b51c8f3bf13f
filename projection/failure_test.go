package projection

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
)

// requireGood compares the tables with the fold of every event but these.
func requireGood(t *testing.T, p *Projection, l *tape, without func(e eventstore.Recorded) bool) {
	t.Helper()
	var good []eventstore.Recorded
	for _, e := range l.events {
		if !without(e) {
			good = append(good, e)
		}
	}
	require.NoError(t, p.Read(t.Context(), l.head(), func(r *Reader) error {
		got, err := tables(r)
		require.Equal(t, fold(good, l.head()), got)
		return err
	}))
}

func TestADeadLetterIsShownRetriedAndDiscardedWithAReason(t *testing.T) {
	l, dir, f := newTape(), t.TempDir(), &faults{}
	someMoves(l, 100)
	bad := []int64{10, 22, 33}
	for _, at := range bad {
		f.set(at, always)
	}
	d := ledger(1, f.fail, OnFailure(Skip), once)
	p := openTest(t, dir, l, d)
	require.NoError(t, deliver(t, p, l, 30))
	got, err := p.Failure(t.Context(), 22)
	require.NoError(t, err)
	require.Equal(t, Failure{State: Dead, Event: l.events[21], Attempts: 1, Err: got.Err, At: got.At}, got)
	require.Contains(t, got.Err, "fault at 22")
	for _, at := range []int64{0, -3, 11, l.head() + 5} {
		_, err = p.Failure(t.Context(), at)
		require.ErrorIs(t, err, ErrNoFailure)
		require.ErrorIs(t, p.Retry(t.Context(), at), ErrNoFailure)
		require.ErrorIs(t, p.Discard(t.Context(), at, "so"), ErrNoFailure)
	}

	// Retried, it fails again, and then not.
	failed := new(EventError)
	require.ErrorAs(t, p.Retry(t.Context(), 22), &failed)
	require.Equal(t, int64(22), failed.Position)
	got, err = p.Failure(t.Context(), 22)
	require.NoError(t, err)
	require.Equal(t, 2, got.Attempts)
	require.Equal(t, 3, p.Status().DeadLetters)
	f.set(22, 0)
	require.NoError(t, p.Retry(t.Context(), 22))
	require.Equal(t, 2, p.Status().DeadLetters)
	require.ErrorIs(t, p.Retry(t.Context(), 22), ErrNoFailure, "once")
	var moves int64
	require.NoError(t, p.Read(t.Context(), 0, func(r *Reader) error { return r.QueryRow(`SELECT SUM(moves) FROM account`).Scan(&moves) }))
	require.EqualValues(t, 98, moves)

	// Discarded, with a reason that is kept.
	for _, reason := range []string{"", " \n", strings.Repeat("x", MaxReason+1)} {
		require.ErrorContains(t, p.Discard(t.Context(), 33, reason), "say why")
	}
	require.NoError(t, p.Discard(t.Context(), 33, "a test account"))
	require.ErrorIs(t, p.Discard(t.Context(), 33, "again"), ErrNoFailure)
	require.Equal(t, 1, p.Status().DeadLetters)
	letters, err := p.DeadLetters(t.Context(), 0)
	require.NoError(t, err)
	require.Len(t, letters, 1)
	require.NoError(t, p.Close())
	p = openTest(t, dir, l, d)
	list, err := p.Discards(t.Context(), 0)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, "a test account", list[0].Reason)
	require.Equal(t, int64(33), list[0].Position)
	require.Equal(t, l.events[32].Version, list[0].StreamVersion)
	got, err = p.Failure(t.Context(), 33)
	require.NoError(t, err)
	require.Equal(t, Discarded, got.State)
	require.Equal(t, "a test account", got.Reason)

	// A rebuild, an audit, a past and a higher version leave it out, although it
	// does not fail any more, and keep the reason.
	f.set(33, 0)
	_, err = p.Rebuild(t.Context(), nil)
	require.NoError(t, err)
	out := func(e eventstore.Recorded) bool { return e.Position == 10 || e.Position == 33 }
	requireGood(t, p, l, out)
	audited, err := Audit(t.Context(), dir, l, t.TempDir(), d)
	require.NoError(t, err)
	require.True(t, audited.Identical, audited.Difference)
	past, err := p.AsOf(t.Context(), 60, nil)
	require.NoError(t, err)
	var n int64
	require.NoError(t, past.Read(t.Context(), func(r *Reader) error { return r.QueryRow(`SELECT SUM(moves) FROM account`).Scan(&n) }))
	require.NoError(t, past.Close())
	require.EqualValues(t, 48, n, "of 60 events 10 are notes")
	require.NoError(t, p.Close())
	p = openTest(t, dir, l, ledger(2, f.fail, OnFailure(Skip), once))
	require.NoError(t, deliver(t, p, l, 30))
	require.Equal(t, 2, p.Status().Version)
	requireGood(t, p, l, out)
	again, err := p.Discards(t.Context(), 0)
	require.NoError(t, err)
	require.Equal(t, list, again)

	// Whoever thinks better of it retries it.
	require.NoError(t, p.Retry(t.Context(), 33))
	list, err = p.Discards(t.Context(), 0)
	require.NoError(t, err)
	require.Empty(t, list)
	_, err = p.Rebuild(t.Context(), nil)
	require.NoError(t, err)
	requireGood(t, p, l, func(e eventstore.Recorded) bool { return e.Position == 10 })
}

func TestAParkedStreamIsRetriedInOrderAndItsHeadDiscarded(t *testing.T) {
	l, dir, f := newTape(), t.TempDir(), &faults{}
	someMoves(l, 100)
	stream := "a-3"
	var of []int64 // its positions
	for _, e := range l.events {
		if e.Stream == stream {
			of = append(of, e.Position)
		}
	}
	f.set(of[2], always)
	f.set(of[4], always)
	d := ledger(1, f.fail, OnFailure(Park), once)
	p := openTest(t, dir, l, d)
	require.NoError(t, deliver(t, p, l, 30))
	got, err := p.Failure(t.Context(), of[2])
	require.NoError(t, err)
	require.Equal(t, Parked, got.State)
	require.Equal(t, l.events[of[2]-1], got.Event)
	require.Contains(t, got.Err, "fault")
	got, err = p.Failure(t.Context(), of[3])
	require.NoError(t, err)
	require.Equal(t, Waiting, got.State)
	require.Zero(t, got.Attempts)
	require.ErrorIs(t, p.Retry(t.Context(), of[3]), ErrNoFailure, "its turn has not come")
	require.ErrorIs(t, p.Discard(t.Context(), of[3], "so"), ErrNoFailure)
	require.ErrorIs(t, p.Retry(t.Context(), of[2]), errFault)

	// What waits behind the discarded one follows, to the next that fails.
	require.ErrorIs(t, p.Discard(t.Context(), of[2], "entered twice"), errFault)
	parked, err := p.Parked(t.Context(), 0)
	require.NoError(t, err)
	require.Len(t, parked, 1)
	require.Equal(t, of[4], parked[0].Position)
	require.Equal(t, len(of)-4, parked[0].Events)
	require.Equal(t, len(of)-4, p.Status().ParkedEvents)
	f.set(of[4], 0)
	f.order = nil
	require.NoError(t, p.Retry(t.Context(), of[4]))
	require.Equal(t, of[4:], f.order, "in order")
	require.Zero(t, p.Status().ParkedStreams)
	requireGood(t, p, l, func(e eventstore.Recorded) bool { return e.Position == of[2] })
	rebuilt, err := p.Rebuild(t.Context(), nil)
	require.NoError(t, err)
	require.True(t, rebuilt.Identical, rebuilt.Difference)
	list, err := p.Discards(t.Context(), 0)
	require.NoError(t, err)
	require.Equal(t, "entered twice", list[0].Reason)
}

// A discarded event is left out also where its stream is parked anew in a build.
func TestADiscardedEventBehindAParkedOneOfABuild(t *testing.T) {
	l, f := newTape(), &faults{}
	for i := range 40 {
		l.add("a", moved{"a", int64(i)})
	}
	d := ledger(1, f.fail, OnFailure(Park), once)
	p := openTest(t, t.TempDir(), l, d)
	f.set(20, always)
	require.NoError(t, deliver(t, p, l, 10))
	require.NoError(t, p.Discard(t.Context(), 20, "so"))
	l.add("a", moved{"a", 7})
	f.set(41, always)
	require.NoError(t, deliver(t, p, l, 10))
	rebuilt, err := p.Rebuild(t.Context(), nil)
	require.NoError(t, err)
	require.True(t, rebuilt.Identical, rebuilt.Difference)
	require.Equal(t, 1, p.Status().ParkedEvents)
	list, err := p.Discards(t.Context(), 0)
	require.NoError(t, err)
	require.Len(t, list, 1)
}

func TestNothingIsSettledWhileAFileIsBuilt(t *testing.T) {
	l, dir, f := newTape(), t.TempDir(), &faults{}
	someMoves(l, 100)
	f.set(10, always)
	p := openTest(t, dir, l, ledger(1, f.fail, OnFailure(Skip), once))
	require.NoError(t, deliver(t, p, l, 30))
	require.NoError(t, p.Close())
	someMoves(l, 5*p.pageSize)
	up := openTest(t, dir, l, ledger(2, f.fail, OnFailure(Skip), once))
	require.ErrorIs(t, up.Retry(t.Context(), 10), ErrBuilding)
	require.ErrorIs(t, up.Discard(t.Context(), 10, "so"), ErrBuilding)
}

// amount is moved, as it was stored first: with dollars.
type amount struct {
	Account string
	Cents   int64
}

func (amount) EventType() string { return "amount" }
func (amount) EventVersion() int { return 2 }

var errUpcast = errors.New("no dollars")

func (amount) Upcast(version int, data []byte) ([]byte, error) {
	var old struct {
		Account string
		Dollars *int64
	}
	if err := json.Unmarshal(data, &old); err != nil {
		return nil, err
	}
	if old.Dollars == nil {
		return nil, errUpcast
	}
	return json.Marshal(amount{old.Account, 100 * *old.Dollars})
}

func TestARetriedEventIsUpcast(t *testing.T) {
	for _, policy := range []Policy{Park, Skip} {
		l := newTape()
		broken := true
		d := Define("sums", 1, `CREATE TABLE sum (account TEXT PRIMARY KEY, cents INTEGER NOT NULL) STRICT`,
			On(func(_ context.Context, tx *Tx, e eventstore.Of[amount]) error {
				if broken && e.SchemaVersion == 1 {
					return errFault
				}
				_, err := tx.Exec(`INSERT INTO sum (account, cents) VALUES (?1, ?2) ON CONFLICT (account) DO UPDATE SET cents = cents + ?2`, e.Payload.Account, e.Payload.Cents)
				return err
			}), OnFailure(policy), once)
		l.raw("a", "amount", []byte(`{"Account":"a","Dollars":3}`))
		l.raw("a", "amount", []byte(`{"Account":"a","Dollars":4}`))
		l.raw("b", "amount", []byte(`{"Account":"b"}`)) // cannot be upcast
		p := openTest(t, t.TempDir(), l, d)
		next := page(l, 0, 10)
		next.Events = append(next.Events, l.events...)
		require.NoError(t, p.Apply(t.Context(), next))
		shown, err := p.Failure(t.Context(), 1)
		require.NoError(t, err)
		require.True(t, bytes.Contains(shown.Event.Data, []byte("Dollars")), "the event is shown as it was recorded")
		require.ErrorIs(t, p.Retry(t.Context(), 3), errUpcast)
		broken = false
		require.NoError(t, p.Retry(t.Context(), 1))
		if policy == Skip {
			require.NoError(t, p.Retry(t.Context(), 2))
		}
		require.NoError(t, p.Discard(t.Context(), 3, "no amount"))
		var cents int64
		require.NoError(t, p.Read(t.Context(), 0, func(r *Reader) error { return r.QueryRow(`SELECT cents FROM sum WHERE account = 'a'`).Scan(&cents) }))
		require.EqualValues(t, 700, cents, policy.String())
		st := p.Status()
		require.Zero(t, st.DeadLetters+st.ParkedEvents)
	}
}

// A retry that ends its transaction, or whose commit is refused, fails like any
// other.
func TestARetryThatEndsItsTransaction(t *testing.T) {
	for name, statement := range map[string]string{
		"rollback": `INSERT OR ROLLBACK INTO account (id, mix, moves) VALUES ('a-0', 1, 1)`,
		"deferred": `INSERT INTO line (account, cents) VALUES ('nobody', 1)`,
	} {
		l := newTape()
		someMoves(l, 30)
		d := Define("ledger", 1, ledgerSchema, On(func(_ context.Context, tx *Tx, e eventstore.Of[moved]) error {
			if e.Position == 8 {
				_, err := tx.Exec(statement)
				return err
			}
			_, err := tx.Exec(`INSERT INTO account (id, mix, moves) VALUES (?, 1, 1) ON CONFLICT (id) DO UPDATE SET moves = moves + 1`, e.Payload.Account)
			return err
		}), OnFailure(Skip), once)
		p := openTest(t, t.TempDir(), l, d)
		require.NoError(t, deliver(t, p, l, 30))
		require.Equal(t, 1, p.Status().DeadLetters, name)
		failed := new(EventError)
		require.ErrorAs(t, p.Retry(t.Context(), 8), &failed, name)
		got, err := p.Failure(t.Context(), 8)
		require.NoError(t, err)
		require.Equal(t, 2, got.Attempts, name)
		require.Equal(t, 1, p.Status().DeadLetters)
	}
}

// A file of before there were discards is read as it is, and gets their table
// from its owner.
func TestAFileOfTheFormatBeforeDiscards(t *testing.T) {
	l, dir := newTape(), t.TempDir()
	someMoves(l, 100)
	d := ledger(1, nil)
	p := openTest(t, dir, l, d)
	require.NoError(t, deliver(t, p, l, 30))
	_, err := p.live.db.Writer().Exec(`DROP TABLE leat_discarded; PRAGMA user_version = 1`)
	require.NoError(t, err)
	require.NoError(t, p.Close())
	sound(t, dir)
	audited, err := Audit(t.Context(), dir, l, t.TempDir(), d)
	require.NoError(t, err)
	require.True(t, audited.Identical)
	past, err := AsOf(t.Context(), dir, l, d, 30, nil)
	require.NoError(t, err)
	requirePast(t, past, l, 30)
	require.NoError(t, past.Close())
	p = openTest(t, dir, l, d)
	list, err := p.Discards(t.Context(), 0)
	require.NoError(t, err)
	require.Empty(t, list)
	require.Equal(t, l.head(), requireFold(t, p, l))
}

// TestAnUpgradeTriesWhatWasGivenUpOnce: what the live file has set aside is not
// waited for again.
func TestAnUpgradeTriesWhatWasGivenUpOnce(t *testing.T) {
	for _, policy := range []Policy{Park, Skip} {
		l, dir, f := newTape(), t.TempDir(), &faults{}
		for i := range 20 {
			id := fmt.Sprint("a-", i)
			f.set(l.add(id, moved{id, int64(i)}), i%2*always)
		}
		p := openTest(t, dir, l, ledger(1, f.fail, OnFailure(policy), once))
		require.NoError(t, deliver(t, p, l, 100))
		was := p.Status()
		require.Equal(t, 10, was.DeadLetters+was.ParkedEvents)
		require.NoError(t, p.Close())
		bad := l.add("b-1", moved{"b-1", 1}) // of which the live file does not know
		f.set(bad, 1)
		p = openTest(t, dir, l, ledger(2, f.fail, OnFailure(policy), Retries(3, time.Hour)))
		require.Equal(t, BackingOff, p.Status().State) // Open has begun to build
		require.Equal(t, bad, p.Status().Failed)
		require.NoError(t, deliver(t, p, l, 100))
		now := p.Status()
		require.Equal(t, 2, now.Version)
		require.Equal(t, [2]int{was.DeadLetters, was.ParkedEvents}, [2]int{now.DeadLetters, now.ParkedEvents})
	}
}

// TestFailuresPastTheListAreListedAfterIt.
func TestFailuresPastTheListAreListedAfterIt(t *testing.T) {
	l, f := newTape(), &faults{}
	for i := range MaxListed + 3 {
		id := fmt.Sprint("a-", i)
		f.set(l.add(id, moved{id, 1}), always)
	}
	for _, policy := range []Policy{Park, Skip} {
		p := openTest(t, t.TempDir(), l, ledger(1, f.fail, OnFailure(policy), once))
		require.NoError(t, deliver(t, p, l, 5000))
		list := func(after int64) (all []int64) {
			parked, err := p.Parked(t.Context(), after)
			require.NoError(t, err)
			for _, s := range parked {
				all = append(all, s.Position)
			}
			dead, err := p.DeadLetters(t.Context(), after)
			require.NoError(t, err)
			for _, d := range dead {
				all = append(all, d.Position)
			}
			return all
		}
		require.Len(t, list(0), MaxListed)
		require.Equal(t, []int64{MaxListed + 1, MaxListed + 2, MaxListed + 3}, list(list(0)[MaxListed-1]))
	}
	p := openTest(t, t.TempDir(), l, ledger(1, f.fail, OnFailure(Skip), once))
	require.NoError(t, deliver(t, p, l, 5000))
	for _, at := range []int64{3, 5} {
		require.NoError(t, p.Discard(t.Context(), at, "never valid"))
	}
	gone, err := p.Discards(t.Context(), 3)
	require.NoError(t, err)
	require.Len(t, gone, 1)
	require.Equal(t, int64(5), gone[0].Position)
}
