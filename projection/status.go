package projection

import (
	"context"
	"fmt"
	"time"
)

// State says what a projection is doing.
type State string

// States, the most urgent first.
const (
	// Blocked: an event failed for good; nothing is applied until Resume or a
	// restart.
	Blocked State = "blocked"
	// BackingOff: an event failed and is tried again.
	BackingOff State = "backing off"
	// Rebuilding: a new file is being built; the old one serves reads.
	Rebuilding State = "rebuilding"
	// CatchingUp: the log is ahead.
	CatchingUp State = "catching up"
	// Running: everything is applied.
	Running State = "running"
	// Closed: the projection was closed.
	Closed State = "closed"
	// Unknown: a reader beside the owner cannot tell.
	Unknown State = "unknown"
)

// Status is a projection as data.
type Status struct {
	Name string
	// Version is that of the live file.
	Version int
	State   State
	// Position is how far the live file is, Head how far the log.
	Position, Head int64
	// Lag is how many positions the log is ahead of the live file. Waiting is
	// when the first event that it has a handler for and has not applied was
	// recorded, zero where there is none among the next eventstore.MaxScan: see
	// LagTime.
	Lag     int64
	Waiting time.Time
	// Failed is the position of the failing event, Attempts how often it was
	// tried, Reason why it fails, NextAttempt when it is tried again (zero
	// where it is not).
	Failed      int64
	Attempts    int
	Reason      string
	NextAttempt time.Time
	// ParkedStreams and ParkedEvents wait for Release; DeadLetters were given
	// up.
	ParkedStreams, ParkedEvents, DeadLetters int
	// Building is the progress of a new file, nil where none is built, and
	// BuildingVersion the version it will have.
	Building        *Progress
	BuildingVersion int
	// Err says why the log could not be read.
	Err error
}

// LagTime is how long the first event that is not applied has waited, by the
// clock of now, which is that of the log's times.
func (s Status) LagTime(now time.Time) time.Duration {
	if s.Waiting.IsZero() {
		return 0
	}
	return max(now.Sub(s.Waiting), 0)
}

// String returns the state in one line: "running; parked: 3 in 2 streams; dead
// letters: 1", "blocked at 4711: …", "rebuilding 43 %".
func (s Status) String() string {
	line := string(s.State)
	switch {
	case s.Failed > 0 && (s.State == Blocked || s.State == BackingOff):
		line = fmt.Sprintf("%s at %d: %s", s.State, s.Failed, s.Reason)
	case s.State == Blocked:
		line = fmt.Sprintf("%s: %s", s.State, s.Reason)
	case s.State == CatchingUp:
		line = fmt.Sprintf("%s: %d of %d", s.State, s.Position, s.Head)
	}
	if s.Building != nil && s.State != Rebuilding {
		line += "; " + string(Rebuilding)
	}
	if s.Building != nil {
		line += fmt.Sprintf(" %.0f %%", s.Building.Percent())
	}
	if s.ParkedEvents > 0 {
		line += fmt.Sprintf("; parked: %d in %d streams", s.ParkedEvents, s.ParkedStreams)
	}
	if s.DeadLetters > 0 {
		line += fmt.Sprintf("; dead letters: %d", s.DeadLetters)
	}
	return line
}

// Status returns what the projection is doing. It waits for nothing that Apply
// or a build does, but reads the log.
func (p *Projection) Status() Status {
	s := p.status()
	if s.Err != nil || s.Lag == 0 {
		return s
	}
	page, err := p.log.ReadLog(context.Background(), s.Position, 1, p.def.filter())
	if err != nil {
		s.Err = err
	} else if len(page.Events) > 0 {
		s.Waiting = page.Events[0].RecordedAt()
	}
	return s
}

func (p *Projection) status() Status {
	head, err := p.log.Head(context.Background())
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Status{
		Name: p.def.name, Version: p.shown.version, State: Running, Position: p.shown.through.Position,
		Head: max(head, p.shown.through.Position), Err: err,
		ParkedStreams: p.shown.parkedStreams, ParkedEvents: p.shown.parkedEvents, DeadLetters: p.shown.dead,
	}
	if s.Lag = s.Head - s.Position; s.Lag > 0 {
		s.State = CatchingUp
	}
	if p.build != nil {
		if p.rebuild == nil { // a higher version is built, which goes on to the head
			p.build.total = max(p.build.total, head)
		}
		now := p.build.progress()
		s.State, s.Building, s.BuildingVersion = Rebuilding, &now, p.def.version
	}
	switch {
	case p.closed:
		s.State = Closed
	case p.blocked != nil:
		s.State, s.Failed, s.Attempts, s.Reason = Blocked, p.blocked.Position, p.shown.attempt.attempts, p.blocked.Err.Error()
	case p.retry != nil:
		s.State, s.Failed, s.Attempts, s.Reason = BackingOff, p.retry.Position, p.retry.Attempt, p.retry.Err.Error()
		s.NextAttempt = p.retryAt
	case p.shown.attempt.position > 0: // at rest: it is tried again with the next page
		at := p.shown.attempt
		s.State, s.Failed, s.Attempts, s.Reason = BackingOff, at.position, at.attempts, at.err
	}
	return s
}
