package sagatest

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
	"github.com/leat-go/leat/saga"
)

// Start is the instant at which every script begins.
var Start = time.Date(2024, time.January, 1, 12, 0, 0, 0, time.UTC)

// stream holds the events of a script.
const stream = "script-1"

// maxPending is how many commands a script can have in flight.
const maxPending = 10_000

// Script is a test of one definition. Each method does or checks one thing,
// fails the test where it does not hold, and returns the script. It is for one
// goroutine.
type Script struct {
	t      testing.TB
	name   string
	def    *saga.Definition
	dir    string
	key    string // of Instance; empty: there must be one only
	log    *memory.Store
	clock  *clock.Virtual
	engine *saga.Engine
	last   eventstore.Event
	sent   map[string]bool // ids of commands that Sent has seen
	life   *life           // of a script that Crash repeats, else nil
}

// New returns a script of the definition.
func New(t testing.TB, def *saga.Definition) *Script {
	t.Helper()
	s := &Script{t: t, name: def.Name(), def: def, dir: t.TempDir(), clock: clock.NewVirtual(Start), sent: map[string]bool{}}
	s.log = memory.New(&memory.Options{Clock: s.clock})
	s.open()
	s.life = lifeOf(t, s)
	t.Cleanup(func() {
		if err := s.engine.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// open opens the engine on what is stored.
func (s *Script) open() {
	s.t.Helper()
	engine, err := saga.Open(s.t.Context(), s.dir, s.log, s.clock, []*saga.Definition{s.def}, &saga.Options{
		Relaxed: true, Attempts: 1, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.engine = engine
}

// When records events, each at once given to the saga.
func (s *Script) When(events ...eventstore.Event) *Script {
	s.t.Helper()
	for _, e := range events {
		data, err := eventstore.Encode(e)
		if err != nil {
			s.t.Fatalf("when %T: %v", e, err)
		}
		if !slices.Contains(s.engine.Filter().Types, data.Type) {
			s.t.Fatalf("when %s: the saga names no such event", data.Type)
		}
		s.last = e
		if _, err := s.log.Append(s.t.Context(), eventstore.Batch{
			Writes: []eventstore.Write{{Stream: stream, Events: []eventstore.EventData{data}}},
		}); err != nil {
			s.t.Fatalf("when %s: %v", data.Type, err)
		}
		s.do("when "+data.Type, s.apply)
	}
	return s
}

// Duplicate records the last event of When once more, as a sender does that
// repeats itself.
func (s *Script) Duplicate() *Script {
	s.t.Helper()
	if s.last == nil {
		s.t.Fatal("duplicate: there is no event yet")
	}
	return s.When(s.last)
}

// apply gives the engine what it has not seen.
func (s *Script) apply() error {
	at, err := s.engine.Checkpoint(s.t.Context())
	if err != nil {
		return err
	}
	page, err := s.log.ReadLog(s.t.Context(), at.Position, eventstore.MaxPage, s.engine.Filter())
	if err != nil {
		return err
	}
	return s.engine.Apply(s.t.Context(), bus.Page{After: at.Position, Events: page.Events, Through: page.Through})
}

// Advance moves the clock by d, from timer to timer: each fires at the instant
// it is due.
func (s *Script) Advance(d time.Duration) *Script {
	s.t.Helper()
	until := s.clock.Now().Add(d)
	s.do("advance "+d.String(), func() error { return s.fireUntil(until) })
	s.clock.Advance(until)
	return s
}

// fireUntil fires every timer that is due at t or before, at its instant.
func (s *Script) fireUntil(t time.Time) error {
	for {
		due, ok, err := s.engine.NextDue(s.t.Context())
		if err != nil {
			return err
		}
		if !ok || due.After(t) {
			return nil
		}
		s.clock.Advance(due)
		if _, err := s.engine.FireDue(s.t.Context()); err != nil {
			return err
		}
	}
}

// Instance says which instance the checks that follow are about, by its key or
// an alias. Without it there must be exactly one.
func (s *Script) Instance(key string) *Script {
	s.key = key
	return s
}

// Sent checks that exactly these commands, in this order, were sent since the
// last Sent. Without any it checks that none was.
func (s *Script) Sent(want ...saga.Command) *Script {
	s.t.Helper()
	var got []string
	for _, c := range s.pending() {
		if !s.sent[c.ID] {
			s.sent[c.ID] = true
			got = append(got, c.Type+" "+string(c.Data))
		}
	}
	s.same("sent", got, commands(s.t, want))
	return s
}

// Done has commands carried out without a refusal: the given ones, or all that
// are in flight. Commands of an instance are carried out in their order, so
// those before a given one are done too. Of an event that a command would
// cause, tell with When.
func (s *Script) Done(cmds ...saga.Command) *Script {
	s.t.Helper()
	if len(cmds) == 0 {
		for _, c := range s.pending() {
			s.resolve(c, nil)
		}
		return s
	}
	for _, cmd := range cmds {
		s.upTo(cmd, nil)
	}
	return s
}

// Reject has a command refused with the code. Those of its instance before it
// are done.
func (s *Script) Reject(cmd saga.Command, code string) *Script {
	s.t.Helper()
	s.upTo(cmd, rejection(code))
	return s
}

// rejection is a refusal.
type rejection string

func (r rejection) Error() string         { return "rejected: " + string(r) }
func (r rejection) RejectionCode() string { return string(r) }

// upTo resolves a command, after those of its instance before it.
func (s *Script) upTo(cmd saga.Command, how bus.Rejection) {
	s.t.Helper()
	want := commands(s.t, []saga.Command{cmd})[0]
	all := s.pending()
	for n, c := range all {
		if c.Type+" "+string(c.Data) != want {
			continue
		}
		for _, before := range all[:n] {
			if before.Saga == c.Saga && before.Key == c.Key {
				s.resolve(before, nil)
			}
		}
		s.resolve(c, how)
		return
	}
	var flying []string
	for _, c := range all {
		flying = append(flying, c.Type+" "+string(c.Data))
	}
	s.t.Fatalf("%s is not in flight; in flight are:%s", want, list(flying))
}

func (s *Script) resolve(c saga.PendingCommand, how bus.Rejection) {
	s.t.Helper()
	s.carried(c, how)
	s.do("carry out "+c.Type, func() error {
		if s.life != nil && !slices.ContainsFunc(s.pending(), func(p saga.PendingCommand) bool { return p.ID == c.ID }) {
			return nil // its outcome was recorded before the engine died
		}
		return s.engine.Resolve(s.t.Context(), c.Saga, c.Key, c.ID, how, operator)
	})
}

func (s *Script) pending() []saga.PendingCommand {
	s.t.Helper()
	list, err := s.engine.Pending(s.t.Context(), maxPending)
	if err != nil {
		s.t.Fatal(err)
	}
	return list
}
