package sagatest_test

import (
	"testing"
	"time"

	"github.com/leat-go/leat/saga/sagatest"
)

func ExampleNew() {
	test := func(t *testing.T) {
		sagatest.New(t, dispatch).
			When(requested{"1"}, offered{"1"}).
			Sent(hold{"1"}, offer{"1"}).
			TimerSet("offer", 15*time.Second).
			Advance(15 * time.Second).
			Sent(expire{"1"})
	}
	_ = test // go test calls it
}

// The same script, with the engine killed at every boundary of its steps.
func ExampleCrash() {
	test := func(t *testing.T) {
		sagatest.Crash(t, func(t testing.TB) {
			sagatest.New(t, dispatch).
				When(requested{"1"}, offered{"1"}).
				Advance(15*time.Second).
				Sent(hold{"1"}, offer{"1"}, expire{"1"}).
				Reject(offer{"1"}, "nobody").
				Done(expire{"1"}).
				Done(releaseHold{"1"}).
				Compensated()
		})
	}
	_ = test // go test calls it
}

// Before a changed saga is deployed: what would it have done with everything
// that a backup of the store has recorded?
func ExampleReplayJournal() {
	test := func(t *testing.T) {
		for _, d := range sagatest.ReplayJournal(t, "testdata/backup", dispatch) {
			t.Error(d) // saga "dispatch" key "7", entry 3, event "offered" (812): recorded timer:offer, now nothing
		}
	}
	_ = test // go test calls it
}

func TestExamplesHold(t *testing.T) {
	sagatest.Crash(t, func(t testing.TB) {
		sagatest.New(t, dispatch).
			When(requested{"1"}, offered{"1"}).
			Advance(15*time.Second).
			Sent(hold{"1"}, offer{"1"}, expire{"1"}).
			Reject(offer{"1"}, "nobody").
			Done(expire{"1"}).
			Done(releaseHold{"1"}).
			Compensated()
	})
}
