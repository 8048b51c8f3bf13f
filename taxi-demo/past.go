package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/taxi-demo/internal/views"
)

// pastRows is how many rows of a table are shown unless --limit says otherwise.
const pastRows = 20

func backProjection(t terminal, store *string) *cobra.Command {
	return &cobra.Command{
		Use:   "back NAME",
		Short: "Have the file serve again that a rebuild has replaced",
		Long: `Have the file serve again that the last rebuild has replaced. It is brought to
the end of the one that serves now, and the two are exchanged; going back once
more exchanges them again.`,
		Args: oneArg("a projection"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := chosen(args, false); err != nil {
				return err
			}
			return withStore(cmd.Context(), t, *store, func(ctx context.Context, a *app) error {
				back, err := a.models[args[0]].GoBack(ctx)
				if back.Serves == "" {
					return err
				}
				fmt.Fprintf(t.out, "%-12s views/%s serves again, brought from position %d to %d; views/%s is kept\n",
					args[0], back.Serves, back.From, back.Position, back.Kept)
				return err // of the disk, after the exchange
			})
		},
	}
}

// moment is what a read model is looked at as of.
type moment struct {
	position int64
	time     string
	table    string
	limit    int
	asJSON   bool
}

func asOfProjection(t terminal, store *string) *cobra.Command {
	m := moment{position: -1}
	cmd := &cobra.Command{
		Use:   "as-of NAME --position N | --time T",
		Short: "Show a table of a read model as it was, also beside a running demo",
		Long: `Show a table of a read model as it was at a position of the log, or at a time
(2006-01-02T15:04:05Z), by the clock of the store. It is folded from the log
into a scratch file; the store is left alone. Without --table it lists the
tables and how many rows they had.`,
		Args: oneArg("a projection"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := chosen(args, false); err != nil {
				return err
			}
			given := cmd.Flags().Changed("position")
			switch {
			case given && m.position < 0:
				return usagef("projections as-of: --position %d: positions are 0 or more", m.position)
			case given == (m.time != ""):
				return usagef("projections as-of: give either --position or --time")
			case m.limit < 1:
				return usagef("--limit %d: give 1 or more", m.limit)
			}
			return withLog(cmd.Context(), *store, func(ctx context.Context, log *sqlite.Store) error {
				return showPast(ctx, t, *store, log, args[0], m)
			})
		},
	}
	cmd.Flags().Int64Var(&m.position, "position", -1, "the position of the log")
	cmd.Flags().StringVar(&m.time, "time", "", "the time, as RFC 3339")
	cmd.Flags().StringVar(&m.table, "table", "", "the table to show")
	cmd.Flags().IntVar(&m.limit, "limit", pastRows, "how many rows to show")
	cmd.Flags().BoolVar(&m.asJSON, "json", false, "print one JSON object a row")
	return cmd
}

func showPast(ctx context.Context, t terminal, dir string, log *sqlite.Store, name string, m moment) (err error) {
	position := m.position
	if m.time != "" {
		at, err := time.Parse(time.RFC3339Nano, m.time)
		if err != nil {
			return usagef("--time %q: give a time such as 2024-01-02T15:04:05Z", m.time)
		}
		if position, err = projection.PositionAt(ctx, log, at); err != nil {
			return err
		}
	}
	var def *projection.Definition
	for _, d := range views.All() {
		if d.Name() == name {
			def = d
		}
	}
	past, err := projection.AsOf(ctx, dir, log, def, position, &projection.AsOfOptions{Progress: func(p projection.Progress) {
		t.status(fmt.Sprintf("%-12s %s %d/%d · %.0f/s · %s left", name, bar(p.Done, p.Total), p.Done, p.Total, p.Rate, p.ETA.Round(time.Second)))
	}})
	t.clear()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, past.Close()) }()
	return past.Read(ctx, func(r *projection.Reader) error {
		tables, err := tablesOf(r)
		if err != nil {
			return err
		}
		if m.table == "" && !m.asJSON {
			fmt.Fprintf(t.out, "%s as of position %d\n", name, position)
		}
		for _, table := range tables {
			switch {
			case table == m.table:
				return t.showTable(r, table, m)
			case m.table == "":
				if err := t.countRows(r, table, m); err != nil {
					return err
				}
			}
		}
		if m.table != "" {
			return usagef("%s has no table %q; there are %v", name, m.table, tables)
		}
		return nil
	})
}

// tablesOf lists the tables of a read model that are not the framework's.
func tablesOf(r *projection.Reader) (names []string, err error) {
	rows, err := r.Query(`
		SELECT name
		FROM sqlite_schema
		WHERE type = 'table' AND name NOT LIKE 'leat\_%' ESCAPE '\' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'
		ORDER BY name`)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

// countRows prints how many rows a table has. Its name is one of the schema.
func (t terminal) countRows(r *projection.Reader, table string, m moment) error {
	var n int64
	if err := r.QueryRow("SELECT COUNT(*) FROM " + quoted(table)).Scan(&n); err != nil {
		return err
	}
	if m.asJSON {
		return t.jsonLine(map[string]any{"table": table, "rows": n})
	}
	fmt.Fprintf(t.out, "%-20s %d rows\n", table, n)
	return nil
}

// showTable prints the first rows of a table. Its name is one of the schema.
func (t terminal) showTable(r *projection.Reader, table string, m moment) (err error) {
	rows, err := r.Query("SELECT * FROM "+quoted(table)+" LIMIT ?", m.limit)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	names, err := rows.Columns()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	if !m.asJSON {
		titles := make([]any, len(names))
		for i, name := range names {
			titles[i] = name
		}
		t.row(w, titles)
	}
	for rows.Next() {
		values, dest := make([]any, len(names)), make([]any, len(names))
		for i := range values {
			dest[i] = &values[i]
		}
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		if !m.asJSON {
			t.row(w, values)
			continue
		}
		object := map[string]any{}
		for i, name := range names {
			object[name] = values[i]
		}
		if err := t.jsonLine(object); err != nil {
			return err
		}
	}
	return errors.Join(rows.Err(), w.Flush())
}

// row prints values side by side.
func (t terminal) row(w io.Writer, values []any) {
	cells := make([]string, len(values))
	for i, v := range values {
		switch v := v.(type) {
		case nil:
			cells[i] = "-"
		case []byte:
			cells[i] = fmt.Sprintf("x'%x'", v)
		default:
			cells[i] = cell(fmt.Sprint(v))
		}
	}
	fmt.Fprintln(w, strings.Join(cells, "\t"))
}

func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
