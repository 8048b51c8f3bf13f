package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/projection"
)

// catchUpPage is how many events a read model is given at a time.
const catchUpPage = 500

// catchUp brings every read model to the head, in this goroutine and with
// nothing else moving, so that the check does not believe one that has not seen
// the log. It returns those that cannot be brought there.
func (a *app) catchUp(ctx context.Context) (blocked []string, err error) {
	head, err := a.store.Head(ctx)
	if err != nil {
		return nil, err
	}
	for name, m := range a.models {
		p, err := m.Projection()
		if err != nil {
			return nil, err
		}
		err = a.feed(ctx, p, head)
		var stuck *bus.BlockedError
		var failing *bus.RetryError
		switch {
		case errors.As(err, &stuck):
			blocked = append(blocked, fmt.Sprintf("%s at position %d: %v", name, stuck.Position, stuck.Err))
		case errors.As(err, &failing):
			blocked = append(blocked, fmt.Sprintf("%s at position %d: %v", name, failing.Position, failing.Err))
		case err != nil:
			return nil, fmt.Errorf("catch up %s: %w", name, err)
		}
	}
	return blocked, nil
}

// feed applies the log to a read model, or to the file that is built to replace
// its own, up to the head.
func (a *app) feed(ctx context.Context, p *projection.Projection, head int64) error {
	for {
		at, err := p.Checkpoint(ctx)
		if err != nil {
			return err
		}
		after := at.Position
		if after >= head {
			return nil
		}
		page, err := a.store.ReadLog(ctx, after, catchUpPage, p.Filter())
		if err != nil {
			return err
		}
		if err := p.Apply(ctx, bus.Page{After: after, Events: page.Events, Through: page.Through}); err != nil {
			return err
		}
	}
}
