package serverless

import (
	"context"
	"fmt"
	"time"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/saga"
)

// Consumer is the state of one consumer as data.
type Consumer struct {
	// Name is the projection's or function's, with the partition behind it
	// where there are several, or "sagas".
	Name string
	// Kind is "projection", "function" or "sagas".
	Kind string
	// State is a bus.State, or "stopped" where the host neither runs nor
	// drains.
	State string
	// Checkpoint is the position applied through; Lag how many positions the
	// log is ahead, LagTime the age of the first of them by the host's clock.
	Checkpoint, Lag int64
	LagTime         time.Duration
	// FailedAt is the position of the event that failed, Attempt how often
	// delivery failed in a row, Error why, NextAttempt when it is tried again.
	FailedAt    int64
	Attempt     int
	Error       string
	NextAttempt time.Time
	// DeadLetters are events that were given up and wait for an operator; Parked
	// those of a projection that wait in parked streams (a function's are among
	// its dead letters).
	DeadLetters, Parked int
	// Building is the progress of a new file of a projection, nil where none is
	// built: a rebuild, or a higher version, which is what the checkpoint is of.
	Building *projection.Progress
}

// String returns the state in one line: "running", "catching up: 12 positions
// to go", "blocked at 4711: …", "running; parked: 3; dead letters: 1",
// "running; rebuilding 43 %".
func (c Consumer) String() string {
	line := c.State
	switch {
	case c.Error != "" && c.FailedAt > 0:
		line += fmt.Sprintf(" at %d: %s", c.FailedAt, c.Error)
	case c.Error != "":
		line += ": " + c.Error
	case c.Lag > 0:
		line += fmt.Sprintf(": %d positions to go", c.Lag)
	}
	if c.Parked > 0 {
		line += fmt.Sprintf("; parked: %d", c.Parked)
	}
	if c.DeadLetters > 0 {
		line += fmt.Sprintf("; dead letters: %d", c.DeadLetters)
	}
	if c.Building != nil {
		line += fmt.Sprintf("; rebuilding %.0f %%", c.Building.Percent())
	}
	return line
}

// StateStopped is the state of a consumer while the host neither runs nor
// drains.
const StateStopped = "stopped"

// Status is the host as data.
type Status struct {
	// Now is the time of the host's clock, Head the last position of the log.
	Now  time.Time
	Head int64
	// Store says whether the store takes appends.
	Store StoreStatus
	// Inputs are the sources, in the order of registration: what the store did
	// not take is tried again.
	Inputs []Inputs
	// Consumers are in the order of registration: projections, functions, sagas.
	Consumers []Consumer
	// Sagas are the instances, the outbox and the timers; zero without sagas.
	Sagas saga.Stats
	// NextTimer is when the next timer is due, zero where there is none.
	NextTimer time.Time
	// DeadLetters and Parked are their numbers, of all consumers.
	DeadLetters, Parked int
}

func consumerOf(st bus.ConsumerStatus) Consumer {
	c := Consumer{
		Name: st.Name, State: string(st.State), Checkpoint: st.Checkpoint,
		FailedAt: st.Position, Attempt: st.Attempt, NextAttempt: st.NextAttempt,
	}
	if st.Err != nil {
		c.Error = errorText(st.Err)
	}
	return c
}

// Status returns the state of everything. It reads files, unlike Progress.
func (h *Host) Status(ctx context.Context) (Status, error) {
	leave, err := h.enter()
	if err != nil {
		return Status{}, err
	}
	defer leave()
	st := Status{Now: h.clock.Now(), Store: h.keeper.now()}
	if st.Head, err = h.store.Head(ctx); err != nil {
		return Status{}, fmt.Errorf("serverless: status: %w", err)
	}
	dead, err := h.ledger.countDeadLetters(ctx)
	if err != nil {
		return Status{}, err
	}
	for _, n := range dead {
		st.DeadLetters += n // of functions that are no longer there as well
	}
	for _, src := range h.sources {
		st.Inputs = append(st.Inputs, src.now())
	}
	running := h.running()
	add := func(c bus.Consumer, kind string, dead int) error {
		s, err := h.consumer(ctx, c, running, st.Head)
		if err != nil {
			return err
		}
		s.Kind, s.DeadLetters = kind, dead
		st.Consumers = append(st.Consumers, s)
		return nil
	}
	for _, m := range h.models {
		p, err := m.get()
		if err != nil {
			return Status{}, err
		}
		now := p.Status()
		st.DeadLetters += now.DeadLetters
		if err := add(p, "projection", now.DeadLetters); err != nil {
			return Status{}, err
		}
		c := &st.Consumers[len(st.Consumers)-1]
		c.Building, c.Parked = now.Building, now.ParkedEvents
		st.Parked += now.ParkedEvents
	}
	for _, f := range h.events {
		for i, p := range f.parts {
			n := 0
			if i == 0 { // the letters are the function's
				n = dead[f.name]
			}
			if err := add(p, "function", n); err != nil {
				return Status{}, err
			}
		}
	}
	if h.engine != nil {
		if err := add(h.engine, sagasName, 0); err != nil {
			return Status{}, err
		}
		err = h.sagaStatus(ctx, &st)
	}
	return st, err
}

func (h *Host) sagaStatus(ctx context.Context, st *Status) error {
	var err error
	if st.Sagas, err = h.engine.Stats(ctx); err != nil {
		return fmt.Errorf("serverless: status: %w", err)
	}
	due, ok, err := h.engine.NextDue(ctx)
	if err != nil {
		return fmt.Errorf("serverless: status: %w", err)
	}
	if ok {
		st.NextTimer = due
	}
	return nil
}

// running returns what the router says of each consumer; nil where none runs.
func (h *Host) running() map[string]bus.ConsumerStatus {
	h.mu.Lock()
	s := h.session
	h.mu.Unlock()
	if s == nil {
		return nil
	}
	m := map[string]bus.ConsumerStatus{}
	for _, st := range s.router.Status() {
		m[st.Name] = st
	}
	return m
}

func (h *Host) consumer(ctx context.Context, c bus.Consumer, running map[string]bus.ConsumerStatus, head int64) (Consumer, error) {
	var s Consumer
	if st, ok := running[c.Name()]; ok {
		s = consumerOf(st)
	} else {
		at, err := c.Checkpoint(ctx)
		if err != nil {
			return Consumer{}, fmt.Errorf("serverless: status of %s: %w", c.Name(), err)
		}
		s = Consumer{Name: c.Name(), State: StateStopped, Checkpoint: at.Position}
	}
	if s.Lag = max(head-s.Checkpoint, 0); s.Lag == 0 {
		return s, nil
	}
	page, err := h.store.ReadLog(ctx, s.Checkpoint, 1, eventstore.Filter{})
	if err != nil && h.keeper.stopped() {
		return s, nil // Status.Store says more than the age of an event
	}
	if err != nil {
		return Consumer{}, fmt.Errorf("serverless: status of %s: %w", c.Name(), err)
	}
	if len(page.Events) > 0 {
		s.LagTime = since(h.clock.Now(), page.Events[0].Time)
	}
	return s, nil
}
