package serverless

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/leat-go/leat/projection"
)

// Model is a registered projection: what functions read it through. Its
// methods return ErrNotOpen before the host is open and after it was closed.
// It is safe for concurrent use.
type Model struct {
	host *Host
	def  *projection.Definition
	open atomic.Pointer[projection.Projection]
}

// Name returns the projection's name.
func (m *Model) Name() string { return m.def.Name() }

func (m *Model) get() (*projection.Projection, error) {
	if p := m.open.Load(); p != nil {
		return p, nil
	}
	return nil, ErrNotOpen
}

// Read calls fn with one consistent state of the model that includes every
// event at or below min, and at or below the MinPosition of ctx: inside a
// function, the request's, or what caused the command. It waits for that, as
// long as ctx allows and the host is open; the model moves only while the host
// runs or drains.
func (m *Model) Read(ctx context.Context, min int64, fn func(*projection.Reader) error) error {
	p, err := m.get()
	if err != nil {
		return err
	}
	if err := m.wait(ctx, p, max(min, MinPosition(ctx))); err != nil {
		return err
	}
	return p.Read(ctx, 0, fn)
}

// WaitFor returns once the model includes every event at or below the position.
func (m *Model) WaitFor(ctx context.Context, position int64) error {
	p, err := m.get()
	if err != nil {
		return err
	}
	return m.wait(ctx, p, position)
}

func (m *Model) wait(ctx context.Context, p *projection.Projection, position int64) error {
	if p.Position() >= position {
		return nil
	}
	m.host.demand(m.Name(), position)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	waited := make(chan struct{})
	defer close(waited)
	go func() { // so that a host that closes waits for nobody who waits for it
		select {
		case <-m.host.ending:
			cancel(ErrClosed)
		case <-waited:
		}
	}()
	err := p.WaitFor(ctx, position)
	if err != nil && errors.Is(context.Cause(ctx), ErrClosed) {
		return ErrClosed
	}
	return err
}

// demand has the consumer given the log through the position at once.
func (h *Host) demand(name string, position int64) {
	h.mu.Lock()
	s := h.session
	h.mu.Unlock()
	if s != nil {
		s.router.Demand(name, position)
	}
}

// Rebuild builds the model anew beside the live one, exchanges the two and
// tells whether they are identical.
func (m *Model) Rebuild(ctx context.Context, progress func(projection.Progress)) (projection.Rebuilt, error) {
	p, err := m.get()
	if err != nil {
		return projection.Rebuilt{}, err
	}
	return p.Rebuild(ctx, progress)
}

// GoBack makes the file that served before the last exchange serve again.
func (m *Model) GoBack(ctx context.Context) (projection.WentBack, error) {
	p, err := m.get()
	if err != nil {
		return projection.WentBack{}, err
	}
	return p.GoBack(ctx)
}

// AsOf returns the model as it was at a position of the log, for reading. The
// options may be nil. The caller closes it.
func (m *Model) AsOf(ctx context.Context, position int64, opts *projection.AsOfOptions) (*projection.Past, error) {
	p, err := m.get()
	if err != nil {
		return nil, err
	}
	return p.AsOf(ctx, position, opts)
}

// RebuildAll rebuilds models side by side, from one reading of the log: see
// projection.RebuildAll.
func RebuildAll(ctx context.Context, models []*Model, progress func(name string, p projection.Progress)) ([]projection.Outcome, error) {
	all := make([]*projection.Projection, len(models))
	for i, m := range models {
		var err error
		if all[i], err = m.get(); err != nil {
			return nil, err
		}
	}
	return projection.RebuildAll(ctx, all, progress)
}

// Status returns what the projection is doing.
func (m *Model) Status() (projection.Status, error) {
	p, err := m.get()
	if err != nil {
		return projection.Status{}, err
	}
	return p.Status(), nil
}

// Projection returns the open projection, for what the model does not offer:
// parked streams, dead letters, and what was discarded.
func (m *Model) Projection() (*projection.Projection, error) { return m.get() }
