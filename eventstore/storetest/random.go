package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/leat-go/leat/eventstore"
)

// Random says how much RunRandom does.
type Random struct {
	// Seed of the first run; each further run has the next.
	Seed uint64
	// Runs are how many stores are filled. Defaults to 10.
	Runs int
	// Steps are how many operations a run performs. Defaults to 500.
	Steps int
}

// RunRandom performs the same random operations on a store of the engine and
// on one of the model, usually package memory, and fails where an answer
// differs. The operations of a run depend on nothing but its seed, which is in
// the subtest's name.
func RunRandom(t *testing.T, e, model Engine, r Random) {
	runs, steps := r.Runs, r.Steps
	if runs == 0 {
		runs = 10
	}
	if steps == 0 {
		steps = 500
	}
	for i := range runs {
		seed := r.Seed + uint64(i)
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			clk := newHandClock()
			m := newMachine(rand.New(rand.NewPCG(seed, 1)), newFixture(t, e, Options{Clock: clk}), newFixture(t, model, Options{Clock: clk}))
			m.real.clock = clk
			for range steps {
				m.step()
			}
			m.compareAll()
			m.real.finish()
		})
	}
}

// machine drives a store and its model.
type machine struct {
	*rand.Rand
	real, model *fixture
	explicit    []uuid.UUID        // a pool of event ids
	batches     []eventstore.Batch // appended, to be repeated
	anchors     []eventstore.Anchor
	trace       []string // what was done
}

func newMachine(r *rand.Rand, e, model *fixture) *machine {
	m := &machine{Rand: r, real: e, model: model}
	for i := range 40 {
		m.explicit = append(m.explicit, eventstore.DeriveID("explicit", i))
	}
	for i := range 10 { // which later batches will derive
		m.explicit = append(m.explicit, eventstore.DeriveID(fmt.Sprintf("id-%d", i), 0))
	}
	e.Cleanup(func() {
		if e.Failed() {
			last := m.trace[max(0, len(m.trace)-12):]
			e.Logf("the last of %d steps:\n  %s", len(m.trace), strings.Join(last, "\n  "))
		}
	})
	return m
}

func (m *machine) say(format string, args ...any) {
	m.trace = append(m.trace, fmt.Sprintf(format, args...))
}

func (m *machine) step() {
	switch n := m.IntN(100); {
	case n < 55:
		m.append()
	case n < 62:
		m.committed()
	case n < 74:
		m.readStream()
	case n < 88:
		m.readLog()
	case n < 92:
		m.anchor()
	case n < 95:
		m.snapshot()
	case n < 98:
		d := time.Duration(m.Int64N(int64(2*time.Hour))) - time.Hour
		m.say("the clock moves by %v", d)
		m.real.clock.add(d)
	case n < 99:
		if m.real.engine.Reopen != nil {
			m.say("reopen")
			m.real.reopen()
		}
	default:
		m.compareAll()
	}
}

func (m *machine) append() {
	b := m.batch()
	m.say("append %s", describe(b))
	got, gotErr := m.real.Append(m.real.Context(), b)
	want, wantErr := m.model.Append(m.real.Context(), b)
	m.sameError(gotErr, wantErr)
	equal(m.real.T, "duplicate", got.Duplicate, want.Duplicate)
	sameCommit(m.real.T, "commit", got, want)
	if len(m.batches) < 200 {
		m.batches = append(m.batches, b)
	}
}

// batch returns a new batch, or one that was appended before, or one much
// like it.
func (m *machine) batch() eventstore.Batch {
	n := m.IntN(100)
	if n < 12 && len(m.batches) > 0 {
		return m.batches[m.IntN(len(m.batches))]
	}
	var b eventstore.Batch
	if m.IntN(3) == 0 {
		b.ID = fmt.Sprintf("id-%d", m.IntN(80))
	}
	if n < 15 {
		return b // with an ID and nothing else, or with nothing at all
	}
	streams := m.Perm(9)
	for _, s := range streams[:1+m.IntN(3)] {
		w := eventstore.Write{Stream: m.stream(s), Expect: m.expectation(m.stream(s))}
		for range 1 + m.IntN(4) {
			w.Events = append(w.Events, m.event())
		}
		b.Writes = append(b.Writes, w)
	}
	for _, s := range streams[4 : 4+max(0, m.IntN(5)-2)] {
		b.Guards = append(b.Guards, eventstore.Guard{Stream: m.stream(s), Expect: m.expectation(m.stream(s))})
	}
	return b
}

func (m *machine) event() eventstore.EventData {
	e := event(fmt.Sprintf("type_%d", m.IntN(5)), strings.Repeat("x", m.IntN(4)))
	e.SchemaVersion = m.IntN(3)
	if m.IntN(12) == 0 {
		e.ID = m.explicit[m.IntN(len(m.explicit))]
	}
	if m.IntN(3) == 0 {
		e.Metadata = eventstore.Metadata{"k": fmt.Sprint(m.IntN(3)), "λ": "<&>"}
	}
	if m.IntN(200) == 0 {
		e.Type = "" // is refused
	}
	return e
}

func (m *machine) stream(i int) string {
	return []string{"a-1", "a-2", "a-3", "a", "b-1", "b-2", "c-1-1", "-x", "A-1"}[i]
}

// expectation holds more often than not.
func (m *machine) expectation(stream string) eventstore.Expectation {
	version := int64(len(m.model.stream(stream)))
	switch m.IntN(12) {
	case 0:
		return eventstore.NoStream()
	case 1:
		return eventstore.Exists()
	case 2:
		return eventstore.Exactly(version + m.Int64N(4) - 1)
	case 3, 4, 5:
		return eventstore.Exactly(version)
	default:
		return eventstore.Any()
	}
}

func (m *machine) committed() {
	id := fmt.Sprintf("id-%d", m.IntN(80))
	m.say("committed %s", id)
	got, ok := m.real.committed(id)
	want, found := m.model.committed(id)
	equal(m.real.T, "committed", ok, found)
	equal(m.real.T, "duplicate", got.Duplicate, want.Duplicate)
	sameCommit(m.real.T, "commit", got, want)
}

func (m *machine) readStream() {
	stream, from, limit := m.stream(m.IntN(9)), m.Int64N(60), m.IntN(40)
	m.say("read %d of stream %s from %d", limit, stream, from)
	got, gotErr := m.real.ReadStream(m.real.Context(), stream, from, limit)
	want, wantErr := m.model.ReadStream(m.real.Context(), stream, from, limit)
	m.sameError(gotErr, wantErr)
	m.same("stream", got, want)
}

func (m *machine) readLog() {
	head := m.model.head()
	after, limit, filter := m.Int64N(head+2), m.IntN(60), m.filter()
	m.say("read %d of the log of %d after %d, %+v", limit, head, after, filter)
	got, gotErr := m.real.ReadLog(m.real.Context(), after, limit, filter)
	_, wantErr := m.model.ReadLog(m.real.Context(), after, limit, filter)
	m.sameError(gotErr, wantErr)
	if gotErr != nil {
		return
	}
	through := got.Through.Position
	if len(got.Events) > limit || through > head || through < after || through == after && after < head {
		m.real.Fatalf("a page of %d events, scanned through %d", len(got.Events), through)
	}
	// A page may end early; up to there it is whole.
	var want []eventstore.Recorded
	for _, e := range m.model.page(after, eventstore.MaxPage, filter).Events {
		if e.Position <= through {
			want = append(want, e)
		}
	}
	m.same("page", got.Events, want)
	equal(m.real.T, "anchor of the page", got.Through, m.real.anchor(through))
}

func (m *machine) filter() (f eventstore.Filter) {
	some := func(n int, name func(int) string) (list []string) {
		if m.IntN(3) > 0 {
			return nil
		}
		for range 1 + m.IntN(3) {
			list = append(list, name(m.IntN(n)))
		}
		return list
	}
	f.Streams = some(9, m.stream)
	f.Types = some(6, func(i int) string { return fmt.Sprintf("type_%d", i) })
	f.Categories = some(6, func(i int) string { return []string{"a", "b", "c", "", "A", "a-1"}[i] })
	return f
}

// anchor remembers a place, and asks about one remembered.
func (m *machine) anchor() {
	position := m.Int64N(m.model.head() + 3)
	m.say("anchor of %d", position)
	a, gotErr := m.real.Anchor(m.real.Context(), position)
	_, wantErr := m.model.Anchor(m.real.Context(), position)
	m.sameError(gotErr, wantErr)
	if gotErr == nil {
		m.anchors = append(m.anchors, a)
	}
	if len(m.anchors) > 0 {
		old := m.anchors[m.IntN(len(m.anchors))]
		equal(m.real.T, "anchor of old", m.real.anchor(old.Position), old)
	}
}

func (m *machine) snapshot() {
	real, ok := m.real.Store.(eventstore.Snapshots)
	model, also := m.model.Store.(eventstore.Snapshots)
	if !ok || !also {
		return
	}
	s := eventstore.Snapshot{
		Stream: m.stream(m.IntN(3)), Fold: fmt.Sprintf("f%d", m.IntN(2)),
		Version: 1 + m.Int64N(20), State: []byte(fmt.Sprint(m.Int())),
	}
	m.say("snapshot of %s by %s at %d", s.Stream, s.Fold, s.Version)
	m.sameError(real.SaveSnapshot(m.real.Context(), s), model.SaveSnapshot(m.real.Context(), s))
	want, _, err := model.LoadSnapshot(m.real.Context(), s.Stream, s.Fold)
	m.sameError(err, nil)
	m.real.wantSnapshot(s.Stream, s.Fold, want)
}

func (m *machine) compareAll() {
	m.say("compare all")
	equal(m.real.T, "head", m.real.head(), m.model.head())
	m.same("log", m.real.log(), m.model.log())
	for i := range 9 {
		m.same("stream", m.real.stream(m.stream(i)), m.model.stream(m.stream(i)))
	}
}

// same compares events; ids that the stores made up may differ.
func (m *machine) same(what string, got, want []eventstore.Recorded) {
	m.real.Helper()
	for i := range min(len(got), len(want)) {
		if want[i].ID.Version() == 7 && got[i].ID.Version() == 7 {
			want[i].ID = got[i].ID
		}
	}
	sameEvents(m.real.T, what, got, want)
}

// sameError compares errors by their sentinel and what explains them.
func (m *machine) sameError(got, want error) {
	m.real.Helper()
	for _, sentinel := range []error{nil, eventstore.ErrConflict, eventstore.ErrIDReused, eventstore.ErrInvalid, eventstore.ErrRewound} {
		if sentinel == nil && (got == nil) != (want == nil) || sentinel != nil && errors.Is(got, sentinel) != errors.Is(want, sentinel) {
			m.real.Fatalf("got error %v\nwant      %v", got, want)
		}
	}
	if conflict, ok := errors.AsType[*eventstore.ConflictError](want); ok {
		equal(m.real.T, "conflict", as[*eventstore.ConflictError](m.real.T, got), conflict)
	}
	if reused, ok := errors.AsType[*eventstore.IDReusedError](want); ok {
		equal(m.real.T, "reused id", as[*eventstore.IDReusedError](m.real.T, got), reused)
	}
}
