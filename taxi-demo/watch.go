package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/serverless"
	"github.com/leat-go/leat/taxi-demo/internal/check"
	"github.com/leat-go/leat/taxi-demo/internal/receipts"
	"github.com/leat-go/leat/taxi-demo/internal/views"
)

// lettersPage is how many dead letters are looked at at a time.
const lettersPage = 1000

// watch shows a line of progress from time to time until the function it
// returns is called, which waits for the last line.
func (a *app) watch(ctx context.Context, t terminal, line func(context.Context) string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(t.interval())
		defer tick.Stop()
		for {
			if s := line(ctx); s != "" && ctx.Err() == nil {
				t.status(s)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				t.clear()
				return
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

// liveLine is the state of the city in a line; empty where it cannot be read
// just now.
func (a *app) liveLine(ctx context.Context) string {
	host, err := a.state(ctx)
	if err != nil {
		return ""
	}
	r, err := check.Read(ctx, a.read, host)
	if err != nil {
		return ""
	}
	var free, driving int
	err = a.read(ctx, views.Drivers, func(q *projection.Reader) error {
		return q.QueryRow(`
			SELECT COUNT(*) FILTER (WHERE status = 'free'), COUNT(*) FILTER (WHERE status = 'driving')
			FROM driver`).Scan(&free, &driving)
	})
	if err != nil {
		return ""
	}
	return a.held(ctx) + fmt.Sprintf("%s · %d rides, %d settled, %d open · %d cars driving, %d free · %d events · fare check %d/%d exact",
		a.clock.Now().Format("Mon 15:04:05"), r.Trips, r.Rides.Settled, r.Rides.Open, driving, free, r.Head,
		r.FareCheck.Meter.Exact, r.FareCheck.Meter.Exact+r.FareCheck.Meter.Mismatch)
}

// read reads a read model as it is now.
func (a *app) read(ctx context.Context, def *projection.Definition, fn func(*projection.Reader) error) error {
	return a.models[def.Name()].Read(ctx, 0, fn)
}

// ended returns how many rides have ended; 0 where it cannot be read just now.
func (a *app) ended(ctx context.Context) (n int64) {
	err := a.read(ctx, views.Rides, func(q *projection.Reader) error {
		return q.QueryRow(`SELECT COALESCE(SUM(rides), 0) FROM outcome WHERE status <> ?`, views.Open).Scan(&n)
	})
	if err != nil {
		return 0
	}
	return n
}

// drain works everything off, showing how many of how many are done.
func (a *app) drain(ctx context.Context, t terminal, b serverless.Budget, progress func() (done, total int64)) error {
	stop := a.watch(ctx, t, func(ctx context.Context) string {
		done, total := progress()
		p := a.host.Progress()
		return a.held(ctx) + fmt.Sprintf("%s %d/%d · %d commands · %s", bar(done, total), done, total, p.Commands, a.clock.Now().Format("Mon 15:04:05"))
	})
	_, err := a.host.Drain(ctx, b)
	stop()
	var blocked *serverless.BlockedError
	switch {
	case errors.As(err, &blocked):
		for _, c := range blocked.Consumers {
			a.blocked = append(a.blocked, fmt.Sprintf("%s at position %d: %s", c.Name, c.FailedAt, c.Error))
		}
		return nil // and the check says so
	case ctx.Err() != nil && errors.Is(err, serverless.ErrMoreWork):
		if err := errors.Join(a.store.Err(), stillThere(a.store.Dir())); err != nil {
			return err
		}
		fmt.Fprintln(t.err, "interrupted; the same command goes on where it was")
		return context.Canceled
	}
	return err
}

// state returns what the check needs to know of the host.
func (a *app) state(ctx context.Context) (check.Host, error) {
	st, err := a.host.Status(ctx)
	if err != nil {
		return check.Host{}, err
	}
	h := check.Host{
		Head: st.Head, DeadLetter: st.DeadLetters,
		OpenSagas: st.Sagas.Open(), Parked: st.Sagas.Parked,
		Blocked: append([]string(nil), a.blocked...),
	}
	for _, c := range st.Consumers {
		if c.State == string(bus.StateBlocked) {
			h.Blocked = append(h.Blocked, fmt.Sprintf("%s at position %d: %s", c.Name, c.FailedAt, c.Error))
		}
	}
	for after, more := int64(0), true; more; {
		letters, err := a.host.DeadLetters(ctx, receiptsName, after, lettersPage)
		if err != nil {
			return check.Host{}, err
		}
		for _, l := range letters {
			after = l.Position
			if receipts.Injected(l.Error) {
				h.Injected++
			}
		}
		more = len(letters) == lettersPage
	}
	return h, nil
}
