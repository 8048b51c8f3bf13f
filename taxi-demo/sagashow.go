package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/leat-go/leat/saga"
)

func showSaga(t terminal, store *string) *cobra.Command {
	var asJSON, stream bool
	cmd := &cobra.Command{
		Use:   "show SAGA KEY",
		Short: "Print all there is of one saga: its state, what it was given and did, what it waits for",
		Long: `Print all there is of one saga: its status and state, its journal, which has
what it was given, what it did about it, and who had it retried, skipped,
cancelled or completed and why; and what is still to come: commands that are not
known to be done, timers, inputs that wait. A command that the journal has sent
and that is not among these was done, or its rejection or withdrawal is in the
journal.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			one, err := oneSaga("show", args, stream)
			if err != nil {
				return err
			}
			return withSagas(cmd.Context(), t, *store, func(ctx context.Context, _ *app, e *saga.Engine) error {
				c, err := e.Show(ctx, one.saga, one.key())
				switch {
				case errors.Is(err, saga.ErrNotFound):
					return missing(one.saga, err)
				case err != nil:
					return err
				}
				if asJSON {
					return t.json(caseOf(c))
				}
				t.showCase(c)
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	streamFlag(cmd, &stream)
	return cmd
}

// sagaCase is all there is of one saga.
type sagaCase struct {
	sagaLine
	Ended        time.Time       `json:"ended,omitzero"`
	NextAttempt  time.Time       `json:"next_attempt,omitzero"` // by the wall's clock
	StateVersion int             `json:"state_version"`
	State        json.RawMessage `json:"state"`
	Undo         []string        `json:"undo"` // what would be undone, the last first
	Journal      []sagaEntry     `json:"journal"`
	Commands     []sagaCommand   `json:"commands"`
	Timers       []sagaTimer     `json:"timers"`
	Inputs       []sagaInput     `json:"inputs"`
}

// sagaEntry is what a saga was given and what it did about it.
type sagaEntry struct {
	At      time.Time `json:"at"`
	Kind    string    `json:"kind"`
	Name    string    `json:"name"`
	Ref     string    `json:"ref"`
	Effects string    `json:"effects,omitempty"`
	Due     time.Time `json:"due,omitzero"`
	Code    string    `json:"code,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	Who     string    `json:"who,omitempty"`
	Why     string    `json:"why,omitempty"`
}

// sagaCommand is a command that is not known to be done.
type sagaCommand struct {
	ID          string          `json:"id"`
	Type        string          `json:"type"`
	Data        json.RawMessage `json:"data"`
	Undo        bool            `json:"undo,omitempty"`
	Parked      bool            `json:"parked,omitempty"`
	Attempts    int             `json:"attempts,omitempty"`
	NextAttempt time.Time       `json:"next_attempt,omitzero"`
	Reason      string          `json:"reason,omitempty"`
}

type sagaTimer struct {
	Name string    `json:"name"`
	Due  time.Time `json:"due"`
	Held bool      `json:"held,omitempty"`
}

// sagaInput is an input that waits.
type sagaInput struct {
	Kind     string    `json:"kind"`
	Position int64     `json:"position,omitempty"`
	Name     string    `json:"name,omitempty"`
	Due      time.Time `json:"due,omitzero"`
	Code     string    `json:"code,omitempty"`
	Reason   string    `json:"reason,omitempty"`
}

func caseOf(c saga.Case) sagaCase {
	out := sagaCase{
		sagaLine: sagaLineOf(c.Instance), Ended: c.Completed, NextAttempt: c.NextAttempt,
		StateVersion: c.StateVersion, State: c.State, Undo: []string{},
		Journal: []sagaEntry{}, Commands: []sagaCommand{}, Timers: []sagaTimer{}, Inputs: []sagaInput{},
	}
	if !json.Valid(c.State) { // damaged, or swept away
		out.State = raw(c.State)
	}
	for n := len(c.Undo) - 1; n >= 0; n-- {
		out.Undo = append(out.Undo, c.Undo[n])
	}
	for _, en := range c.History {
		e := sagaEntry{At: en.At, Kind: en.Kind, Name: en.Name, Ref: en.Ref, Due: en.Due, Code: en.Code, Reason: en.Reason, Who: en.Who}
		if en.Who != "" {
			e.Why = en.Effects
		} else {
			e.Effects = en.Effects
		}
		out.Journal = append(out.Journal, e)
	}
	for _, k := range c.Commands {
		out.Commands = append(out.Commands, sagaCommand{k.ID, k.Type, raw(k.Data), k.Undo, k.Parked, k.Attempts, k.NextAttempt, k.Reason})
	}
	for _, m := range c.Timers {
		out.Timers = append(out.Timers, sagaTimer{m.Name, m.Due, m.Held})
	}
	for _, in := range c.Inputs {
		out.Inputs = append(out.Inputs, sagaInput{in.Kind, in.Position, in.Name, in.Due, in.Code, in.Reason})
	}
	return out
}

// showCase prints all there is of one saga.
func (t terminal) showCase(c saga.Case) {
	all := caseOf(c)
	fmt.Fprintln(t.out, all.sagaLine)
	fmt.Fprintf(t.out, "  begun   %s\n", instantOf(all.Begun))
	if !all.Ended.IsZero() {
		fmt.Fprintf(t.out, "  ended   %s\n", instantOf(all.Ended))
	}
	if !all.NextAttempt.IsZero() {
		fmt.Fprintf(t.out, "  next    tried again at %s of the wall's clock\n", instantOf(all.NextAttempt))
	}
	if len(all.State) > 0 {
		fmt.Fprintf(t.out, "  state   version %d: %s\n", all.StateVersion, cell(string(all.State)))
	}
	if len(all.Undo) > 0 {
		fmt.Fprintf(t.out, "  undo    %s\n", cell(strings.Join(all.Undo, ", ")))
	}
	fmt.Fprintf(t.out, "journal (%d entries)\n", len(all.Journal))
	for _, en := range all.Journal {
		fmt.Fprintf(t.out, "  %s  %s\n", instantOf(en.At), cell(en.String()))
	}
	fmt.Fprintf(t.out, "commands that are not known to be done (%d)\n", c.Pending)
	for _, k := range all.Commands {
		fmt.Fprintf(t.out, "  %s\n", cell(k.String()))
	}
	fmt.Fprintf(t.out, "timers (%d)\n", len(all.Timers))
	for _, m := range all.Timers {
		held := ""
		if m.Held {
			held = ", held until it goes on"
		}
		fmt.Fprintf(t.out, "  %s due %s%s\n", m.Name, instantOf(m.Due), held)
	}
	fmt.Fprintf(t.out, "inputs that wait (%d)\n", c.Waiting)
	for _, in := range all.Inputs {
		fmt.Fprintf(t.out, "  %s\n", cell(in.String()))
	}
}

func (en sagaEntry) String() string {
	if en.Who != "" {
		return fmt.Sprintf("%s by %s: %s", en.Name, en.Who, en.Why)
	}
	text := en.Kind + " " + en.Name
	switch en.Kind {
	case "event":
		text += " at position " + en.Ref
	case "rejection":
		text += fmt.Sprintf(" (%s: %s)", en.Code, en.Reason)
	case "timer":
		if !en.Due.IsZero() {
			text += " due " + instantOf(en.Due)
		}
	}
	if en.Effects == "" {
		return text + ": nothing"
	}
	return text + ": " + en.Effects
}

func (k sagaCommand) String() string {
	text := k.Type + " " + k.ID
	switch {
	case k.Parked:
		text += fmt.Sprintf(", parked after %d attempts: %s", k.Attempts, k.Reason)
	case k.Attempts > 0:
		text += fmt.Sprintf(", %d attempts, tried again at %s: %s", k.Attempts, instantOf(k.NextAttempt), k.Reason)
	}
	return text
}

func (in sagaInput) String() string {
	switch in.Kind {
	case "event":
		return fmt.Sprintf("event at position %d: see 'taxi-demo events show %d'", in.Position, in.Position)
	case "timer":
		return fmt.Sprintf("timer %s due %s", in.Name, instantOf(in.Due))
	}
	return fmt.Sprintf("%s %s (%s: %s)", in.Kind, in.Name, in.Code, in.Reason)
}
