package process

import (
	"time"

	"github.com/leat-go/leat/saga"
	"github.com/leat-go/leat/taxi-demo/internal/ride"
	"github.com/leat-go/leat/taxi-demo/internal/telemetry"
)

const (
	silentAfter = 60 * time.Second // without telemetry: the signal is lost
	lostAfter   = 10 * time.Minute // silent since then: the trip is ended
)

// Watchdog notices cars that fall silent, and ends a trip whose car stays so.
var Watchdog = saga.Define("watchdog", 1,
	saga.Starts(func(e ride.Started) string { return e.RideID }, (*watching).started),
	saga.On(func(e telemetry.Recorded) string { return e.RideID }, (*watching).heard),
	saga.On(func(e telemetry.Repeated) string { return e.RideID }, (*watching).heardAgain),
	saga.On(func(e ride.Ended) string { return e.RideID }, (*watching).ended),
	saga.Timer("silent", (*watching).silent),
	saga.Timer("lost", (*watching).lost),
	saga.IgnoreRejected[watching, ride.MarkSignalLost](),
	saga.IgnoreRejected[watching, telemetry.Close](),
	saga.IgnoreRejected[watching, ride.End](),
)

type watching struct {
	Last int `json:"last,omitempty"` // the highest sequence number heard
}

func (w *watching) started(c *saga.Context, _ ride.Started) error {
	c.After("silent", silentAfter)
	return nil
}

func (w *watching) heard(c *saga.Context, e telemetry.Recorded) error {
	for _, p := range e.Points {
		w.Last = max(w.Last, p.Seq)
	}
	return w.alive(c)
}

func (w *watching) heardAgain(c *saga.Context, _ telemetry.Repeated) error { return w.alive(c) }

func (w *watching) alive(c *saga.Context) error {
	c.Cancel("lost")
	c.After("silent", silentAfter)
	return nil
}

func (w *watching) silent(c *saga.Context) error {
	c.Send(ride.MarkSignalLost{RideID: c.Key()})
	c.After("lost", lostAfter)
	return nil
}

func (w *watching) lost(c *saga.Context) error {
	c.Send(telemetry.Close{RideID: c.Key(), Last: w.Last})
	c.Send(ride.End{RideID: c.Key(), Flagged: true})
	return nil
}

func (w *watching) ended(c *saga.Context, _ ride.Ended) error { return done(c) }
