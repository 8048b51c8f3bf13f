package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/leat-go/leat/serverless"
)

// held says what the host waits for, where no command has ended since the line
// of progress before; empty where it waits for nothing but time.
func (a *app) held(ctx context.Context) string {
	commands := a.host.Progress().Commands
	if commands != a.shown {
		a.shown = commands
		return ""
	}
	st, err := a.host.Status(ctx)
	if err != nil {
		return "" // which whoever needs it says
	}
	if text := heldBy(st, time.Now()); text != "" {
		return oneLine(text) + " · "
	}
	return ""
}

// heldBy is what holds a host up, in a few words.
func heldBy(st serverless.Status, now time.Time) string {
	since := func(at time.Time) string { return now.Sub(at).Round(time.Second).String() }
	if st.Store.Stopped {
		return fmt.Sprintf("WAITS for %s: the store has stopped (%s)", since(st.Store.Since), lastOf(st.Store.Cause))
	}
	for _, in := range st.Inputs {
		if in.Attempts > 0 {
			return fmt.Sprintf("WAITS for %s: the store does not take inputs (%s)", since(in.Since), lastOf(in.Error))
		}
	}
	for _, c := range st.Consumers {
		if c.Attempt > 0 {
			return fmt.Sprintf("WAITS: %s is tried again (%s)", c.Name, lastOf(c.Error))
		}
	}
	return ""
}

// lastOf returns the end of an error's text, where the cause stands.
func lastOf(text string) string {
	return strings.TrimSpace(text[strings.LastIndex(text, ": ")+1:])
}
