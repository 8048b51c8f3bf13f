package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/taxi-demo/internal/views"
)

func projectionsCommand(t terminal, store *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "projections",
		Short: "List, look at, rebuild and go back with the read models",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(listProjections(t, store), statusProjections(t, store), rebuildProjections(t, store),
		backProjection(t, store), asOfProjection(t, store))
	return cmd
}

// projectionLine is one read model in a listing.
type projectionLine struct {
	Name    string `json:"name"`
	Version int    `json:"version"`
}

func listProjections(t terminal, store *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the read models of the program",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("store") { // the list is of the program; whoever names a store means one
				if err := mustExist(*store); err != nil {
					return err
				}
			}
			lines := []projectionLine{}
			for _, def := range views.All() {
				lines = append(lines, projectionLine{Name: def.Name(), Version: def.Version()})
			}
			if asJSON {
				return t.json(lines)
			}
			for _, l := range lines {
				fmt.Fprintf(t.out, "%-12s version %d\n", l.Name, l.Version)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON array")
	return cmd
}

// statusLine is how far one read model is.
type statusLine struct {
	Name string `json:"name"`
	// Version is that of the file that serves, which may not be the program's;
	// 0 where there is none.
	Version  int    `json:"version"`
	State    string `json:"state"`
	Position int64  `json:"position"`
	Head     int64  `json:"head"`
	// Lag is in positions, LagSeconds by the times of the log: from the first
	// event that is not applied to the log's last.
	Lag         int64   `json:"lag"`
	LagSeconds  float64 `json:"lag_seconds"`
	Failed      int64   `json:"failed,omitempty"`
	Reason      string  `json:"reason,omitempty"`
	Parked      int     `json:"parked"`
	DeadLetters int     `json:"dead_letters"`

	text string
}

// States beside those of a projection.
const (
	notBuilt = "not built"
	pastEnd  = "past the end"
)

func (l statusLine) String() string {
	text := fmt.Sprintf("%-12s ", l.Name)
	if l.State != notBuilt {
		text += fmt.Sprintf("version %d, position %d of %d, ", l.Version, l.Position, l.Head)
	}
	text += l.text
	if l.LagSeconds > 0 {
		text += fmt.Sprintf(", %s behind", time.Duration(l.LagSeconds*float64(time.Second)).Round(time.Second))
	}
	return text
}

func statusProjections(t terminal, store *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status [NAME…]",
		Short: "Say how far read models are, also beside a running demo",
		Long: `Say how far read models are, in positions and in time of the log, and what they
could not take. Beside a running demo it cannot tell that a model is being
rebuilt.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, names []string) error {
			names, err := chosen(names, len(names) == 0)
			if err != nil {
				return err
			}
			lines, err := projectionStatus(cmd.Context(), *store, names)
			if err != nil {
				return err
			}
			if asJSON {
				return t.json(lines)
			}
			for _, l := range lines {
				fmt.Fprintln(t.out, l)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON array")
	return cmd
}

func projectionStatus(ctx context.Context, dir string, names []string) (_ []statusLine, err error) {
	if err := mustExist(dir); err != nil {
		return nil, err
	}
	log, err := sqlite.OpenReadOnly(ctx, dir)
	if err != nil {
		return nil, mayWrite(dir, err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	lines := []statusLine{}
	for _, def := range views.All() {
		if !slices.Contains(names, def.Name()) {
			continue
		}
		l, err := statusOf(ctx, dir, log, def)
		if err != nil {
			return nil, err
		}
		lines = append(lines, l)
	}
	return lines, nil
}

func statusOf(ctx context.Context, dir string, log eventstore.LogReader, def *projection.Definition) (l statusLine, err error) {
	l = statusLine{Name: def.Name(), State: notBuilt, text: notBuilt}
	v, err := projection.OpenReader(ctx, dir, def)
	if errors.Is(err, projection.ErrNoView) {
		l.Head, err = log.Head(ctx)
		l.Lag = l.Head
		return l, err
	}
	if err != nil {
		return l, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	s, err := v.Status(ctx, log)
	l.Version, l.Position, l.Head, l.Lag = s.Version, s.Position, s.Head, s.Lag
	l.Failed, l.Reason, l.Parked, l.DeadLetters = s.Failed, s.Reason, s.ParkedEvents, s.DeadLetters
	if errors.Is(err, eventstore.ErrRewound) {
		l.State, l.text = pastEnd, "past the end of the log: the log was put back, or is another; see 'taxi-demo verify'"
		return l, nil
	}
	if err != nil {
		return l, err
	}
	l.State, l.text = string(s.State), cell(s.String())
	if !s.Waiting.IsZero() {
		last, err := eventstore.EventAt(ctx, log, s.Head)
		if err != nil {
			return l, err
		}
		l.LagSeconds = s.LagTime(last.RecordedAt()).Seconds()
	}
	return l, nil
}

// rebuiltLine is the outcome of one rebuild.
type rebuiltLine struct {
	Name       string  `json:"name"`
	Events     int64   `json:"events"`
	Position   int64   `json:"position"`
	Seconds    float64 `json:"seconds"`
	Identical  bool    `json:"identical"`
	Difference string  `json:"difference,omitempty"`
	// Differences are the first rows that differ, the one above included.
	Differences []string `json:"differences,omitempty"`
	Replaced    string   `json:"replaced,omitempty"` // why the one before was removed
	// Serves and Kept are the new file and the one that it replaced, where they
	// differ.
	Serves string `json:"serves,omitempty"`
	Kept   string `json:"kept,omitempty"`
}

func rebuildProjections(t terminal, store *string) *cobra.Command {
	var asJSON, all bool
	cmd := &cobra.Command{
		Use:   "rebuild NAME… | --all",
		Short: "Build read models anew beside the live ones and say whether they are identical",
		Long: `Bring read models to the end of the log, build them anew beside the live ones,
all from one reading of the log, and say whether both are identical. One that is damaged is removed first and
built from the log, without the dead letters and parked events it had. Exit 5
where one differs: the new one serves then as well.`,
		RunE: func(cmd *cobra.Command, names []string) error {
			names, err := chosen(names, all)
			if err != nil {
				return err
			}
			return rebuildAll(cmd.Context(), t, *store, names, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON array")
	cmd.Flags().BoolVar(&all, "all", false, "rebuild every read model")
	return cmd
}

// chosen checks the names of read models, all of them where all is set.
func chosen(names []string, all bool) ([]string, error) {
	known := map[string]bool{}
	var every []string
	for _, def := range views.All() {
		known[def.Name()] = true
		every = append(every, def.Name())
	}
	switch {
	case all && len(names) > 0:
		return nil, usagef("projections rebuild: give names or --all, not both")
	case all:
		return every, nil
	case len(names) == 0:
		return nil, usagef("projections rebuild: name a projection, or give --all")
	}
	for _, name := range names {
		if !known[name] {
			return nil, usagef("unknown projection %q; there are %v", name, every)
		}
	}
	return names, nil
}
