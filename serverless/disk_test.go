//go:build linux && cgo

package serverless_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/internal/faultvfs"
	"github.com/leat-go/leat/internal/sqlite"
	"github.com/leat-go/leat/serverless"
)

// consumerFiles are the files of a bank beside its log, by the consumer that
// fails where they do.
var consumerFiles = map[string]string{"sagas": "sagas.db", "echo": "consumers.db", "balances": "balances.v1.1.db"}

// backsOff waits until the consumer of this name backs off, and returns why.
func backsOff(t *testing.T, b *bank, name string) (why string) {
	t.Helper()
	require.Eventually(t, func() bool {
		st, err := b.Status(t.Context())
		require.NoError(t, err)
		for _, c := range st.Consumers {
			if c.Name == name && c.State == string(bus.StateBackingOff) {
				why = c.Error
			}
		}
		return why != ""
	}, time.Minute, 5*time.Millisecond, name)
	return why
}

// counted waits until every deposit of 100 has had its bonus and its echo.
func counted(t *testing.T, b *bank, deposits int64) {
	t.Helper()
	require.Eventually(t, func() bool {
		return b.balance(t, "bonus") == deposits && b.balance(t, "echo") == deposits
	}, time.Minute, 10*time.Millisecond)
	b.drainedBy(t)
}

// drainedBy waits until every consumer has seen the whole log.
func (b *bank) drainedBy(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		st, err := b.Status(t.Context())
		require.NoError(t, err)
		for _, c := range st.Consumers {
			if c.Lag > 0 {
				return false
			}
		}
		return true
	}, time.Minute, 5*time.Millisecond)
}

// A disk that fails under the files of consumers, whether a commit is refused
// or its outcome unknown, holds them up and no more: they say why, go on by
// themselves, and have done everything once.
func TestConsumersGoOnAfterAnIOErrorOfTheirFiles(t *testing.T) {
	failingDisk(t)
	for name, file := range consumerFiles {
		for _, kind := range []faultvfs.Kind{faultvfs.Write, faultvfs.Sync} {
			if name == "balances" && kind == faultvfs.Sync {
				continue // its commits are not synced
			}
			t.Run(fmt.Sprintf("%s of %s", kind, file), func(t *testing.T) {
				dir := t.TempDir()
				b := newBank(t, dir, serverless.Options{}, bonus)
				require.NoError(t, b.Open(t.Context()))
				stop := b.running(t)
				b.deposit(t, "ada", 100)
				counted(t, b, 1)
				f, err := faultvfs.Inject(faultvfs.Fault{Kind: kind, Dir: dir, Suffix: file + "-wal", Times: faultvfs.Forever})
				require.NoError(t, err)
				b.deposit(t, "eve", 100)
				require.Contains(t, backsOff(t, b, name), "disk I/O error")
				f.Remove()
				b.deposit(t, "kim", 100)
				counted(t, b, 3)
				stop()
			})
		}
	}
}

// s3gw #702, and MemPalace #2471 and holon #2910 for other files: a program that
// opened the database of a running one, and was the last to close it as far as
// it could see, unlinked its write-ahead log; what was committed after that was
// in no file. Here: the commit after it says so, what was committed is moved to
// where it has a name, and a restart has lost nothing.
func TestS3gw702_ConsumersNoticeThatTheirWriteAheadLogIsGone(t *testing.T) {
	for name, file := range consumerFiles {
		t.Run(file, func(t *testing.T) {
			dir := t.TempDir()
			b := newBank(t, dir, serverless.Options{}, bonus)
			require.NoError(t, b.Open(t.Context()))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- b.Run(ctx) }()
			b.deposit(t, "ada", 100)
			counted(t, b, 1)
			path := filepath.Join(dir, file)
			if name == "balances" {
				path = filepath.Join(dir, "views", file)
			}
			require.NoError(t, os.Remove(path+"-wal"))
			b.deposit(t, "eve", 100)
			why := backsOff(t, b, name)
			require.Contains(t, why, "removed or replaced")
			require.Contains(t, why, "moved into the database itself")
			cancel()
			if err := <-done; err != nil {
				require.ErrorIs(t, err, sqlite.ErrReplaced, "what is not written yet has nowhere to go, and the host says so")
			}
			require.NoError(t, b.Close())
			require.NoError(t, b.store.Close())

			b = newBank(t, dir, serverless.Options{}, bonus)
			b.drain(t)
			require.EqualValues(t, 2, b.balance(t, "bonus"))
			require.EqualValues(t, 2, b.balance(t, "echo"))
		})
	}
}
