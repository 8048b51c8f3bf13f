package projection

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
)

// Bugs of peers in read models: docs/peers.md lists them all.

// There: a rebuild ended at the first gap between matching events that was
// wider than its page; what came after was never applied.
// Here: matching events further apart than a page, a scan, and a rebuild's page.
func TestMarten624_AGapWiderThanAPageIsCrossed(t *testing.T) {
	l := newTape()
	l.scan = 100
	for range 7 {
		l.add("note-1", noted{})
	}
	for _, gap := range []int{99, 100, 101, RebuildPage, RebuildPage + 1, 2*RebuildPage + 7} {
		l.add("a-1", moved{"a-1", int64(gap)})
		for range gap {
			l.add("note-1", noted{})
		}
	}
	l.add("a-1", moved{"a-1", 1})
	p := openTest(t, t.TempDir(), l, ledger(1, nil))
	require.NoError(t, deliver(t, p, l, 100))
	require.Equal(t, l.head(), requireFold(t, p, l))
	rebuilt, err := p.Rebuild(t.Context(), nil)
	require.NoError(t, err)
	require.True(t, rebuilt.Identical)
	require.Equal(t, 7, int(rebuilt.Events))
	require.Equal(t, l.head(), requireFold(t, p, l))
}

// There: the checkpoint had passed an event whose handler had not run when the
// process was killed.
// Here: what the file says while a page is in the midst of its handlers.
func TestEventuous222_TheCheckpointWaitsForTheHandlers(t *testing.T) {
	l, dir := newTape(), t.TempDir()
	someMoves(l, 20)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	in, out := make(chan struct{}), make(chan struct{})
	held := true
	d := ledger(1, func(e eventstore.Recorded) error {
		if held && e.Version == 2 {
			held = false
			close(in)
			<-out
		}
		return nil
	})
	p := openTest(t, dir, l, d)
	release := sync.OnceFunc(func() { close(out) })
	t.Cleanup(release) // so that a test that fails can close the projection
	done := make(chan error, 1)
	go func() { done <- p.Apply(ctx, page(l, 0, 100)) }()
	<-in
	var position, rows int64
	read := p.live.db.Reader()
	require.NoError(t, read.QueryRow(`SELECT position, (SELECT COUNT(*) FROM line) FROM leat_checkpoint`).Scan(&position, &rows))
	require.Zero(t, position)
	require.Zero(t, rows)
	cancel() // the end, before the rest is handled
	release()
	require.ErrorIs(t, <-done, context.Canceled)
	require.NoError(t, p.Close())
	p = openTest(t, dir, l, d)
	require.Zero(t, requireFold(t, p, l))
	require.NoError(t, deliver(t, p, l, 100))
	require.Equal(t, l.head(), requireFold(t, p, l))
}

// There: a checkpoint had passed events whose handler never ran.
// Here: a handler that is added when the checkpoint is past its events.
func TestEventuous142_AHandlerThatComesTooLateIsToldSo(t *testing.T) {
	l, dir := newTape(), t.TempDir()
	someMoves(l, 25)
	p := openTest(t, dir, l, ledger(1, nil))
	require.NoError(t, deliver(t, p, l, 10))
	require.NoError(t, p.Close())

	notes := 0
	more := On(func(context.Context, *Tx, eventstore.Of[noted]) error { notes++; return nil })
	_, err := Open(t.Context(), dir, l, ledger(1, nil, more), nil)
	require.ErrorIs(t, err, ErrSchemaChanged)
	require.ErrorContains(t, err, "raise the version")
	p = openTest(t, dir, l, ledger(2, nil, more))
	for {
		at, err := p.Checkpoint(t.Context())
		require.NoError(t, err)
		if at.Position == l.head() {
			break
		}
		read, err := l.ReadLog(t.Context(), at.Position, 10, p.Filter())
		require.NoError(t, err)
		require.NoError(t, p.Apply(t.Context(), bus.Page{After: at.Position, Events: read.Events, Through: read.Through}))
	}
	require.Equal(t, 5, notes, "all of them, from the start")
	requireFold(t, p, l)
}

// There: a position was stored and never compared: what was delivered again
// was applied again.
// Here: pages that come twice, after a restart, and to two processes at once.
func TestPlaenen_WhatIsDeliveredAgainIsAppliedOnce(t *testing.T) {
	l, dir := newTape(), t.TempDir()
	someMoves(l, 30)
	first := openTest(t, dir, l, ledger(1, nil))
	second := openTest(t, dir, l, ledger(1, nil)) // which nothing prevents by itself
	delivery := page(l, 0, 10)
	require.NoError(t, first.Apply(t.Context(), delivery))
	require.ErrorIs(t, second.Apply(t.Context(), delivery), bus.ErrCheckpointMoved)
	for range 3 {
		require.NoError(t, first.Apply(t.Context(), delivery))
		require.NoError(t, second.Apply(t.Context(), delivery), "now it has looked where the file is")
	}
	require.Equal(t, delivery.Through.Position, requireFold(t, first, l))
	require.NoError(t, second.Close())
	require.NoError(t, first.Close())
	p := openTest(t, dir, l, ledger(1, nil))
	require.NoError(t, p.Apply(t.Context(), delivery))
	require.NoError(t, p.Apply(t.Context(), page(l, 0, 20)), "half of it is new")
	require.NoError(t, deliver(t, p, l, 7))
	require.Equal(t, l.head(), requireFold(t, p, l))
}
