package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/crash"
)

// Defaults of a Relay.
const (
	DefaultRelayName     = "relay"
	DefaultRelayPageSize = 100
)

// RelayOptions adjust a Relay.
type RelayOptions struct {
	// Name names the relay's checkpoint. Defaults to DefaultRelayName.
	Name string
	// Filter selects the events to publish. Defaults to all.
	Filter eventstore.Filter
	// Topic returns the topic of an event. Defaults to its stream's category.
	Topic func(e eventstore.Recorded) string
	// PageSize is how many events are published before the checkpoint is saved,
	// and how many are published again at most after a failure. Defaults to
	// DefaultRelayPageSize.
	PageSize int
	// Logger says what goes wrong. Defaults to slog.Default().
	Logger *slog.Logger
}

// Relay publishes the log to another broker, in the log's order and so in
// order per stream, at least once. Each event is a message with the event's ID
// as UUID, its data as payload and its envelope as metadata; the stream is the
// metadata MetaPartitionKey, which the publisher must key by where the broker
// has partitions.
//
// The checkpoint is saved after the publisher has accepted the messages. After
// a failure those past the checkpoint are published again, with the same
// UUIDs.
//
// It is a Consumer, to be added to a Router, or runs by itself. It has one
// user at a time.
type Relay struct {
	log   eventstore.LogReader
	pub   message.Publisher
	cp    Checkpoints
	opts  RelayOptions
	saved eventstore.Anchor
	done  int64 // published through here
}

var (
	_ Consumer  = (*Relay)(nil)
	_ PageSizer = (*Relay)(nil)
)

// NewRelay returns a relay. The publisher remains the caller's to close.
func NewRelay(log eventstore.LogReader, pub message.Publisher, cp Checkpoints, opts *RelayOptions) (*Relay, error) {
	var o RelayOptions
	if opts != nil {
		o = *opts
	}
	setDefault(&o.Name, DefaultRelayName)
	setDefault(&o.PageSize, DefaultRelayPageSize)
	if o.Topic == nil {
		o.Topic = func(e eventstore.Recorded) string { return eventstore.Category(e.Stream) }
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if err := eventstore.CheckName("relay name", o.Name); err != nil {
		return nil, err
	}
	if err := eventstore.CheckPage(o.PageSize); err != nil {
		return nil, err
	}
	return &Relay{log: log, pub: pub, cp: cp, opts: o}, nil
}

// Run relays until ctx ends.
func (r *Relay) Run(ctx context.Context) error {
	router, err := NewRouter(r.log, &RouterOptions{Logger: r.opts.Logger})
	if err != nil {
		return err
	}
	if err := router.Add(r); err != nil {
		return err
	}
	return router.Run(ctx)
}

// Name implements Consumer.
func (r *Relay) Name() string { return r.opts.Name }

// Filter implements Consumer.
func (r *Relay) Filter() eventstore.Filter { return r.opts.Filter }

// PageSize implements PageSizer.
func (r *Relay) PageSize() int { return r.opts.PageSize }

// Checkpoint implements Consumer.
func (r *Relay) Checkpoint(ctx context.Context) (eventstore.Anchor, error) {
	saved, err := r.cp.Load(ctx, r.opts.Name)
	if err != nil {
		return eventstore.Anchor{}, err
	}
	r.saved, r.done = saved, saved.Position
	return saved, nil
}

// Apply implements Consumer: it publishes the page and saves the checkpoint.
func (r *Relay) Apply(ctx context.Context, p Page) error {
	if err := r.publish(ctx, p.Events); err != nil {
		return errors.Join(err, r.savePrefix(ctx))
	}
	crash.At(crash.RelayPublished)
	if len(p.Events) == 0 && p.Through.Position-r.saved.Position < LazySave {
		return nil
	}
	return r.save(ctx, p.Through)
}

// publish publishes the events past done. Neighbours of one topic go together.
func (r *Relay) publish(ctx context.Context, events []eventstore.Recorded) error {
	var topic string
	var run []*message.Message
	var last int64
	flush := func() error {
		if len(run) == 0 {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.pub.Publish(topic, run...); err != nil {
			return fmt.Errorf("relay %q: publish %d messages to %q, through position %d: %w", r.opts.Name, len(run), topic, last, err)
		}
		r.done, run = last, run[:0:0]
		return nil
	}
	for _, e := range events {
		if e.Position <= r.done {
			continue
		}
		if t := r.opts.Topic(e); t != topic {
			if err := flush(); err != nil {
				return err
			}
			topic = t
		}
		msg := envelopeMessage(e)
		msg.SetContext(ctx)
		run, last = append(run, msg), e.Position
	}
	return flush()
}

// savePrefix saves what was published before a failure.
func (r *Relay) savePrefix(ctx context.Context) error {
	if r.done <= r.saved.Position {
		return nil
	}
	at, err := r.log.Anchor(context.WithoutCancel(ctx), r.done)
	if err != nil {
		return err
	}
	return r.save(ctx, at)
}

// save saves the checkpoint, also while stopping.
func (r *Relay) save(ctx context.Context, to eventstore.Anchor) error {
	if err := r.cp.Save(context.WithoutCancel(ctx), r.opts.Name, r.saved, to); err != nil {
		return fmt.Errorf("relay %q: save checkpoint: %w", r.opts.Name, err)
	}
	r.saved, r.done = to, to.Position
	return nil
}
