package saga

import (
	"log/slog"
	"time"

	"github.com/leat-go/leat/eventstore"
)

// Options change how an engine works.
type Options struct {
	// Workers is how many commands are in flight at once, of different
	// instances. Defaults to Workers.
	Workers int
	// Ordered has commands leave strictly one at a time, in an order that
	// depends on nothing but the inputs, and only while a Settle waits: by the
	// clock at their steps, the length of the chain that caused them, saga,
	// instance and sequence. It is for virtual time.
	Ordered bool
	// Handles tells whether a command type has a handler: Open refuses to
	// start where a pending command has none. Defaults to not looking.
	Handles func(commandType string) bool
	// Attempts, where it is set, is how often an input is tried before its
	// instance is parked, whatever the definitions say (see Retries).
	Attempts int
	// MaxHops defaults to MaxHops.
	MaxHops int
	// CommandAttempts and CommandAge default to the constants of that name.
	CommandAttempts int
	CommandAge      time.Duration
	// MinBackoff and MaxBackoff default to the constants of that name.
	MinBackoff, MaxBackoff time.Duration
	// Relaxed commits without waiting for the disk: a power cut takes the last
	// steps away although their commands took effect. It is for tests.
	Relaxed bool
	// Logger is told what fails and what is parked. Defaults to
	// slog.Default().
	Logger *slog.Logger
}

func (o *Options) withDefaults() (Options, error) {
	var d Options
	if o != nil {
		d = *o
	}
	set := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	set(&d.Workers, Workers)
	set(&d.MaxHops, MaxHops)
	set(&d.CommandAttempts, CommandAttempts)
	for _, f := range []struct {
		field *time.Duration
		value time.Duration
	}{{&d.CommandAge, CommandAge}, {&d.MinBackoff, MinBackoff}, {&d.MaxBackoff, MaxBackoff}} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	if d.Logger == nil {
		d.Logger = slog.Default()
	}
	if d.Workers < 1 || d.Attempts < 0 || d.MaxHops < 1 || d.CommandAttempts < 1 || d.CommandAge < 0 || d.MinBackoff < 0 || d.MaxBackoff < d.MinBackoff {
		return d, &eventstore.InvalidError{Field: "saga options", Reason: "a limit is negative, or MaxBackoff is below MinBackoff"}
	}
	return d, nil
}
