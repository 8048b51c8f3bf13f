package saga

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/leat-go/leat/eventstore"
)

// Retry limits of a handler that fails, unless Retries says otherwise.
const (
	// Attempts is how often an input is tried before its instance is parked.
	Attempts = 5
	// Age is how long, in wall time since it first failed.
	Age = time.Hour
)

// Definition is a saga: a name, a version of its state, and handlers. Define
// makes it; it is immutable and safe for concurrent use.
type Definition struct {
	name       string
	version    int
	events     map[string]*eventHandler
	timers     map[string]func(state any, c *Context) error
	rejections map[string]*rejectionHandler
	migrations map[int]func([]byte) ([]byte, error)
	newState   func() any
	shape      *shape            // of the state
	was        []string          // former names
	timerWas   map[string]string // present names by former ones
	commandWas map[string]string
	attempts   int
	age        time.Duration
	retention  time.Duration // 0: finished instances are kept whole
	origin     bool
	errs       []error
}

type eventHandler struct {
	starts, waits bool
	// route decodes the event and returns the keys of the instances it is for.
	route  func(eventstore.Recorded) (payload any, keys []string, err error)
	handle func(state any, c *Context, payload any) error
}

type rejectionHandler struct {
	handle func(state any, c *Context, r rejection) error // nil: ignored
}

// rejection is a command that was refused.
type rejection struct {
	ID     string `json:"id"`
	Type   string `json:"type"`
	Data   string `json:"data"`
	Code   string `json:"code"`
	Reason string `json:"reason"`
	Root   int64  `json:"root"`
	Hops   int    `json:"hops"`
}

// Option is a line of the table that Define takes. Options that do not depend
// on the state's type (Retries, Retention, FromOrigin, Was) stand among the others.
type Option[S any] func(*Definition)

// Define returns a saga whose instances have state S, a struct that is stored
// as JSON. The name is durable; the version is that of the state's JSON, 1 or
// more: raise it, and add a Migrate, when old state would be read wrong.
// Mistakes are collected: see Err.
func Define[S any](name string, version int, opts ...Option[S]) *Definition {
	d := &Definition{
		name: name, version: version,
		events:     map[string]*eventHandler{},
		timers:     map[string]func(any, *Context) error{},
		rejections: map[string]*rejectionHandler{},
		migrations: map[int]func([]byte) ([]byte, error){},
		newState:   func() any { return new(S) },
		shape:      shapeOf(reflect.TypeFor[S](), map[reflect.Type]*shape{}),
		timerWas:   map[string]string{}, commandWas: map[string]string{},
		attempts: Attempts, age: Age,
	}
	if err := eventstore.CheckName("saga name", name); err != nil {
		d.fail("%w", err)
	}
	if version < 1 {
		d.fail("the version is %d, it must be 1 or more", version)
	}
	if t := reflect.TypeFor[S](); t.Kind() != reflect.Struct {
		d.fail("its state %s is not a struct", t)
	} else if err := eventstore.CheckJSON(t); err != nil {
		d.fail("its state would lose a part between two steps: %w", err)
	}
	for _, o := range opts {
		if o == nil {
			d.fail("an option is nil")
			continue
		}
		o(d)
	}
	if !slices.ContainsFunc(d.types(), func(t string) bool { return d.events[t].starts }) {
		d.fail("nothing starts it: use Starts")
	}
	d.checkNames()
	for from := range d.migrations {
		if from < 1 || from >= version {
			d.fail("Migrate from %d, versions before the current one are 1 to %d", from, version-1)
		}
	}
	return d
}

// Name returns the saga's durable name.
func (d *Definition) Name() string { return d.name }

// Err returns everything that is wrong with the definition, as ErrDefinition,
// nil where nothing is. Open refuses a definition with an error.
func (d *Definition) Err() error {
	if len(d.errs) == 0 {
		return nil
	}
	return fmt.Errorf("%w: saga %q: %w", ErrDefinition, d.name, errors.Join(d.errs...))
}

func (d *Definition) fail(format string, args ...any) {
	d.errs = append(d.errs, fmt.Errorf(format, args...))
}

// types returns the event types it names, sorted.
func (d *Definition) types() []string {
	types := make([]string, 0, len(d.events))
	for t := range d.events {
		types = append(types, t)
	}
	slices.Sort(types)
	return types
}

// Starts binds an event that starts the instance with the event's key, or
// continues it where there is one. A key that has finished stays finished. An
// event whose key is empty is not for this saga.
func Starts[S any, E eventstore.Event](key func(E) string, fn func(*S, *Context, E) error) Option[S] {
	return one(key, fn, true)
}

// On binds an event that continues the instance with the event's key. Without
// one it is ignored: see Waits. An event whose key is empty is not for this
// saga.
func On[S any, E eventstore.Event](key func(E) string, fn func(*S, *Context, E) error) Option[S] {
	return one(key, fn, false)
}

func one[S any, E eventstore.Event](key func(E) string, fn func(*S, *Context, E) error, starts bool) Option[S] {
	if key == nil {
		return bind(nil, fn, starts)
	}
	return bind(func(e E) []string { return []string{key(e)} }, fn, starts)
}

// OnMany binds an event that continues several instances, each once.
func OnMany[S any, E eventstore.Event](keys func(E) []string, fn func(*S, *Context, E) error) Option[S] {
	return bind(keys, fn, false)
}

func bind[S any, E eventstore.Event](keys func(E) []string, fn func(*S, *Context, E) error, starts bool) Option[S] {
	return func(d *Definition) {
		name, err := eventstore.TypeName[E]()
		switch {
		case err != nil:
			d.fail("%w", err)
			return
		case keys == nil || fn == nil:
			d.fail("event %q: its key or its handler is nil", name)
			return
		case d.events[name] != nil:
			d.fail("event %q is bound twice", name)
			return
		}
		d.events[name] = &eventHandler{
			starts: starts,
			route: func(r eventstore.Recorded) (any, []string, error) {
				e, err := eventstore.Decode[E](r)
				if err != nil {
					return nil, nil, err
				}
				return e, keys(e), nil
			},
			handle: func(state any, c *Context, payload any) error { return fn(state.(*S), c, payload.(E)) },
		}
	}
}

// Waits has the continuations of an On or OnMany wait for the start of their
// instance, instead of being ignored: they follow the starting event in their
// order. At most MaxEarly wait for one key; the stream of a further one is
// parked (see Instance.Stream), and Retry of that has it wait with the others.
// What waits for a key that never starts waits for ever, a row of some tens of
// bytes for each event, on disk alone.
func Waits[S any](on Option[S]) Option[S] {
	return func(d *Definition) {
		if on == nil {
			d.fail("Waits needs an On or OnMany")
			return
		}
		before := d.types()
		on(d)
		for _, name := range d.types() {
			if slices.Contains(before, name) {
				continue
			}
			if d.events[name].starts {
				d.fail("event %q starts instances: it cannot wait for a start", name)
			}
			d.events[name].waits = true
		}
	}
}

// Timer binds what happens when the timer of this durable name fires.
func Timer[S any](name string, fn func(*S, *Context) error) Option[S] {
	return func(d *Definition) {
		switch {
		case eventstore.CheckName("timer name", name) != nil:
			d.fail("%w", eventstore.CheckName("timer name", name))
		case fn == nil:
			d.fail("timer %q: its handler is nil", name)
		case d.timers[name] != nil:
			d.fail("timer %q is bound twice", name)
		default:
			d.timers[name] = func(state any, c *Context) error { return fn(state.(*S), c) }
		}
	}
}

// Rejection is a command that its receiver refused.
type Rejection[C Command] struct {
	Command C
	// ID is the command's id.
	ID string
	// Code and Reason are those of the refusal.
	Code, Reason string
}

// Rejected binds what happens when a command of type C is rejected. The
// rejection of a command type with neither Rejected nor IgnoreRejected parks
// the instance.
func Rejected[S any, C Command](fn func(*S, *Context, Rejection[C]) error) Option[S] {
	return func(d *Definition) {
		name, ok := reject[C](d)
		if !ok {
			return
		}
		if fn == nil {
			d.fail("rejection of %q: its handler is nil", name)
			return
		}
		d.rejections[name] = &rejectionHandler{handle: func(state any, c *Context, r rejection) error {
			cmd, err := decodeCommand[C](r)
			if err != nil {
				return &permanentError{err}
			}
			return fn(state.(*S), c, Rejection[C]{Command: cmd, ID: r.ID, Code: r.Code, Reason: r.Reason})
		}}
	}
}

// IgnoreRejected says that a rejection of a command of type C changes nothing.
func IgnoreRejected[S any, C Command]() Option[S] {
	return func(d *Definition) {
		if name, ok := reject[C](d); ok {
			d.rejections[name] = &rejectionHandler{}
		}
	}
}

func reject[C Command](d *Definition) (string, bool) {
	name, err := commandType(reflect.TypeFor[C]())
	switch {
	case err != nil:
		d.fail("%w", err)
	case d.rejections[name] != nil:
		d.fail("rejection of %q is bound twice", name)
	default:
		return name, true
	}
	return "", false
}

// Migrate binds what turns the JSON of state of version from into that of
// version from+1. It runs when an instance has its next input. A field that was
// renamed or removed calls for one: Open refuses to start where the state of an
// open instance has a field that the struct lacks, since it would be forgotten
// without a word. It looks into structs within, also behind pointers and in
// slices, arrays and maps, by the names of the fields; not into interfaces and
// types that say themselves how they are written or read (MarshalJSON,
// UnmarshalText and the like).
func Migrate[S any](from int, fn func(state []byte) ([]byte, error)) Option[S] {
	return func(d *Definition) {
		switch {
		case fn == nil:
			d.fail("Migrate from %d: its function is nil", from)
		case d.migrations[from] != nil:
			d.fail("Migrate from %d is bound twice", from)
		default:
			d.migrations[from] = fn
		}
	}
}

// Retries limits how often, and for how long in wall time, a failing input is
// tried before its instance is parked. They default to Attempts and Age.
func Retries(attempts int, age time.Duration) func(*Definition) {
	return func(d *Definition) {
		if attempts < 1 || age <= 0 {
			d.fail("Retries(%d, %v): both must be above 0", attempts, age)
			return
		}
		d.attempts, d.age = attempts, age
	}
}

// Retention has state and journal of an instance removed once it has been
// finished for this long, by the engine's clock, and its commands are done: not
// before, and with one of the next steps of any saga, which look at it every
// minute of that clock, and at 2,000 instances at once. Its key stays. Without
// it they are kept.
func Retention(after time.Duration) func(*Definition) {
	return func(d *Definition) {
		if after <= 0 {
			d.fail("Retention(%v): must be above 0", after)
			return
		}
		d.retention = after
	}
}

// FromOrigin has a new saga see the whole log. Commands of the steps up to the
// head at that moment are not sent: state, timers and undos are as if they had
// been. Timers count from when the events were recorded; one that is due since
// then, and that nothing in the log cancels, fires once all of the log was
// seen. What it asks for then is sent. Without FromOrigin a new saga starts from
// now.
func FromOrigin() func(*Definition) {
	return func(d *Definition) { d.origin = true }
}

// Commands returns the command types whose rejection is bound or ignored,
// sorted: those that it is known to send.
func (d *Definition) Commands() []string {
	types := make([]string, 0, len(d.rejections))
	for t := range d.rejections {
		types = append(types, t)
	}
	slices.Sort(types)
	return types
}

// readable tells whether state of a version can be brought to the current one.
func (d *Definition) readable(version int) error {
	if version > d.version {
		return fmt.Errorf("its state has version %d, this program knows %d at most", version, d.version)
	}
	for v := version; v < d.version; v++ {
		if d.migrations[v] == nil {
			return fmt.Errorf("its state has version %d, and there is no Migrate from %d", version, v)
		}
	}
	return nil
}

// decodeState returns the state as a pointer to the definition's struct.
func (d *Definition) decodeState(raw []byte, version int) (any, error) {
	if err := d.readable(version); err != nil {
		return nil, err
	}
	for v := version; v < d.version; v++ {
		var err error
		if raw, err = d.migrations[v](raw); err != nil {
			return nil, fmt.Errorf("migrate state from version %d: %w", v, err)
		}
	}
	state := d.newState()
	if err := json.Unmarshal(raw, state); err != nil {
		return nil, fmt.Errorf("decode state: %w", err)
	}
	return state, nil
}
