package invariant

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	file "github.com/leat-go/leat/internal/sqlite"
	"github.com/leat-go/leat/verify"
)

// labelled is what the log holds under a label: the places of its events.
type labelled struct {
	events      []int // indices of the log
	id          bool  // it is a batch ID
	first, last int64 // of the batch's row
	row         bool  // it has one
}

// verify has every file of the store verified, before anybody opens it (I7).
func (c *check) verify(ctx context.Context) error {
	r, err := verify.Dir(ctx, c.dir)
	if errors.Is(err, sqlite.ErrNotStore) || errors.Is(err, os.ErrNotExist) {
		return nil // killed before it was one
	}
	if err != nil {
		return err
	}
	for _, f := range r.Findings {
		if err := c.found("I7", "%v", f); err != nil {
			return err
		}
	}
	return nil
}

// each runs a query on a file beside whoever has it open. A file that cannot
// be read is a violation, one that is not there or holds nothing yet is not.
func (c *check) each(ctx context.Context, path, query string, fn func(*sql.Rows) error, args ...any) (err error) {
	db, err := file.Open(ctx, path, file.Options{ReadOnly: true, Readers: 1})
	if err != nil {
		return c.found("I7", "%s: %v", path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	rows, err := db.Reader().QueryContext(ctx, query, args...)
	if err != nil {
		return c.found("I7", "%s: %v", path, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := fn(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// unmade tells whether the file does not exist, or its creation was cut short
// while SQLite had not given it its write-ahead log: whoever opens it to write
// takes back what was begun.
func unmade(path string) bool {
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return true
	}
	_, err := os.Lstat(path + "-journal")
	return err == nil
}

// has tells whether the file has the table: a store that was killed while it
// was created may not have it yet.
func (c *check) has(ctx context.Context, path, table string) (there bool, err error) {
	if unmade(path) {
		return false, nil
	}
	err = c.each(ctx, path, `SELECT COUNT(*) FROM sqlite_schema WHERE type = 'table' AND name = ?`, func(rows *sql.Rows) error {
		return rows.Scan(&there)
	}, table)
	return there, err
}

// readLog reads the whole log and looks at positions, versions and times (I2,
// I3).
func (c *check) readLog(ctx context.Context) error {
	versions, time := map[string]int64{}, int64(0)
	c.labels = map[string]*labelled{}
	for e, err := range eventstore.Log(ctx, c.store, 0, eventstore.Filter{}) {
		if err != nil {
			return c.found("I7", "the log cannot be read: %v", err)
		}
		i := len(c.state.Log)
		c.state.Log = append(c.state.Log, e)
		if e.Position != int64(i)+1 {
			err = c.found("I3", "position %d follows position %d", e.Position, i)
		}
		if versions[e.Stream]++; e.Version != versions[e.Stream] {
			err = errors.Join(err, c.found("I2", "position %d is version %d of stream %q, whose last was %d", e.Position, e.Version, e.Stream, versions[e.Stream]-1))
		}
		if e.Time < time {
			err = errors.Join(err, c.found("I3", "position %d was recorded before the one before it", e.Position))
		}
		if err != nil {
			return err
		}
		time = e.Time
		if label, id := labelOf(&e); label != "" {
			c.label(label, id).events = append(c.label(label, id).events, i)
		}
	}
	c.report.Head = int64(len(c.state.Log))
	return nil
}

func (c *check) label(name string, id bool) *labelled {
	l := c.labels[name]
	if l == nil {
		l = &labelled{id: id}
		c.labels[name] = l
	}
	return l
}

func labelOf(e *eventstore.Recorded) (label string, id bool) {
	if e.BatchID != "" {
		return e.BatchID, true
	}
	m, err := e.Meta.Decode()
	if err != nil {
		return "", false
	}
	return m[LabelKey], false
}

// batches compares the rows of the batch IDs with the events (I4).
func (c *check) batches(ctx context.Context) error {
	err := c.each(ctx, filepath.Join(c.dir, "log.db"), `SELECT id, first, last FROM batches`, func(rows *sql.Rows) error {
		var id string
		var first, last int64
		if err := rows.Scan(&id, &first, &last); err != nil {
			return err
		}
		l := c.label(id, true)
		l.first, l.last, l.row = first, last, true
		return nil
	})
	if err != nil {
		return err
	}
	for name, l := range c.labels {
		n := int64(len(l.events))
		switch {
		case l.id && !l.row:
			err = c.found("I4", "the events of batch %q are there, its ID is not", name)
		case l.id && n != l.last-l.first+1:
			err = c.found("I4", "batch %q has %d events and reaches from %d to %d", name, n, l.first, l.last)
		case n > 0 && int64(l.events[n-1]-l.events[0]) != n-1:
			err = c.found("I4", "the events of batch %q do not stand together: %d events from %d to %d", name, n, l.events[0]+1, l.events[n-1]+1)
		case l.id && n > 0 && int64(l.events[0])+1 != l.first:
			err = c.found("I4", "batch %q begins at %d, its first event is at %d", name, l.first, l.events[0]+1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// history compares the log with what was acknowledged, refused and seen (I1,
// I3, I4).
func (c *check) history(context.Context) error {
	for _, v := range c.opts.History.compare(c.state.Log) {
		if err := c.found(v.Invariant, "%s", v.Reason); err != nil {
			return err
		}
	}
	for _, s := range c.opts.History.list() {
		if err := c.compare(&s); err != nil {
			return err
		}
	}
	return nil
}

// compare compares a batch that was sent with what the log holds of it.
func (c *check) compare(s *sent) error {
	l := c.labels[s.label]
	switch {
	case s.fate == refused && l != nil:
		return c.found("I1", "batch %q was refused, and is in the log", s.label)
	case s.fate == acked && l == nil:
		return c.found("I1", "batch %q was acknowledged at %d to %d, and is not in the log", s.label, s.first, s.last)
	case l == nil:
		if s.fate == unknown && s.batch.ID == "" {
			c.opts.History.Refused(s.label) // who sent it is dead: it must not come any more
		}
		return nil
	}
	n := len(l.events)
	if s.fate == unknown {
		c.report.Kept++
		if n > 0 { // from now on it is known to be there
			c.opts.History.Acked(s.label, int64(l.events[0])+1, int64(l.events[n-1])+1)
		}
	} else if n > 0 && (int64(l.events[0])+1 != s.first || int64(l.events[n-1])+1 != s.last) {
		return c.found("I1", "batch %q was acknowledged at %d to %d, and is at %d to %d", s.label, s.first, s.last, l.events[0]+1, l.events[n-1]+1)
	}
	at := 0
	for _, w := range s.batch.Writes {
		for _, want := range w.Events {
			if at == n {
				return c.found("I4", "batch %q has %d events in the log, not all that were sent", s.label, n)
			}
			got := &c.state.Log[l.events[at]]
			if got.Stream != w.Stream || got.Type != want.Type || got.SchemaVersion != max(want.SchemaVersion, 1) || !bytes.Equal(got.Data, want.Data) {
				return c.found("I1", "position %d of batch %q is %s in %q, and %s in %q was sent, or their data differ", got.Position, s.label, got.Type, got.Stream, want.Type, w.Stream)
			}
			at++
		}
	}
	if at < n && len(s.batch.Writes) > 0 {
		return c.found("I1", "batch %q has %d events in the log, %d were sent", s.label, n, at)
	}
	return nil
}

// appends sees that the store takes another batch, and repeats what is unknown
// (I8).
func (c *check) appends(ctx context.Context) error {
	label := fmt.Sprintf("check-%d", c.report.Head)
	b := eventstore.Batch{ID: label, Writes: []eventstore.Write{{Stream: Stream, Events: []eventstore.EventData{{Type: "checked", Data: []byte(`{}`)}}}}}
	c.opts.History.Sent(label, b)
	repeat := []sent{{label: label, batch: b}}
	for _, s := range c.opts.History.list() {
		if s.fate == unknown && s.batch.ID != "" && s.label != label {
			repeat = append(repeat, s)
		}
	}
	for _, s := range repeat {
		if err := c.repeat(ctx, s); err != nil {
			return err
		}
	}
	c.report.Repeated = len(repeat) - 1
	return c.copies(ctx, repeat)
}

// repeat appends a batch that may be stored already, twice.
func (c *check) repeat(ctx context.Context, s sent) error {
	first, err := c.store.Append(ctx, s.batch)
	if err != nil {
		return c.found("I8", "batch %q is not taken: %v", s.label, err)
	}
	if l := c.labels[s.label]; first.Duplicate != (l != nil) {
		return c.found("I8", "batch %q was in the log: %t; its repetition says: %t", s.label, l != nil, first.Duplicate)
	}
	again, err := c.store.Append(ctx, s.batch)
	if err != nil || !again.Duplicate || again.First != first.First || again.Last != first.Last {
		return c.found("I8", "batch %q is at %d to %d, repeated it is at %d to %d, %v", s.label, first.First, first.Last, again.First, again.Last, err)
	}
	c.opts.History.Acked(s.label, first.First, first.Last)
	return nil
}

// copies counts what the repeated batches left in the log.
func (c *check) copies(ctx context.Context, repeated []sent) error {
	count := map[string]int{}
	for label, l := range c.labels {
		count[label] = len(l.events)
	}
	for e, err := range eventstore.Log(ctx, c.store, c.report.Head, eventstore.Filter{}) {
		if err != nil {
			return c.found("I7", "the log cannot be read: %v", err)
		}
		label, _ := labelOf(&e)
		count[label]++
	}
	for _, s := range repeated {
		want := 0
		for _, w := range s.batch.Writes {
			want += len(w.Events)
		}
		if got := count[s.label]; got != want {
			if err := c.found("I8", "batch %q was repeated and has %d events in the log, not %d", s.label, got, want); err != nil {
				return err
			}
		}
	}
	return nil
}
