package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/leat-go/leat/eventstore"
)

// ErrCheckpointMoved: a checkpoint is not where its consumer left it, because
// another one saved it. See CheckpointMovedError.
var ErrCheckpointMoved = errors.New("bus: checkpoint moved")

// CheckpointMovedError says whose checkpoint moved, and where it is.
type CheckpointMovedError struct {
	Consumer string
	// Expected is the position the consumer came from, Actual the one found.
	Expected, Actual int64
}

func (e *CheckpointMovedError) Error() string {
	return fmt.Sprintf("%v: that of %q is at position %d, not %d: another instance of it is running", ErrCheckpointMoved, e.Consumer, e.Actual, e.Expected)
}

func (e *CheckpointMovedError) Unwrap() error { return ErrCheckpointMoved }

// Checkpoints keeps checkpoints for consumers that have no transaction of
// their own: subscribers and relays. It is safe for concurrent use.
type Checkpoints interface {
	// Load returns the consumer's checkpoint, the zero Anchor where it has none.
	Load(ctx context.Context, consumer string) (eventstore.Anchor, error)
	// Save moves it from one place to another, durably. It returns
	// ErrCheckpointMoved where it is not at from.
	Save(ctx context.Context, consumer string, from, to eventstore.Anchor) error
}

// Leaser is a Checkpoints that lets one subscriber at a time work for a
// consumer: the others of its group stand by. It is found by type assertion;
// embed Leases to have it. Without it members of one group each deliver, and
// Save's comparison lets one of them go on.
type Leaser interface {
	// Lease waits until nobody else holds the consumer's lease, and returns
	// what releases it.
	Lease(ctx context.Context, consumer string) (release func(), err error)
}

// Leases implements Leaser within one process. The zero value is ready.
type Leases struct {
	mu   sync.Mutex // guards held
	held map[string]*lease
}

type lease struct {
	free  chan struct{} // holds one token while nobody has the lease
	users int           // that hold it or wait for it
}

// Lease implements Leaser.
func (l *Leases) Lease(ctx context.Context, consumer string) (func(), error) {
	l.mu.Lock()
	h := l.held[consumer]
	if h == nil {
		h = &lease{free: make(chan struct{}, 1)}
		h.free <- struct{}{}
		if l.held == nil {
			l.held = map[string]*lease{}
		}
		l.held[consumer] = h
	}
	h.users++
	l.mu.Unlock()

	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if h.users--; h.users == 0 {
			delete(l.held, consumer)
		}
	}
	select {
	case <-h.free:
		return sync.OnceFunc(func() { h.free <- struct{}{}; leave() }), nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

// MemoryCheckpoints keeps checkpoints as long as it lives, for tests and for
// followers that start over with the process.
type MemoryCheckpoints struct {
	Leases

	mu sync.Mutex // guards at
	at map[string]eventstore.Anchor
}

// NewMemoryCheckpoints returns Checkpoints without any.
func NewMemoryCheckpoints() *MemoryCheckpoints {
	return &MemoryCheckpoints{at: map[string]eventstore.Anchor{}}
}

// Load implements Checkpoints.
func (m *MemoryCheckpoints) Load(_ context.Context, consumer string) (eventstore.Anchor, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.at[consumer], nil
}

// Save implements Checkpoints.
func (m *MemoryCheckpoints) Save(_ context.Context, consumer string, from, to eventstore.Anchor) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := m.at[consumer]; now != from {
		return &CheckpointMovedError{Consumer: consumer, Expected: from.Position, Actual: now.Position}
	}
	m.at[consumer] = to
	return nil
}
