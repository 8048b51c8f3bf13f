package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/leat-go/leat/eventstore"
)

var competing = chapter{"concurrency", []clause{
	{says: "exactly one of several competitors wins", check: oneWinner},
	{says: "of competitors with one batch ID one stores and all learn where", check: oneStores},
	{says: "of competitors with one event id one stores", check: oneEventID},
	{says: "of crossing guards one at least fails", check: crossingGuards},
	{says: "tailers see a stable prefix while appenders write and fail", check: stablePrefix},
	{says: "batches over several streams are never seen in part", check: wholeBatches},
	{says: "an append whose context has ended stores nothing", check: cancelledBefore},
	{says: "a cancelled append is stored whole or not at all and says which", check: cancelledAmid},
}}

// together runs n functions at once and waits for all.
func together(n int, fn func(i int)) {
	var (
		wg    sync.WaitGroup
		start = make(chan struct{})
	)
	for i := range n {
		wg.Go(func() {
			<-start
			fn(i)
		})
	}
	close(start)
	wg.Wait()
}

func oneWinner(f *fixture) {
	const rounds, competitors = 30, 16
	for round := range int64(rounds) {
		x := eventstore.Exactly(round)
		var wins, conflicts atomic.Int64
		together(competitors, func(i int) {
			switch _, err := f.Append(f.Context(), expecting1("s", x, event("t", fmt.Sprint(i)))); {
			case err == nil:
				wins.Add(1)
			case errors.Is(err, eventstore.ErrConflict):
				conflicts.Add(1)
			default:
				f.Errorf("append: %v", err)
			}
		})
		equal(f.T, "winners", wins.Load(), 1)
		equal(f.T, "conflicts", conflicts.Load(), competitors-1)
		equal(f.T, "head", f.head(), round+1)
	}
}

func oneStores(f *fixture) {
	const rounds, competitors = 20, 16
	for round := range rounds {
		b := withID(fmt.Sprintf("id-%d", round), to("s", event("t", fmt.Sprint(round)), event("t", "")))
		commits := make([]eventstore.Commit, competitors)
		together(competitors, func(i int) {
			var err error
			if commits[i], err = f.Append(f.Context(), b); err != nil {
				f.Errorf("append: %v", err)
			}
		})
		stored := 0
		for _, c := range commits {
			if !c.Duplicate {
				stored++
			}
			sameCommit(f.T, "commit", c, commits[0])
		}
		equal(f.T, "appends that stored", stored, 1)
		equal(f.T, "head", f.head(), int64(2*round+2))
	}
}

func oneEventID(f *fixture) {
	const rounds, competitors = 20, 8
	for round := range rounds {
		id := uuid.New()
		var stored, refused atomic.Int64
		together(competitors, func(i int) {
			switch _, err := f.Append(f.Context(), to(fmt.Sprintf("s-%d", i), eventstore.EventData{ID: id, Type: "t"})); {
			case err == nil:
				stored.Add(1)
			case errors.Is(err, eventstore.ErrIDReused):
				refused.Add(1)
			default:
				f.Errorf("append: %v", err)
			}
		})
		equal(f.T, "stored", stored.Load(), 1)
		equal(f.T, "refused", refused.Load(), competitors-1)
		equal(f.T, "head", f.head(), int64(round+1))
	}
}

// crossingGuards: A writes a where b is untouched, B writes b where a is
// untouched. Both succeed only where guards are checked against the past.
func crossingGuards(f *fixture) {
	for round := range 50 {
		streams := []string{fmt.Sprintf("a-%d", round), fmt.Sprintf("b-%d", round)}
		var wins atomic.Int64
		together(2, func(i int) {
			b := to(streams[i], events(1)...)
			b.Guards = []eventstore.Guard{{Stream: streams[1-i], Expect: eventstore.NoStream()}}
			switch _, err := f.Append(f.Context(), b); {
			case err == nil:
				wins.Add(1)
			case !errors.Is(err, eventstore.ErrConflict):
				f.Errorf("append: %v", err)
			}
		})
		equal(f.T, "winners", wins.Load(), 1)
	}
}

func stablePrefix(f *fixture) {
	const appenders, batches, tailers = 8, 60, 4
	ctx := f.patient()
	var total atomic.Int64
	seen := make([][]eventstore.Recorded, tailers)
	var tails sync.WaitGroup
	for i := range tailers {
		tails.Go(func() {
			var err error
			if seen[i], err = tail(ctx, f.Store, 1+i*7, "end"); err != nil {
				f.Errorf("tailer %d: %v", i, err)
			}
		})
	}
	together(appenders, func(i int) {
		for j := range batches {
			b := to(fmt.Sprintf("s-%d", j%5), events(1+j%4)...)
			if j%3 == 2 { // is refused
				b.Writes = append(b.Writes, eventstore.Write{Stream: "never", Expect: eventstore.Exists(), Events: events(2)})
			}
			c, err := f.Append(ctx, b)
			switch {
			case err == nil:
				total.Add(int64(c.Events()))
			case j%3 != 2 || !errors.Is(err, eventstore.ErrConflict):
				f.Errorf("append: %v", err)
			}
		}
	})
	f.append(to("end", events(1)...))
	tails.Wait()
	all := f.log()
	equal(f.T, "events", int64(len(all)), total.Load()+1)
	for i, e := range all {
		equal(f.T, "position", e.Position, int64(i+1))
	}
	for i := range seen {
		sameEvents(f.T, fmt.Sprintf("what tailer %d saw", i), seen[i], all)
	}
}

// tail follows the log to the first event of the stream end.
func tail(ctx context.Context, s Store, limit int, end string) (seen []eventstore.Recorded, err error) {
	for after := int64(0); ; {
		p, err := s.ReadLog(ctx, after, limit, eventstore.Filter{})
		if err != nil {
			return seen, err
		}
		seen = append(seen, p.Events...)
		if n := len(seen); n > 0 && seen[n-1].Stream == end {
			return seen, nil
		}
		if p.Through.Position > after {
			after = p.Through.Position
			continue
		}
		if _, err := s.Wait(ctx, after); err != nil {
			return seen, fmt.Errorf("wait after position %d: %w", after, err)
		}
	}
}

func wholeBatches(f *fixture) {
	const batches = 100
	done := make(chan error, 1)
	go func() {
		for i := range batches {
			if _, err := f.Append(f.Context(), eventstore.Batch{Writes: []eventstore.Write{
				{Stream: "a", Events: events(2)}, {Stream: "b", Events: events(3)},
			}}); err != nil {
				done <- fmt.Errorf("append %d: %w", i, err)
				return
			}
		}
		done <- nil
	}()
	for writing := true; writing; {
		select {
		case err := <-done:
			equal(f.T, "error of the appender", err, nil)
			writing = false
		default:
		}
		if head := f.head(); head%5 != 0 {
			f.Fatalf("the head %d stands inside a batch of 5", head)
		}
		// Read second, b must have its part of whatever was seen of a.
		a, b := len(f.stream("a"))/2, len(f.stream("b"))/3
		if b < a {
			f.Fatalf("%d batches seen in one stream, %d of them later in the other", a, b)
		}
	}
	equal(f.T, "head", f.head(), 5*batches)
}

func cancelledBefore(f *fixture) {
	ctx, cancel := context.WithCancel(f.Context())
	cancel()
	_, err := f.Append(ctx, withID("id", to("s", events(2)...)))
	wantErr(f.T, "append", err, context.Canceled)
	f.append(to("t", events(1)...))
	equal(f.T, "events of s", len(f.stream("s")), 0)
	_, ok := f.committed("id")
	equal(f.T, "committed", ok, false)
}

func cancelledAmid(f *fixture) {
	const workers, appends, size = 8, 40, 3
	outcome := make([][]error, workers)
	together(workers, func(i int) {
		random := rand.New(rand.NewPCG(1, uint64(i)))
		for j := range appends {
			ctx, cancel := context.WithCancel(f.Context())
			stop := make(chan struct{})
			go func() {
				defer close(stop)
				for range random.IntN(2000) {
					if ctx.Err() != nil {
						return
					}
				}
				cancel()
			}()
			_, err := f.Append(ctx, withID(fmt.Sprintf("%d-%d", i, j), to(fmt.Sprintf("s-%d-%d", i, j), events(size)...)))
			cancel()
			<-stop
			outcome[i] = append(outcome[i], err)
		}
	})
	f.append(to("end", events(1)...))
	for i := range outcome {
		for j, err := range outcome[i] {
			_, found := f.committed(fmt.Sprintf("%d-%d", i, j))
			n := len(f.stream(fmt.Sprintf("s-%d-%d", i, j)))
			equal(f.T, "events of a batch, whole or none", n, map[bool]int{true: size, false: 0}[found])
			switch {
			case err == nil:
				equal(f.T, "an acknowledged append is stored", found, true)
			case errors.Is(err, context.Canceled):
				equal(f.T, "a cancelled append is stored", found, false)
			case !errors.Is(err, eventstore.ErrOutcomeUnknown):
				f.Fatalf("append: %v", err)
			}
		}
	}
	for i, e := range f.log() {
		equal(f.T, "position", e.Position, int64(i+1))
	}
}
