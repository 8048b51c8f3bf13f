package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/leat-go/leat/eventstore"
)

const (
	// forgotten is how long a cause must have been away to be said again.
	forgotten = 5 * time.Minute
	// mostCauses is how many causes are remembered; others are said each time.
	mostCauses = 1000
)

// logger writes warnings to err, where the status line is not in the way, and
// of each cause one.
func (t terminal) logger() *slog.Logger {
	text := slog.NewTextHandler(t.err, &slog.HandlerOptions{Level: slog.LevelWarn, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if err, ok := a.Value.Any().(error); ok {
			a.Value = slog.StringValue(wording(err))
		}
		return a
	}})
	return slog.New(causes{Handler: text, said: &said{at: map[string]time.Time{}}})
}

// causes passes on one record for each cause, and none of what was told to stop. One disk in trouble stops every
// consumer and every command, and each of them says so at each attempt.
type causes struct {
	slog.Handler
	said *said
}

// said is when a cause was last met.
type said struct {
	mu sync.Mutex
	at map[string]time.Time
}

func (c causes) WithAttrs(attrs []slog.Attr) slog.Handler {
	return causes{c.Handler.WithAttrs(attrs), c.said}
}
func (c causes) WithGroup(name string) slog.Handler { return causes{c.Handler.WithGroup(name), c.said} }

func (c causes) Handle(ctx context.Context, r slog.Record) error {
	cause, whose, one, stopped := "", "", false, false
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok {
			cause, stopped = rootOf(err).Error(), errors.Is(err, context.Canceled)
		}
		switch a.Key {
		case "error": // as text, of each input another: that it is so is one state
			if a.Value.Kind() == slog.KindString {
				cause = r.Message
			}
		case "key", "function": // of one instance, or one event
			one = true
			whose += " " + a.Value.String()
		case "saga", "position":
			whose += " " + a.Value.String()
		}
		return true
	})
	if !one {
		whose = ""
	}
	if stopped || cause != "" && !c.said.first(r.Time, cause, whose) {
		return nil
	}
	return c.Handler.Handle(ctx, r)
}

// first tells whether a cause was not met lately: by anybody, or, where nobody
// speaks of it in general, by what it befell.
func (s *said) first(now time.Time, cause, whose string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if whose == "" {
		return s.meet(now, cause)
	}
	if _, general := s.at[cause]; general && !s.meet(now, cause) {
		return false
	}
	return s.meet(now, cause+whose)
}

func (s *said) meet(now time.Time, what string) bool {
	last, known := s.at[what]
	if known || len(s.at) < mostCauses {
		s.at[what] = now
	}
	return !known || now.Sub(last) >= forgotten
}

// rootOf returns what an error came from at first: the damage that it names,
// else what is wrapped by nothing but others.
func rootOf(err error) error {
	for {
		if damage, ok := err.(*eventstore.CorruptError); ok { //nolint:errorlint // one step at a time
			return damage
		}
		next := error(nil)
		switch e := err.(type) { //nolint:errorlint // one step at a time
		case interface{ Unwrap() error }:
			next = e.Unwrap()
		case interface{ Unwrap() []error }:
			if all := e.Unwrap(); len(all) > 0 {
				next = all[len(all)-1] // the cause comes last
			}
		}
		if next == nil {
			return err
		}
		err = next
	}
}
