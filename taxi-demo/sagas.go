package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/saga"
)

func sagasCommand(t terminal, store *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sagas",
		Short: "List and show sagas, and retry, skip, cancel and complete those that do not go on",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(listSagas(t, store), showSaga(t, store),
		actOnSaga(t, store, "retry", "Try what failed again, then what waits behind it", (*saga.Engine).Retry),
		actOnSaga(t, store, "skip", "Go on without what failed", (*saga.Engine).Skip),
		actOnSaga(t, store, "cancel", "Have it compensate: what it did is undone in reverse", (*saga.Engine).Cancel),
		actOnSaga(t, store, "complete", "End it as it is: nothing is undone", (*saga.Engine).Complete))
	return cmd
}

// stuckAfter is how long nothing must have happened to a saga for it to be
// stuck, unless --older says otherwise.
const stuckAfter = time.Hour

// openStatus selects what is not finished, in whatever status.
const openStatus = "open"

// statuses are the words of --status.
var statuses = []string{openStatus, string(saga.Running), string(saga.Compensating), string(saga.Parked),
	string(saga.Completed), string(saga.Compensated), string(saga.Failed)}

// sagaFlags select sagas.
type sagaFlags struct {
	saga, status string
	older        time.Duration
	stuck, json  bool
}

// check refuses a flag's value that selects nothing there could be.
func (f sagaFlags) check(olderGiven bool) error {
	switch {
	case f.saga != "" && !slices.Contains(sagaNames(), f.saga):
		return unknownSaga(f.saga)
	case f.status != "" && !slices.Contains(statuses, f.status):
		return usagef("--status %q: give one of %s", f.status, strings.Join(statuses, ", "))
	case olderGiven && f.older <= 0:
		return usagef("--older %v: give more than 0", f.older)
	}
	return nil
}

// query is what the flags select, by the store's clock.
func (f sagaFlags) query(now time.Time) saga.Query {
	q := saga.Query{Saga: f.saga, Open: f.status == openStatus}
	if !q.Open {
		q.Status = saga.Status(f.status)
	}
	switch {
	case f.stuck && f.older > 0:
		q.Stuck = f.older
	case f.stuck:
		q.Stuck = stuckAfter
	case f.older > 0:
		q.UpdatedBefore = now.Add(-f.older)
	}
	return q
}

func listSagas(t terminal, store *string) *cobra.Command {
	var f sagaFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List sagas with their status, since when, and what they wait for",
		Long: `List sagas with their status, since when by the store's clock, and what they
wait for, in the order in which they began.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(cmd.Flags().Changed("older")); err != nil {
				return err
			}
			return withSagas(cmd.Context(), t, *store, func(ctx context.Context, a *app, e *saga.Engine) error {
				return listInstances(ctx, t, e, f.query(a.clock.Now()), f.json)
			})
		},
	}
	cmd.Flags().StringVar(&f.saga, "saga", "", "only of this saga")
	cmd.Flags().StringVar(&f.status, "status", "", "only in this status: "+strings.Join(statuses, ", "))
	cmd.Flags().DurationVar(&f.older, "older", 0, "only those that nothing has happened to for this long, such as 90m or 36h")
	cmd.Flags().BoolVar(&f.stuck, "stuck", false, "only those that do not go on by themselves: something failed, or no timer is set and nothing has happened for --older, "+stuckAfter.String()+" by default")
	cmd.Flags().BoolVar(&f.json, "json", false, "print one JSON object a line")
	return cmd
}

// sagaLine is one saga in a listing.
type sagaLine struct {
	Saga string `json:"saga"`
	Key  string `json:"key"`
	// Stream says that it is no saga: Key is a stream that cannot be read.
	Stream bool        `json:"stream,omitempty"`
	Status saga.Status `json:"status"`
	// Since is when something happened to it last, by the store's clock.
	Since    time.Time `json:"since"`
	Begun    time.Time `json:"begun"`
	Attempts int       `json:"attempts,omitempty"`
	// Waiting is how many inputs wait, Pending how many commands.
	Waiting int    `json:"waiting,omitempty"`
	Pending int    `json:"pending,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

func sagaLineOf(i saga.Instance) sagaLine {
	l := sagaLine{Saga: i.Saga, Key: i.Key, Status: i.Status, Since: i.Updated, Begun: i.Created,
		Attempts: i.Attempts, Waiting: i.Waiting, Pending: i.Pending, Reason: i.Reason}
	if i.Stream != "" {
		l.Key, l.Stream = i.Stream, true
	}
	return l
}

func (l sagaLine) String() string {
	what := ""
	if l.Stream {
		what = " (a stream that cannot be read: name it with --stream)"
	}
	text := fmt.Sprintf("%-12s %s%s  %s since %s", l.Saga, cell(l.Key), what, l.Status, instantOf(l.Since))
	if l.Attempts > 0 {
		text += fmt.Sprintf(", %d attempts", l.Attempts)
	}
	if l.Waiting > 0 {
		text += fmt.Sprintf(", %d inputs wait", l.Waiting)
	}
	if l.Pending > 0 {
		text += fmt.Sprintf(", %d commands to carry out", l.Pending)
	}
	if l.Reason != "" {
		text += ": " + cell(l.Reason)
	}
	return text
}

func instantOf(at time.Time) string { return at.UTC().Format(time.RFC3339) }

func listInstances(ctx context.Context, t terminal, e *saga.Engine, q saga.Query, asJSON bool) error {
	found := false
	for {
		page, err := e.Instances(ctx, q)
		if err != nil {
			return err
		}
		for _, i := range page {
			found, q.After = true, i.ID
			if !asJSON {
				fmt.Fprintln(t.out, sagaLineOf(i))
			} else if err := t.jsonLine(sagaLineOf(i)); err != nil {
				return err
			}
		}
		if len(page) < saga.MaxInstances {
			break
		}
	}
	if !found && !asJSON {
		fmt.Fprintln(t.out, "there is no such saga")
	}
	return nil
}

// actOnSaga is a command that does something to one saga, for a reason that its
// journal keeps.
func actOnSaga(t terminal, store *string, verb, short string, do func(*saga.Engine, context.Context, string, string, saga.By) error) *cobra.Command {
	var by saga.By
	var stream bool
	cmd := &cobra.Command{
		Use:   verb + " SAGA KEY --who NAME --why TEXT",
		Short: short,
		Long: short + `.
Who asked for it and why stand in its journal: see 'taxi-demo sagas show'. What
it sends is carried out once the demo runs again. Exit 1 where it has failed
again: its reason says why.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			one, err := oneSaga(verb, args, stream)
			if err != nil {
				return err
			}
			if err := checkBy(verb, by); err != nil {
				return err
			}
			return withSagas(cmd.Context(), t, *store, func(ctx context.Context, _ *app, e *saga.Engine) error {
				if err := do(e, ctx, one.saga, one.key(), by); err != nil {
					return refused(verb, one, err)
				}
				i, err := e.Instance(ctx, one.saga, one.key())
				if err != nil {
					return err
				}
				if i.Status == saga.Parked || i.Attempts > 0 {
					return fmt.Errorf("sagas %s %s: it has failed again: %s; see 'taxi-demo sagas show %[2]s'", verb, one, i.Reason)
				}
				fmt.Fprintf(t.out, "%s: %s, asked for by %s: %s\n", one, verb, cell(by.Who), cell(by.Why))
				fmt.Fprintln(t.out, sagaLineOf(i))
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&by.Who, "who", "", "who asks for it (required)")
	cmd.Flags().StringVar(&by.Why, "why", "", "why (required)")
	streamFlag(cmd, &stream)
	return cmd
}

func streamFlag(cmd *cobra.Command, stream *bool) {
	cmd.Flags().BoolVar(stream, "stream", false, "KEY is not that of a saga, but a stream that the saga cannot read")
}

// checkBy refuses an action that nobody asks for, or for no reason.
func checkBy(verb string, by saga.By) error {
	switch {
	case strings.TrimSpace(by.Who) == "":
		return usagef("sagas %s: say who asks for it with --who", verb)
	case strings.TrimSpace(by.Why) == "":
		return usagef("sagas %s: say why with --why", verb)
	}
	if err := eventstore.CheckName("--who", by.Who); err != nil {
		return usagef("sagas %s: %s", verb, oneLine(err.Error()))
	}
	return nil
}

// refused says of an action that was not possible what to do next.
func refused(verb string, one sagaName, err error) error {
	switch {
	case errors.Is(err, saga.ErrNotFound):
		return missing(one.saga, err)
	case errors.Is(err, saga.ErrState):
		return fmt.Errorf("sagas %s %s: %w: nothing was changed; see 'taxi-demo sagas show %[2]s'", verb, one, err)
	}
	return fmt.Errorf("sagas %s %s: %w", verb, one, err)
}

// missing says of an instance that is not there where to look.
func missing(name string, err error) error {
	return fmt.Errorf("%w: see 'taxi-demo sagas list --saga %s'", err, name)
}

// sagaName is one saga, or a stream that a saga cannot read.
type sagaName struct {
	saga, name string
	stream     bool
}

// key is what an engine knows it by.
func (n sagaName) key() string {
	if n.stream {
		return saga.OfStream(n.name)
	}
	return n.name
}

// String is the name as it stands in a command line.
func (n sagaName) String() string {
	text := n.saga + " " + cell(n.name)
	if n.stream {
		text += " --stream"
	}
	return text
}

// oneSaga checks the arguments of a command about one saga.
func oneSaga(verb string, args []string, stream bool) (sagaName, error) {
	if len(args) != 2 {
		return sagaName{}, usagef("sagas %s takes a saga and a key", verb)
	}
	if !slices.Contains(sagaNames(), args[0]) {
		return sagaName{}, unknownSaga(args[0])
	}
	return sagaName{args[0], args[1], stream}, nil
}

func unknownSaga(name string) error {
	return usagef("unknown saga %q; there are %v", name, sagaNames())
}

// sagaNames lists the sagas of the program.
func sagaNames() (names []string) {
	for _, def := range sagas() {
		names = append(names, def.Name())
	}
	return names
}

// withSagas opens the sagas of an existing store, at rest.
func withSagas(ctx context.Context, t terminal, dir string, fn func(context.Context, *app, *saga.Engine) error) error {
	return withStore(ctx, t, dir, func(ctx context.Context, a *app) error {
		e, err := a.host.Sagas()
		if err != nil {
			return err
		}
		return fn(ctx, a, e)
	})
}
