//go:build unix

package experiment

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Of poison, which is an event that fails whatever is tried:
const (
	// PoisonShare is one poison event in so many.
	PoisonShare = 10
	// PoisonStream is how many events a stream of poison has at most.
	PoisonStream = 200
	// PoisonSpeed is the least share of their speed that others keep.
	PoisonSpeed = 0.9
)

// Poison returns the streams of n events, one in PoisonShare of them poison.
// The streams of poison, of most events each, hold nothing else.
func Poison(rnd *rand.Rand, n, most int) []string {
	streams := make([]string, n)
	left, stream, room := n/PoisonShare, 0, 0
	for i := range streams {
		if rnd.IntN(n-i) >= left {
			streams[i] = fmt.Sprint("a-", rnd.IntN(1000))
			continue
		}
		if room == 0 {
			stream, room = stream+1, 1+rnd.IntN(most)
		}
		left, room = left-1, room-1
		streams[i] = fmt.Sprint("bad-", stream)
	}
	return streams
}

// Poisonous tells whether a stream of Poison is one of poison.
func Poisonous(stream string) bool { return strings.HasPrefix(stream, "bad-") }

// ProcessorTime is what the process has used of the processors: other programs
// do not count in it.
func ProcessorTime(t testing.TB) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatalf("read the time of the processors: %v", err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
