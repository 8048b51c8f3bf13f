package serverless_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/serverless"
)

const childPlans = 60

// child drains the store in dir in virtual time, until it is killed or done,
// and says how far it is.
func child(dir string) {
	ctx := context.Background()
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	clk := clock.NewVirtual(epoch)
	store, err := sqlite.Open(ctx, dir, &sqlite.Options{Clock: clk, Logger: quiet()})
	fail(err)
	b := wireBank(store, serverless.Options{Clock: clk, Logger: quiet()})
	withSaving(b)
	withPlanner(childPlans)(b)
	go func() {
		for at := int64(0); ; {
			head, err := store.Wait(ctx, at)
			if err != nil {
				return
			}
			at = head
			fmt.Println("head", head)
		}
	}()
	_, err = b.Drain(ctx, serverless.Budget{})
	fail(err)
	fail(b.Close())
	fail(store.Close())
	fmt.Println("done")
}

// TestAKilledDrainGoesOnToTheSameRows kills a child at many heads of the log.
func TestAKilledDrainGoesOnToTheSameRows(t *testing.T) {
	clk := clock.NewVirtual(epoch)
	whole := newBank(t, t.TempDir(), serverless.Options{Clock: clk}, withSaving, withPlanner(childPlans))
	whole.drain(t)
	want := rows(t, whole, amounts)
	require.Len(t, want, childPlans)

	dir, kills := t.TempDir(), 0
	for done := false; !done; {
		require.Less(t, kills, 100)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cmd := exec.CommandContext(ctx, os.Args[0])
		cmd.Env = append(os.Environ(), "LEAT_CHILD="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		heads := 0
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if done = lines.Text() == "done"; done {
				break
			}
			if heads++; strings.HasPrefix(lines.Text(), "head") && heads == 20+kills {
				require.NoError(t, cmd.Process.Kill())
				kills++
			}
		}
		err = cmd.Wait()
		cancel()
		if done {
			require.NoError(t, err)
		}
	}
	require.Greater(t, kills, 3)
	clk = clock.NewVirtual(epoch)
	again := newBank(t, dir, serverless.Options{Clock: clk}, withSaving)
	report := again.drain(t)
	require.Zero(t, report.Appended, "nothing was left")
	require.Equal(t, want, rows(t, again, amounts))
	require.Equal(t, whole.Progress().Now.UTC(), clk.Now().UTC())
}
