package saga

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/leat-go/leat/eventstore"
)

// maxWaitingEvents is how many of the events that wait for parked instances, or
// for the start of one, are looked up in the log before a start, for each saga.
const maxWaitingEvents = 1000

// maxFields is how many fields that the state lacks are listed for each saga.
const maxFields = 100

// checker collects what is stored and has no handler.
type checker struct {
	e        *Engine
	byName   map[string]*Definition // by present and former names
	problems map[string]bool
}

// check refuses to start where something stored has no handler: instances,
// their state, timers, commands, undos and what waits for instances. It changes
// nothing, and knows what takeOver will rename.
func (e *Engine) check(ctx context.Context, defs []*Definition) error {
	c := &checker{e: e, byName: map[string]*Definition{}, problems: map[string]bool{}}
	for _, d := range defs {
		for _, name := range d.names() {
			c.byName[name] = d
		}
	}
	err := errors.Join(c.instances(ctx), c.fields(ctx), c.timers(ctx), c.commands(ctx), c.rejections(ctx), c.events(ctx), c.names(ctx, defs), c.formers(ctx, defs))
	if err != nil {
		return fmt.Errorf("saga: start check: %w", err)
	}
	if len(c.problems) == 0 {
		return nil
	}
	start := &StartError{}
	for p := range c.problems {
		start.Problems = append(start.Problems, p)
	}
	slices.Sort(start.Problems)
	return start
}

// find has describe say of each row (saga, name, number, count) what is wrong.
// Of a saga without a definition d is nil.
func (c *checker) find(ctx context.Context, query string, describe func(d *Definition, name string, number, n int) string) error {
	return each(ctx, c.e.db.Reader(), func(rows *sql.Rows) error {
		var saga, name string
		var number, n int
		if err := rows.Scan(&saga, &name, &number, &n); err != nil {
			return err
		}
		if p := describe(c.byName[saga], name, number, n); p != "" {
			c.problems[fmt.Sprintf("saga %q: %s", saga, p)] = true
		}
		return nil
	}, query)
}

// openInstance is a condition on i.
const openInstance = `i.status IN ('running', 'compensating', 'parked')`

func (c *checker) instances(ctx context.Context) error {
	return c.find(ctx, `
		SELECT s.name, '', i.state_version, COUNT(*)
		FROM instance i
		JOIN saga s ON s.id = i.saga
		WHERE `+openInstance+`
		GROUP BY s.name, i.state_version`, func(d *Definition, _ string, version, n int) string {
		if d == nil {
			return fmt.Sprintf("%d open instances, and no definition of that name", n)
		}
		if err := d.readable(version); err != nil {
			return fmt.Sprintf("%d open instances: %v", n, err)
		}
		return ""
	})
}

// fields finds what the state of the present version would forget.
func (c *checker) fields(ctx context.Context) error {
	for name, d := range c.byName {
		if d.shape == nil {
			continue
		}
		instances := map[string]int{} // by field
		if err := each(ctx, c.e.db.Reader(), func(rows *sql.Rows) error {
			var state string
			if err := rows.Scan(&state); err != nil {
				return err
			}
			var has []string
			d.shape.forgets(state, func(field string) {
				if !slices.Contains(has, field) && len(has) < maxFields {
					has = append(has, field)
				}
			})
			for _, field := range has {
				if _, listed := instances[field]; listed || len(instances) < maxFields {
					instances[field]++
				}
			}
			return nil
		}, `
			SELECT i.state
			FROM instance i
			JOIN saga s ON s.id = i.saga
			WHERE `+openInstance+` AND i.stray = 0 AND json_valid(i.state) AND s.name = ? AND i.state_version = ?`, name, d.version); err != nil {
			return err
		}
		for field, n := range instances {
			c.problems[fmt.Sprintf("saga %q: %d open instances have the field %q, which the state lacks: raise the version and add saga.Migrate", name, n, field)] = true
		}
	}
	return nil
}

func (c *checker) timers(ctx context.Context) error {
	return c.find(ctx, `
		SELECT s.name, t.name, 0, COUNT(*)
		FROM (
			SELECT instance, name FROM timer
			UNION ALL
			SELECT instance, json_extract(data, '$.name') FROM waiting WHERE kind = 'timer' AND json_valid(data)
		) t
		JOIN instance i ON i.id = t.instance
		JOIN saga s ON s.id = i.saga
		GROUP BY s.name, t.name`, func(d *Definition, name string, _, n int) string {
		switch {
		case d == nil:
			return fmt.Sprintf("%d pending timers %q, and no definition of that name", n, name)
		case d.timers[d.timerNow(name)] != nil:
			return ""
		}
		return fmt.Sprintf("%d pending timers %q, and no saga.Timer of that name", n, name)
	})
}

// commands finds commands, and undos of open instances, that nobody takes.
func (c *checker) commands(ctx context.Context) error {
	if c.e.opts.Handles == nil {
		return nil
	}
	unhandled := func(what string) func(*Definition, string, int, int) string {
		return func(d *Definition, name string, _, n int) string {
			present := name
			if d != nil {
				present = d.commandNow(name)
			}
			if c.e.opts.Handles(present) {
				return ""
			}
			return fmt.Sprintf("%d pending %s %q, and no handler of that name", n, what, present)
		}
	}
	return errors.Join(c.find(ctx, `
		SELECT s.name, o.type, 0, COUNT(*)
		FROM outbox o
		JOIN instance i ON i.id = o.instance
		JOIN saga s ON s.id = i.saga
		GROUP BY s.name, o.type`, unhandled("commands")), c.find(ctx, `
		SELECT s.name, json_extract(u.value, '$.type'), 0, COUNT(*)
		FROM instance i
		JOIN saga s ON s.id = i.saga
		JOIN json_each(i.undo) u
		WHERE i.undo <> '' AND `+openInstance+` AND json_valid(i.undo)
		GROUP BY s.name, 2`, unhandled("undos")))
}

func (c *checker) rejections(ctx context.Context) error {
	return c.find(ctx, `
		SELECT s.name, json_extract(w.data, '$.type'), 0, COUNT(*)
		FROM waiting w
		JOIN instance i ON i.id = w.instance
		JOIN saga s ON s.id = i.saga
		WHERE w.kind = 'rejection' AND json_valid(w.data)
			AND NOT (i.status = 'parked' AND w.sequence = (SELECT MIN(sequence) FROM waiting WHERE instance = i.id)) -- an operator's matter
		GROUP BY s.name, 2`, func(d *Definition, name string, _, n int) string {
		if d == nil || d.rejections[d.commandNow(name)] != nil {
			return ""
		}
		return fmt.Sprintf("%d rejections of %q wait, and there is neither saga.Rejected nor saga.IgnoreRejected", n, name)
	})
}

// events finds events that wait for an instance whose saga no longer names
// them.
func (c *checker) events(ctx context.Context) error {
	type waitingEvent struct {
		saga     string
		position int64
	}
	var list []waitingEvent
	err := each(ctx, c.e.db.Reader(), func(rows *sql.Rows) error {
		var w waitingEvent
		err := rows.Scan(&w.saga, &w.position)
		list = append(list, w)
		return err
	}, `
		SELECT name, position
		FROM (
			SELECT s.name, w.position, ROW_NUMBER() OVER (PARTITION BY s.name ORDER BY w.position) AS n
			FROM (
				SELECT i.saga, w.position FROM waiting w JOIN instance i ON i.id = w.instance WHERE w.kind = 'event'
				UNION
				SELECT saga, position FROM early
			) w
			JOIN saga s ON s.id = w.saga
		)
		WHERE n <= ?`, maxWaitingEvents)
	if err != nil {
		return err
	}
	types := map[string]map[string]int{}
	for _, w := range list {
		d := c.byName[w.saga]
		if d == nil {
			continue
		}
		page, err := c.e.log.ReadLog(ctx, w.position-1, 1, eventstore.Filter{})
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		if len(page.Events) == 0 || d.events[page.Events[0].Type] != nil {
			continue // one that the log lacks is found when its turn comes
		}
		if types[w.saga] == nil {
			types[w.saga] = map[string]int{}
		}
		types[w.saga][page.Events[0].Type]++
	}
	for saga, byType := range types {
		for typ, n := range byType {
			c.problems[fmt.Sprintf("saga %q: %d events %q wait, and it names no such event", saga, n, typ)] = true
		}
	}
	return nil
}

// names finds what a renaming would run into.
func (c *checker) names(ctx context.Context, defs []*Definition) error {
	for _, d := range defs {
		var ids []int64
		for _, name := range d.names() {
			var id int64
			var n int
			err := c.e.db.Reader().QueryRowContext(ctx, holds, name).Scan(&id, &n)
			if errors.Is(err, sql.ErrNoRows) || err == nil && n == 0 {
				continue
			}
			if err != nil {
				return err
			}
			ids = append(ids, id)
		}
		if len(ids) > 1 {
			c.problems[fmt.Sprintf("saga %q: it has instances of its own, and of its former names %q: it cannot take them over", d.name, d.was)] = true
		}
		for _, id := range ids {
			if err := c.timerNames(ctx, d, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// timerNames finds instances of which several timers would have one name.
func (c *checker) timerNames(ctx context.Context, d *Definition, saga int64) error {
	one := map[string][]string{}
	for _, former := range slices.Sorted(maps.Keys(d.timerWas)) {
		name := d.timerWas[former]
		one[name] = append(one[name], former)
	}
	for name, former := range one {
		all, err := json.Marshal(append(former, name))
		if err != nil {
			return fmt.Errorf("encode the names of a timer: %w", err)
		}
		var n int
		if err := c.e.db.Reader().QueryRowContext(ctx, `
			SELECT COUNT(*)
			FROM instance i
			WHERE i.saga = ?1 AND i.timers <> '' AND json_valid(i.timers)
				AND (SELECT COUNT(*) FROM json_each(i.timers) WHERE key IN (SELECT value FROM json_each(?2))) > 1`, saga, string(all)).Scan(&n); err != nil {
			return err
		}
		if n > 0 {
			c.problems[fmt.Sprintf("saga %q: %d instances have more than one of the timers %q, which would all be %q: leave one its name", d.name, n, append(former, name), name)] = true
		}
	}
	return nil
}

// formers finds names that sagas of the file have given up.
func (c *checker) formers(ctx context.Context, defs []*Definition) error {
	present := map[string]string{}
	if err := each(ctx, c.e.db.Reader(), func(rows *sql.Rows) error {
		var former, name string
		err := rows.Scan(&former, &name)
		present[former] = name
		return err
	}, `
		SELECT f.name, s.name
		FROM former f
		JOIN saga s ON s.id = f.saga`); err != nil {
		return err
	}
	for _, d := range defs {
		for _, name := range d.names() {
			now, given := present[name]
			if !given || slices.Contains(d.names(), now) {
				continue
			}
			c.problems[fmt.Sprintf("saga %q: %q is a former name of the saga %q: start the program that has that one, or add it to saga.Was", d.name, name, now)] = true
		}
	}
	return nil
}
