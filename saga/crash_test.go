package saga

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
)

// childDir names the store of the child process; without it tests are run.
const childDir = "LEAT_SAGA_CRASH_DIR"

// crashOrders is how many orders the child carries out.
const crashOrders = 150

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := crashChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// crashShop is the saga of the child: placed, reserved, a timer, paid, shipped.
func crashShop() *Definition {
	return Define("order", 1,
		Starts(byPlaced, func(o *order, c *Context, e placed) error {
			c.Undo("stock", release{e.Order})
			c.Send(reserve{e.Order})
			c.Send(remind{e.Order, 0})
			return nil
		}),
		On(byReserved, func(o *order, c *Context, e reserved) error { c.After("pay", 3*time.Millisecond); return nil }),
		Timer("pay", func(o *order, c *Context) error { c.Send(charge{c.Key()}); return nil }),
		On(byPaid, func(o *order, c *Context, e paid) error { c.Send(ship{e.Order}); return nil }),
		On(byShipped, func(o *order, c *Context, e shipped) error { c.Complete(); return nil }),
		Rejected(func(o *order, c *Context, r Rejection[charge]) error { c.Compensate(r.Code); return nil }),
		Rejected(func(o *order, c *Context, r Rejection[remind]) error { o.see("deaf"); return nil }))
}

// crashCarry makes of a command what its data says, once.
func crashCarry(store eventstore.Appender) func(context.Context, bus.Command) (eventstore.Commit, error) {
	return func(ctx context.Context, cmd bus.Command) (eventstore.Commit, error) {
		order := strings.TrimSuffix(strings.TrimPrefix(string(cmd.Data), `{"Order":"`), `"}`)
		events := []eventstore.Event{did{cmd.Type + string(cmd.Data)}}
		switch {
		case cmd.Type == "remind" && draw(0, string(cmd.Data), 3) == 0, cmd.Type == "charge" && draw(0, order, 3) == 0:
			return eventstore.Commit{}, refusal{"unlucky"}
		case cmd.Type == "reserve":
			events = append(events, reserved{order})
		case cmd.Type == "charge":
			events = append(events, paid{order})
		case cmd.Type == "ship":
			events = append(events, shipped{order})
		}
		batch := eventstore.Batch{ID: cmd.ID, Writes: []eventstore.Write{{Stream: "out-" + order[:1]}}}
		for _, e := range events {
			data, err := eventstore.Encode(e)
			if err != nil {
				return eventstore.Commit{}, err
			}
			data.Metadata = cmd.Metadata
			batch.Writes[0].Events = append(batch.Writes[0].Events, data)
		}
		return store.Append(ctx, batch)
	}
}

// crashChild carries out orders until all are finished, and says so.
func crashChild(dir string) error {
	ctx := context.Background()
	store, err := sqlite.Open(ctx, dir, nil)
	if err != nil {
		return err
	}
	e, err := Open(ctx, dir, store, clock.System(), []*Definition{crashShop()}, &Options{Logger: quiet, Workers: 8})
	if err != nil {
		return err
	}
	router, err := bus.NewRouter(store, &bus.RouterOptions{Logger: quiet})
	if err != nil {
		return err
	}
	if err := router.Add(e); err != nil {
		return err
	}
	if err := router.AddHandler("outbox", "", e.Outbox(), e.Dispatcher(crashCarry(store))); err != nil {
		return err
	}
	failed := make(chan error, 3)
	go func() { failed <- router.Run(ctx) }()
	go func() { failed <- e.RunTimers(ctx) }()
	go func() {
		for n := range crashOrders {
			data, err := eventstore.Encode(placed{fmt.Sprint(n)})
			if err == nil {
				_, err = store.Append(ctx, eventstore.Batch{ID: fmt.Sprint("placed-", n), Writes: []eventstore.Write{{Stream: fmt.Sprint("in-", n), Events: []eventstore.EventData{data}}}})
			}
			if err != nil {
				failed <- err
				return
			}
		}
	}()
	fmt.Println("up")
	for head := int64(0); ; {
		s, err := e.Stats(ctx)
		if err != nil {
			return err
		}
		if s.Completed+s.Compensated == crashOrders && s.Commands.Pending == 0 {
			fmt.Println("done")
			return nil
		}
		wait, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		if h, err := store.Wait(wait, head); err == nil {
			head = h
		}
		cancel()
		select {
		case err := <-failed:
			return err
		default:
		}
	}
}

// TestKilledAnywhereEveryCommandTakesEffectOnce kills a process that carries
// out orders with timers, rejections and undos, over and over, and then
// compares what the log holds with what each order calls for.
func TestKilledAnywhereEveryCommandTakesEffectOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes")
	}
	dir := t.TempDir()
	kills := 0
	for finished := false; !finished; {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(out)
		require.True(t, lines.Scan())
		// Later and later, so that it comes to an end.
		kill := time.AfterFunc(time.Duration(rand.IntN(20+kills*10))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		finished = lines.Scan() && lines.Text() == "done"
		kill.Stop()
		err = cmd.Wait()
		if finished {
			break
		}
		require.ErrorContains(t, err, "signal: killed")
		kills++
	}
	t.Logf("killed %d times", kills)

	store, err := sqlite.Open(t.Context(), dir, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	got := map[string]int{}
	for e, err := range eventstore.Log(t.Context(), store, 0, eventstore.Filter{Types: []string{"did"}}) {
		require.NoError(t, err)
		d, err := eventstore.Decode[did](e)
		require.NoError(t, err)
		got[d.What]++
	}
	want := map[string]int{}
	for n := range crashOrders {
		order := fmt.Sprintf(`{"Order":"%d"}`, n)
		want["reserve"+order] = 1
		if hello := fmt.Sprintf(`{"Order":"%d","N":0}`, n); draw(0, hello, 3) != 0 {
			want["remind"+hello] = 1
		}
		if draw(0, fmt.Sprint(n), 3) == 0 {
			want["release"+order] = 1
		} else {
			want["charge"+order], want["ship"+order] = 1, 1
		}
	}
	require.Equal(t, want, got)
}
