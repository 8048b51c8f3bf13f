package bus

import (
	"context"
	"hash/fnv"
	"strconv"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leat-go/leat/eventstore"
)

// Page is the piece of the log that one message carries.
type Page struct {
	// After is the position the page begins behind: the consumer was given
	// everything at or below it before.
	After int64
	// Events match the consumer's filter and partition, in position order. They
	// are shared with other consumers and must not be changed. A page without
	// events says only that the log was scanned.
	Events []eventstore.Recorded
	// Through is how far the log was scanned: the checkpoint to save once the
	// events are applied.
	Through eventstore.Anchor
	// Prepared is what the consumer's Prepare made of the page, nil where it was
	// not asked. See Preparer.
	Prepared any
}

// PageFrom returns the page that the message carries, and whether it carries
// one: every message of a Subscriber or Router of this package does.
func PageFrom(msg *message.Message) (Page, bool) {
	d := deliveryOf(msg)
	if d == nil {
		return Page{}, false
	}
	return d.page, true
}

// delivery is a page on its way through a router.
type delivery struct {
	page Page
	// The rest is set by the router's handler, and read after end is closed.
	applied bool // Apply returned, with err
	err     error
	end     chan struct{} // closed when the handler has ended; nil for a Subscriber
}

type deliveryKey struct{}

func deliveryOf(msg *message.Message) *delivery {
	d, _ := msg.Context().Value(deliveryKey{}).(*delivery)
	return d
}

// newMessage returns the message that carries the delivery, under ctx. With
// single, a page of one event has the event's own form.
func newMessage(ctx context.Context, name string, d *delivery, single bool) *message.Message {
	var msg *message.Message
	if single && len(d.page.Events) == 1 {
		msg = EventMessage(d.page.Events[0])
	} else {
		msg = message.NewMessage(name+"@"+strconv.FormatInt(d.page.Through.Position, 10), nil)
	}
	msg.SetContext(context.WithValue(ctx, deliveryKey{}, d))
	return msg
}

// PartitionOf returns the partition, from 0 to of-1, that a stream belongs to:
// FNV-1a (64 bits) of its name modulo of. It never changes, since checkpoints
// depend on it. There is one partition where of is below 2.
func PartitionOf(stream string, of int) int {
	if of < 2 {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte(stream)) // a hash never returns an error
	return int(h.Sum64() % uint64(of))
}

// inPartition returns the events whose streams belong to the partition.
func inPartition(events []eventstore.Recorded, index, of int) []eventstore.Recorded {
	if of < 2 {
		return events
	}
	var mine []eventstore.Recorded
	for _, e := range events {
		if PartitionOf(e.Stream, of) == index {
			mine = append(mine, e)
		}
	}
	return mine
}
