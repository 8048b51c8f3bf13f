package saga

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
)

// check refuses to start where something pending has no handler.
func (e *Engine) check(ctx context.Context) error {
	byName := map[string]*binding{}
	for _, b := range e.bindings {
		byName[b.name] = b
	}
	var problems []string
	find := func(describe func(b *binding, name string, version, n int) string, query string) error {
		return each(ctx, e.db.Reader(), func(rows *sql.Rows) error {
			var saga, name string
			var version, n int
			if err := rows.Scan(&saga, &name, &version, &n); err != nil {
				return err
			}
			if p := describe(byName[saga], name, version, n); p != "" {
				problems = append(problems, fmt.Sprintf("saga %q: %s", saga, p))
			}
			return nil
		}, query)
	}
	err := find(func(b *binding, _ string, version, n int) string {
		if b == nil {
			return fmt.Sprintf("%d open instances, and no definition of that name", n)
		}
		if err := b.readable(version); err != nil {
			return fmt.Sprintf("%d open instances: %v", n, err)
		}
		return ""
	}, `
		SELECT s.name, '', i.state_version, COUNT(*)
		FROM instance i
		JOIN saga s ON s.id = i.saga
		WHERE i.status IN ('running', 'compensating', 'parked')
		GROUP BY s.name, i.state_version`)
	if err == nil {
		err = find(func(b *binding, name string, _, n int) string {
			if b != nil && b.timers[name] == nil {
				return fmt.Sprintf("%d pending timers %q, and no saga.Timer of that name", n, name)
			}
			return ""
		}, `
			SELECT s.name, t.name, 0, COUNT(*)
			FROM timer t
			JOIN instance i ON i.id = t.instance
			JOIN saga s ON s.id = i.saga
			GROUP BY s.name, t.name`)
	}
	if err == nil && e.opts.Handles != nil {
		err = find(func(_ *binding, name string, _, n int) string {
			if !e.opts.Handles(name) {
				return fmt.Sprintf("%d pending commands %q, and no handler of that name", n, name)
			}
			return ""
		}, `
			SELECT s.name, o.type, 0, COUNT(*)
			FROM outbox o
			JOIN instance i ON i.id = o.instance
			JOIN saga s ON s.id = i.saga
			GROUP BY s.name, o.type`)
	}
	if err != nil {
		return fmt.Errorf("saga: start check: %w", err)
	}
	if len(problems) == 0 {
		return nil
	}
	slices.SortFunc(problems, strings.Compare)
	return &StartError{Problems: problems}
}
