package serverless

import (
	"context"
	"sync"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
)

// watched is a consumer that counts what it is given and lets others wait for
// it alone, as bus.Router.Settle does for all.
type watched struct {
	bus.Consumer
	figures *figures // nil where the consumer counts itself

	mu      sync.Mutex // guards what follows
	scanned int64
	failing bool
	changed chan struct{} // closed for those who wait; nil where nobody does
}

// PageSize implements bus.PageSizer.
func (w *watched) PageSize() int {
	if p, ok := w.Consumer.(bus.PageSizer); ok {
		return p.PageSize()
	}
	return bus.DefaultPageSize
}

// Partition implements bus.Partitioned.
func (w *watched) Partition() (index, of int) {
	if p, ok := w.Consumer.(bus.Partitioned); ok {
		return p.Partition()
	}
	return 0, 1
}

// Prepare implements bus.Preparer.
func (w *watched) Prepare(page bus.Page, ended <-chan struct{}) any {
	if p, ok := w.Consumer.(bus.Preparer); ok {
		return p.Prepare(page, ended)
	}
	return nil
}

// Checkpoint implements bus.Consumer.
func (w *watched) Checkpoint(ctx context.Context) (eventstore.Anchor, error) {
	a, err := w.Consumer.Checkpoint(ctx)
	w.moved(a.Position, err)
	return a, err
}

// Apply implements bus.Consumer.
func (w *watched) Apply(ctx context.Context, p bus.Page) error {
	err := w.Consumer.Apply(ctx, p)
	if err == nil && w.figures != nil {
		w.figures.delivered.Add(int64(len(p.Events)))
	}
	w.moved(p.Through.Position, err)
	return err
}

func (w *watched) moved(position int64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failing = err != nil
	if err == nil {
		w.scanned = position
	}
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

// settle waits until the consumer has applied the log through the position, or
// fails.
func (w *watched) settle(ctx context.Context, position int64) error {
	for {
		w.mu.Lock()
		if w.scanned >= position || w.failing {
			w.mu.Unlock()
			return nil
		}
		if w.changed == nil {
			w.changed = make(chan struct{})
		}
		changed := w.changed
		w.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
