package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
)

// patience is how long a clause waits for something that must come.
const patience = 30 * time.Second

// Store is what an engine opens.
type Store interface {
	eventstore.Store
	// Close ends the store: everything is ErrClosed from then on, for those
	// who wait too. Closing again does nothing.
	Close() error
}

// Options is what a clause asks of a store.
type Options struct {
	// Clock tells the recorded times. Nil: the engine's default.
	Clock clock.Clock
	// Limits bound what an append accepts. Zero: those of the contract.
	Limits eventstore.Limits
}

// Engine opens stores for the suite.
type Engine struct {
	// Open opens a new, empty store. The suite closes it. Required.
	Open func(t *testing.T, o Options) Store
	// Reopen opens again what s held; the suite has closed s. Nil says that
	// nothing outlives Close, and clauses about that are skipped.
	Reopen func(t *testing.T, s Store, o Options) Store
	// Check verifies the whole of an open store and fails t where it finds
	// damage. The suite calls it at the end of every clause. Optional.
	Check func(t *testing.T, s Store)
}

// clause is one promise.
type clause struct {
	// says is the promise, a sentence.
	says string
	// limits of the store that it needs.
	limits eventstore.Limits
	// byHand: it sets the clock itself.
	byHand bool
	check  func(*fixture)
}

// chapter is what is promised about one thing.
type chapter struct {
	about   string
	clauses []clause
}

// Run checks every clause of the contract, each on a store of its own.
func Run(t *testing.T, e Engine) {
	for _, ch := range []chapter{
		appending, expecting, repeating, naming, refusing, reading, filtering, following, anchoring, competing, keeping, snapshotting, closing,
	} {
		t.Run(ch.about, func(t *testing.T) {
			for _, c := range ch.clauses {
				t.Run(c.says, func(t *testing.T) {
					clk, o := newHandClock(), Options{Limits: c.limits}
					if c.byHand {
						o.Clock = clk
					}
					f := newFixture(t, e, o)
					f.clock = clk
					c.check(f)
					f.finish()
				})
			}
		})
	}
}

// fixture is a store under test and what clauses do with it.
type fixture struct {
	*testing.T
	Store
	engine  Engine
	options Options
	clock   *handClock // the store's, where the clause sets it by hand
}

func newFixture(t *testing.T, e Engine, o Options) *fixture {
	f := &fixture{T: t, engine: e, options: o, Store: e.Open(t, o)}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return f
}

// finish has the engine verify the store, unless the clause closed it.
func (f *fixture) finish() {
	f.Helper()
	if _, err := f.Store.Head(f.Context()); err == nil && f.engine.Check != nil {
		f.engine.Check(f.T, f.Store)
	}
}

// reopen closes the store and opens it again; it skips the clause where the
// engine keeps nothing.
func (f *fixture) reopen() {
	f.Helper()
	if f.engine.Reopen == nil {
		f.Skip("this engine keeps nothing when it is closed")
	}
	if err := f.Close(); err != nil {
		f.Fatalf("close the store: %v", err)
	}
	f.Store = f.engine.Reopen(f.T, f.Store, f.options)
}

// patient returns a context that ends when a clause has waited too long.
func (f *fixture) patient() context.Context {
	ctx, cancel := context.WithTimeout(f.Context(), patience)
	f.Cleanup(cancel)
	return ctx
}

// append appends what must be stored.
func (f *fixture) append(b eventstore.Batch) eventstore.Commit {
	f.Helper()
	c, err := f.Append(f.Context(), b)
	if err != nil {
		f.Fatalf("append %s: %v", describe(b), err)
	}
	return c
}

// refuse appends what must be refused with this sentinel and nothing stored.
func (f *fixture) refuse(b eventstore.Batch, want error) error {
	f.Helper()
	before := f.head()
	c, err := f.Append(f.Context(), b)
	wantErr(f.T, "append "+describe(b), err, want)
	equal(f.T, "the commit beside an error", c, eventstore.Commit{})
	equal(f.T, "the head after a refusal", f.head(), before)
	return err
}

func (f *fixture) committed(id string) (eventstore.Commit, bool) {
	f.Helper()
	c, ok, err := f.Committed(f.Context(), id)
	if err != nil {
		f.Fatalf("ask whether %q is committed: %v", id, err)
	}
	return c, ok
}

func (f *fixture) head() int64 {
	f.Helper()
	head, err := f.Head(f.Context())
	if err != nil {
		f.Fatalf("head: %v", err)
	}
	return head
}

func (f *fixture) anchor(position int64) eventstore.Anchor {
	f.Helper()
	a, err := f.Anchor(f.Context(), position)
	if err != nil {
		f.Fatalf("anchor of position %d: %v", position, err)
	}
	return a
}

func (f *fixture) page(after int64, limit int, filter eventstore.Filter) eventstore.Page {
	f.Helper()
	p, err := f.ReadLog(f.Context(), after, limit, filter)
	if err != nil {
		f.Fatalf("read the log after %d: %v", after, err)
	}
	return p
}

// stream reads a whole stream in one page.
func (f *fixture) stream(name string) []eventstore.Recorded {
	f.Helper()
	events, err := f.ReadStream(f.Context(), name, 1, eventstore.MaxPage)
	if err != nil {
		f.Fatalf("read stream %q: %v", name, err)
	}
	return events
}

// log reads the whole log, page by page.
func (f *fixture) log() []eventstore.Recorded {
	f.Helper()
	var all []eventstore.Recorded
	for after, head := int64(0), f.head(); after < head; {
		p := f.page(after, eventstore.MaxPage, eventstore.Filter{})
		if p.Through.Position <= after {
			f.Fatalf("a page after position %d, with the head at %d, does not advance", after, head)
		}
		all, after = append(all, p.Events...), p.Through.Position
	}
	return all
}
