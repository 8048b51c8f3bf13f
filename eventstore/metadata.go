package eventstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync/atomic"
)

// Reserved metadata keys. Leat writes them; a program reads them and may set
// those that describe the outside world (actor, traceparent, tracestate).
const (
	// CorrelationID names the conversation an event belongs to: the id of the
	// event or request that began it.
	CorrelationID = "correlation_id"
	// CausationID names what directly caused the event: the event, timer,
	// rejection or request.
	CausationID = "causation_id"
	// CommandID is the id of the command whose decision the event is.
	CommandID = "command_id"
	// TraceParent and TraceState carry the W3C trace context.
	TraceParent = "traceparent"
	TraceState  = "tracestate"
	// Actor names who asked for it.
	Actor = "actor"
)

// Metadata is what is known about an event beside its payload. It takes no
// part in the content of a batch.
type Metadata map[string]string

// RawMetadata is encoded metadata: a JSON object with sorted keys, or nothing.
type RawMetadata []byte

// Encode returns m as a JSON object with sorted keys, nil where m is empty.
func (m Metadata) Encode() RawMetadata {
	if len(m) == 0 {
		return nil
	}
	if raw, ok := appendPlain(make([]byte, 0, 256), m); ok {
		return raw
	}
	raw, err := json.Marshal(map[string]string(m))
	if err != nil { // a map of strings always has a JSON form
		panic(fmt.Sprintf("eventstore: encode metadata: %v", err))
	}
	return raw
}

// Decode returns the metadata as a map that the caller owns, never nil.
func (r RawMetadata) Decode() (Metadata, error) {
	if len(r) == 0 {
		return Metadata{}, nil
	}
	if m, ok := decodePlain(r); ok {
		return m, nil
	}
	m := Metadata{}
	if err := json.Unmarshal(r, &m); err != nil {
		return nil, fmt.Errorf("eventstore: decode metadata: %w", err)
	}
	if m == nil {
		return nil, errors.New("eventstore: decode metadata: it is null, which no append stores")
	}
	return m, nil
}

type metadataKey struct{}

// WithMetadata returns a context under which a repository stamps m on the
// events it appends, over what ctx held before.
func WithMetadata(ctx context.Context, m Metadata) context.Context {
	merged := maps.Clone(MetadataFrom(ctx))
	if merged == nil {
		merged = make(Metadata, len(m))
	}
	maps.Copy(merged, m)
	return context.WithValue(ctx, metadataKey{}, merged)
}

// MetadataFrom returns the metadata of ctx, nil where there is none. The
// caller must not change it.
func MetadataFrom(ctx context.Context) Metadata {
	m, _ := ctx.Value(metadataKey{}).(Metadata)
	return m
}

// Command is one invocation of a command: an id that is spent by exactly one
// append, and the commit which that append made. It is safe for concurrent use.
type Command struct {
	id     string
	unused bool
	spent  atomic.Bool
	commit atomic.Pointer[Commit]
}

type commandKey struct{}

// WithCommand returns a context for one invocation of the command with this
// id, which becomes the batch ID of the one append made under it and the
// command_id of its events. An empty id gives a command whose append carries
// no batch ID.
func WithCommand(ctx context.Context, id string) (context.Context, *Command) {
	c := &Command{id: id}
	return context.WithValue(ctx, commandKey{}, c), c
}

// WithUnusedCommand is WithCommand for an id under which nothing can be stored
// yet, since whoever made it gives it out for the first time. A repository then
// decides without asking the log about the id before. Where the claim is wrong
// the log takes nothing twice: the append is a duplicate, or refused, and the
// first commit is the answer; but the decision was made once more.
func WithUnusedCommand(ctx context.Context, id string) (context.Context, *Command) {
	c := &Command{id: id, unused: true}
	return context.WithValue(ctx, commandKey{}, c), c
}

// CommandFrom returns the command that ctx is an invocation of, nil where
// there is none.
func CommandFrom(ctx context.Context) *Command {
	c, _ := ctx.Value(commandKey{}).(*Command)
	return c
}

// ID returns the command's id.
func (c *Command) ID() string { return c.id }

// Unused tells whether nothing can be stored under the id yet, as far as whoever
// made it knows (see WithUnusedCommand).
func (c *Command) Unused() bool { return c.unused }

// Spend claims the command's one append. It returns ErrCommandSpent where an
// append was made under it before: a function that writes several streams puts
// them into one batch. A command without an id can be spent any number of
// times.
func (c *Command) Spend() error {
	if c.id != "" && c.spent.Swap(true) {
		return fmt.Errorf("command %s: %w", c.id, ErrCommandSpent)
	}
	return nil
}

// Release gives the claim back: nothing was stored under it, and never will be.
// A repository calls it where a decision was refused, so that a function can
// decide otherwise under the same command.
func (c *Command) Release() { c.spent.Store(false) }

// Done records the commit of the command's append.
func (c *Command) Done(commit Commit) { c.commit.Store(&commit) }

// Commit returns the commit of the command's append, and whether there was one.
func (c *Command) Commit() (Commit, bool) {
	if p := c.commit.Load(); p != nil {
		return *p, true
	}
	return Commit{}, false
}
