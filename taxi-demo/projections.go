package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

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
	Name     string `json:"name"`
	Version  int    `json:"version"`
	Position int64  `json:"position,omitempty"`
	Head     int64  `json:"head,omitempty"`
	State    string `json:"state,omitempty"`
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

func statusProjections(t terminal, store *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say how far each read model is, also beside a running demo",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			lines, err := projectionStatus(cmd.Context(), *store)
			if err != nil {
				return err
			}
			if asJSON {
				return t.json(lines)
			}
			for _, l := range lines {
				fmt.Fprintf(t.out, "%-12s version %d, position %d of %d, %s\n", l.Name, l.Version, l.Position, l.Head, l.State)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON array")
	return cmd
}

func projectionStatus(ctx context.Context, dir string) (_ []projectionLine, err error) {
	if err := mustExist(dir); err != nil {
		return nil, err
	}
	log, err := sqlite.OpenReadOnly(ctx, dir)
	if err != nil {
		return nil, mayWrite(dir, err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	head, err := log.Head(ctx)
	if err != nil {
		return nil, err
	}
	lines := []projectionLine{}
	for _, def := range views.All() {
		l, err := viewLine(ctx, dir, def)
		if err == nil && l.Position > head { // the log may have grown meanwhile
			head, err = log.Head(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", def.Name(), err)
		}
		l.Head = head
		l.say()
		lines = append(lines, l)
	}
	return lines, nil
}

func viewLine(ctx context.Context, dir string, def *projection.Definition) (l projectionLine, err error) {
	l = projectionLine{Name: def.Name(), Version: def.Version()}
	v, err := projection.OpenReader(ctx, dir, def)
	if errors.Is(err, projection.ErrNoView) {
		l.State = "not built"
		return l, nil
	}
	if err != nil {
		return l, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	err = v.Read(ctx, func(r *projection.Reader) error {
		l.Version = r.Version()
		l.Position, err = r.Position()
		return err
	})
	return l, err
}

// say says what the position means, unless that is known.
func (l *projectionLine) say() {
	switch {
	case l.State != "":
	case l.Position > l.Head:
		l.State = "past the end of the log: the log was put back, or is another; see 'taxi-demo verify'"
	case l.Position < l.Head:
		// An idle model saves lazily how far it has seen, so its file may lag
		// behind a log with nothing for it.
		l.State = fmt.Sprintf("%d positions to look through", l.Head-l.Position)
	default:
		l.State = "caught up"
	}
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
