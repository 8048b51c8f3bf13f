package serverless

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/leat-go/leat/bus"
)

// figures count what the host did since it was made.
type figures struct {
	delivered, commands, rejected, timers, instants atomic.Int64
	next                                            atomic.Int64 // Unix nanoseconds; 0 for nothing
}

// dispatched counts a command of a saga by its outcome. One that is to be
// repeated is not counted.
func (f *figures) dispatched(err error) {
	if err == nil {
		f.commands.Add(1)
		return
	}
	if _, ok := errors.AsType[bus.Rejection](err); ok {
		f.commands.Add(1)
		f.rejected.Add(1)
	}
}

func (f *figures) setNext(at time.Time, ok bool) {
	if !ok {
		f.next.Store(0)
		return
	}
	f.next.Store(at.UnixNano())
}

func instant(unixNano int64) time.Time {
	if unixNano == 0 {
		return time.Time{}
	}
	return time.Unix(0, unixNano).UTC()
}

// Progress says what the host did since it was made, at little cost: no file
// is read. A caller polls it to show live figures.
type Progress struct {
	// Now is the time of the host's clock.
	Now time.Time
	// Next is when something is due next, as the last Drain knew it; zero where
	// nothing is.
	Next time.Time
	// Delivered is how many events were applied, summed over all consumers.
	Delivered int64
	// Commands is how many commands of sagas were carried out, Rejected how
	// many of them the domain refused.
	Commands, Rejected int64
	// Timers is how many timers Drain fired, Instants how often the virtual
	// clock was moved.
	Timers, Instants int64
}

// Progress returns what the host did so far.
func (h *Host) Progress() Progress {
	f := &h.figures
	return Progress{
		Now: h.clock.Now(), Next: instant(f.next.Load()), Delivered: f.delivered.Load(),
		Commands: f.commands.Load(), Rejected: f.rejected.Load(),
		Timers: f.timers.Load(), Instants: f.instants.Load(),
	}
}
