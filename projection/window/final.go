package window

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/leat-go/leat/projection"
)

// Final is a window that is final, as OnFinal is told of it. It is of no use
// after OnFinal returned.
type Final struct {
	// Window is the window's name, that of its table.
	Window string
	Key    string
	// Start and End are its bounds, in UTC: what happened at End is not in it.
	Start, End time.Time

	names    []string
	values   []any // int64, or the JSON of a fold
	quantile func(column string, q float64) (int64, bool, error)
}

// Scan copies the aggregates, in the order they are declared in, into dest: those
// of Count, Sum, Min and Max into *int64, those of folds into pointers to what
// they fold. Quantiles have none. A nil skips one.
func (f *Final) Scan(dest ...any) error {
	if len(dest) != len(f.values) {
		return invalid("window %s: Scan got %d pointers for %v", f.Window, len(dest), f.names)
	}
	for i, v := range f.values {
		if dest[i] == nil {
			continue
		}
		if text, ok := v.(string); ok {
			if err := json.Unmarshal([]byte(text), dest[i]); err != nil {
				return fmt.Errorf("window %s: column %s: %w", f.Window, f.names[i], err)
			}
			continue
		}
		to, ok := dest[i].(*int64)
		if !ok {
			return invalid("window %s: column %s: Scan got a %T, not a *int64", f.Window, f.names[i], dest[i])
		}
		*to = v.(int64)
	}
	return nil
}

// Quantile returns the q-quantile of a column of Quantiles. See Window.Quantile.
func (f *Final) Quantile(column string, q float64) (int64, error) {
	v, _, err := f.quantile(column, q)
	return v, err
}

// ended is a window that is to be final.
type ended struct {
	key        string
	start, end int64
	values     []any
}

// closing is what ends of one declaration of windows, made final a page at a
// time.
type closing[T any] struct {
	w    *Window[T]
	page []ended // of the present page, those that are not told of
	last bool
}

// close makes final what has ended at now or before, where before was the same
// for the watermark before, and tells of each window: of all the feed's in the
// order of end and start, which is that of the watermark, however far it moves.
func (f *Feed[T]) close(ctx context.Context, tx *projection.Tx, before, now int64) error {
	var all []*closing[T]
	for _, w := range f.windows {
		if !w.ends(before, now) {
			continue
		}
		if w.final != nil || w.session && len(w.ordered) > 0 {
			all = append(all, &closing[T]{w: w})
		} else if _, err := tx.Exec(w.markAll, now); err != nil {
			return w.closeError(err)
		}
	}
	for {
		var first *closing[T]
		for _, c := range all {
			if err := c.fill(tx, now); err != nil {
				return c.w.closeError(err)
			}
			if len(c.page) > 0 && (first == nil || c.page[0].before(first.page[0])) {
				first = c
			}
		}
		if first == nil {
			break
		}
		e := first.page[0]
		first.page = first.page[1:]
		if err := first.w.tell(ctx, tx, e); err != nil {
			return first.w.closeError(err)
		}
	}
	for _, w := range f.windows {
		if w.session || len(w.ordered) == 0 || !w.ends(before, now) {
			continue
		}
		if _, err := tx.Exec(w.forgetEvents, floor(now-w.size, w.step)+w.step); err != nil {
			return w.closeError(err)
		}
	}
	return nil
}

func (w *Window[T]) closeError(err error) error {
	return fmt.Errorf("window %s: make windows final: %w", w.name, err)
}

// ends tells whether windows may end after before, and at now or before.
func (w *Window[T]) ends(before, now int64) bool {
	return now != none && (w.session || before == none || floor(before-w.size, w.step) != floor(now-w.size, w.step))
}

func (e ended) before(o ended) bool { return e.end < o.end || e.end == o.end && e.start < o.start }

// fill makes the next page final where the present one is told of.
func (c *closing[T]) fill(tx *projection.Tx, now int64) (err error) {
	if len(c.page) > 0 || c.last {
		return nil
	}
	if c.page, err = c.w.ended(tx, now); err != nil {
		return err
	}
	if c.last = len(c.page) < page; len(c.page) == 0 {
		return nil
	}
	last := c.page[len(c.page)-1]
	_, err = tx.Exec(c.w.markFinal, now, last.end, last.start, last.key)
	return err
}

func (w *Window[T]) ended(tx *projection.Tx, now int64) (all []ended, err error) {
	err = each(tx, func(scan func(...any) error) error {
		e := ended{values: make([]any, len(w.columns)-len(w.buckets))}
		dest := []any{&e.key, &e.start, &e.end}
		for i := range e.values {
			dest = append(dest, &e.values[i])
		}
		err := scan(dest...)
		all = append(all, e)
		return err
	}, w.selectFinal, now, page)
	return all, err
}

func (w *Window[T]) tell(ctx context.Context, tx *projection.Tx, e ended) error {
	if w.session && len(w.ordered) > 0 {
		if _, err := tx.Exec(w.forgetSession, e.key, e.start, e.end); err != nil {
			return err
		}
	}
	if w.final == nil {
		return nil
	}
	f := Final{Window: w.name, Key: e.key, Start: instant(e.start), End: instant(e.end), values: e.values}
	for _, c := range w.columns {
		if c.kind != buckets {
			f.names = append(f.names, c.name)
		}
	}
	f.quantile = func(column string, q float64) (int64, bool, error) { return w.quantile(tx, column, e.key, e.start, q) }
	if err := w.final(ctx, tx, f); err != nil {
		return fmt.Errorf("OnFinal of %q from %s: %w", e.key, f.Start.Format(time.RFC3339Nano), err)
	}
	return nil
}
