// Package invariant checks a store after something happened to it: a kill, a
// power cut, a failing disk. It is one checker for all such experiments, and
// knows what must hold of every store:
//
//	I1  an acknowledged batch is in the log once, at its position, with its content
//	I2  the versions of a stream are 1, 2, 3 … without holes
//	I3  positions grow, and none is ever that of another event
//	I4  batches are whole
//	I5  a read model is the fold of the log through its checkpoint
//	I6  the commands and timers of a saga are there where its journal says so:
//	    a command is in the outbox, or took effect once, or was refused
//	I7  what package verify looks at: the hash chain, and every file
//	I8  the store takes another append, and repeating what is unknown leaves one copy
//	I9  what a function has passed it was called with
//
// What is known from outside, such as acknowledgements, comes in a History;
// without one the checker says what a store's files alone can tell. It opens
// the store as its owner, so nobody else has it open, and it appends: give it
// a copy of what must not change.
package invariant

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/projection"
)

// MaxViolations is how many violations a Report holds at most.
const MaxViolations = 50

// Stream takes the events that Check appends to see that the store takes one.
const Stream = "invariant-check"

// Options say what is known of a store. A nil *Options knows nothing.
type Options struct {
	// History is what was acknowledged, refused and seen so far; Check adds
	// what it sees. A store has one, over all its checks.
	History *History
	// Models are the definitions of the read models that are compared with the
	// fold, each with all its versions.
	Models [][]*projection.Definition
	// Functions are the event types of the event functions whose effects
	// History has, by the function's name. They were given the whole log.
	Functions map[string]string
	// Laws are what else must hold of the log and the sagas.
	Laws []Law
	// Store opens the log. Defaults to the defaults, without a Logger.
	Store *sqlite.Options
}

// Law is a rule of the domain. It returns the sentences that say what breaks
// it.
type Law func(s *State) []string

// State is what a Law may look at.
type State struct {
	// Log is the whole log.
	Log []eventstore.Recorded
	// Instances are those of all sagas.
	Instances []Instance
	// Dir is the store's directory.
	Dir string
}

// Violation is an invariant that does not hold.
type Violation struct {
	// Invariant is its name: I1 to I9, or "law".
	Invariant string
	// Reason says what does not hold, and where.
	Reason string
}

func (v Violation) String() string { return v.Invariant + ": " + v.Reason }

// Report is what Check found.
type Report struct {
	// Violations are at most MaxViolations; none where all is well.
	Violations []Violation
	// Head is the log's, before Check appended to it.
	Head int64
	// Opened is how long it took to open the log.
	Opened time.Duration
	// Kept is how many batches were stored and not acknowledged, Repeated how
	// many unknown ones were repeated.
	Kept, Repeated int
	// Models is how many read models were compared, Commands how many commands
	// of sagas were accounted for, Timers how many timers.
	Models, Commands, Timers int
}

// Err returns all violations as one error, nil where there are none.
func (r Report) Err() error {
	if len(r.Violations) == 0 {
		return nil
	}
	lines := make([]string, len(r.Violations))
	for i, v := range r.Violations {
		lines[i] = v.String()
	}
	return fmt.Errorf("%d invariants do not hold:\n%s", len(r.Violations), strings.Join(lines, "\n"))
}

// errEnough ends a check that has found more than anybody will read.
var errEnough = errors.New("enough violations")

// check is one Check under way.
type check struct {
	dir     string
	scratch string
	opts    Options
	store   *sqlite.Store
	state   State
	labels  map[string]*labelled // what the log holds under each label
	report  Report
}

func (c *check) found(invariant, reason string, args ...any) error {
	c.report.Violations = append(c.report.Violations, Violation{Invariant: invariant, Reason: fmt.Sprintf(reason, args...)})
	if len(c.report.Violations) >= MaxViolations {
		return errEnough
	}
	return nil
}

// Check opens the store in dir, checks every invariant and closes it. What does
// not hold is in the report; an error means that it could not look.
func Check(ctx context.Context, dir string, opts *Options) (_ Report, err error) {
	c := &check{dir: dir, state: State{Dir: dir}}
	if opts != nil {
		c.opts = *opts
	}
	if c.opts.History == nil {
		c.opts.History = NewHistory()
	}
	if c.opts.Store == nil {
		c.opts.Store = &sqlite.Options{Logger: slog.New(slog.DiscardHandler)}
	}
	if c.scratch, err = os.MkdirTemp(filepath.Dir(dir), "check-"); err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(c.scratch)) }()
	if err := c.verify(ctx); err != nil {
		return c.report, enough(err)
	}
	began := time.Now()
	if c.store, err = sqlite.Open(ctx, dir, c.opts.Store); err != nil {
		return c.report, c.unopened(err)
	}
	c.report.Opened = time.Since(began)
	err = enough(c.all(ctx))
	if closed := c.store.Close(); closed != nil && err == nil {
		err = c.unopened(closed)
	}
	return c.report, err
}

// unopened makes a violation of an error that says something about the store.
func (c *check) unopened(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, eventstore.ErrInUse) {
		return err
	}
	return enough(c.found("I8", "the store does not open and close: %v", err))
}

// enough takes the end of a check that has found enough for what it is.
func enough(err error) error {
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// all runs the checks, those of the log first.
func (c *check) all(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		c.readLog, c.batches, c.history, c.models, c.sagas, c.functions, c.laws, c.appends,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (c *check) laws(context.Context) error {
	for _, law := range c.opts.Laws {
		for _, broken := range law(&c.state) {
			if err := c.found("law", "%s", broken); err != nil {
				return err
			}
		}
	}
	return nil
}

// models compares read models with the fold.
func (c *check) models(ctx context.Context) error {
	for _, versions := range c.opts.Models {
		got, err := projection.Audit(ctx, c.dir, c.store, c.scratch, versions...)
		switch {
		case errors.Is(err, projection.ErrNoView):
			continue // killed before it was there
		case ctx.Err() != nil:
			return err
		case err != nil:
			err = c.found("I5", "%v", err)
		case !got.Identical:
			err = c.found("I5", "%s v%d at position %d is not the fold: %s", versions[0].Name(), got.Version, got.Position, got.Difference)
		}
		if err != nil {
			return err
		}
		c.report.Models++
	}
	return nil
}
