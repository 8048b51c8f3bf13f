//go:build linux && cgo

package serverless_test

import (
	"bytes"
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

	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/faultvfs"
	"github.com/leat-go/leat/saga"
	"github.com/leat-go/leat/serverless"
)

// failingDisk has files be opened through a disk that can be made to fail.
func failingDisk(t *testing.T) {
	t.Helper()
	unregister, err := faultvfs.Register()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, unregister()) })
}

// breakLog has every sync of the log's files fail until mend is called.
func breakLog(t *testing.T, dir string) (mend func()) {
	t.Helper()
	var faults []*faultvfs.Injected
	for _, suffix := range []string{"log.db", "log.db-wal"} {
		f, err := faultvfs.Inject(faultvfs.Fault{Kind: faultvfs.Sync, Dir: dir, Suffix: suffix, Times: faultvfs.Forever})
		require.NoError(t, err)
		faults = append(faults, f)
	}
	return func() {
		for _, f := range faults {
			f.Remove()
		}
	}
}

// lines is a log that can be read while it is written.
type lines struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), text)
}

type saving struct{}

// bonus deposits one cent to "bonus" for every deposit of 100, through a saga,
// and one to "echo" through an event function that skips what it fails on.
func bonus(b *bank) {
	b.Saga(saga.Define("bonus", 1,
		saga.Starts(func(e Deposited) string { return fmt.Sprint(e.Account, e.Cents) }, func(_ *saving, c *saga.Context, e Deposited) error {
			if e.Cents == 100 {
				c.Send(Deposit{Account: "bonus", Cents: 1})
			}
			return nil
		})))
	serverless.OnEvent(b.Host, "echo", func(ctx context.Context, e eventstore.Of[Deposited]) error {
		if e.Payload.Cents != 100 {
			return nil
		}
		_, err := b.Do(ctx, serverless.Request{Function: "deposit", Payload: Deposit{Account: "echo", Cents: 1}, ID: "echo-" + e.ID.String()})
		return err
	}, serverless.OnFailure(serverless.Skip), serverless.Retry(serverless.RetryPolicy{Attempts: 1}))
}

func storeStatus(t *testing.T, b *bank) serverless.StoreStatus {
	t.Helper()
	st, err := b.Status(t.Context())
	require.NoError(t, err)
	return st.Store
}

func TestARunningHostOpensAStoppedStoreAgain(t *testing.T) {
	failingDisk(t)
	dir := t.TempDir()
	var log lines
	b := newBank(t, dir, serverless.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}, bonus)
	require.NoError(t, b.Open(t.Context()))
	stop := b.running(t)
	defer func() { stop() }()
	for i := range 5 {
		b.deposit(t, fmt.Sprint("before-", i), 100)
	}
	mend := breakLog(t, dir)
	request := serverless.Request{Function: "deposit", Payload: Deposit{Account: "ada", Cents: 100}, ID: "ada-1"}
	_, err := b.Do(t.Context(), request)
	require.ErrorIs(t, err, eventstore.ErrOutcomeUnknown)
	require.Eventually(t, func() bool { return storeStatus(t, b).Attempts > 1 }, time.Minute, time.Millisecond, "it tries")
	st := storeStatus(t, b)
	require.True(t, st.Stopped)
	require.Contains(t, st.Cause, "commit to")
	require.NotEmpty(t, st.Error)
	require.False(t, st.Since.IsZero())
	require.False(t, st.NextAttempt.IsZero())
	b.balance(t, "before-1")

	mend()
	require.Eventually(t, func() bool { return !storeStatus(t, b).Stopped }, time.Minute, time.Millisecond)
	require.Equal(t, serverless.StoreStatus{}, storeStatus(t, b))
	_, err = b.Do(t.Context(), request)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return b.balance(t, "bonus") == 6 && b.balance(t, "echo") == 6 }, time.Minute, 10*time.Millisecond,
		"commands and functions go on")
	require.EqualValues(t, 100, b.balance(t, "ada"), "once")
	status, err := b.Status(t.Context())
	require.NoError(t, err)
	require.Zero(t, status.DeadLetters, "nothing was given up because of the stop")
	require.Zero(t, status.Sagas.Parked)
	require.Equal(t, 1, log.count("have stopped"), "one line at the stop, the store's")
	require.Zero(t, log.count("has stopped"))
	require.Equal(t, 1, log.count("the store was opened again"), "and one at the end")
}

func TestADrainWaitsForAStoppedStoreWithinItsBudget(t *testing.T) {
	failingDisk(t)
	for name, virtual := range map[string]bool{"by the system's clock": false, "in virtual time": true} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			opts := serverless.Options{}
			if virtual {
				opts.Clock = clock.NewVirtual(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC))
			}
			b := newBank(t, dir, opts, bonus)
			b.deposit(t, "ada", 100)
			mend := breakLog(t, dir)
			_, err := b.Drain(t.Context(), serverless.Budget{Time: 500 * time.Millisecond})
			require.ErrorIs(t, err, serverless.ErrStopped)
			require.ErrorContains(t, err, "commit to")
			require.Equal(t, serverless.ExitFailed, serverless.ExitCode(err), "not merely more work")
			require.True(t, storeStatus(t, b).Stopped, "Status says so while nobody tries")

			done := make(chan error, 1)
			go func() {
				_, err := b.Drain(context.Background(), serverless.Budget{Time: time.Minute})
				done <- err
			}()
			require.Eventually(t, func() bool { return storeStatus(t, b).Attempts > 1 }, time.Minute, time.Millisecond)
			mend()
			require.NoError(t, <-done)
			require.EqualValues(t, 1, b.balance(t, "bonus"))
			require.EqualValues(t, 1, b.balance(t, "echo"))
		})
	}
}

// A store whose log was taken away does not mend itself: a Drain says so at
// once, however much time it has.
func TestADrainDoesNotWaitForWhatCannotBeMended(t *testing.T) {
	dir := t.TempDir()
	b := newBank(t, dir, serverless.Options{}, bonus)
	b.deposit(t, "ada", 100)
	require.NoError(t, os.Remove(filepath.Join(dir, "log.db-wal")))
	_, err := b.Drain(t.Context(), serverless.Budget{})
	require.ErrorIs(t, err, serverless.ErrStopped)
	require.ErrorIs(t, err, eventstore.ErrCorrupt)
	require.ErrorContains(t, err, "Backup")
}

// A source's inputs that a stopped store refused are asked for again.
func TestASourceGoesOnAfterTheStoreHadStopped(t *testing.T) {
	failingDisk(t)
	for name, virtual := range map[string]bool{"run": false, "drain in virtual time": true} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			opts, begin := serverless.Options{}, time.Now()
			if virtual {
				begin = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
				opts.Clock = clock.NewVirtual(begin)
			}
			src := &deposits{at: begin, left: 3}
			b := newBank(t, dir, opts, func(b *bank) { src.bank = b; b.Source(src) })
			require.NoError(t, b.Open(t.Context()))
			mend := breakLog(t, dir)
			var end func()
			if virtual {
				done := make(chan error, 1)
				go func() {
					_, err := b.Drain(context.Background(), serverless.Budget{Time: time.Minute})
					done <- err
				}()
				end = func() { require.NoError(t, <-done) }
			} else {
				end = b.running(t)
			}
			require.Eventually(t, func() bool { return storeStatus(t, b).Attempts > 1 }, time.Minute, time.Millisecond)
			mend()
			require.Eventually(t, func() bool { head, err := b.store.Head(t.Context()); return err == nil && head == 3 }, time.Minute, time.Millisecond)
			end()
			require.NoError(t, b.store.Err())
		})
	}
}

// deposits are a few inputs, one after the other.
type deposits struct {
	bank *bank
	at   time.Time
	left int
}

func (d *deposits) Next(context.Context) (time.Time, bool, error) { return d.at, d.left > 0, nil }

func (d *deposits) Release(ctx context.Context, _ time.Time) error {
	_, err := d.bank.Do(ctx, serverless.Request{
		Function: "deposit", Payload: Deposit{Account: "ada", Cents: int64(d.left)}, ID: fmt.Sprint("input-", d.left),
	})
	if err == nil {
		d.left--
	}
	return err
}
