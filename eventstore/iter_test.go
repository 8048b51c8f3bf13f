package eventstore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
)

// cutting is a log whose pages end early now and then, and which fails at a
// position where it is told to.
type cutting struct {
	eventstore.LogReader
	cut    int // one page in so many
	failAt int64

	mu      sync.Mutex // guards what follows
	chance  *rand.Rand
	reading int
	most    int // pages that were read at once
	read    int // events, in all
}

var errCut = errors.New("the log fails here")

func (c *cutting) ReadLog(ctx context.Context, after int64, limit int, f eventstore.Filter) (eventstore.Page, error) {
	c.mu.Lock()
	c.reading++
	c.most = max(c.most, c.reading)
	if c.cut > 0 && c.chance.IntN(c.cut) == 0 {
		limit = 1 + c.chance.IntN(limit)
	}
	c.mu.Unlock()
	runtime.Gosched()
	page, err := c.LogReader.ReadLog(ctx, after, limit, f)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reading--
	c.read += len(page.Events)
	if err == nil && c.failAt > after && c.failAt <= page.Through.Position {
		return eventstore.Page{}, errCut
	}
	return page, err
}

const logged = 5_203

func loggedStore(t *testing.T) eventstore.LogReader {
	t.Helper()
	s := memory.New(nil)
	var events []eventstore.EventData
	for i := range logged {
		events = append(events, eventstore.EventData{Type: fmt.Sprintf("t%d", i%7), Data: []byte("{}")})
	}
	for i := 0; i < logged; i += 1000 {
		_, err := s.Append(t.Context(), eventstore.Batch{Writes: []eventstore.Write{{Stream: "s", Events: events[i:min(i+1000, logged)]}}})
		require.NoError(t, err)
	}
	return s
}

// Pages are read ahead, and whatever their ends are and wherever the loop ends,
// it sees each event once, in order.
func TestALoopSeesTheLogWhateverItsPagesAre(t *testing.T) {
	log := loggedStore(t)
	rapid.Check(t, func(t *rapid.T) {
		c := &cutting{LogReader: log, cut: rapid.IntRange(0, 5).Draw(t, "one page in so many is cut"), chance: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))}
		after := rapid.Int64Range(0, logged).Draw(t, "after")
		leave := rapid.IntRange(1, logged+1).Draw(t, "events until the loop is left")
		var f eventstore.Filter
		types := int64(1)
		if rapid.Bool().Draw(t, "filter") {
			f, types = eventstore.Filter{Types: []string{"t3"}}, 7
		}
		if rapid.Bool().Draw(t, "fails") {
			c.failAt = rapid.Int64Range(after+1, logged+1).Draw(t, "fails at")
		}
		last, n := after, 0
		for e, err := range eventstore.Log(context.Background(), c, after, f) {
			if err != nil {
				require.ErrorIs(t, err, errCut)
				require.Positive(t, c.failAt)
				require.Less(t, last, c.failAt)
				last = logged
				break
			}
			if types == 1 {
				require.Equal(t, last+1, e.Position)
			} else {
				require.Equal(t, "t3", e.Type)
				require.True(t, e.Position > last && e.Position <= last+types, "%d after %d", e.Position, last)
			}
			last = e.Position
			if n++; n == leave {
				last = logged
				break
			}
		}
		require.Less(t, logged-last, types, "the loop has ended early")
		require.Zero(t, c.reading, "nothing reads after the loop")
		require.LessOrEqual(t, c.most, 3)
	})
}

// A log of large events has short pages: none is read in vain more than once.
func TestWhatIsReadAheadIsUsed(t *testing.T) {
	log := loggedStore(t)
	for _, size := range []int{1, 400, 500} {
		c := &cutting{LogReader: log}
		n := 0
		for _, err := range eventstore.Log(t.Context(), shortPages{c, size}, 0, eventstore.Filter{}) {
			require.NoError(t, err)
			n++
		}
		require.Equal(t, logged, n)
		require.LessOrEqual(t, c.read, logged+2*500)
		c = &cutting{LogReader: log}
		for range eventstore.Log(t.Context(), c, 0, eventstore.Filter{}) {
			break
		}
		require.Equal(t, 500, c.read, "a loop that ends early reads one page")
	}
}

// together is a log in which a page past the second comes when another is asked
// for as well.
type together struct {
	eventstore.LogReader
	met chan struct{}
}

func (l together) ReadLog(ctx context.Context, after int64, limit int, f eventstore.Filter) (eventstore.Page, error) {
	if after == 1000 || after == 1500 {
		select {
		case l.met <- struct{}{}:
		case <-l.met:
		case <-ctx.Done():
			return eventstore.Page{}, ctx.Err()
		}
	}
	return l.LogReader.ReadLog(ctx, after, limit, f)
}

func TestTwoPagesAreReadAtOnce(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	n := 0
	for _, err := range eventstore.Log(ctx, together{loggedStore(t), make(chan struct{})}, 0, eventstore.Filter{}) {
		require.NoError(t, err, "one page waits for the other")
		n++
	}
	require.Equal(t, logged, n)
}

type shortPages struct {
	eventstore.LogReader
	size int
}

func (s shortPages) ReadLog(ctx context.Context, after int64, limit int, f eventstore.Filter) (eventstore.Page, error) {
	return s.LogReader.ReadLog(ctx, after, min(limit, s.size), f)
}

func TestTheEventAtAPosition(t *testing.T) {
	s := memory.New(nil)
	for range 3 {
		_, err := s.Append(t.Context(), eventstore.Batch{Writes: []eventstore.Write{{Stream: "ride-1", Events: []eventstore.EventData{{Type: "asked"}}}}})
		require.NoError(t, err)
	}
	for position := int64(1); position <= 3; position++ {
		e, err := eventstore.EventAt(t.Context(), s, position)
		require.NoError(t, err)
		require.Equal(t, position, e.Position)
	}
	for _, position := range []int64{4, 5, 1000} {
		_, err := eventstore.EventAt(t.Context(), s, position)
		require.ErrorIs(t, err, eventstore.ErrRewound, position)
	}
	_, err := eventstore.EventAt(t.Context(), s, 0)
	require.ErrorIs(t, err, eventstore.ErrInvalid)
}
