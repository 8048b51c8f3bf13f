package bus_test

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
)

// collector is a consumer that keeps what it was given, and demands of each
// page what the contract promises.
type collector struct {
	t      testing.TB
	name   string
	filter eventstore.Filter
	size   int
	index  int
	of     int
	// apply is called before a page counts as applied. Optional.
	apply func(ctx context.Context, p bus.Page) error

	mu     sync.Mutex // guards what follows
	at     eventstore.Anchor
	events []eventstore.Recorded
	pages  int // with events
	empty  int
	busy   bool
}

func newCollector(t testing.TB, name string) *collector {
	return &collector{t: t, name: name, size: bus.DefaultPageSize, of: 1}
}

func (c *collector) Name() string              { return c.name }
func (c *collector) Filter() eventstore.Filter { return c.filter }
func (c *collector) PageSize() int             { return c.size }
func (c *collector) Partition() (int, int)     { return c.index, c.of }

func (c *collector) Checkpoint(context.Context) (eventstore.Anchor, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at, nil
}

func (c *collector) Apply(ctx context.Context, p bus.Page) error {
	c.mu.Lock()
	if c.busy {
		c.t.Errorf("%s: two pages at once", c.name)
	}
	if p.After != c.at.Position || p.Through.Position <= p.After || len(p.Events) > c.size {
		c.t.Errorf("%s at %d: page after %d through %d of %d events", c.name, c.at.Position, p.After, p.Through.Position, len(p.Events))
	}
	c.busy = true
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.busy = false
	}()
	var err error
	if c.apply != nil {
		err = c.apply(ctx, p)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.keep(p.Events, p.Through)
	}
	return err
}

// keep applies. mu is held.
func (c *collector) keep(events []eventstore.Recorded, through eventstore.Anchor) {
	if len(events) == 0 {
		c.empty++
	} else {
		c.pages++
	}
	c.events = append(c.events, events...)
	c.at = through
}

func (c *collector) positions() []int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	positions := make([]int64, len(c.events))
	for i, e := range c.events {
		positions[i] = e.Position
	}
	return positions
}

// want returns the positions of the log that the collector must have been
// given, through a position.
func (c *collector) want(log eventstore.LogReader, through int64) []int64 {
	positions := []int64{}
	for e, err := range eventstore.Log(context.Background(), log, 0, eventstore.Filter{}) {
		require.NoError(c.t, err)
		if e.Position <= through && c.filter.Match(e.Stream, e.Type) && bus.PartitionOf(e.Stream, c.of) == c.index {
			positions = append(positions, e.Position)
		}
	}
	return positions
}

// run runs a router in the background. The returned function stops it and
// demands that it stops without an error.
func run(t testing.TB, r *bus.Router) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	<-r.Running()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	t.Cleanup(stop)
	return stop
}

func newRouter(t testing.TB, log eventstore.LogReader, opts *bus.RouterOptions, consumers ...bus.Consumer) *bus.Router {
	t.Helper()
	if opts == nil {
		opts = &bus.RouterOptions{}
	}
	if opts.Logger == nil {
		opts.Logger = quiet
	}
	r, err := bus.NewRouter(log, opts)
	require.NoError(t, err)
	for _, c := range consumers {
		require.NoError(t, r.Add(c))
	}
	return r
}

func settle(t testing.TB, r *bus.Router, position int64) {
	t.Helper()
	require.NoError(t, r.Settle(context.Background(), position))
}
