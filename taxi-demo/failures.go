package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/serverless"
)

func failuresCommand(t terminal, store *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "failures",
		Short: "List, show, retry and discard events that a read model or a function could not take",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	list := &cobra.Command{
		Use:   "list",
		Short: "List what is parked, was given up or was discarded",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withStore(cmd.Context(), t, *store, func(ctx context.Context, a *app) error { return a.listFailures(ctx, t, asJSON) })
		},
	}
	list.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	show := &cobra.Command{
		Use:   "show CONSUMER POSITION",
		Short: "Print one of them with its error and its event",
		Args:  cobra.ArbitraryArgs,
		RunE: oneFailure(t, store, func(ctx context.Context, a *app, name string, position int64) error {
			return a.showFailure(ctx, t, name, position)
		}),
	}
	retry := &cobra.Command{
		Use:   "retry CONSUMER POSITION",
		Short: "Apply the event now; of a parked stream, everything behind it as well, in order",
		Args:  cobra.ArbitraryArgs,
		RunE: oneFailure(t, store, func(ctx context.Context, a *app, name string, position int64) error {
			p, err := a.model(name)
			if err == nil && p != nil {
				err = p.Retry(ctx, position)
			} else if err == nil {
				err = a.host.RetryDeadLetter(ctx, name, position)
			}
			if err == nil {
				fmt.Fprintf(t.out, "%s has taken the event at position %d\n", name, position)
			}
			return err
		}),
	}
	var reason string
	discard := &cobra.Command{
		Use:   "discard CONSUMER POSITION --why TEXT",
		Short: "Give the event up for good; the reason is kept",
		Args:  cobra.ArbitraryArgs,
		RunE: oneFailure(t, store, func(ctx context.Context, a *app, name string, position int64) error {
			p, err := a.model(name)
			if err == nil && p != nil {
				err = p.Discard(ctx, position, reason)
			} else if err == nil {
				err = a.host.DiscardDeadLetter(ctx, name, position, reason)
			}
			if err == nil {
				fmt.Fprintf(t.out, "%s has done with the event at position %d: %s\n", name, position, cell(reason))
			}
			return err
		}),
	}
	discard.Flags().StringVar(&reason, "why", "", "why (required)")
	discard.PreRunE = func(*cobra.Command, []string) error {
		if reason == "" {
			return usagef("failures discard: say why with --why")
		}
		return nil
	}
	cmd.AddCommand(list, show, retry, discard)
	return cmd
}

// oneFailure is a command about an event that a consumer could not take.
func oneFailure(t terminal, store *string, do func(ctx context.Context, a *app, name string, position int64) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 2 {
			return usagef("failures %s takes a consumer and a position", cmd.Name())
		}
		position, err := strconv.ParseInt(args[1], 10, 64)
		if err != nil || position < 1 {
			return usagef("failures %s: %q is no position: give a number from 1", cmd.Name(), args[1])
		}
		if _, err := chosen(args[:1], false); err != nil && args[0] != receiptsName {
			return usagef("unknown consumer %q: name a projection, or %s", args[0], receiptsName)
		}
		return withStore(cmd.Context(), t, *store, func(ctx context.Context, a *app) error { return do(ctx, a, args[0], position) })
	}
}

// model returns the read model of that name, nil where it is a function's.
func (a *app) model(name string) (*projection.Projection, error) {
	if m := a.models[name]; m != nil {
		return m.Projection()
	}
	return nil, nil
}

// failureLine is one failure in a listing.
type failureLine struct {
	Consumer string `json:"consumer"`
	Position int64  `json:"position"`
	State    string `json:"state"`
	Stream   string `json:"stream"`
	Type     string `json:"type"`
	// Waiting is how many events wait for it.
	Waiting  int    `json:"waiting,omitempty"`
	Attempts int    `json:"attempts"`
	Error    string `json:"error"`
	Reason   string `json:"reason,omitempty"`
}

func (a *app) listFailures(ctx context.Context, t terminal, asJSON bool) error {
	lines, err := a.failures(ctx)
	if err != nil {
		return err
	}
	for _, l := range lines {
		if asJSON {
			if err := t.jsonLine(l); err != nil {
				return err
			}
			continue
		}
		why := l.Error
		if l.Reason != "" {
			why = l.Reason
		}
		fmt.Fprintf(t.out, "%-12s %8d  %-11s %s %s, %d attempts, %d wait behind: %s\n",
			l.Consumer, l.Position, l.State, cell(l.Stream), l.Type, l.Attempts, l.Waiting, cell(why))
	}
	if len(lines) == 0 && !asJSON {
		fmt.Fprintln(t.out, "nothing has failed")
	}
	return nil
}

func (a *app) failures(ctx context.Context) (lines []failureLine, err error) {
	names, err := chosen(nil, true)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		p, err := a.model(name)
		if err != nil {
			return nil, err
		}
		if s := p.Status(); s.Failed > 0 { // of a new version as well, which has its own file
			e, err := eventstore.EventAt(ctx, a.store, s.Failed)
			if err != nil {
				return nil, err
			}
			lines = append(lines, failureLine{name, s.Failed, string(projection.Failing), e.Stream, e.Type, 0, s.Attempts, s.Reason, ""})
		}
		parked, err := whole(ctx, p.Parked, func(f projection.ParkedStream) int64 { return f.Position })
		if err != nil {
			return nil, err
		}
		for _, f := range parked {
			lines = append(lines, failureLine{name, f.Position, string(projection.Parked), f.Stream, f.Type, f.Events - 1, f.Attempts, f.Err, ""})
		}
		dead, err := whole(ctx, p.DeadLetters, func(f projection.DeadLetter) int64 { return f.Position })
		if err != nil {
			return nil, err
		}
		for _, f := range dead {
			lines = append(lines, failureLine{name, f.Position, string(projection.Dead), f.Stream, f.Type, 0, f.Attempts, f.Err, ""})
		}
		gone, err := whole(ctx, p.Discards, func(f projection.Discard) int64 { return f.Position })
		if err != nil {
			return nil, err
		}
		for _, f := range gone {
			lines = append(lines, failureLine{name, f.Position, string(projection.Discarded), f.Stream, f.Type, 0, f.Attempts, f.Err, f.Reason})
		}
	}
	for _, list := range []func(context.Context, string, int64, int) ([]serverless.DeadLetter, error){a.host.DeadLetters, a.host.Discarded} {
		letters, err := whole(ctx, func(ctx context.Context, after int64) ([]serverless.DeadLetter, error) {
			return list(ctx, receiptsName, after, projection.MaxListed)
		}, func(d serverless.DeadLetter) int64 { return d.Position })
		if err != nil {
			return nil, err
		}
		for _, d := range letters {
			lines = append(lines, failureLine{d.Function, d.Position, letterState(d), d.Stream, d.Type, d.Waiting, d.Attempts, d.Error, d.Reason})
		}
	}
	return lines, nil
}

// whole lists page after page.
func whole[T any](ctx context.Context, list func(ctx context.Context, after int64) ([]T, error), position func(T) int64) (all []T, err error) {
	for after := int64(0); ; {
		page, err := list(ctx, after)
		if all = append(all, page...); err != nil || len(page) < projection.MaxListed {
			return all, err
		}
		after = position(page[len(page)-1])
	}
}

func letterState(d serverless.DeadLetter) string {
	switch {
	case d.Reason != "":
		return string(projection.Discarded)
	case d.Parked:
		return string(projection.Parked)
	default:
		return string(projection.Dead)
	}
}

func (a *app) showFailure(ctx context.Context, t terminal, name string, position int64) error {
	p, err := a.model(name)
	if err != nil {
		return err
	}
	var f projection.Failure
	if p != nil {
		f, err = p.Failure(ctx, position)
	} else {
		var d serverless.DeadLetter
		var e eventstore.Recorded
		d, e, err = a.host.DeadLetter(ctx, name, position)
		f = projection.Failure{State: projection.FailureState(letterState(d)), Event: e, Attempts: d.Attempts, Err: d.Error, At: d.LastAt, Reason: d.Reason}
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(t.out, "%s: %s, %d attempts: %s\n", name, f.State, f.Attempts, cell(f.Err))
	if f.Reason != "" {
		fmt.Fprintf(t.out, "discarded: %s\n", cell(f.Reason))
	}
	return printEvent(t, f.Event, false)
}
