package serverless

import (
	"context"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/sqlite"
)

func newLedger(t *testing.T) *ledger {
	t.Helper()
	l, err := openLedger(t.Context(), t.TempDir(), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.close()) })
	return l
}

func anchor(position int64) eventstore.Anchor {
	return eventstore.Anchor{Epoch: "e", Position: position, Hash: [32]byte{byte(position)}}
}

func TestACheckpointMovesOnlyFromWhereItIs(t *testing.T) {
	l := newLedger(t)
	ctx := t.Context()
	at, err := l.Load(ctx, "mailer")
	require.NoError(t, err)
	require.Zero(t, at)
	require.NoError(t, l.Save(ctx, "mailer", eventstore.Anchor{}, anchor(5)))
	require.ErrorIs(t, l.Save(ctx, "mailer", eventstore.Anchor{}, anchor(6)), bus.ErrCheckpointMoved)
	require.ErrorIs(t, l.Save(ctx, "mailer", anchor(4), anchor(6)), bus.ErrCheckpointMoved)
	require.NoError(t, l.Save(ctx, "mailer", anchor(5), anchor(6)))
	at, err = l.Load(ctx, "mailer")
	require.NoError(t, err)
	require.Equal(t, anchor(6), at)
}

func TestTheLedgerIsDurable(t *testing.T) {
	l := newLedger(t)
	var full int
	require.NoError(t, l.db.Writer().QueryRow("PRAGMA synchronous").Scan(&full))
	require.Equal(t, 2, full)
}

func TestPartitionsGoOnFromTheSlowestOfTheFormerOnes(t *testing.T) {
	l := newLedger(t)
	ctx := t.Context()
	at := func(name string) int64 {
		a, ok, err := l.checkpoint(ctx, name)
		require.NoError(t, err)
		if !ok {
			return -1
		}
		return a.Position
	}
	isNew, err := l.enroll(ctx, "f", 2, anchor(10))
	require.NoError(t, err)
	require.True(t, isNew)
	require.NoError(t, l.Save(ctx, "f#0/2", anchor(10), anchor(30)))
	require.NoError(t, l.Save(ctx, "f#1/2", anchor(10), anchor(20)))
	isNew, err = l.enroll(ctx, "f", 2, anchor(99))
	require.NoError(t, err)
	require.False(t, isNew)
	require.EqualValues(t, 30, at("f#0/2"))

	// Neither one that has the name as its beginning nor a failing event of
	// before is in the way.
	_, err = l.enroll(ctx, "f-other", 1, anchor(1))
	require.NoError(t, err)
	require.NoError(t, l.failed(ctx, "f#1/2", attempt{Position: 21, Attempts: 1, Error: "x"}))
	isNew, err = l.enroll(ctx, "f", 1, anchor(99))
	require.NoError(t, err)
	require.False(t, isNew)
	require.EqualValues(t, 20, at("f"))
	require.EqualValues(t, -1, at("f#0/2"))
	require.EqualValues(t, 1, at("f-other"))
	a, err := l.failing(ctx, "f#1/2")
	require.NoError(t, err)
	require.Zero(t, a)
}

func TestAnEffectWithoutItsCheckpointIsUndone(t *testing.T) {
	l := newLedger(t)
	err := l.write(t.Context(), "test", func(tx *sqlite.Tx) error {
		e := eventstore.Recorded{Position: 1, Stream: "s-1", Type: "t"}
		if err := insertLetter(tx, "f", stateParked, e, attempt{Attempts: 1, Error: "x"}, 1); err != nil {
			return err
		}
		return moveCheckpoint(tx, "f", anchor(1), anchor(2))
	})
	require.ErrorIs(t, err, bus.ErrCheckpointMoved)
	letters, err := l.deadLetters(context.Background(), "", 0, 10, false)
	require.NoError(t, err)
	require.Empty(t, letters)
}

func TestWaitsAreDrawnUpToABoundThatDoubles(t *testing.T) {
	r := RetryPolicy{First: 10, Longest: 60}.withDefaults()
	for attempts, bound := range map[int]int{1: 10, 2: 20, 3: 40, 4: 60, 5: 60, 900: 60} {
		most := 0
		for range 2000 {
			w := int(r.wait(attempts))
			require.Positive(t, w)
			most = max(most, w)
		}
		require.LessOrEqual(t, most, bound)
		require.Greater(t, most, bound*8/10)
	}
}
