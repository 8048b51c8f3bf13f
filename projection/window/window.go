package window

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/leat-go/leat/projection"
)

// Window is one way to gather the items of a feed: Tumbling, Sliding or
// Session, and what is known of each window. It is a declaration, like Feed.
type Window[T any] struct {
	name    string
	session bool
	size    int64 // of a session: its gap
	step    int64
	columns []*column[T]
	final   func(ctx context.Context, tx *projection.Tx, f Final) error
	err     error
	statements

	// Columns by who keeps them: SQL alone, a table of its own, Go.
	flat, buckets, any, ordered []*column[T]
}

// Part is a part of a window's declaration: an aggregate or OnFinal.
type Part[T any] func(*Window[T]) error

// Tumbling has windows of one size side by side: each instant is in exactly one.
// They begin at multiples of size since 1970-01-01 UTC and hold what is at or
// after their start and before their end. The name is the table's.
func Tumbling[T any](name string, size time.Duration, parts ...Part[T]) *Window[T] {
	return define(&Window[T]{name: name, size: int64(size), step: int64(size)}, checkDuration("the size", size, 1), parts)
}

// Sliding has a window of a size begin at every multiple of step since
// 1970-01-01 UTC (a hopping window, in other words): each instant is in size/step
// of them, MaxOverlap at most. A step longer than the size would leave gaps and
// is refused. An item is written to each window it is in.
func Sliding[T any](name string, size, step time.Duration, parts ...Part[T]) *Window[T] {
	err := errors.Join(checkDuration("the size", size, 1), checkDuration("the step", step, 1))
	if err == nil && (step > size || (size+step-1)/step > MaxOverlap) {
		err = invalid("windows of %v every %v: the step is at most the size, and at least %d to a size", size, step, MaxOverlap)
	}
	return define(&Window[T]{name: name, size: int64(size), step: int64(step)}, err, parts)
}

// Session has a window for each run of items of a key that are less than gap
// apart. It begins at its first item and ends gap after its last one; an item
// between two sessions that is close enough to both makes them one.
func Session[T any](name string, gap time.Duration, parts ...Part[T]) *Window[T] {
	return define(&Window[T]{name: name, session: true, size: int64(gap), step: 1}, checkDuration("the gap", gap, 1), parts)
}

// OnFinal has fn called once for each window that becomes final, in the
// transaction of the event that moved the watermark past it, after its row says
// so: in the order of end, start and key, whatever order events arrived in. Where
// several windows of a feed have one, those that end and start together come in
// the order in which Define was given them. fn
// writes through tx, and depends on nothing but the window and what it wrote
// before. An error fails the event. A window that nothing fell in is none, and
// so is never final. It must not call Add of the same feed.
func OnFinal[T any](fn func(ctx context.Context, tx *projection.Tx, f Final) error) Part[T] {
	return func(w *Window[T]) error {
		if fn == nil || w.final != nil {
			return invalid("OnFinal takes one function")
		}
		w.final = fn
		return nil
	}
}

func define[T any](w *Window[T], err error, parts []Part[T]) *Window[T] {
	errs := []error{checkName("window", w.name), err}
	for _, part := range parts {
		errs = append(errs, part(w))
	}
	if len(w.columns) == 0 {
		errs = append(errs, invalid("it has no aggregate: give Count, for one"))
	}
	names := map[string]bool{"key": true, "starts": true, "ends": true, "final": true, "event": true}
	for _, c := range w.columns {
		errs = append(errs, checkName("column", c.name), c.check(w))
		if names[c.name] {
			errs = append(errs, invalid("there is a column %q already", c.name))
		}
		names[c.name] = true
		switch c.kind {
		case buckets:
			w.buckets = append(w.buckets, c)
		case foldInOrder:
			w.ordered = append(w.ordered, c)
		case foldAnyOrder:
			w.any = append(w.any, c)
		default:
			w.flat = append(w.flat, c)
		}
	}
	if w.err = errors.Join(errs...); w.err != nil {
		w.err = fmt.Errorf("window %q: %w", w.name, w.err)
		return w
	}
	w.statements = w.build()
	return w
}

// statements are the SQL of a window. Names in it are those that checkName let
// pass.
type statements struct {
	upsertOne, upsertRun                  string
	selectNear, moveRow, deleteRow        string
	selectFinal, markFinal, markAll       string
	selectFolds, updateFolds              string
	insertEvent, laterEvent, selectEvents string
	forgetEvents, forgetSession           string
}

// fill replaces {w} by the window's name.
func (w *Window[T]) fill(text string) string { return strings.ReplaceAll(text, "{w}", w.name) }

func (w *Window[T]) build() (s statements) {
	names, marks, merges := "", "", []string(nil)
	if w.session { // of others it never changes: to set it would write the index
		merges = append(merges, "ends = MAX(ends, excluded.ends)")
	}
	for _, c := range w.flat {
		names += ", " + c.column()
		marks += ", ?"
		merges = append(merges, c.merge())
	}
	conflict := "\nON CONFLICT (key, starts) DO NOTHING"
	if len(merges) > 0 {
		conflict = "\nON CONFLICT (key, starts) DO UPDATE SET " + strings.Join(merges, ", ")
	}
	s.upsertOne = w.fill("INSERT INTO {w} (starts, ends, key") + names + ")\nVALUES (?, ?, ?" + marks + ")" + conflict
	s.upsertRun = runOfStarts + w.fill("INSERT INTO {w} (starts, ends, key") + names + ")\nSELECT s, s + ?, ?" + marks + " FROM run WHERE true" + conflict
	s.moveRow = w.fill("INSERT INTO {w} (key, starts, ends") + names + ")\nSELECT key, ?, ends" + names + w.fill(" FROM {w} WHERE key = ? AND starts = ?") + conflict
	s.deleteRow = w.fill(`DELETE FROM {w} WHERE key = ? AND starts = ?`)
	s.selectNear = w.fill(`
		SELECT starts, ends, final
		FROM {w}
		WHERE key = ? AND starts < ?
		ORDER BY starts DESC
		LIMIT 2`)
	s.markAll = w.fill(`UPDATE {w} SET final = 1 WHERE final = 0 AND ends <= ?`)
	s.markFinal = w.fill(`UPDATE {w} SET final = 1 WHERE final = 0 AND ends <= ? AND (ends, starts, key) <= (?, ?, ?)`)
	s.selectFinal = w.fill("SELECT key, starts, ends") + w.allColumns() + w.fill(`
		FROM {w}
		WHERE final = 0 AND ends <= ?
		ORDER BY ends, starts, key
		LIMIT ?`)
	w.buildFolds(&s)
	return s
}

// runOfStarts is the starts of the windows that hold an item: the first, the
// step, the last.
const runOfStarts = `
WITH RECURSIVE run (s) AS (
  VALUES (?)
  UNION ALL
  SELECT s + ? FROM run WHERE s < ?
)
`

// allColumns lists every column of an aggregate that is in the row itself.
func (w *Window[T]) allColumns() string {
	names := ""
	for _, c := range w.columns {
		if c.kind != buckets {
			names += ", " + c.column()
		}
	}
	return names
}

// shape says what the rows depend on and their columns do not, so that a file
// that was made with another is known by its schema.
func (w *Window[T]) shape() string {
	text := fmt.Sprintf("{w}: session %v, size %d, step %d", w.session, w.size, w.step)
	for _, c := range w.columns {
		text += fmt.Sprintf(", %s %d", c.name, c.kind)
	}
	return text
}

func (w *Window[T]) schema() string {
	columns := ""
	for _, c := range w.columns {
		if c.kind != buckets {
			columns += ",\n  " + c.definition()
		}
	}
	text := "\n-- " + w.shape() + `
-- Windows, by key: from starts to before ends, in Unix nanoseconds. A row is
-- provisional until it is final.
CREATE TABLE {w} (
  key    TEXT    NOT NULL,
  starts INTEGER NOT NULL,
  ends   INTEGER NOT NULL,
  final  INTEGER NOT NULL DEFAULT 0 CHECK (final IN (0, 1))` + columns + `,
  PRIMARY KEY (key, starts)
) STRICT, WITHOUT ROWID;

CREATE INDEX {w}_open ON {w} (ends, starts, key) WHERE final = 0;
`
	for _, c := range w.buckets {
		text += c.bucketSchema()
	}
	if len(w.ordered) > 0 {
		text += eventSchema
	}
	return w.fill(text)
}

// put puts an item into its windows and returns how many it missed.
func (w *Window[T]) put(p *put[T]) (missed int64, err error) {
	if w.session {
		return w.putSession(p)
	}
	last := floor(p.at, w.step)
	first := floor(p.at-w.size, w.step) + w.step
	open := first
	if p.closed != none && first+w.size <= p.closed {
		open = floor(p.closed-w.size, w.step) + w.step // the first that ends after closed
	}
	missed = (min(open, last+w.step) - first) / w.step
	if open > last {
		return missed, nil
	}
	if err := w.upsert(p, open, last); err != nil {
		return 0, err
	}
	if len(w.any)+len(w.ordered) == 0 {
		return missed, nil
	}
	if err := w.keep(p); err != nil {
		return 0, err
	}
	for s := open; s <= last; s += w.step {
		if err := w.fold(p, s, s+w.size, nil); err != nil {
			return 0, err
		}
	}
	return missed, nil
}

// upsert adds the item to what SQL keeps of the windows that start at first to
// last.
func (w *Window[T]) upsert(p *put[T], first, last int64) error {
	if first == last {
		return w.upsertRow(p, first, first+w.size)
	}
	args := append(make([]any, 0, 5+len(w.columns)), first, w.step, last, w.size, p.key)
	if _, err := p.tx.Exec(w.upsertRun, w.values(args, p)...); err != nil {
		return err
	}
	return w.addBuckets(p, first, last)
}

// upsertRow adds the item to what SQL keeps of one window.
func (w *Window[T]) upsertRow(p *put[T], start, end int64) error {
	args := append(make([]any, 0, 3+len(w.columns)), start, end, p.key)
	if _, err := p.tx.Exec(w.upsertOne, w.values(args, p)...); err != nil {
		return err
	}
	return w.addBuckets(p, start, start)
}

// values appends what the item adds to each flat column.
func (w *Window[T]) values(args []any, p *put[T]) []any {
	for _, c := range w.flat {
		args = append(args, c.of(p.item))
	}
	return args
}

func (w *Window[T]) addBuckets(p *put[T], first, last int64) error {
	for _, c := range w.buckets {
		if _, err := p.tx.Exec(c.addRun, first, w.step, last, p.key, bucket(c.of(p.item))); err != nil {
			return err
		}
	}
	return nil
}
