package sqlite

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/leat-go/leat/eventstore"
)

// gate lets many calls use the files of a store, or one exchange them. The zero
// gate is open.
type gate struct {
	mu    sync.Mutex    // guards what follows
	calls []call        // those inside; an ended one leaves its place to another
	inUse int           // of calls
	shut  bool          // by Close: nobody enters any more
	over  chan struct{} // closed when the exchange is; nil while there is none
	idle  chan struct{} // closed when nobody is inside; nil while nobody waits for that
}

// call is one that uses the files.
type call struct {
	doing string // empty: a free place
	since time.Time
}

// enter waits until the files may be used and returns what ends that, which
// is called once. It returns eventstore.ErrClosed after close.
func (g *gate) enter(ctx context.Context, doing string) (leave func(), err error) {
	for {
		over, leave, err := g.tryEnter(doing)
		if over == nil {
			return leave, err
		}
		select {
		case <-over:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (g *gate) tryEnter(doing string) (over <-chan struct{}, leave func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.shut:
		return nil, nil, eventstore.ErrClosed
	case g.over != nil:
		return g.over, nil, nil
	}
	place := len(g.calls)
	for i := range g.calls {
		if g.calls[i].doing == "" {
			place = i
			break
		}
	}
	if place == len(g.calls) {
		g.calls = append(g.calls, call{})
	}
	g.calls[place] = call{doing: doing, since: time.Now()}
	g.inUse++
	return nil, func() { g.leave(place) }, nil
}

func (g *gate) leave(place int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls[place] = call{}
	g.inUse--
	if g.inUse == 0 && g.idle != nil {
		close(g.idle)
		g.idle = nil
	}
}

// exclude lets nobody enter any more until release is called, and waits until
// nobody is inside. Where ctx ends, or closing is closed, before, it has changed
// nothing. One at a time.
func (g *gate) exclude(ctx context.Context, closing <-chan struct{}) (release func(), err error) {
	over := make(chan struct{})
	release = func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.over = nil
		close(over)
	}
	g.mu.Lock()
	g.over = over
	idle := g.whenIdle()
	g.mu.Unlock()
	select {
	case <-idle:
		return release, nil
	case <-closing:
		release()
		return nil, eventstore.ErrClosed
	case <-ctx.Done():
		release()
		return nil, fmt.Errorf("%w while waiting for %s", ctx.Err(), g.longest())
	}
}

// whenIdle returns a channel that is closed once nobody is inside. mu is held.
func (g *gate) whenIdle() <-chan struct{} {
	if g.idle == nil {
		g.idle = make(chan struct{})
	}
	idle := g.idle
	if g.inUse == 0 {
		close(g.idle)
		g.idle = nil
	}
	return idle
}

// close lets nobody enter any more, and waits until nobody is inside.
func (g *gate) close() {
	g.mu.Lock()
	g.shut = true
	idle := g.whenIdle()
	g.mu.Unlock()
	<-idle
}

// oldest returns the call that has been inside longest, and whether there is
// one.
func (g *gate) oldest() (c call, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, other := range g.calls {
		if other.doing != "" && (!ok || other.since.Before(c.since)) {
			c, ok = other, true
		}
	}
	return c, ok
}

// longest says which call has been inside longest.
func (g *gate) longest() string {
	c, ok := g.oldest()
	if !ok {
		return "a call that has just ended"
	}
	return fmt.Sprintf("a call of this program (%s) that has been under way for %v", c.doing, time.Since(c.since).Round(time.Millisecond))
}
