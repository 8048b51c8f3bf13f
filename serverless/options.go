package serverless

import (
	"fmt"
	"time"
)

// Policy says what becomes of an event that a function keeps failing on.
type Policy int

const (
	// Block stops the function, loudly, until it is mended and started again.
	// Nothing is passed over. It is the default.
	Block Policy = iota
	// Park has the event and everything after it in the same stream wait; other
	// streams go on. RetryDeadLetter releases them in order.
	Park
	// Skip passes over the event, which is kept as a dead letter.
	Skip
)

func (p Policy) String() string {
	switch p {
	case Block:
		return "block"
	case Park:
		return "park"
	case Skip:
		return "skip"
	}
	return fmt.Sprintf("Policy(%d)", int(p))
}

// Defaults and limits of event functions.
const (
	// DefaultAttempts is how often a function is called with an event.
	DefaultAttempts = 10
	// DefaultFirstWait and DefaultLongestWait bound the waits between attempts.
	DefaultFirstWait   = 200 * time.Millisecond
	DefaultLongestWait = time.Minute
	// DefaultMaxAge is how long an event is tried.
	DefaultMaxAge = 24 * time.Hour
	// MaxAttempts is the most attempts a RetryPolicy may ask for.
	MaxAttempts = 1000
	// MaxConcurrency is the most partitions of a function.
	MaxConcurrency = 256
	// MaxPayload is the size of the payload of a call, as JSON, in bytes.
	MaxPayload = 4 << 20
)

// RetryPolicy says how often and how long a function is called with an event
// that it fails on. Attempts are kept in the store: a restart does not begin
// anew. All waits are wall time, whatever the host's clock.
type RetryPolicy struct {
	// Attempts is how often it is called at most, 1 or more. Defaults to
	// DefaultAttempts.
	Attempts int
	// First is the longest wait after the first failure. It doubles with each;
	// the wait itself is drawn from zero up to it. Defaults to DefaultFirstWait.
	First time.Duration
	// Longest bounds the doubling. Defaults to DefaultLongestWait.
	Longest time.Duration
	// MaxAge ends the attempts so long after the first failure. Defaults to
	// DefaultMaxAge.
	MaxAge time.Duration
}

func (r RetryPolicy) withDefaults() RetryPolicy {
	if r.Attempts == 0 {
		r.Attempts = DefaultAttempts
	}
	if r.First == 0 {
		r.First = DefaultFirstWait
	}
	if r.Longest == 0 {
		r.Longest = max(DefaultLongestWait, r.First)
	}
	if r.MaxAge == 0 {
		r.MaxAge = DefaultMaxAge
	}
	return r
}

func (r RetryPolicy) check() error {
	switch {
	case r.Attempts < 1 || r.Attempts > MaxAttempts:
		return fmt.Errorf("Retry: %d attempts: give 1 to %d", r.Attempts, MaxAttempts)
	case r.First < 0 || r.Longest < r.First || r.MaxAge < 0:
		return fmt.Errorf("Retry: waits from %v to %v within %v: none may be negative, nor the first the longest", r.First, r.Longest, r.MaxAge)
	}
	return nil
}

type eventOptions struct {
	retry       RetryPolicy
	policy      Policy
	concurrency int
	timeout     time.Duration
	fromStart   bool
}

func (o eventOptions) check() []error {
	var errs []error
	if err := o.retry.check(); err != nil {
		errs = append(errs, err)
	}
	if o.policy < Block || o.policy > Skip {
		errs = append(errs, fmt.Errorf("OnFailure: %v is not a policy", o.policy))
	}
	if o.concurrency < 1 || o.concurrency > MaxConcurrency {
		errs = append(errs, fmt.Errorf("Concurrency: %d partitions: give 1 to %d", o.concurrency, MaxConcurrency))
	}
	if o.timeout < 0 {
		errs = append(errs, fmt.Errorf("Timeout: %v is negative", o.timeout))
	}
	return errs
}

// EventOption says how an event function is run.
type EventOption func(*eventOptions)

// Retry sets how often and how long the function is tried with an event.
func Retry(p RetryPolicy) EventOption {
	return func(o *eventOptions) { o.retry = p.withDefaults() }
}

// OnFailure sets what becomes of an event once the attempts are spent.
// Defaults to Block.
func OnFailure(p Policy) EventOption { return func(o *eventOptions) { o.policy = p } }

// Concurrency runs the function for n streams at once: n partitions by stream,
// each in order. Defaults to 1: the order of the log. When n changes, events
// after the slowest partition are given again.
func Concurrency(n int) EventOption { return func(o *eventOptions) { o.concurrency = n } }

// Timeout ends the function's context after d, which counts as a failure. The
// call is waited for all the same: no second one starts while it runs.
// Defaults to none.
func Timeout(d time.Duration) EventOption { return func(o *eventOptions) { o.timeout = d } }

// FromStart gives a function that is new to the store the whole log. Without
// it a new function begins after the head it finds, because its effects on old
// events are rarely wanted.
func FromStart() EventOption { return func(o *eventOptions) { o.fromStart = true } }

type commandOptions struct {
	requireID bool
}

// CommandOption says how a command function is called.
type CommandOption func(*commandOptions)

// RequireID refuses a call without a command id with ErrIDRequired, so that
// the function's effect is always exactly once.
func RequireID() CommandOption { return func(o *commandOptions) { o.requireID = true } }
