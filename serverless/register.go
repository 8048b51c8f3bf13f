package serverless

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/saga"
)

// MaxNameLength is the length of a function's name, in bytes.
const MaxNameLength = 128

// kind is what a function is called by.
type kind string

const (
	kindCommand kind = "command"
	kindQuery   kind = "query"
)

// function is a command or query function.
type function struct {
	name    string
	kind    kind
	command commandOptions
	// query reads the payload and calls the function; nil for a command, which
	// is in the host's bus.Commands.
	query func(ctx context.Context, data []byte) (any, error)
}

// Command registers a function that decides: it reads the payload as a C,
// appends once (usually by a Repository's Update) and returns the commit. The
// name is its durable identity. The payload type is a plain struct, read
// strictly: no unknown field, nothing behind the end. Where C has a method
// CommandType() string, as a saga's commands do, it returns the same name.
//
// Under a command id the first append of the function is the only one, and a
// repetition gives the first commit again, marked Duplicate.
//
// Registration happens before Open; it panics after it. What is wrong with it
// is listed by Open.
func Command[C any](h *Host, name string, fn func(context.Context, C) (eventstore.Commit, error), opts ...CommandOption) {
	h.registering("Command", name)
	f := &function{name: name, kind: kindCommand}
	for _, opt := range opts {
		opt(&f.command)
	}
	what := fmt.Sprintf("command %q", name)
	h.claim(what, name)
	if fn == nil {
		h.reject(what, fmt.Errorf("its function is nil"))
	}
	t := reflect.TypeFor[C]()
	if err := checkCommandType(t); err != nil {
		h.reject(what, err)
	} else if c, ok := reflect.Zero(t).Interface().(saga.Command); ok {
		if got := c.CommandType(); got != name {
			h.reject(what, fmt.Errorf("its payload %s says by CommandType that it is %q: one of the two names is wrong", t, got))
		}
	}
	if h.functions[name] != nil {
		return // claim has said so
	}
	h.functions[name] = f
	err := h.commands.Handle(name, func(ctx context.Context, data []byte) (eventstore.Commit, error) {
		var c C
		if err := decodeStrict(data, &c); err != nil {
			return eventstore.Commit{}, fmt.Errorf("command %q: %w", name, err)
		}
		return fn(ctx, c)
	})
	if err != nil && checkFunctionName(name) == nil {
		h.reject(what, err)
	}
}

// Query registers a function that answers from read models and changes
// nothing. The payload is read as strictly as a command's.
func Query[Q, R any](h *Host, name string, fn func(context.Context, Q) (R, error)) {
	h.registering("Query", name)
	what := fmt.Sprintf("query %q", name)
	h.claim(what, name)
	if fn == nil {
		h.reject(what, fmt.Errorf("its function is nil"))
	}
	if err := checkDecodable(reflect.TypeFor[Q]()); err != nil {
		h.reject(what, err)
	}
	if h.functions[name] != nil {
		return
	}
	h.functions[name] = &function{name: name, kind: kindQuery, query: func(ctx context.Context, data []byte) (any, error) {
		var q Q
		if err := decodeStrict(data, &q); err != nil {
			return nil, err
		}
		return fn(ctx, q)
	}}
}

// OnEvent registers a function with effects outside the store, called with
// every event of type E in the order of the log, or, with Concurrency, of each
// stream. It is called at least once: a crash after the effect and before the
// checkpoint calls it again, with the same event, whose ID is the key to make
// the effect idempotent with. Its context carries the event's correlation, so
// that what it invokes continues the conversation.
//
// An error or panic is retried (see Retry), then the policy decides (see
// OnFailure). An event that cannot be decoded is not retried.
func OnEvent[E eventstore.Event](h *Host, name string, fn func(context.Context, eventstore.Of[E]) error, opts ...EventOption) {
	h.registering("OnEvent", name)
	what := fmt.Sprintf("event function %q", name)
	h.claim(what, name)
	if fn == nil {
		h.reject(what, fmt.Errorf("its function is nil"))
	}
	typ, err := eventstore.TypeName[E]()
	if err != nil {
		h.reject(what, err)
	}
	f := &eventFunction{
		name: name, typ: typ,
		opts: eventOptions{retry: RetryPolicy{}.withDefaults(), concurrency: 1},
		call: func(ctx context.Context, e eventstore.Recorded) error {
			payload, err := eventstore.Decode[E](e)
			if err != nil {
				return fmt.Errorf("%w: %w", errUndecodable, err)
			}
			return fn(ctx, eventstore.Of[E]{Recorded: e, Payload: payload})
		},
	}
	for _, opt := range opts {
		opt(&f.opts)
	}
	for _, err := range f.opts.check() {
		h.reject(what, err)
	}
	h.events = append(h.events, f)
}

// Project registers a projection and returns the handle to read its model
// through.
func (h *Host) Project(def *projection.Definition) *Model {
	if def == nil {
		h.registering("Project", "")
		h.reject("projection", fmt.Errorf("its definition is nil"))
		return &Model{host: h}
	}
	h.registering("Project", def.Name())
	what := fmt.Sprintf("projection %q", def.Name())
	h.consumerName(what, def.Name())
	if err := def.Err(); err != nil {
		h.reject(what, err)
	}
	m := &Model{host: h, def: def}
	h.models = append(h.models, m)
	return m
}

// Saga registers a saga.
func (h *Host) Saga(def *saga.Definition) {
	if def == nil {
		h.registering("Saga", "")
		h.reject("saga", fmt.Errorf("its definition is nil"))
		return
	}
	h.registering("Saga", def.Name())
	what := fmt.Sprintf("saga %q", def.Name())
	for _, other := range h.sagas {
		if other.Name() == def.Name() {
			h.reject(what, fmt.Errorf("is registered twice"))
		}
	}
	if err := def.Err(); err != nil {
		h.reject(what, err)
	}
	h.sagas = append(h.sagas, def)
}

// Source registers an input from the outside world, for a host with a
// clock.Virtual.
func (h *Host) Source(s Source) {
	h.registering("Source", "")
	if s == nil {
		h.reject("source", fmt.Errorf("is nil"))
		return
	}
	h.sources = append(h.sources, &source{Source: s})
}

// registering panics once the host is open: what is added then would be
// neither checked nor run.
func (h *Host) registering(what, name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state != stateNew {
		panic(fmt.Sprintf("serverless: %s(%q) after Open: register everything before the host is opened, run, drained or invoked", what, name))
	}
}

func (h *Host) reject(what string, err error) {
	h.problems = append(h.problems, fmt.Errorf("%s: %w", what, err))
}

// claim checks the name of a function and takes it.
func (h *Host) claim(what, name string) {
	if err := checkFunctionName(name); err != nil {
		h.reject(what, err)
	}
	h.consumerName(what, name)
}

// consumerName takes a name, which functions and projections share, because
// they share the router, the metrics and the operator's commands.
func (h *Host) consumerName(what, name string) {
	if other, ok := h.names[name]; ok {
		h.reject(what, fmt.Errorf("the name is taken by %s", other))
		return
	}
	if name == sagasName || name == outboxName {
		h.reject(what, fmt.Errorf("the name is the framework's own"))
	}
	h.names[name] = what
}

// checkFunctionName: letters, digits, '_', '-' and '.', a letter first.
func checkFunctionName(name string) error {
	const others = "0123456789_-."
	letter := func(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }
	for i, r := range name {
		if !letter(r) && (i == 0 || !strings.ContainsRune(others, r)) {
			return fmt.Errorf("the name has %q at byte %d: use letters, digits, '_', '-' and '.', a letter first", r, i)
		}
	}
	switch {
	case name == "":
		return fmt.Errorf("the name is empty")
	case len(name) > MaxNameLength:
		return fmt.Errorf("the name has %d bytes, %d are allowed", len(name), MaxNameLength)
	}
	return nil
}
