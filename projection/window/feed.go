package window

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/projection"
)

// Feed is items of type T with keys and event times, the watermark that says
// how far they have come, and the windows that they are gathered in. It is a
// declaration: immutable, free of state, and to be used in one projection or
// several. What it knows is in tables of the read model.
//
// Tables:
//
//	<feed>_watermark   how far event time has come
//	<feed>_late        what came too late, by window: counts, first and last position
//	<window>             a row for each key and window: key, starts, ends, final,
//	                     and a column for each aggregate; times in Unix nanoseconds
//	<window>_<column>    the histograms of Quantiles: key, starts, bucket, n
//	<window>_event       items of windows that are not final, where a FoldInOrder
//	                     needs them
//
// Names, sizes, lateness, sources and aggregates are part of the schema: where
// one changes, projection.Open demands a higher version. What the functions do is
// not, as with any handler.
//
// A row with final = 0 is provisional: later events may change it. One with
// final = 1 never changes again.
type Feed[T any] struct {
	progress
	windows []*Window[T]
	err     error
}

// Define declares a feed. The options may be nil. The name (a–z, 0–9 and _, a
// letter first, MaxName bytes) begins the names of two tables, and each window's
// name is that of a table. What is wrong with the declaration is an error of the
// projection that takes it in.
func Define[T any](name string, opts *Options, windows ...*Window[T]) *Feed[T] {
	f := &Feed[T]{windows: windows}
	var errs []error
	var err error
	f.progress, err = newProgress(name, opts)
	errs = append(errs, err)
	if len(windows) == 0 {
		errs = append(errs, invalid("feed %q has no window", name))
	}
	names := map[string]bool{}
	for _, w := range windows {
		if names[w.name] {
			errs = append(errs, invalid("feed %q has two windows %q", name, w.name))
		}
		names[w.name] = true
		errs = append(errs, w.err)
	}
	f.err = errors.Join(errs...)
	return f
}

// Tables has a projection make the feed's tables. Whoever calls Add in
// handlers of their own gives it to projection.Define; On brings it along.
func (f *Feed[T]) Tables() projection.Option {
	if f.err != nil {
		return projection.Tables("", f.err)
	}
	var b strings.Builder
	b.WriteString(f.progress.schema())
	for _, w := range f.windows {
		b.WriteString(w.schema())
	}
	return projection.Tables(b.String(), nil)
}

// On has every event of type E added to the feed under the key and time that
// item gives it, unless it returns false: then the event is none of the
// feed's. item depends on nothing but the event. A definition has one handler
// for an event type: whoever needs more than this calls Add.
func On[E eventstore.Event, T any](f *Feed[T], item func(e eventstore.Of[E]) (Point, T, bool)) projection.Option {
	return handle(f.Tables(), func(ctx context.Context, tx *projection.Tx, e eventstore.Of[E]) error {
		at, it, ok := item(e)
		if !ok {
			return nil
		}
		return f.Add(ctx, tx, e.Recorded, at, it)
	})
}

// handle is the tables of a feed together with a handler of its events.
func handle[E eventstore.Event](tables projection.Option, fn func(context.Context, *projection.Tx, eventstore.Of[E]) error) projection.Option {
	on := projection.On(fn)
	return func(d *projection.Definition) {
		tables(d)
		on(d)
	}
}

// Add puts an item into its windows, moves the watermark unless the point is
// Unordered, and makes final what it has passed, calling OnFinal; all of it in
// the handler's transaction. It is called by a handler of the event r, which may
// add several items: each counts, under whichever key and time. FoldInOrder takes
// those of one key and time in the order in which they were added.
//
// Where a window of the item is final already the item is not put there: it is
// counted as too late. Errors: ErrInvalid for a point that cannot be placed,
// those of folds and of OnFinal, and those of tx; each fails the event.
func (f *Feed[T]) Add(ctx context.Context, tx *projection.Tx, r eventstore.Recorded, at Point, item T) error {
	if err := f.check(at); err != nil {
		return err
	}
	before, err := f.read(tx)
	if err != nil {
		return err
	}
	p := &put[T]{tx: tx, r: &r, key: at.Key, at: at.Time.UnixNano(), item: item, closed: closed(before.at, f.lateness)}
	for _, w := range f.windows {
		missed, err := w.put(p)
		if err == nil && missed > 0 {
			err = f.missed(tx, w.name, &r, missed)
		}
		if err != nil {
			return fmt.Errorf("window %s: %w", w.name, err)
		}
	}
	now, err := f.advance(tx, before, &r, at)
	if err != nil || now == before.at {
		return err
	}
	return f.close(ctx, tx, p.closed, closed(now, f.lateness))
}

// closed returns the instant at or before which windows that end are final.
func closed(watermark, lateness int64) int64 {
	if watermark == none {
		return none
	}
	return watermark - lateness
}

// put is an item on its way into its windows.
type put[T any] struct {
	tx     *projection.Tx
	r      *eventstore.Recorded
	key    string
	at     int64
	item   T
	closed int64  // windows that end here or before are final
	json   []byte // of the item, once it was needed
}

// Late says what came too late for a window or a join.
type Late struct {
	// Window is the name of the window or join.
	Window string
	// Events is how many events missed a window: one that added several items
	// counts for each of them that did. Windows is how many windows they missed:
	// more where windows overlap.
	Events, Windows int64
	// First and Last are the least and the greatest of their positions.
	First, Last int64
}

// Watermark returns how far event time has come, and false where there is no
// watermark yet. Windows that ended Options.Lateness before it are final.
func (p *progress) Watermark(q Querier) (at time.Time, ok bool, err error) {
	err = each(q, func(scan func(...any) error) error {
		var ns *int64
		var since int64
		if err := scan(&ns, &since); err != nil || ns == nil {
			return err
		}
		at, ok = instant(*ns), true
		return nil
	}, p.selectOverall)
	return at, ok, err
}

// Late returns what came too late, by window, without those that missed
// nothing. Nothing is dropped that is not counted here.
func (p *progress) Late(q Querier) (all []Late, err error) {
	err = each(q, func(scan func(...any) error) error {
		var l Late
		err := scan(&l.Window, &l.Events, &l.Windows, &l.First, &l.Last)
		all = append(all, l)
		return err
	}, p.selectLate)
	return all, err
}
