package eventstore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
	"github.com/leat-go/leat/eventstore/sqlite"
)

const (
	linearStreams = 3
	linearIDs     = 8
)

// linearInput is one call: an append where events is above 0, else a read of
// one stream's version.
type linearInput struct {
	streams []int // written, or the one that is read
	expect  []eventstore.Expectation
	events  int64 // to each stream
	id      int   // from 1; 0 for none. It fixes the streams and the number of events.
}

type linearOutput struct {
	conflict  bool
	duplicate bool
	first     int64 // position of the append
	version   int64 // that was read
}

// linearState is what one sequence of calls leaves behind.
type linearState struct {
	head     int64
	versions [linearStreams]int64
	ids      [linearIDs + 1]int64 // the position each ID was stored at
}

var linearModel = porcupine.Model{
	Init: func() any { return linearState{} },
	Step: func(state, input, output any) (bool, any) {
		s, in, out := state.(linearState), input.(linearInput), output.(linearOutput)
		if in.events == 0 {
			return out.version == s.versions[in.streams[0]], s
		}
		if at := s.ids[in.id]; in.id > 0 && at > 0 {
			return out == linearOutput{duplicate: true, first: at}, s
		}
		for i, stream := range in.streams {
			if !in.expect[i].Holds(s.versions[stream]) {
				return out.conflict, s
			}
		}
		if (out != linearOutput{first: s.head + 1}) {
			return false, s
		}
		if in.id > 0 {
			s.ids[in.id] = out.first
		}
		for _, stream := range in.streams {
			s.versions[stream] += in.events
			s.head += in.events
		}
		return true, s
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v → %+v", in, out) },
}

// TestLinearizable records what concurrent clients ask and are answered, and
// looks for an order of the calls that explains all answers.
func TestLinearizable(t *testing.T) {
	histories := 40
	if testing.Short() {
		histories = 5
	}
	for name, open := range map[string]func(t *testing.T) eventstore.Store{
		"memory": func(*testing.T) eventstore.Store { return memory.New(nil) },
		"sqlite": func(t *testing.T) eventstore.Store {
			s, err := sqlite.Open(t.Context(), t.TempDir(), &sqlite.Options{Durability: sqlite.Relaxed})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, s.Close()) })
			return s
		},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(histories) {
				history := recordHistory(t, open(t), seed)
				require.Equal(t, porcupine.Ok, porcupine.CheckOperationsTimeout(linearModel, history, 10*time.Second), "history of seed %d", seed)
			}
		})
	}
}

// skipping breaks a store: one append in 50 is not checked.
type skipping struct {
	eventstore.Store
	mu sync.Mutex // guards n
	n  int
}

func (s *skipping) Append(ctx context.Context, b eventstore.Batch) (eventstore.Commit, error) {
	s.mu.Lock()
	s.n++
	skip := s.n%50 == 0
	s.mu.Unlock()
	if skip {
		for i := range b.Writes {
			b.Writes[i].Expect = eventstore.Any()
		}
	}
	return s.Store.Append(ctx, b)
}

func TestSkippedCheckIsNotLinearizable(t *testing.T) {
	for seed := range uint64(100) {
		history := recordHistory(t, &skipping{Store: memory.New(nil)}, seed)
		if porcupine.CheckOperationsTimeout(linearModel, history, 10*time.Second) == porcupine.Illegal {
			return
		}
	}
	t.Fatal("100 histories of a store that skips checks look linearizable")
}

func recordHistory(t *testing.T, s eventstore.Store, seed uint64) []porcupine.Operation {
	const clients, calls = 6, 25
	var (
		wg      sync.WaitGroup
		mu      sync.Mutex // guards history
		history []porcupine.Operation
		began   = time.Now()
	)
	for client := range clients {
		random := rand.New(rand.NewPCG(seed, uint64(client)))
		wg.Go(func() {
			var known [linearStreams]int64 // versions read, perhaps stale
			for range calls {
				in := randomInput(random, &known)
				call := time.Since(began).Nanoseconds()
				out, err := perform(t.Context(), s, in)
				back := time.Since(began).Nanoseconds()
				if err != nil {
					t.Errorf("%+v: %v", in, err)
				}
				if in.events == 0 {
					known[in.streams[0]] = out.version
				}
				mu.Lock()
				history = append(history, porcupine.Operation{ClientId: client, Input: in, Call: call, Output: out, Return: back})
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return history
}

func randomInput(r *rand.Rand, known *[linearStreams]int64) linearInput {
	order := r.Perm(linearStreams)
	if r.IntN(3) == 0 {
		return linearInput{streams: order[:1]}
	}
	in := linearInput{streams: order[:1+r.IntN(2)], events: 1 + r.Int64N(2)}
	if r.IntN(3) == 0 {
		in.id = 1 + r.IntN(linearIDs)
		in.streams, in.events = []int{in.id % linearStreams, (in.id + 1) % linearStreams}, 1
	}
	for _, stream := range in.streams {
		x := eventstore.Any()
		if r.IntN(2) == 0 {
			x = eventstore.Exactly(known[stream])
		}
		in.expect = append(in.expect, x)
	}
	return in
}

func perform(ctx context.Context, s eventstore.Store, in linearInput) (out linearOutput, err error) {
	name := func(i int) string { return fmt.Sprintf("s-%d", in.streams[i]) }
	if in.events == 0 {
		events, err := s.ReadStream(ctx, name(0), 1, eventstore.MaxPage)
		return linearOutput{version: int64(len(events))}, err
	}
	var b eventstore.Batch
	if in.id > 0 {
		b.ID = fmt.Sprintf("id-%d", in.id)
	}
	for i := range in.streams {
		w := eventstore.Write{Stream: name(i), Expect: in.expect[i]}
		for range in.events {
			w.Events = append(w.Events, eventstore.EventData{Type: "t"})
		}
		b.Writes = append(b.Writes, w)
	}
	c, err := s.Append(ctx, b)
	if errors.Is(err, eventstore.ErrConflict) {
		return linearOutput{conflict: true}, nil
	}
	return linearOutput{duplicate: c.Duplicate, first: c.First}, err
}
