package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
)

// tailPage is how many events tail reads at a time.
const tailPage = 500

func eventsCommand(t terminal, store *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Look at the log, also beside a running demo",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	var last int
	var follow bool
	tail := &cobra.Command{
		Use:   "tail",
		Short: "Print the last events, and the next ones as they come with --follow",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if last < 0 {
				return usagef("--last %d: give 0 or more", last)
			}
			return withLog(cmd.Context(), *store, func(ctx context.Context, log *sqlite.Store) error {
				return tailLog(ctx, t, log, last, follow, asJSON)
			})
		},
	}
	tail.Flags().IntVarP(&last, "last", "n", 20, "how many events to begin with")
	tail.Flags().BoolVarP(&follow, "follow", "f", false, "go on until Ctrl+C")
	cmd.AddCommand(tail,
		&cobra.Command{
			Use:   "show POSITION",
			Short: "Print one event with its metadata",
			Args:  oneArg("a position"),
			RunE: func(cmd *cobra.Command, args []string) error {
				position, err := strconv.ParseInt(args[0], 10, 64)
				if err != nil || position < 1 {
					return usagef("events show: %q is no position: give a number from 1", args[0])
				}
				return withLog(cmd.Context(), *store, func(ctx context.Context, log *sqlite.Store) error {
					return showEvent(ctx, t, log, position, asJSON)
				})
			},
		},
		&cobra.Command{
			Use:   "stream NAME",
			Short: "Print the events of one stream",
			Args:  oneArg("a stream"),
			RunE: func(cmd *cobra.Command, args []string) error {
				return withLog(cmd.Context(), *store, func(ctx context.Context, log *sqlite.Store) error {
					found := false
					for e, err := range eventstore.Stream(ctx, log, args[0], 1) {
						if err != nil {
							return err
						}
						found = true
						if err := printEvent(t, e, asJSON); err != nil {
							return err
						}
					}
					if !found {
						return fmt.Errorf("there is no stream %q", args[0])
					}
					return nil
				})
			},
		})
	return cmd
}

func oneArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usagef("%s %s: give %s", cmd.Parent().Name(), cmd.Name(), what)
		}
		return nil
	}
}

// withLog opens an existing log to look at, beside its owner if there is one.
func withLog(ctx context.Context, dir string, fn func(context.Context, *sqlite.Store) error) (err error) {
	if err := mustExist(dir); err != nil {
		return err
	}
	log, err := sqlite.OpenReadOnly(ctx, dir)
	if err != nil {
		return mayWrite(dir, err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	return fn(ctx, log)
}

func tailLog(ctx context.Context, t terminal, log *sqlite.Store, last int, follow, asJSON bool) error {
	head, err := log.Head(ctx)
	if err != nil {
		return err
	}
	after := max(0, head-int64(last))
	for {
		page, err := log.ReadLog(ctx, after, tailPage, eventstore.Filter{})
		if err != nil {
			return err
		}
		for _, e := range page.Events {
			if err := printEvent(t, e, asJSON); err != nil {
				return err
			}
		}
		if page.Through.Position > after {
			after = page.Through.Position
			continue
		}
		if !follow {
			return nil
		}
		if _, err := log.Wait(ctx, after); err != nil {
			return err
		}
	}
}

func showEvent(ctx context.Context, t terminal, log *sqlite.Store, position int64, asJSON bool) error {
	head, err := log.Head(ctx)
	if err != nil {
		return err
	}
	if position > head {
		return fmt.Errorf("there is no event at position %d: the log ends at %d", position, head)
	}
	e, err := eventstore.EventAt(ctx, log, position)
	if err != nil {
		return err
	}
	if asJSON {
		return t.jsonLine(eventOf(e))
	}
	return t.json(eventOf(e))
}

// event is an event as it is printed.
type event struct {
	Position int64           `json:"position"`
	Time     time.Time       `json:"time"`
	Stream   string          `json:"stream"`
	Version  int64           `json:"version"`
	Type     string          `json:"type"`
	Schema   int             `json:"schema_version"`
	ID       uuid.UUID       `json:"id"`
	Batch    string          `json:"batch,omitempty"`
	Data     json.RawMessage `json:"data"`
	Meta     json.RawMessage `json:"metadata,omitempty"`
}

func eventOf(r eventstore.Recorded) event {
	return event{
		Position: r.Position, Time: r.RecordedAt(), Stream: r.Stream, Version: r.Version, Type: r.Type,
		Schema: r.SchemaVersion, ID: r.ID, Batch: r.BatchID, Data: raw(r.Data), Meta: raw(r.Meta),
	}
}

// raw returns data as JSON: as it is where it is, else as a string.
func raw(data []byte) json.RawMessage {
	if len(data) == 0 {
		return nil
	}
	if json.Valid(data) {
		return data
	}
	quoted, err := json.Marshal(string(data))
	if err != nil { // a string always has a JSON form
		panic(err)
	}
	return quoted
}

func printEvent(t terminal, r eventstore.Recorded, asJSON bool) error {
	if asJSON {
		return t.jsonLine(eventOf(r))
	}
	_, err := fmt.Fprintf(t.out, "%8d  %s  %-28s %4d  %-20s %s\n", r.Position, r.RecordedAt().Format("01-02 15:04:05"),
		cell(r.Stream), r.Version, cell(r.Type), cell(string(r.Data)))
	return err
}
