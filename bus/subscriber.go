package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leat-go/leat/eventstore"
)

// LazySave is how many positions without matches a follower scans before it
// saves that it has. An idle log makes it save nothing.
const LazySave = 10_000

// Waits before a refused message is delivered again: growing, jittered.
const (
	MinRedelivery = 10 * time.Millisecond
	MaxRedelivery = 5 * time.Second
)

// SubscriberOptions adjust a Subscriber.
type SubscriberOptions struct {
	// Group names the consumer group, which keeps one checkpoint for each topic
	// and partition: its members share the messages, and go on where the group
	// was. Empty: every subscription is given the whole log, from its start.
	Group string
	// Filter returns what a topic selects. Defaults to the events of the stream
	// with the topic's name, exactly.
	Filter func(topic string) (eventstore.Filter, error)
	// Partitions is how many messages can be in flight at once, those of one
	// stream never together. Changing it changes the names of the checkpoints,
	// so that delivery starts over. Defaults to 1.
	Partitions int
	// PageSize is how many events a message carries at most. With 1 a message
	// has the form of EventMessage; otherwise see PageFrom. Defaults to 1.
	PageSize int
	// MinRedelivery and MaxRedelivery bound the wait after a Nack. Default to
	// the constants.
	MinRedelivery, MaxRedelivery time.Duration
	// Logger says what goes wrong beside the messages. Defaults to
	// slog.Default().
	Logger *slog.Logger
}

// Subscriber is a message.Subscriber over the log. It is safe for concurrent
// use.
//
// Messages leave in position order, one at a time per partition, the next only
// after Ack; a Nack has the message delivered again. With a group the
// checkpoint is saved after Ack, so a message is delivered at least once, and
// where the Checkpoints is a Leaser only one member works on a partition while
// the others stand by. A commit wakes it; an idle log costs nothing.
type Subscriber struct {
	log  eventstore.LogReader
	cp   Checkpoints
	opts SubscriberOptions

	mu      sync.Mutex // guards what follows
	closed  bool
	cancels map[int]context.CancelFunc
	next    int
	lanes   sync.WaitGroup
}

var _ message.Subscriber = (*Subscriber)(nil)

// NewSubscriber returns a subscriber. The checkpoints may be nil where
// opts.Group is empty.
func NewSubscriber(log eventstore.LogReader, cp Checkpoints, opts *SubscriberOptions) (*Subscriber, error) {
	var o SubscriberOptions
	if opts != nil {
		o = *opts
	}
	if o.Filter == nil {
		o.Filter = func(topic string) (eventstore.Filter, error) {
			return eventstore.Filter{Streams: []string{topic}}, eventstore.CheckName("topic", topic)
		}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	setDefault(&o.Partitions, 1)
	setDefault(&o.PageSize, 1)
	setDefault(&o.MinRedelivery, MinRedelivery)
	setDefault(&o.MaxRedelivery, max(MaxRedelivery, o.MinRedelivery))
	if err := eventstore.CheckPage(o.PageSize); err != nil {
		return nil, err
	}
	if o.Partitions < 0 || o.MinRedelivery < 0 || o.MaxRedelivery < o.MinRedelivery {
		return nil, &eventstore.InvalidError{Field: "subscriber options", Value: fmt.Sprintf("%d partitions, redelivery after %v to %v",
			o.Partitions, o.MinRedelivery, o.MaxRedelivery), Reason: "must be positive and in order"}
	}
	if o.Group != "" {
		if err := eventstore.CheckName("group", o.Group); err != nil {
			return nil, err
		}
		if cp == nil {
			return nil, &eventstore.InvalidError{Field: "group", Value: o.Group, Reason: "needs checkpoints to keep its place"}
		}
	}
	return &Subscriber{log: log, cp: cp, opts: o, cancels: map[int]context.CancelFunc{}}, nil
}

// Subscribe returns the topic's messages. The channel is open until ctx is
// done or the subscriber is closed. Messages have a context below ctx, which
// ends when they are answered. It returns eventstore.ErrClosed after Close and
// eventstore.ErrInvalid for an illegal topic.
func (s *Subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	filter, err := s.opts.Filter(topic)
	if err != nil {
		return nil, fmt.Errorf("subscribe to %q: %w", topic, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("subscribe to %q: %w", topic, eventstore.ErrClosed)
	}
	ctx, cancel := context.WithCancel(ctx)
	id := s.next
	s.next++
	s.cancels[id] = cancel

	out := make(chan *message.Message)
	var lanes sync.WaitGroup
	for i := range s.opts.Partitions {
		sub := &subscription{Subscriber: s, name: s.checkpointName(topic, i), filter: filter, index: i, out: out}
		lanes.Go(func() { sub.serve(ctx) })
	}
	s.lanes.Go(func() {
		lanes.Wait()
		close(out)
		cancel()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.cancels, id)
	})
	return out, nil
}

// checkpointName names the checkpoint of a partition of a topic.
func (s *Subscriber) checkpointName(topic string, index int) string {
	name := s.opts.Group + "/" + topic
	if s.opts.Partitions > 1 {
		name = fmt.Sprintf("%s/%d-of-%d", name, index, s.opts.Partitions)
	}
	return name
}

// Close ends the subscriptions and returns when their channels are closed.
// Messages in flight lose their contexts and are delivered again, to the next
// member of the group.
func (s *Subscriber) Close() error {
	s.mu.Lock()
	s.closed = true
	for _, cancel := range s.cancels {
		cancel()
	}
	s.mu.Unlock()
	s.lanes.Wait()
	return nil
}

// subscription serves one partition of one topic to one subscriber.
type subscription struct {
	*Subscriber
	name   string
	filter eventstore.Filter
	index  int
	out    chan<- *message.Message
}

// serve delivers until ctx ends, starting over from the checkpoint after a
// failure.
func (s *subscription) serve(ctx context.Context) {
	for failures := 0; ctx.Err() == nil; {
		progressed, err := s.deliverAll(ctx)
		if ctx.Err() != nil {
			return
		}
		if progressed || errors.Is(err, ErrCheckpointMoved) {
			failures = 0
		}
		if errors.Is(err, ErrCheckpointMoved) {
			s.opts.Logger.Warn("another member of the group was faster", "subscription", s.name, "err", err)
			continue
		}
		failures++
		wait := backoff(failures, MinBackoff, MaxBackoff)
		s.opts.Logger.Error("subscription starts over from its checkpoint", "subscription", s.name, "err", err, "next", wait)
		pause(ctx, wait)
	}
}

// deliverAll delivers from the group's checkpoint on until something fails. It
// tells whether it delivered anything.
func (s *subscription) deliverAll(ctx context.Context) (progressed bool, err error) {
	var saved eventstore.Anchor
	if s.opts.Group != "" {
		if leaser, ok := s.cp.(Leaser); ok {
			release, err := leaser.Lease(ctx, s.name)
			if err != nil {
				return false, fmt.Errorf("lease: %w", err)
			}
			defer release()
		}
		if saved, err = s.cp.Load(ctx, s.name); err != nil {
			return false, fmt.Errorf("load checkpoint: %w", err)
		}
		if err := eventstore.CheckCheckpoint(ctx, s.log, saved, s.name, ""); err != nil {
			return false, err
		}
	}
	pages := pager{log: s.log, filter: s.filter, index: s.index, of: s.opts.Partitions, limit: s.opts.PageSize, ahead: s.opts.PageSize, after: saved.Position}
	if s.opts.Group == "" {
		pages.ahead = max(pages.ahead, readAhead)
	}
	for {
		page, err := pages.next(ctx)
		if err != nil {
			return progressed, err
		}
		if len(page.Events) > 0 {
			if !s.deliver(ctx, page) {
				return progressed, ctx.Err()
			}
			progressed = true
		}
		if s.opts.Group == "" || len(page.Events) == 0 && page.Through.Position-saved.Position < LazySave {
			continue
		}
		// What was acknowledged is saved, even while closing.
		if err := s.cp.Save(context.WithoutCancel(ctx), s.name, saved, page.Through); err != nil {
			return progressed, fmt.Errorf("save checkpoint: %w", err)
		}
		saved = page.Through
	}
}

// deliver sends the page until it is acknowledged. It returns false where ctx
// ended before.
func (s *subscription) deliver(ctx context.Context, page Page) bool {
	for refusals := 1; ; refusals++ {
		acked, answered := s.send(ctx, page)
		if acked || !answered {
			return acked
		}
		if !pause(ctx, backoff(refusals, s.opts.MinRedelivery, s.opts.MaxRedelivery)) {
			return false
		}
	}
}

// send sends the page once and waits for the answer. It was not answered where
// ctx ended before.
func (s *subscription) send(ctx context.Context, page Page) (acked, answered bool) {
	msgCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	msg := newMessage(msgCtx, s.name, &delivery{page: page}, s.opts.PageSize == 1)
	select {
	case s.out <- msg:
	case <-ctx.Done():
		return false, false
	}
	select {
	case <-msg.Acked():
		return true, true
	case <-msg.Nacked():
		return false, true
	case <-ctx.Done():
	}
	select {
	case <-msg.Acked(): // just before
		return true, true
	default:
		return false, false
	}
}

// readAhead is how many events are read at once for a subscription that saves
// no checkpoint.
const readAhead = 100

// pager reads the log page by page.
type pager struct {
	log       eventstore.LogReader
	filter    eventstore.Filter
	index, of int
	limit     int   // of a page
	ahead     int   // to read at once; more than limit only where nobody saves Through
	after     int64 // handed out through here
	queue     []eventstore.Recorded
	through   eventstore.Anchor // the queue was read through here
}

// next returns the next page, as soon as there is one. It may be empty, but it
// always advances.
func (p *pager) next(ctx context.Context) (Page, error) {
	for len(p.queue) == 0 {
		read, err := p.log.ReadLog(ctx, p.after, p.ahead, p.filter)
		if err != nil {
			return Page{}, fmt.Errorf("read log: %w", err)
		}
		if read.Through.Position == p.after {
			if _, err := p.log.Wait(ctx, p.after); err != nil {
				return Page{}, fmt.Errorf("wait for commits: %w", err)
			}
			continue
		}
		p.queue, p.through = inPartition(read.Events, p.index, p.of), read.Through
		if len(p.queue) == 0 {
			break
		}
	}
	page := Page{After: p.after, Events: p.queue[:min(p.limit, len(p.queue))], Through: p.through}
	p.queue = p.queue[len(page.Events):]
	if len(p.queue) > 0 {
		// Without its hash: see ahead.
		page.Through = eventstore.Anchor{Epoch: p.through.Epoch, Position: page.Events[len(page.Events)-1].Position}
	}
	p.after = page.Through.Position
	return page, nil
}
