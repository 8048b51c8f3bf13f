package sagatest_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/saga"
	"github.com/leat-go/leat/saga/sagatest"
)

type (
	requested struct{ Ride string }
	offered   struct{ Ride string }
	accepted  struct{ Ride string }

	hold        struct{ Ride string }
	releaseHold struct{ Ride string }
	offer       struct{ Ride string }
	expire      struct{ Ride string }
)

func (requested) EventType() string     { return "requested" }
func (offered) EventType() string       { return "offered" }
func (accepted) EventType() string      { return "accepted" }
func (hold) CommandType() string        { return "hold" }
func (releaseHold) CommandType() string { return "release_hold" }
func (offer) CommandType() string       { return "offer" }
func (expire) CommandType() string      { return "expire" }

type dispatching struct{ Offers int }

var errBoom = errors.New("boom")

var dispatch = saga.Define("dispatch", 1,
	saga.Starts(func(e requested) string { return e.Ride }, func(_ *dispatching, c *saga.Context, e requested) error {
		c.Undo("hold", releaseHold{e.Ride})
		c.Send(hold{e.Ride})
		c.Send(offer{e.Ride})
		return nil
	}),
	saga.On(func(e offered) string { return e.Ride }, func(d *dispatching, c *saga.Context, _ offered) error {
		d.Offers++
		if d.Offers > 2 {
			return errBoom
		}
		c.After("offer", 15*time.Second)
		return nil
	}),
	saga.On(func(e accepted) string { return e.Ride }, func(_ *dispatching, c *saga.Context, _ accepted) error {
		c.Complete()
		return nil
	}),
	saga.Timer("offer", func(_ *dispatching, c *saga.Context) error {
		c.Send(expire{c.Key()})
		return nil
	}),
	saga.Rejected(func(_ *dispatching, c *saga.Context, r saga.Rejection[offer]) error {
		c.Compensate(r.Code)
		return nil
	}),
	saga.IgnoreRejected[dispatching, hold](),
)

func TestScript(t *testing.T) {
	sagatest.New(t, dispatch).
		When(offered{"1"}).NotStarted().
		When(requested{"1"}).
		Sent(hold{"1"}, offer{"1"}).Running().
		When(offered{"1"}).
		Sent().
		TimerSet("offer", 15*time.Second).
		Advance(5*time.Second).
		TimerSet("offer", 10*time.Second).
		Advance(20 * time.Second).
		TimerNotSet("offer").
		Sent(expire{"1"}).
		Done().
		When(accepted{"1"}).Completed().
		Duplicate().Sent()
}

func TestScriptCompensates(t *testing.T) {
	sagatest.New(t, dispatch).
		When(requested{"1"}).
		Sent(hold{"1"}, offer{"1"}).
		Reject(offer{"1"}, "nobody").
		Compensating().
		Sent(releaseHold{"1"}).
		Done(releaseHold{"1"}).
		Compensated()
}

func TestScriptDropsTheUndoOfARejectedCommand(t *testing.T) {
	sagatest.New(t, dispatch).
		When(requested{"1"}).
		Reject(hold{"1"}, "short").
		Reject(offer{"1"}, "nobody").
		Compensated()
}

func TestScriptShowsStateAndParking(t *testing.T) {
	s := sagatest.New(t, dispatch).When(requested{"1"}, requested{"2"}, offered{"1"}, offered{"1"}).Instance("1")
	require.Equal(t, 2, sagatest.State[dispatching](s).Offers)
	s.When(offered{"1"}).Parked("boom").Instance("2").Running()
}

// failing notes what a script says.
type failing struct {
	testing.TB
	said   []string
	failed bool
}

func (f *failing) Failed() bool { return f.failed }

func (f *failing) Error(args ...any) { f.Errorf("%s", fmt.Sprint(args...)) }

func (f *failing) Fatalf(format string, args ...any) { f.Fatal(fmt.Sprintf(format, args...)) }

func (f *failing) Fatal(args ...any) {
	f.Error(args...)
	runtime.Goexit()
}

func (f *failing) Helper() {}

func (f *failing) Errorf(format string, args ...any) {
	f.failed = true
	f.said = append(f.said, fmt.Sprintf(format, args...))
}

func TestScriptSaysWhatDiffers(t *testing.T) {
	f := &failing{TB: t}
	sagatest.New(f, dispatch).
		When(requested{"1"}).
		Sent(offer{"1"}).
		TimerSet("offer", time.Second).
		Completed()
	said := strings.Join(f.said, "\n")
	require.Contains(t, said, "got:\n\thold {\"Ride\":\"1\"}\n\toffer {\"Ride\":\"1\"}\nwant:\n\toffer {\"Ride\":\"1\"}")
	require.Contains(t, said, "timer \"offer\" is not set; set are:\n\t(nothing)")
	require.Contains(t, said, "instance \"1\" is running, want completed")
	require.Len(t, f.said, 3)
}
