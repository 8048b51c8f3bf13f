package projectiontest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
	"github.com/leat-go/leat/projection"
)

// MaxWays bounds how many page sizes and how many interruptions are tried: of
// longer lists of events an even choice.
const MaxWays = 40

// Stream is some events of one stream.
type Stream struct {
	Name   string
	Events []eventstore.Event
}

// In returns events of one stream, in order.
func In(stream string, events ...eventstore.Event) Stream { return Stream{stream, events} }

// Log returns the pieces as one list, in the order they stand in the log. A
// stream may come several times.
func Log(pieces ...Stream) []Stream { return pieces }

// Rows is a query and what it must return.
type Rows struct {
	Query string
	Args  []any
	// Want are the rows in the order of the query. Integers may be of any
	// integer type; text is a string, a blob a []byte, NULL is nil.
	Want [][]any
}

// Case is one example of a read model.
type Case struct {
	Given []Stream
	Then  []Rows
}

// way is one way to deliver the log.
type way struct {
	name  string
	page  int
	split int // stop after this position and open again
	again int // deliver this many positions before the checkpoint again
}

// Check fails the test unless every way to deliver the given events ends in
// the wanted rows. Files live in t.TempDir.
func Check(t testing.TB, def *projection.Definition, c Case) {
	t.Helper()
	if err := def.Err(); err != nil {
		t.Fatal(err)
	}
	log, n, err := record(t.Context(), c.Given)
	if err != nil {
		t.Fatalf("given: %v", err)
	}
	for _, w := range ways(n) {
		if err := try(t.Context(), t.TempDir(), log, def, w, n, c.Then); err != nil {
			t.Fatalf("%s: %s: %v", def.Name(), w.name, err)
		}
	}
}

// record puts the given events in a log, one batch for each.
func record(ctx context.Context, given []Stream) (eventstore.LogReader, int, error) {
	store := memory.New(nil)
	n := 0
	for _, s := range given {
		for _, e := range s.Events {
			data, err := eventstore.Encode(e)
			if err != nil {
				return nil, 0, err
			}
			_, err = store.Append(ctx, eventstore.Batch{Writes: []eventstore.Write{{Stream: s.Name, Events: []eventstore.EventData{data}}}})
			if err != nil {
				return nil, 0, err
			}
			n++
		}
	}
	return store, n, nil
}

// ways lists the deliveries of n events: the simplest first, so that it is the
// one that fails where all do.
func ways(n int) []way {
	all := []way{
		{name: "all events in one page", page: max(n, 1)},
		{name: "all events delivered twice", page: max(n, 1), again: n},
	}
	step := max(1, (n+MaxWays-1)/MaxWays)
	for size := 1; size < n; size += step {
		all = append(all, way{name: fmt.Sprintf("in pages of %d, each half delivered again", size), page: size, again: (size + 1) / 2})
	}
	for at := 1; at < n; at += step {
		all = append(all, way{name: fmt.Sprintf("interrupted after event %d, which is delivered again", at), page: max(n, 1), split: at, again: 1})
	}
	return all
}

func try(ctx context.Context, dir string, log eventstore.LogReader, def *projection.Definition, w way, n int, then []Rows) (err error) {
	opts := &projection.Options{PageSize: min(max(w.page, 1), eventstore.MaxPage), Logger: slog.New(slog.DiscardHandler)}
	if w.split > 0 {
		p, err := projection.Open(ctx, dir, log, def, opts)
		if err != nil {
			return err
		}
		err = deliver(ctx, p, log, way{page: w.split}, w.split)
		if err := errors.Join(err, p.Close()); err != nil {
			return err
		}
	}
	p, err := projection.Open(ctx, dir, log, def, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if err := deliver(ctx, p, log, w, n); err != nil {
		return err
	}
	if err := compare(ctx, p, int64(n), then); err != nil {
		return err
	}
	rebuilt, err := p.Rebuild(ctx, nil)
	if err != nil {
		return err
	}
	if !rebuilt.Identical {
		return fmt.Errorf("a rebuild gives other rows: %s: a handler depends on more than the event and the tables", rebuilt.Difference)
	}
	return nil
}

// deliver is a router for one consumer, to the position.
func deliver(ctx context.Context, p *projection.Projection, log eventstore.LogReader, w way, to int) error {
	for {
		at, err := p.Checkpoint(ctx)
		if err != nil {
			return err
		}
		if at.Position >= int64(to) {
			break
		}
		after := max(0, at.Position-int64(w.again))
		if err := apply(ctx, p, log, after, min(w.page+int(at.Position-after), to-int(after)), int64(to)); err != nil {
			return err
		}
	}
	if w.again < to {
		return nil
	}
	return apply(ctx, p, log, 0, w.page, int64(to))
}

// apply delivers the events of the next limit positions, at most up to to.
func apply(ctx context.Context, p *projection.Projection, log eventstore.LogReader, after int64, limit int, to int64) error {
	if limit < 1 {
		return nil
	}
	read, err := log.ReadLog(ctx, after, min(limit, eventstore.MaxPage), eventstore.Filter{})
	if err != nil {
		return err
	}
	page := bus.Page{After: after, Through: read.Through}
	filter := p.Filter()
	for _, e := range read.Events {
		if filter.Match(e.Stream, e.Type) && e.Position <= to {
			page.Events = append(page.Events, e)
		}
	}
	return p.Apply(ctx, page)
}

func compare(ctx context.Context, p *projection.Projection, position int64, then []Rows) error {
	return p.Read(ctx, position, func(r *projection.Reader) error {
		for _, rows := range then {
			got, err := query(r, rows)
			if err != nil {
				return fmt.Errorf("%s: %w", rows.Query, err)
			}
			if !equal(got, rows.Want) {
				return fmt.Errorf("%s:\ngot:\n%s\nwant:\n%s", rows.Query, render(got), render(rows.Want))
			}
		}
		return nil
	})
}

func query(r *projection.Reader, q Rows) (_ [][]any, err error) {
	rows, err := r.Query(q.Query, q.Args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	var all [][]any
	for rows.Next() {
		row := make([]any, len(columns))
		dest := make([]any, len(columns))
		for i := range row {
			dest[i] = &row[i]
		}
		if err := rows.Scan(dest...); err != nil {
			return nil, err
		}
		all = append(all, row)
	}
	return all, rows.Err()
}
