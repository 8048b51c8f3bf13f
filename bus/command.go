package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/leat-go/leat/eventstore"
)

// ErrUnknownCommand: no handler has the command's type.
var ErrUnknownCommand = errors.New("bus: unknown command")

// ErrDuplicateName: the name is taken, by another command handler or consumer.
var ErrDuplicateName = errors.New("bus: name already taken")

// Command is a request to decide something.
type Command struct {
	// ID is spent by the one append of the handler, which makes the command
	// take effect once. Empty for a command that may be carried out any number
	// of times.
	ID string
	// Unused says that the ID was never given out before, so that nothing can be
	// stored under it (see eventstore.WithUnusedCommand). A message does not
	// carry it.
	Unused bool
	// Type is the durable name its handler is registered under.
	Type string
	// Data is the encoded payload, opaque to the bus.
	Data []byte
	// Metadata is stamped on the events that the command causes.
	Metadata eventstore.Metadata
}

// CommandHandler carries out a command and returns the commit of its append,
// the zero Commit where there was none. ctx carries the command's id
// (eventstore.CommandFrom) and metadata (eventstore.MetadataFrom).
type CommandHandler func(ctx context.Context, data []byte) (eventstore.Commit, error)

// Rejection is a domain refusal: the command was understood and decided
// against, and repeating it would not help. Any other error of a handler is a
// bug or infrastructure.
type Rejection interface {
	error
	// RejectionCode returns the durable code of the refusal.
	RejectionCode() string
}

// RejectionOf returns the rejection in the error's chain, and whether there is
// one.
func RejectionOf(err error) (Rejection, bool) { return errors.AsType[Rejection](err) }

// Commands are the handlers of commands, by name. It is safe for concurrent
// use.
type Commands struct {
	mu       sync.RWMutex // guards handlers
	handlers map[string]CommandHandler
}

// NewCommands returns Commands without handlers.
func NewCommands() *Commands { return &Commands{handlers: map[string]CommandHandler{}} }

// Handle registers the one handler of a command type. It returns
// ErrDuplicateName where there is one already, and eventstore.ErrInvalid for
// an illegal name.
func (c *Commands) Handle(name string, h CommandHandler) error {
	if err := eventstore.CheckName("command type", name); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.handlers[name]; ok {
		return fmt.Errorf("%w: command %q has a handler", ErrDuplicateName, name)
	}
	c.handlers[name] = h
	return nil
}

// Has tells whether the command type has a handler.
func (c *Commands) Has(name string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	_, ok := c.handlers[name]
	return ok
}

// Names returns the command types that have a handler, sorted.
func (c *Commands) Names() []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	names := make([]string, 0, len(c.handlers))
	for name := range c.handlers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Dispatch carries out the command in the caller's goroutine and returns the
// commit of its one append, the zero Commit where it made none. Errors: those
// of the handler, ErrUnknownCommand, and PanicError.
func (c *Commands) Dispatch(ctx context.Context, cmd Command) (commit eventstore.Commit, err error) {
	c.mu.RLock()
	h, ok := c.handlers[cmd.Type]
	c.mu.RUnlock()
	if !ok {
		return eventstore.Commit{}, fmt.Errorf("%w: %q has no handler", ErrUnknownCommand, cmd.Type)
	}
	with := eventstore.WithCommand
	if cmd.Unused {
		with = eventstore.WithUnusedCommand
	}
	ctx, invocation := with(ctx, cmd.ID)
	if len(cmd.Metadata) > 0 {
		ctx = eventstore.WithMetadata(ctx, cmd.Metadata)
	}
	defer func() {
		if v := recover(); v != nil {
			commit, err = eventstore.Commit{}, fmt.Errorf("command %q: %w", cmd.Type, Recovered(v))
		}
	}()
	commit, err = h(ctx, cmd.Data)
	if err != nil {
		return eventstore.Commit{}, err
	}
	if commit.Last == 0 {
		if made, ok := invocation.Commit(); ok {
			commit = made
		}
	}
	return commit, nil
}

// MetaCommand is the message metadata that names a command's type.
const MetaCommand = "leat_command"

// CommandMessage returns the command as a message: its ID as UUID, its data as
// payload, its type and metadata as metadata.
func CommandMessage(cmd Command) *message.Message {
	msg := message.NewMessage(cmd.ID, cmd.Data)
	for k, v := range cmd.Metadata {
		msg.Metadata[k] = v
	}
	msg.Metadata[MetaCommand] = cmd.Type
	return msg
}

// CommandFromMessage returns the command that CommandMessage made a message
// of. The command shares the message's payload.
func CommandFromMessage(msg *message.Message) (Command, error) {
	cmd := Command{ID: msg.UUID, Type: msg.Metadata[MetaCommand], Data: msg.Payload}
	if cmd.Type == "" {
		return Command{}, &eventstore.InvalidError{Field: "command message", Value: msg.UUID, Reason: "has no metadata " + MetaCommand}
	}
	if len(msg.Metadata) > 1 {
		cmd.Metadata = make(eventstore.Metadata, len(msg.Metadata)-1)
		for k, v := range msg.Metadata {
			if k != MetaCommand {
				cmd.Metadata[k] = v
			}
		}
	}
	return cmd, nil
}
