package agents

import (
	"time"

	"github.com/leat-go/leat/saga"
	"github.com/leat-go/leat/taxi-demo/internal/chaos"
	"github.com/leat-go/leat/taxi-demo/internal/meter"
	"github.com/leat-go/leat/taxi-demo/internal/ride"
	"github.com/leat-go/leat/taxi-demo/internal/telemetry"
)

func (r *road) started(c *saga.Context, _ ride.Started) error {
	r.StartAt = c.Now()
	r.drive(c)
	return nil
}

// drive sets the next report: reportEvery from the last, or the end of the
// trip, rounded up to the grid. All cars report at the same instants of the
// clock, so that their reports are stored together.
func (r *road) drive(c *saga.Context) {
	now := c.Now()
	next := now.Truncate(reportEvery).Add(reportEvery)
	// A report without a point would leave the watchdog waiting for the one
	// after it.
	if tick := time.Duration(r.Plan.TickMS) * time.Millisecond; r.Sent == 0 && next.Before(r.StartAt.Add(tick)) {
		next = r.StartAt.Add(tick)
	}
	if end := r.end(); next.After(end) {
		next = end
	}
	c.At("report", next)
}

func (r *road) end() time.Time {
	end := r.StartAt.Add(time.Duration(r.Plan.Profile.MS) * time.Millisecond)
	if rounded := end.Truncate(r.grid()); rounded.Before(end) {
		return rounded.Add(r.grid())
	}
	return end
}

// report sends the points driven since the last one, and ends the trip after
// its last point.
func (r *road) report(c *saga.Context) error {
	fresh, last := r.driven(c.Now().Sub(r.StartAt))
	if r.has(chaos.CarVanishes) && r.Reported {
		return nil // the car is never heard of again
	}
	r.send(c, fresh, last)
	r.Reported = true
	if !last {
		r.drive(c)
		return nil
	}
	r.resend(c, &r.Lost)
	c.Send(telemetry.Close{RideID: r.Plan.RideID, Last: r.Sent})
	c.Send(ride.End{RideID: r.Plan.RideID, Tolls: r.Plan.Tolls, Tip: r.Plan.Tip})
	if len(r.Late) > 0 {
		c.After("straggle", straggle)
	}
	return nil
}

// driven returns the points that are complete after this much of the trip and
// were not returned before, and whether the last point is among them or before.
func (r *road) driven(elapsed time.Duration) (fresh []meter.Point, last bool) {
	tick := time.Duration(r.Plan.TickMS) * time.Millisecond
	var at time.Duration
	for p := range r.Plan.Profile.Points(tick) {
		at += time.Duration(p.MS) * time.Millisecond
		if at > elapsed {
			return fresh, false
		}
		if p.Seq > r.Sent {
			fresh = append(fresh, p)
			r.Sent = p.Seq
		}
	}
	return fresh, true
}

// send reports points as the plan's chaos wants it.
func (r *road) send(c *saga.Context, points []meter.Point, last bool) {
	if len(points) == 0 {
		return
	}
	switch {
	case last && r.once(chaos.ComesLate):
		r.Late = points
		return
	case !last && r.once(chaos.Loses):
		r.Lost = points
		r.note(c, chaos.Loses)
		return
	case !last && r.once(chaos.Reorders):
		// Two halves, the later one first.
		middle := len(points) / 2
		if middle > 0 {
			r.record(c, points[middle:])
			points = points[:middle]
		}
	case r.once(chaos.Duplicates):
		r.record(c, points)
	}
	r.record(c, points)
}

func (r *road) record(c *saga.Context, points []meter.Point) {
	c.Send(telemetry.Record{RideID: r.Plan.RideID, Points: points})
}

// resend sends points that were set aside.
func (r *road) resend(c *saga.Context, points *meter.Points) {
	if len(*points) > 0 {
		r.record(c, *points)
		*points = nil
	}
}

func (r *road) sendLate(c *saga.Context) error {
	r.resend(c, &r.Late)
	return nil
}
