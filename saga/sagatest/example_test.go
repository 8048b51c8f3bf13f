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
