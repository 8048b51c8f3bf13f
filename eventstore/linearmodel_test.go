package eventstore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/leat-go/leat/eventstore"
)

const (
	linearStreams = 3
	linearIDs     = 4
)

// Operations of a history.
const (
	opAppend    = "append"
	opStream    = "stream"
	opLog       = "log"
	opHead      = "head"
	opWait      = "wait"
	opCommitted = "committed"
)

// Kinds of replies.
const (
	stored    = "stored"
	duplicate = "duplicate"
	conflict  = "conflict"
	reused    = "id reused"
	cancelled = "cancelled"
	rewound   = "past the head"
	absent    = "absent"
	read      = "read"
	lost      = "lost" // the process was killed before it answered
)

// Expectations as numbers: a version, or one of these.
const (
	expectAny    = -1
	expectExists = -2
)

// call is what a client asks.
type call struct {
	Op string
	// Writes and Guards are those of an append, ID its batch ID from 1, Tag the
	// data of its events. The ID and the Tag of a batch with an ID fix its
	// content.
	Writes []linearWrite `json:",omitempty"`
	Guards []linearGuard `json:",omitempty"`
	ID     int           `json:",omitempty"`
	Tag    byte          `json:",omitempty"`
	// Cancel is when the context of an append ends, in microseconds; 0 for never.
	Cancel int `json:",omitempty"`
	// Stream, After and Limit are those of a read. After is a version of a
	// stream, or a position of the log.
	Stream int   `json:",omitempty"`
	After  int64 `json:",omitempty"`
	Limit  int   `json:",omitempty"`
}

type linearWrite struct {
	Stream int
	Expect int64
	Events int
}

type linearGuard struct {
	Stream int
	Expect int64
}

// reply is what a client is told. Text spells out the rest: versions, what
// conflicts, events.
type reply struct {
	Kind        string
	First, Last int64
	Text        string
}

// linearState is what one sequence of calls leaves behind.
type linearState struct {
	// log has two bytes for each event: its stream's letter and its tag.
	log string
	ids [linearIDs + 1]linearID
}

type linearID struct {
	tag         byte // 0: not stored
	first, last int64
}

func letter(stream int) byte { return 'a' + byte(stream) }

func (s linearState) head() int64 { return int64(len(s.log) / 2) }

func (s linearState) version(stream int) (n int64) {
	for i := 0; i < len(s.log); i += 2 {
		if s.log[i] == letter(stream) {
			n++
		}
	}
	return n
}

var linearModel = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{linearState{}} },
	Step: func(state, input, output any) []any {
		s, c, r := state.(linearState), input.(call), output.(reply)
		next, want := s.step(c)
		switch {
		case r.Kind == lost: // stored as it would be, or not at all
			if next == s {
				return []any{s}
			}
			return []any{s, next}
		case r.Kind == cancelled && c.Cancel > 0: // not stored, ever
			return []any{s}
		case r == want:
			return []any{next}
		default:
			return nil
		}
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v → %+v", in, out) },
}).ToModel()

// describe lists a history in the order of its calls.
func describe(h history) string {
	var b strings.Builder
	h = slices.SortedFunc(slices.Values(h), func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	for _, op := range h {
		fmt.Fprintf(&b, "  client %d, %d to %d µs: %+v → %+v\n", op.ClientId, op.Call/1000, op.Return/1000, op.Input, op.Output)
	}
	return b.String()
}

// step returns what the log is after the call, and what it answers.
func (s linearState) step(c call) (linearState, reply) {
	switch c.Op {
	case opAppend:
		return s.append(c)
	case opStream:
		return s, s.read(c, func(i int) bool { return s.log[i] == letter(c.Stream) })
	case opLog:
		if c.After > s.head() {
			return s, reply{Kind: rewound}
		}
		r := s.read(c, func(int) bool { return true })
		r.Last = min(s.head(), c.After+int64(c.Limit))
		return s, r
	case opCommitted:
		if at := s.ids[c.ID]; at.tag != 0 {
			return s, reply{Kind: duplicate, First: at.first, Last: at.last}
		}
		return s, reply{Kind: absent}
	default:
		return s, reply{Kind: read, Last: s.head()}
	}
}

// read returns some events that of selects, each as its place and its tag.
func (s linearState) read(c call, of func(i int) bool) reply {
	var text []byte
	place := int64(0)
	for i := 0; i < len(s.log); i += 2 {
		if !of(i) {
			continue
		}
		if place++; place > c.After && place <= c.After+int64(c.Limit) {
			text = spell(text, int64(i/2+1), place, s.log[i], s.log[i+1])
		}
	}
	return reply{Kind: read, Text: string(text)}
}

// spell adds an event: its position, its place in what is read, its stream
// and its tag.
func spell(text []byte, position, place int64, stream, tag byte) []byte {
	text = strconv.AppendInt(text, position, 10)
	text = append(text, '/')
	text = strconv.AppendInt(text, place, 10)
	return append(text, stream, tag, ' ')
}

func (s linearState) append(c call) (linearState, reply) {
	if at := s.ids[c.ID]; at.tag != 0 {
		if at.tag != c.Tag {
			return s, reply{Kind: reused, Last: at.last}
		}
		return s, reply{Kind: duplicate, First: at.first, Last: at.last}
	}
	var failed []byte
	check := func(stream int, expect int64) {
		if v := s.version(stream); !expectation(expect).Holds(v) {
			failed = conflicting(failed, letter(stream), v)
		}
	}
	for _, w := range c.Writes {
		check(w.Stream, w.Expect)
	}
	for _, g := range c.Guards {
		check(g.Stream, g.Expect)
	}
	if failed != nil {
		return s, reply{Kind: conflict, Text: string(failed)}
	}
	r := reply{Kind: stored, First: s.head() + 1}
	var text []byte
	for _, w := range c.Writes {
		v := s.version(w.Stream)
		text = versions(text, letter(w.Stream), v+1, v+int64(w.Events))
		s.log += strings.Repeat(string([]byte{letter(w.Stream), c.Tag}), w.Events)
	}
	r.Last, r.Text = s.head(), string(text)
	if c.ID > 0 {
		s.ids[c.ID] = linearID{tag: c.Tag, first: r.First, last: r.Last}
	}
	return s, r
}

func versions(text []byte, stream byte, first, last int64) []byte {
	text = strconv.AppendInt(append(text, stream), first, 10)
	return append(strconv.AppendInt(append(text, '-'), last, 10), ' ')
}

func conflicting(text []byte, stream byte, actual int64) []byte {
	return append(strconv.AppendInt(append(text, stream), actual, 10), ' ')
}

func expectation(n int64) eventstore.Expectation {
	switch n {
	case expectAny:
		return eventstore.Any()
	case expectExists:
		return eventstore.Exists()
	default:
		return eventstore.Exactly(n)
	}
}

// local carries calls out on a store in this process.
type local struct {
	store eventstore.Store
	// patience is how long it waits for an event that should be there.
	patience time.Duration
}

func newLocal(s eventstore.Store) *local { return &local{store: s, patience: 10 * time.Second} }

func streamName(i int) string { return fmt.Sprintf("%c-%d", letter(i), i) }

func (l *local) do(c call) (reply, error) {
	ctx := context.Background()
	switch c.Op {
	case opAppend:
		if c.Cancel > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, time.Duration(c.Cancel)*time.Microsecond)
			defer cancel()
		}
		return l.append(ctx, c)
	case opStream:
		events, err := l.store.ReadStream(ctx, streamName(c.Stream), c.After+1, c.Limit)
		return reply{Kind: read, Text: spellAll(events, func(i int) int64 { return events[i].Version })}, err
	case opLog:
		page, err := l.store.ReadLog(ctx, c.After, c.Limit, eventstore.Filter{})
		if errors.Is(err, eventstore.ErrRewound) {
			return reply{Kind: rewound}, nil
		}
		return reply{Kind: read, Last: page.Through.Position, Text: spellAll(page.Events, func(i int) int64 { return page.Events[i].Position })}, err
	case opCommitted:
		commit, found, err := l.store.Committed(ctx, fmt.Sprintf("id-%d", c.ID))
		if err != nil || !found {
			return reply{Kind: absent}, err
		}
		return reply{Kind: duplicate, First: commit.First, Last: commit.Last}, nil
	case opWait:
		ctx, cancel := context.WithTimeout(ctx, l.patience)
		defer cancel()
		head, err := l.store.Wait(ctx, c.After)
		return reply{Kind: read, Last: head}, err
	default:
		head, err := l.store.Head(ctx)
		return reply{Kind: read, Last: head}, err
	}
}

func spellAll(events []eventstore.Recorded, place func(i int) int64) string {
	var text []byte
	for i, e := range events {
		tag := byte(0)
		if len(e.Data) == 1 {
			tag = e.Data[0]
		}
		text = spell(text, e.Position, place(i), e.Stream[0], tag)
	}
	return string(text)
}

func (l *local) append(ctx context.Context, c call) (reply, error) {
	var b eventstore.Batch
	if c.ID > 0 {
		b.ID = fmt.Sprintf("id-%d", c.ID)
	}
	for _, w := range c.Writes {
		events := slices.Repeat([]eventstore.EventData{{Type: "t", Data: []byte{c.Tag}}}, w.Events)
		b.Writes = append(b.Writes, eventstore.Write{Stream: streamName(w.Stream), Expect: expectation(w.Expect), Events: events})
	}
	for _, g := range c.Guards {
		b.Guards = append(b.Guards, eventstore.Guard{Stream: streamName(g.Stream), Expect: expectation(g.Expect)})
	}
	commit, err := l.store.Append(ctx, b)
	if conflicts, ok := errors.AsType[*eventstore.ConflictError](err); ok {
		var failed []byte
		for _, x := range conflicts.Conflicts {
			failed = conflicting(failed, x.Stream[0], x.Actual)
		}
		return reply{Kind: conflict, Text: string(failed)}, nil
	}
	if again, ok := errors.AsType[*eventstore.IDReusedError](err); ok {
		return reply{Kind: reused, Last: again.Position}, nil
	}
	if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return reply{Kind: cancelled}, nil
	}
	if commit.Duplicate {
		return reply{Kind: duplicate, First: commit.First, Last: commit.Last}, err
	}
	var text []byte
	for _, s := range commit.Streams {
		text = versions(text, s.Stream[0], s.First, s.Last)
	}
	return reply{Kind: stored, First: commit.First, Last: commit.Last, Text: string(text)}, err
}
