package sagatest_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/saga"
	"github.com/leat-go/leat/saga/sagatest"
)

func TestCrashAtEachBoundaryChangesNothing(t *testing.T) {
	runs := 0
	sagatest.Crash(t, func(t testing.TB) {
		runs++
		sagatest.New(t, dispatch).
			When(requested{"1"}).
			When(requested{"2"}, requested{"3"}).
			When(offered{"1"}).Instance("1").TimerSet("offer", 15*time.Second).
			Advance(20*time.Second).
			Sent(hold{"1"}, offer{"1"}, expire{"1"}, hold{"2"}, offer{"2"}, hold{"3"}, offer{"3"}). // instance by instance
			Done(hold{"1"}, offer{"1"}, expire{"1"}).
			When(accepted{"1"}).Completed().Duplicate().
			Instance("2").Reject(offer{"2"}, "nobody").Compensating().Done(releaseHold{"2"}).Compensated().
			Instance("3").When(offered{"3"}, offered{"3"}, offered{"3"}).Parked("boom")
		sagatest.New(t, dispatch).When(requested{"1"}).Sent(hold{"1"}, offer{"1"})
	})
	require.Greater(t, runs, 30)
}

// crashed runs Crash as a test that may fail, and returns what that says.
func crashed(t *testing.T, script func(testing.TB)) string {
	t.Helper()
	f := &failing{TB: t}
	ended := make(chan struct{})
	go func() { // Fatal ends the goroutine
		defer close(ended)
		sagatest.Crash(f, script)
	}()
	<-ended
	return strings.Join(f.said, "\n")
}

// TestCrashCatchesAHandlerThatDependsOnMoreThanItsArguments: such a handler is
// run again after a kill, and does something else.
func TestCrashCatchesAHandlerThatDependsOnMoreThanItsArguments(t *testing.T) {
	var calls atomic.Int64
	counting := saga.Define("dispatch", 1,
		saga.Starts(func(e requested) string { return e.Ride }, func(d *dispatching, c *saga.Context, _ requested) error {
			d.Offers = int(calls.Add(1))
			c.Send(hold{c.Key()})
			return nil
		}))
	said := crashed(t, func(t testing.TB) {
		calls.Store(0)
		sagatest.New(t, counting).When(requested{"1"}).Done()
	})
	require.Contains(t, said, "killed before the commit of boundary 1 (when requested): it does not end as without a kill")
	require.Contains(t, said, `state {"Offers":2}`)
	require.Contains(t, said, `state {"Offers":1}`)
}

func TestCrashCatchesACommandThatIsNotTheSame(t *testing.T) {
	var calls atomic.Int64
	fickle := saga.Define("dispatch", 1,
		saga.Starts(func(e requested) string { return e.Ride }, func(_ *dispatching, c *saga.Context, _ requested) error {
			if calls.Add(1)%2 == 0 {
				c.Send(hold{c.Key()})
				return nil
			}
			c.Send(offer{c.Key()})
			return nil
		}))
	said := crashed(t, func(t testing.TB) {
		calls.Store(0)
		sagatest.New(t, fickle).When(requested{"1"})
	})
	require.Contains(t, said, "command hold")
	require.Contains(t, said, "command offer")
}

func TestCrashSaysWhereACheckFailed(t *testing.T) {
	var calls atomic.Int64
	said := crashed(t, func(t testing.TB) {
		s := sagatest.New(t, dispatch).When(requested{"1"})
		if calls.Add(1) == 3 {
			s.Completed()
		}
	})
	require.Contains(t, said, `killed after the commit of boundary 2 (when requested): instance "1" is running, want completed`)
}

func TestCrashNeedsAScript(t *testing.T) {
	require.Contains(t, crashed(t, func(testing.TB) {}), "the script made no New with the TB that it was given")
}
