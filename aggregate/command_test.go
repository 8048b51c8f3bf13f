package aggregate_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/eventstore"
)

func TestACommandIsSpentByOneAppend(t *testing.T) {
	b := newBank(t, nil)
	ctx, command := eventstore.WithCommand(eventstore.WithMetadata(t.Context(), eventstore.Metadata{"k": "v"}), "cmd-1")
	c, err := b.Update(ctx, "1", deposit(10))
	require.NoError(t, err)
	require.Equal(t, "cmd-1", c.ID)
	done, ok := command.Commit()
	require.True(t, ok)
	require.Equal(t, c, done)
	e := b.stream("1")[0]
	m, err := e.Meta.Decode()
	require.NoError(t, err)
	require.Equal(t, eventstore.Metadata{"k": "v", eventstore.CommandID: "cmd-1"}, m)
	require.Equal(t, "cmd-1", e.BatchID)

	_, err = b.Update(ctx, "2", deposit(10))
	require.ErrorIs(t, err, eventstore.ErrCommandSpent)
	_, err = b.Update(ctx, "1", nothing)
	require.ErrorIs(t, err, eventstore.ErrCommandSpent)
	require.Empty(t, b.stream("2"))
}

func TestSeveralStreamsUnderOneCommandAreOneAppend(t *testing.T) {
	b := newBank(t, nil)
	ctx, _ := eventstore.WithCommand(t.Context(), "cmd-1")
	c, err := aggregate.UpdateAll(ctx, b.Change("1", deposit(10)), b.Change("2", deposit(10)))
	require.NoError(t, err)
	require.Len(t, c.Streams, 2)
	require.Equal(t, "cmd-1", c.ID)
}

func TestACommandThatWasCarriedOutIsNotDecidedAgain(t *testing.T) {
	b := newBank(t, nil)
	decisions := 0
	perform := func() eventstore.Commit {
		ctx, command := eventstore.WithCommand(t.Context(), "cmd-1")
		c, err := b.Update(ctx, "1", counted(&decisions, deposit(int64(10+decisions))))
		require.NoError(t, err)
		done, ok := command.Commit()
		require.True(t, ok)
		require.Equal(t, c, done)
		return c
	}
	first := perform()
	for range 3 {
		again := perform()
		require.True(t, again.Duplicate)
		again.Duplicate = false
		require.Equal(t, first, again)
	}
	require.Equal(t, 1, decisions)
	require.Equal(t, int64(10), b.balance("1"))
}

func TestAnUnusedCommandIsNotAskedFor(t *testing.T) {
	b := newBank(t, nil)
	for i, with := range []func(context.Context, string) (context.Context, *eventstore.Command){eventstore.WithUnusedCommand, eventstore.WithCommand} {
		ctx, command := with(t.Context(), fmt.Sprintf("cmd-%d", i))
		require.Equal(t, i == 0, command.Unused())
		_, err := b.Update(ctx, "1", deposit(10))
		require.NoError(t, err)
		require.Equal(t, i, b.spy.asked)
	}
}

// Whoever gives out an id that was used says that it was not: what is decided
// then is not stored, and the first commit is the answer.
func TestAnUnusedCommandThatWasUsedTakesEffectOnce(t *testing.T) {
	for name, d := range map[string]decision{"the same": deposit(20), "other events": deposit(10), "a refusal": withdraw(1000), "no events": nothing} {
		t.Run(name, func(t *testing.T) {
			b := newBank(t, nil)
			b.update("1", deposit(1)) // in memory
			ctx, _ := eventstore.WithCommand(t.Context(), "cmd-1")
			first, err := b.other.Update(ctx, "1", deposit(20))
			require.NoError(t, err)
			ctx, command := eventstore.WithUnusedCommand(t.Context(), "cmd-1")
			again, err := b.Update(ctx, "1", d)
			require.NoError(t, err)
			require.True(t, again.Duplicate)
			again.Duplicate = false
			require.Equal(t, first, again)
			_, ok := command.Commit()
			require.True(t, ok)
			require.Equal(t, int64(21), b.balance("1"))
		})
	}
}

func TestADecisionWithoutEventsRecordsItsCommand(t *testing.T) {
	b := newBank(t, nil)
	b.update("1", deposit(10))
	decisions := 0
	for i := range 3 {
		ctx, _ := eventstore.WithCommand(t.Context(), "cmd-1")
		c, err := b.Update(ctx, "1", counted(&decisions, nothing))
		require.NoError(t, err)
		require.Equal(t, i > 0, c.Duplicate)
		require.Equal(t, int64(1), c.Last)
		require.Zero(t, c.Events())
		b.meanwhile("1", deposit(1)) // it would decide otherwise now
	}
	require.Equal(t, 2, decisions, "on what was in memory, and on what the log holds")
	_, ok, err := b.spy.Committed(t.Context(), "cmd-1")
	require.NoError(t, err)
	require.True(t, ok)
}

func TestARefusedDecisionGivesTheCommandBack(t *testing.T) {
	b := newBank(t, nil)
	ctx, command := eventstore.WithCommand(t.Context(), "cmd-1")
	_, err := b.Update(ctx, "1", withdraw(10))
	require.ErrorIs(t, err, ErrOverdrawn)
	_, ok := command.Commit()
	require.False(t, ok)
	_, err = b.Update(ctx, "1", deposit(10))
	require.NoError(t, err)
}

// The same command is carried out by another process at every moment of ours:
// the answer is the first commit, the money moves once.
func TestDecidingTwiceUnderACommandID(t *testing.T) {
	perform := func(b *bank, r *aggregate.Repository[Account], cents int64) (eventstore.Commit, error) {
		ctx, _ := eventstore.WithCommand(b.Context(), "cmd-1")
		return r.Update(ctx, "1", deposit(cents))
	}
	for name, c := range map[string]struct {
		set   func(b *bank, meanwhile func())
		cents int64 // what the other process decides; ours is 10
	}{
		// With other events our append is ErrIDReused, and the log is asked again.
		"before the append, other events": {func(b *bank, meanwhile func()) {
			b.spy.before = func(n int, _ eventstore.Batch) {
				if n == 2 {
					meanwhile()
				}
			}
		}, 7},
		// With the same events it is a duplicate.
		"before the append, same events": {func(b *bank, meanwhile func()) {
			b.spy.before = func(n int, _ eventstore.Batch) {
				if n == 2 {
					meanwhile()
				}
			}
		}, 10},
		// Between a conflict and the next decision the log is asked too.
		"after a conflict": {func(b *bank, meanwhile func()) {
			b.spy.before = func(n int, _ eventstore.Batch) {
				if n == 2 {
					b.meanwhile("1", deposit(0))
				}
			}
			b.spy.answer = func(n int, c eventstore.Commit, err error) (eventstore.Commit, error) {
				if n == 2 {
					require.ErrorIs(b, err, eventstore.ErrConflict)
					meanwhile()
				}
				return c, err
			}
		}, 7},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBank(t, nil)
			b.update("1", deposit(100))
			var first eventstore.Commit
			c.set(b, func() {
				var err error
				first, err = perform(b, b.other, c.cents)
				require.NoError(t, err)
			})
			got, err := perform(b, b.Repository, 10)
			require.NoError(t, err)
			require.True(t, got.Duplicate)
			require.Equal(t, first.First, got.First)
			require.Equal(t, 100+c.cents, b.balance("1"))

			b.spy.before, b.spy.answer = nil, nil
			b.spy.read()
			b.update("1", withdraw(100+c.cents))
			require.Zero(t, b.balance("1"), "the state knows what was stored")
			if name != "after a conflict" {
				require.Equal(t, []int64{1}, b.spy.read(), "the state was dropped")
			}
		})
	}
}

func TestAnUnknownOutcomeIsTheCallers(t *testing.T) {
	for name, stored := range map[string]bool{"stored": true, "not stored": false} {
		t.Run(name, func(t *testing.T) {
			b := newBank(t, nil)
			b.update("1", deposit(100))
			b.spy.before = func(n int, batch eventstore.Batch) {
				if n == 2 && !stored {
					batch.Writes[0].Expect = eventstore.NoStream()
				}
			}
			b.spy.answer = func(n int, c eventstore.Commit, err error) (eventstore.Commit, error) {
				if n == 2 {
					return eventstore.Commit{}, &eventstore.OutcomeUnknownError{BatchID: "cmd-1", Err: errors.New("no answer")}
				}
				return c, err
			}
			ctx, command := eventstore.WithCommand(t.Context(), "cmd-1")
			_, err := b.Update(ctx, "1", deposit(10))
			require.ErrorIs(t, err, eventstore.ErrOutcomeUnknown)
			_, ok := command.Commit()
			require.False(t, ok)
			_, err = b.Update(ctx, "1", deposit(99))
			require.ErrorIs(t, err, eventstore.ErrCommandSpent, "it may be spent, so nothing else is decided under it")

			ctx, _ = eventstore.WithCommand(t.Context(), "cmd-1")
			c, err := b.Update(ctx, "1", deposit(10))
			require.NoError(t, err)
			require.Equal(t, stored, c.Duplicate)
			require.Equal(t, int64(110), b.balance("1"))
			b.update("1", withdraw(110))
		})
	}
}

func TestACommandWithoutAnIDIsAnOrdinaryUpdate(t *testing.T) {
	b := newBank(t, nil)
	ctx, command := eventstore.WithCommand(t.Context(), "")
	for i := range 2 {
		c, err := b.Update(ctx, "1", deposit(10))
		require.NoError(t, err)
		require.Empty(t, c.ID)
		done, ok := command.Commit()
		require.True(t, ok)
		require.Equal(t, int64(i+1), done.Last)
	}
	require.Empty(t, b.stream("1")[0].Meta)
}

// TestARefusalAfterTheCommandWasCarriedOutIsItsCommit: two runs of one command
// at once; the slower one reads what the faster one stored, and would refuse it.
func TestARefusalAfterTheCommandWasCarriedOutIsItsCommit(t *testing.T) {
	b := newBank(t, nil)
	b.update("1", deposit(10))
	ctx, _ := eventstore.WithCommand(b.Context(), "cmd-1")
	first := true
	commit, err := b.other.Update(ctx, "1", func(a *Account) (aggregate.Events, error) {
		if first { // the other run comes between the question and the reading
			first = false
			ctx, _ := eventstore.WithCommand(b.Context(), "cmd-1")
			_, err := b.Update(ctx, "1", withdraw(10))
			require.NoError(t, err)
			a.Balance = 0
		}
		return withdraw(10)(a)
	})
	require.NoError(t, err)
	require.True(t, commit.Duplicate)
	require.Zero(t, b.balance("1"))
}
