package window_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/projection/window"
)

// killDir names the environment variable that makes a child of the test program,
// and tells it where the read model is.
const killDir = "LEAT_WINDOW_KILL_DIR"

func killOptions() *window.Options { return &window.Options{Lateness: 6 * time.Second} }

// killEvents are of every kind: in order, late, too late, of merging sessions.
func killEvents() (events []sold) {
	for i, at := range []int64{0, 3, 12, 9, 11, 18, 2, 25, 23, 40, 37, 36, 10, 52, 51, 70, 66, 90} {
		events = append(events, sold{Shop: []string{"a", "b"}[i%3%2], At: at, Cents: int64(i * 37 % 101)})
	}
	return events
}

// childFailer ends the child where a check fails.
type childFailer struct{}

func (childFailer) Helper()               {}
func (childFailer) Errorf(string, ...any) {}
func (childFailer) FailNow()              { os.Exit(1) }

// killChild applies events until it reaches one it was not killed at before, and
// kills itself there, in the middle of the transaction, with what that event has
// done to the tables written and not committed.
func killChild(dir string) {
	fail := func(e eventstore.Of[sold]) error {
		once, err := os.OpenFile(filepath.Join(dir, "killed-at-"+e.Payload.Shop+time.Unix(e.Payload.At, 0).Format("150405")), os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, os.ErrExist) {
			return nil
		}
		return errors.Join(err, once.Close(), syscall.Kill(os.Getpid(), syscall.SIGKILL))
	}
	var t childFailer
	log := record(t, killEvents(), recorded)
	// Logs in memory have epochs of their own: this one begins where the file is.
	p := openIn(t, dir, sameEpoch{log}, newShops(killOptions()).define(fail))
	deliverAll(t, p, sameEpoch{log}, 3)
	if p.Close() != nil {
		os.Exit(1)
	}
}

// sameEpoch is a log in memory that is the same log in every process that
// recorded the same.
type sameEpoch struct{ eventstore.LogReader }

func (l sameEpoch) ReadLog(ctx context.Context, after int64, limit int, f eventstore.Filter) (eventstore.Page, error) {
	page, err := l.LogReader.ReadLog(ctx, after, limit, f)
	page.Through = plain(page.Through)
	return page, err
}

func (l sameEpoch) Anchor(ctx context.Context, position int64) (eventstore.Anchor, error) {
	a, err := l.LogReader.Anchor(ctx, position)
	return plain(a), err
}

func plain(a eventstore.Anchor) eventstore.Anchor {
	if a.Position == 0 {
		return a
	}
	return eventstore.Anchor{Epoch: "same", Position: a.Position}
}

// TestKilledInTheMiddleOfEveryEvent kills a process once at each event and demands
// the tables that an undisturbed one makes.
func TestKilledInTheMiddleOfEveryEvent(t *testing.T) {
	log := sameEpoch{record(t, killEvents(), recorded)}
	s := newShops(killOptions())
	calm := openIn(t, t.TempDir(), log, s.define(nil))
	deliverAll(t, calm, log, bus.DefaultPageSize)
	want := tables(t, calm)
	require.NoError(t, calm.Close())

	dir, kills := t.TempDir(), 0
	for {
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), killDir+"="+dir)
		out, err := child.CombinedOutput()
		if err == nil {
			break
		}
		died, ok := errors.AsType[*exec.ExitError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, syscall.SIGKILL, died.Sys().(syscall.WaitStatus).Signal(), "%s", out)
		kills++
	}
	require.Equal(t, len(killEvents()), kills)
	p := openIn(t, dir, log, s.define(nil))
	defer func() { require.NoError(t, p.Close()) }()
	require.Equal(t, want, tables(t, p))
	requireIdentical(t, p)
}
