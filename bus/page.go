package bus

import (
	"context"
	"hash/fnv"

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
}

type pageKey struct{}

// PageFrom returns the page that the message carries, and whether it carries
// one: every message of a Subscriber or Router of this package does.
func PageFrom(msg *message.Message) (Page, bool) {
	p, ok := msg.Context().Value(pageKey{}).(*Page)
	if !ok {
		return Page{}, false
	}
	return *p, true
}

func withPage(ctx context.Context, p *Page) context.Context {
	return context.WithValue(ctx, pageKey{}, p)
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
