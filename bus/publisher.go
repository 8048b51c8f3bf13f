package bus

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leat-go/leat/eventstore"
)

// PublisherOptions adjust a Publisher.
type PublisherOptions struct {
	// Stream returns the stream that a message of the topic is appended to.
	// Defaults to the topic itself, exactly.
	Stream func(topic string, msg *message.Message) string
}

// Publisher is a message.Publisher that appends to the log. It is safe for
// concurrent use.
//
// The payload is opaque and may be nil. The event's type and schema version
// are the message's metadata MetaType (DefaultMessageType where it has none)
// and MetaSchemaVersion; other metadata becomes the event's.
type Publisher struct {
	store  eventstore.Appender
	stream func(topic string, msg *message.Message) string
	closed atomic.Bool
}

var _ message.Publisher = (*Publisher)(nil)

// NewPublisher returns a publisher into the store.
func NewPublisher(store eventstore.Appender, opts *PublisherOptions) (*Publisher, error) {
	p := &Publisher{store: store, stream: func(topic string, _ *message.Message) string { return topic }}
	if opts != nil && opts.Stream != nil {
		p.stream = opts.Stream
	}
	return p, nil
}

// Publish appends the messages in one batch: all or nothing, under the context
// of the first. Messages to one stream keep their order.
//
// Where every message has a UUID, the batch's ID is a hash of the topic, the
// streams and the UUIDs: publishing the same messages again stores nothing
// twice, and is safe after eventstore.ErrOutcomeUnknown. Errors are those of
// Append, and eventstore.ErrClosed after Close.
func (p *Publisher) Publish(topic string, messages ...*message.Message) error {
	if p.closed.Load() {
		return fmt.Errorf("publish to %q: %w", topic, eventstore.ErrClosed)
	}
	if len(messages) == 0 {
		return nil
	}
	batch, err := p.batch(topic, messages)
	if err != nil {
		return fmt.Errorf("publish to %q: %w", topic, err)
	}
	if _, err := p.store.Append(messages[0].Context(), batch); err != nil {
		return fmt.Errorf("publish to %q: %w", topic, err)
	}
	return nil
}

func (p *Publisher) batch(topic string, messages []*message.Message) (eventstore.Batch, error) {
	var batch eventstore.Batch
	writes := make(map[string]int, 1)
	id, unique := sha256.New(), true
	writeID(id, topic)
	for _, msg := range messages {
		e, err := eventData(msg)
		if err != nil {
			return batch, err
		}
		stream := p.stream(topic, msg)
		i, ok := writes[stream]
		if !ok {
			i = len(batch.Writes)
			writes[stream] = i
			batch.Writes = append(batch.Writes, eventstore.Write{Stream: stream})
		}
		batch.Writes[i].Events = append(batch.Writes[i].Events, e)
		writeID(id, stream)
		writeID(id, msg.UUID)
		unique = unique && msg.UUID != ""
	}
	if unique {
		batch.ID = "publish-" + hex.EncodeToString(id.Sum(nil))
	}
	return batch, nil
}

func writeID(w io.Writer, s string) {
	fmt.Fprintf(w, "%d:%s", len(s), s) // a hash never returns an error
}

// Close refuses what is published from now on. It does not close the store.
func (p *Publisher) Close() error {
	p.closed.Store(true)
	return nil
}
