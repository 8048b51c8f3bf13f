package invariant

import (
	"context"
	"database/sql"
	"path/filepath"
	"strings"

	"github.com/leat-go/leat/eventstore"
)

// given is what consumers.db says of an event function.
type given struct {
	checkpoint eventstore.Anchor
	setAside   map[int64]bool // dead letters, and what waits behind them
}

// functions sees that every function was called with what it has passed (I9).
// A function with several partitions is not looked at.
func (c *check) functions(ctx context.Context) error {
	path := filepath.Join(c.dir, "consumers.db")
	if there, err := c.has(ctx, path, "checkpoint"); !there || err != nil {
		return err
	}
	all := map[string]*given{}
	err := c.each(ctx, path, `SELECT consumer, epoch, position, hash FROM checkpoint`, func(rows *sql.Rows) error {
		g := &given{setAside: map[int64]bool{}}
		var name string
		var hash []byte
		if err := rows.Scan(&name, &g.checkpoint.Epoch, &g.checkpoint.Position, &hash); err != nil {
			return err
		}
		copy(g.checkpoint.Hash[:], hash)
		all[name] = g
		return nil
	})
	if err != nil {
		return err
	}
	err = c.each(ctx, path, `
		SELECT function, position FROM dead_letter
		UNION ALL
		SELECT function, position FROM waiting`, func(rows *sql.Rows) error {
		var name string
		var position int64
		if err := rows.Scan(&name, &position); err != nil {
			return err
		}
		if g := all[name]; g != nil {
			g.setAside[position] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	for name, g := range all {
		if err := c.function(ctx, name, g); err != nil {
			return err
		}
	}
	return nil
}

func (c *check) function(ctx context.Context, name string, g *given) error {
	if err := eventstore.CheckAnchor(ctx, c.store, g.checkpoint); err != nil {
		return c.found("I9", "the checkpoint of %q: %v", name, err)
	}
	typ, known := c.opts.Functions[name]
	if !known || strings.Contains(name, "#") {
		return nil
	}
	for i := range c.state.Log {
		e := &c.state.Log[i]
		if e.Type != typ || e.Position > g.checkpoint.Position || g.setAside[e.Position] || c.opts.History.HasEffect(name, e.ID.String()) {
			continue
		}
		if err := c.found("I9", "%q has passed position %d (%s), and was never called with it", name, e.Position, e.ID); err != nil {
			return err
		}
	}
	return nil
}
