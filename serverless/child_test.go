package serverless_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/serverless"
)

const childPlans = 36

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
	store, err := sqlite.Open(ctx, dir, &sqlite.Options{Clock: clk, Logger: quiet(), IndexEvents: 20})
	fail(err)
	b := wireBank(store, serverless.Options{Clock: clk, Logger: quiet(), Ordered: os.Getenv("LEAT_ORDERED") != ""})
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
	for _, ordered := range []bool{false, true} {
		t.Run(fmt.Sprintf("ordered=%v", ordered), func(t *testing.T) {
			opts := func() serverless.Options {
				return serverless.Options{Clock: clock.NewVirtual(epoch), Ordered: ordered}
			}
			whole := newBank(t, t.TempDir(), opts(), withSaving, withPlanner(childPlans))
			whole.drain(t)
			columns := amounts
			if ordered {
				columns = positions
			}
			want := rows(t, whole, columns)
			require.Len(t, want, childPlans)

			dir, kills := t.TempDir(), 0
			for !drainInChild(t, dir, ordered, 20+2*kills) {
				kills++
				require.Less(t, kills, 100)
			}
			require.Greater(t, kills, 3)
			again := newBank(t, dir, opts(), withSaving)
			report := again.drain(t)
			require.Zero(t, report.Appended, "nothing was left")
			require.Equal(t, want, rows(t, again, columns))
			require.Equal(t, whole.Progress().Now.UTC(), again.Progress().Now.UTC())
			if ordered {
				require.Equal(t, content(t, whole), content(t, again))
			}
		})
	}
}

// drainInChild drains in a child process, and kills it after so many heads. It
// tells whether the child was done before.
func drainInChild(t *testing.T, dir string, ordered bool, after int) (done bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), "LEAT_CHILD="+dir)
	if ordered {
		cmd.Env = append(cmd.Env, "LEAT_ORDERED=1")
	}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	heads := 0
	for lines := bufio.NewScanner(out); !done && lines.Scan(); {
		done = lines.Text() == "done"
		if heads++; heads == after && !done {
			require.NoError(t, cmd.Process.Kill())
		}
	}
	err = cmd.Wait()
	if done {
		require.NoError(t, err)
	}
	return done
}
