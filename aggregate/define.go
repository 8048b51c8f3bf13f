package aggregate

import (
	"fmt"
	"strings"

	"github.com/leat-go/leat/eventstore"
)

// Events is what a decision returns: the facts it decided, in order. None
// means that there was nothing to do.
type Events []eventstore.Event

// Definition says how the state S of an aggregate folds from its events. It
// is immutable and safe for concurrent use.
type Definition[S any] struct {
	name    string
	version int
	folds   map[string]func(*S, eventstore.Recorded) error
	ignored map[string]bool
}

// Option is one line of a definition.
type Option[S any] func(*Definition[S]) error

// Define returns the definition of the aggregate with this name, which is the
// category of its streams and holds no dash. It panics, with a sentence, where
// the name is no name, an event type is bound twice or a payload is not a
// plain struct with a durable name: a programmer's errors, at start-up.
func Define[S any](name string, opts ...Option[S]) *Definition[S] {
	d := &Definition[S]{
		name:    name,
		version: 1,
		folds:   make(map[string]func(*S, eventstore.Recorded) error),
		ignored: make(map[string]bool),
	}
	if err := eventstore.CheckName("aggregate name", name); err != nil {
		panic(fmt.Sprintf("aggregate: define %q: %v", name, err))
	}
	if strings.Contains(name, "-") {
		panic(fmt.Sprintf("aggregate: define %q: a name holds no dash, which ends the category of a stream's name", name))
	}
	for _, opt := range opts {
		if err := opt(d); err != nil {
			panic(fmt.Sprintf("aggregate: define %q: %v", name, err))
		}
	}
	return d
}

// On binds the event type E to the function that folds it into the state. The
// function is total: it cannot fail, does no I/O and reads no clock, since a
// stored event is a fact.
func On[S any, E eventstore.Event](evolve func(*S, E)) Option[S] {
	return func(d *Definition[S]) error {
		if evolve == nil {
			var zero E
			return fmt.Errorf("the function for %T is nil", zero)
		}
		name, err := eventstore.TypeName[E]()
		if err != nil {
			return err
		}
		return d.bind(name, func(state *S, r eventstore.Recorded) error {
			e, err := eventstore.Decode[E](r)
			if err != nil {
				return err
			}
			evolve(state, e)
			return nil
		})
	}
}

// Ignore names event types that the fold passes over. A stored type that is
// neither bound nor ignored is an error, since a fold that misses facts decides
// wrongly.
func Ignore[S any](types ...string) Option[S] {
	return func(d *Definition[S]) error {
		for _, name := range types {
			if err := eventstore.CheckName("event type", name); err != nil {
				return err
			}
			if err := d.bind(name, nil); err != nil {
				return err
			}
			d.ignored[name] = true
		}
		return nil
	}
}

// FoldVersion names the version of the fold, 1 by default. Raise it whenever
// an evolve function or the state's shape changes: snapshots of another version
// are not read.
func FoldVersion[S any](version int) Option[S] {
	return func(d *Definition[S]) error {
		if version < 1 {
			return fmt.Errorf("fold version %d: must be 1 or more", version)
		}
		d.version = version
		return nil
	}
}

func (d *Definition[S]) bind(name string, fold func(*S, eventstore.Recorded) error) error {
	if _, taken := d.folds[name]; taken || d.ignored[name] {
		return fmt.Errorf("event type %q is bound twice", name)
	}
	if fold != nil {
		d.folds[name] = fold
	}
	return nil
}

// Name returns the aggregate's name.
func (d *Definition[S]) Name() string { return d.name }

// Stream returns the name of the stream that holds the aggregate with this id.
func (d *Definition[S]) Stream(id string) string { return d.name + "-" + id }

// Fold applies recorded events, in order, to a state. It returns an error where
// an event's type is unknown or its data cannot be read; the state is then of
// no more use.
func (d *Definition[S]) Fold(state *S, events ...eventstore.Recorded) error {
	for _, r := range events {
		fold, ok := d.folds[r.Type]
		if !ok {
			if d.ignored[r.Type] {
				continue
			}
			return &UnknownTypeError{Aggregate: d.name, Stream: r.Stream, Version: r.Version, Type: r.Type}
		}
		if err := fold(state, r); err != nil {
			return err
		}
	}
	return nil
}

// foldName keys snapshots: changed code never reads a stale one.
func (d *Definition[S]) foldName() string { return fmt.Sprintf("%s/%d", d.name, d.version) }

// encode returns a decided event as it will be stored. It refuses one that no
// later load could fold.
func (d *Definition[S]) encode(e eventstore.Event) (eventstore.EventData, error) {
	data, err := eventstore.Encode(e)
	if err != nil {
		return eventstore.EventData{}, err
	}
	if _, bound := d.folds[data.Type]; !bound && !d.ignored[data.Type] {
		return eventstore.EventData{}, fmt.Errorf("%w: %q was decided, and is not stored because the definition of %q neither binds nor ignores it", ErrUnknownType, data.Type, d.name)
	}
	return data, nil
}
