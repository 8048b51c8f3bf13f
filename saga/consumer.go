package saga

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
)

// Name implements bus.Consumer.
func (e *Engine) Name() string { return Name }

// Filter implements bus.Consumer: every event type that a definition names.
func (e *Engine) Filter() eventstore.Filter {
	f := eventstore.Filter{}
	for t := range e.byType {
		f.Types = append(f.Types, t)
	}
	slices.Sort(f.Types)
	if len(f.Types) == 0 {
		f.Types = []string{"leat.none"} // an empty list would be every type
	}
	return f
}

// Checkpoint implements bus.Consumer: the lowest of the sagas' checkpoints.
func (e *Engine) Checkpoint(context.Context) (eventstore.Anchor, error) {
	return *e.checkpoint.Load(), nil
}

// Apply implements bus.Consumer: one transaction for the whole page, over all
// sagas. Handlers' errors are its instances' matter, not the page's.
func (e *Engine) Apply(ctx context.Context, p bus.Page) error {
	if err := e.lock(ctx); err != nil {
		return err
	}
	defer e.unlock()
	at := e.checkpoint.Load().Position
	switch {
	case p.Through.Position <= at:
		return nil
	case p.After > at:
		return fmt.Errorf("saga: a page begins behind position %d, the checkpoint is %d", p.After, at)
	}
	apply := func(w *work) error {
		if err := w.results(e.opts.Ordered); err != nil {
			return err
		}
		return w.page(p.Events, p.Through)
	}
	if !e.concerns(p) {
		// Saved with the next transaction: until then the same stretch of the
		// log would be scanned again, in vain.
		e.see(p.Through)
		if e.unsaved() < lazyCheckpoint {
			return nil
		}
		apply = nothing
	}
	err := e.transact(ctx, apply)
	if errors.Is(err, ErrMoved) {
		return &bus.BlockedError{Err: err}
	}
	return err
}

// concerns tells whether some saga has yet to see an event of the page.
func (e *Engine) concerns(p bus.Page) bool {
	for _, ev := range p.Events {
		for _, b := range e.byType[ev.Type] {
			if ev.Position > b.at.Position {
				return true
			}
		}
	}
	return false
}

// nothing is a transaction that only saves how far the log was seen.
func nothing(*work) error { return nil }

// unsaved returns how many positions were passed over since the file was told.
func (e *Engine) unsaved() int64 {
	if len(e.bindings) == 0 {
		return 0
	}
	least := e.bindings[0].saved.Position
	for _, b := range e.bindings {
		least = min(least, b.saved.Position)
	}
	return e.checkpoint.Load().Position - least
}

// see moves the checkpoints that are behind, in memory.
func (e *Engine) see(through eventstore.Anchor) {
	least := through
	for _, b := range e.bindings {
		if b.at.Position < through.Position {
			b.at = through
		}
		if b.at.Position < least.Position {
			least = b.at
		}
	}
	e.checkpoint.Store(&least)
}
