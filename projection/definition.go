package projection

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/leat-go/leat/eventstore"
)

// Retries where a definition does not say otherwise.
const (
	// DefaultAttempts is how often a failing event is tried.
	DefaultAttempts = 5
	// DefaultAge is how long after its first failure an event is still tried.
	DefaultAge = time.Minute
	// FirstBackoff is the longest wait after the first failure; each further
	// one doubles it.
	FirstBackoff = 100 * time.Millisecond
	// MaxBackoff is the longest wait between two attempts.
	MaxBackoff = 30 * time.Second
	// MaxNameLength is the length of a projection's name, in bytes.
	MaxNameLength = 64
)

var nameRule = regexp.MustCompile(`^[a-z][a-z0-9_-]*$`)

// Policy says what becomes of an event that keeps failing.
type Policy int

const (
	// Block stops the projection at the event, loudly, until Resume or a
	// restart. It is the default.
	Block Policy = iota
	// Park puts the event and everything after it in the same stream aside,
	// until Release. Other streams go on.
	Park
	// Skip puts the event aside as a dead letter and goes on.
	Skip
)

func (p Policy) String() string {
	switch p {
	case Park:
		return "park"
	case Skip:
		return "skip"
	default:
		return "block"
	}
}

// handler is what On makes of a typed one.
type handler struct {
	// decode returns a pointer to the payload.
	decode func(r *eventstore.Recorded) (any, error)
	// apply takes what decode returned for r, or decodes it where payload is nil.
	apply func(ctx context.Context, tx *Tx, r *eventstore.Recorded, payload any) error
}

// Definition is a name, a version, a schema and handlers. It is immutable and
// may be opened in any number of directories.
type Definition struct {
	name     string
	version  int
	schema   string
	handlers map[string]*handler
	types    []string // sorted
	policy   Policy
	attempts int
	age      time.Duration
	errs     []error
	added    []string // what Tables added to the schema
}

// Option is a part of a definition.
type Option func(*Definition)

// Define defines a read model. The name (a–z, 0–9, _ and -, a letter first)
// becomes part of file names. The version, from 1, is raised whenever the
// schema, the event types or what a handler does changes; the first two are
// checked. The schema is SQL that creates the tables in a new file; names that
// begin with leat_ are the framework's.
//
// What is wrong with the definition is collected: see Err.
func Define(name string, version int, schema string, opts ...Option) *Definition {
	d := &Definition{
		name: name, version: version, schema: strings.TrimSpace(schema),
		handlers: map[string]*handler{}, attempts: DefaultAttempts, age: DefaultAge,
	}
	if len(name) > MaxNameLength || !nameRule.MatchString(name) {
		d.reject("the name must be 1 to %d characters of a-z, 0-9, _ and -, and begin with a letter", MaxNameLength)
	}
	if version < 1 {
		d.reject("the version is %d, it must be 1 or more", version)
	}
	for _, opt := range opts {
		opt(d)
	}
	if d.schema == "" {
		d.reject("the schema is empty: a read model needs a table")
	}
	if len(d.handlers) == 0 {
		d.reject("it handles no event: add projection.On")
	}
	slices.Sort(d.types)
	return d
}

func (d *Definition) reject(format string, args ...any) {
	d.errs = append(d.errs, fmt.Errorf("%w: projection %q: %w", ErrInvalid, d.name, fmt.Errorf(format, args...)))
}

// On has fn applied to every event of type E, in position order, each exactly
// once as far as the file can tell: what fn writes through tx commits together
// with the position. fn may be called again for the same event after its
// transaction was rolled back, so it has no effect but through tx. It must
// depend on nothing but the event and the tables, or a rebuild gives other
// rows. ctx ends when the projection stops and reaches no statement. Each call
// gets a payload of its own, decoded for it; in a backlog by another goroutine,
// while an earlier page is applied.
//
// An error, a panic, an undecodable payload or a violated constraint is a
// failure of the event: it is undone, retried, and then judged by OnFailure.
func On[E eventstore.Event](fn func(ctx context.Context, tx *Tx, e eventstore.Of[E]) error) Option {
	return func(d *Definition) {
		name, err := eventstore.TypeName[E]()
		switch {
		case err != nil:
			d.reject("%w", err)
			return
		case fn == nil:
			d.reject("the handler of %q is nil", name)
			return
		case d.handlers[name] != nil:
			d.reject("%q has two handlers", name)
			return
		}
		d.types = append(d.types, name)
		d.handlers[name] = &handler{
			decode: func(r *eventstore.Recorded) (any, error) {
				payload, err := eventstore.Decode[E](*r)
				return &payload, err
			},
			apply: func(ctx context.Context, tx *Tx, r *eventstore.Recorded, payload any) (err error) {
				of := eventstore.Of[E]{Recorded: *r}
				if decoded, ok := payload.(*E); ok {
					of.Payload = *decoded
				} else if of.Payload, err = eventstore.Decode[E](*r); err != nil {
					return err
				}
				return fn(ctx, tx, of)
			},
		}
	}
}

// OnFailure says what becomes of an event that keeps failing. Defaults to
// Block.
func OnFailure(p Policy) Option {
	return func(d *Definition) {
		if p < Block || p > Skip {
			d.reject("policy %d is none", p)
		}
		d.policy = p
	}
}

// Retries has a failing event tried up to this many times, the first
// included, and no more once age has passed since it first failed. Between
// attempts the projection waits, jittered and twice as long each time, up to
// MaxBackoff. Attempts are kept in the file, so a restart does not begin anew.
// Defaults to DefaultAttempts and DefaultAge; Retries(1, 0) tries once.
func Retries(attempts int, age time.Duration) Option {
	return func(d *Definition) {
		if attempts < 1 || age < 0 {
			d.reject("Retries(%d, %v): attempts must be 1 or more, age 0 or more", attempts, age)
		}
		d.attempts, d.age = attempts, age
	}
}

// Name returns the projection's name.
func (d *Definition) Name() string { return d.name }

// Version returns the version of schema and handlers.
func (d *Definition) Version() int { return d.version }

// Types returns the event types that have a handler, sorted.
func (d *Definition) Types() []string { return slices.Clone(d.types) }

// Err returns everything that is wrong with the definition, joined; each part
// is an ErrInvalid.
func (d *Definition) Err() error { return errors.Join(d.errs...) }

func (d *Definition) filter() eventstore.Filter { return eventstore.Filter{Types: d.types} }

// schemaHash is a hash of what a file of this version was made for: its tables,
// and the event types that are in them. A type that was added later would be
// missing from what lies before the checkpoint.
func (d *Definition) schemaHash() []byte {
	h := sha256.New()
	for _, part := range append([]string{d.schema}, d.types...) {
		fmt.Fprintf(h, "%d:%s", len(part), part) // a hash never returns an error
	}
	return h.Sum(nil)
}

// exhausted tells whether an event is not to be tried again.
func (d *Definition) exhausted(attempts int, since time.Time) bool {
	return attempts >= d.attempts || time.Since(since) >= d.age
}
