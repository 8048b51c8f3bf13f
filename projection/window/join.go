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

// Pair is a left and a right item of one key within the distance of a join.
type Pair[L, R any] struct {
	Key   string
	Left  L
	Right R
	// LeftTime and RightTime are the event times, in UTC.
	LeftTime, RightTime time.Time
	// Completed is the event that was recorded last of the two.
	Completed eventstore.Recorded
}

// Join pairs items of two kinds: every left with every right of the same key
// whose event time is at most a distance from its own (an interval join). It is a
// declaration, like Feed.
//
// Tables, beside those of a feed's watermark and of what came too late:
//
//	<join>_left, <join>_right   items that may still find a partner: key, at, item
type Join[L, R any] struct {
	progress
	within  int64
	pair    func(ctx context.Context, tx *projection.Tx, p Pair[L, R]) error
	sides   [2]side
	err     error
	changes int64 // the horizon, before which items are forgotten, moves in steps of this
}

// side is the SQL of one side's table.
type side struct{ insert, match, forget string }

const (
	left  = 0
	right = 1
)

const sideSchema = `
-- Items that may still find a partner. Times are Unix nanoseconds.
CREATE TABLE {j} (
  key  TEXT    NOT NULL,
  at   INTEGER NOT NULL,
  item TEXT    NOT NULL
) STRICT;

CREATE INDEX {j}_key ON {j} (key, at);

CREATE INDEX {j}_at ON {j} (at);
`

// horizonSteps is in how many steps the items of one reach are forgotten.
const horizonSteps = 16

// DefineJoin declares a join of items at most within apart, 0 to MaxDuration. The
// options may be nil; Lateness and Sources are those of both kinds together. The
// name is as that of a feed.
//
// pair is called with each pair once, in the transaction of the event that
// completes it, and writes through tx; it may Add to a feed, under the event
// Pair.Completed. Which pairs there are does not depend on the order in which
// events arrived, as long as none was too late; the order of the calls does.
// Both items are what JSON keeps of them, MaxItem bytes at most. An error fails
// the event.
func DefineJoin[L, R any](name string, within time.Duration, opts *Options, pair func(ctx context.Context, tx *projection.Tx, p Pair[L, R]) error) *Join[L, R] {
	j := &Join[L, R]{within: int64(within), pair: pair}
	var err error
	j.progress, err = newProgress(name, opts)
	j.err = errors.Join(err, checkDuration("the distance", within, 0))
	if pair == nil {
		j.err = errors.Join(j.err, invalid("the function that takes pairs is nil"))
	}
	if j.err != nil {
		j.err = fmt.Errorf("join %q: %w", name, j.err)
	}
	j.changes = (j.within+j.lateness)/horizonSteps + 1
	for i := range j.sides {
		j.sides[i] = newSide(j.table(i))
	}
	return j
}

func (j *Join[L, R]) table(side int) string { return j.name + [2]string{"_left", "_right"}[side] }

func newSide(table string) side {
	fill := strings.NewReplacer("{j}", table).Replace
	return side{
		insert: fill(`INSERT INTO {j} (key, at, item) VALUES (?, ?, ?)`),
		match: fill(`
			SELECT at, rowid, item
			FROM {j}
			WHERE key = ? AND at <= ? AND (at, rowid) > (?, ?)
			ORDER BY at, rowid
			LIMIT ?`),
		forget: fill(`DELETE FROM {j} WHERE at < ?`),
	}
}

// Tables has a projection make the join's tables. Whoever calls Left and Right in
// handlers of their own gives it to projection.Define; OnLeft and OnRight bring
// it along.
func (j *Join[L, R]) Tables() projection.Option {
	if j.err != nil {
		return projection.Tables("", j.err)
	}
	schema := j.progress.schema() + fmt.Sprintf("\n-- %s: within %d", j.name, j.within)
	for i := range j.sides {
		schema += strings.ReplaceAll(sideSchema, "{j}", j.table(i))
	}
	return projection.Tables(schema, nil)
}

// OnLeft has every event of type E be a left item of the join, unless item
// returns false. See On.
func OnLeft[E eventstore.Event, L, R any](j *Join[L, R], item func(e eventstore.Of[E]) (Point, L, bool)) projection.Option {
	return handle(j.Tables(), func(ctx context.Context, tx *projection.Tx, e eventstore.Of[E]) error {
		if at, it, ok := item(e); ok {
			return j.Left(ctx, tx, e.Recorded, at, it)
		}
		return nil
	})
}

// OnRight has every event of type E be a right item of the join, unless item
// returns false. See On.
func OnRight[E eventstore.Event, L, R any](j *Join[L, R], item func(e eventstore.Of[E]) (Point, R, bool)) projection.Option {
	return handle(j.Tables(), func(ctx context.Context, tx *projection.Tx, e eventstore.Of[E]) error {
		if at, it, ok := item(e); ok {
			return j.Right(ctx, tx, e.Recorded, at, it)
		}
		return nil
	})
}

// Left pairs a left item with the right ones that are there, and keeps it for
// those to come. It is called by a handler of the event r. An item further
// behind the watermark than Options.Lateness is counted as too late and pairs
// with nothing: partners of it may be forgotten. Errors are those of Feed.Add.
func (j *Join[L, R]) Left(ctx context.Context, tx *projection.Tx, r eventstore.Recorded, at Point, item L) error {
	return j.put(tx, left, &r, at, item, func(own []byte, otherAt int64, other []byte) error {
		return j.call(ctx, tx, &r, at.Key, own, other, at.Time.UTC(), instant(otherAt))
	})
}

// Right is Left for the other side.
func (j *Join[L, R]) Right(ctx context.Context, tx *projection.Tx, r eventstore.Recorded, at Point, item R) error {
	return j.put(tx, right, &r, at, item, func(own []byte, otherAt int64, other []byte) error {
		return j.call(ctx, tx, &r, at.Key, other, own, instant(otherAt), at.Time.UTC())
	})
}

func (j *Join[L, R]) call(ctx context.Context, tx *projection.Tx, r *eventstore.Recorded, key string, l, right []byte, lat, rat time.Time) (err error) {
	p := Pair[L, R]{Key: key, LeftTime: lat, RightTime: rat, Completed: *r}
	if p.Left, err = decode[L](l); err != nil {
		return err
	}
	if p.Right, err = decode[R](right); err != nil {
		return err
	}
	return j.pair(ctx, tx, p)
}

func (j *Join[L, R]) put(tx *projection.Tx, own int, r *eventstore.Recorded, at Point, item any, pair func(own []byte, otherAt int64, other []byte) error) error {
	if err := j.check(at); err != nil {
		return err
	}
	before, err := j.read(tx)
	if err != nil {
		return err
	}
	t := at.Time.UnixNano()
	if before.at != none && t < before.at-j.lateness {
		err = j.missed(tx, j.name, r, 1)
	} else {
		err = j.keep(tx, own, at.Key, t, item, pair)
	}
	if err != nil {
		return fmt.Errorf("join %s: %w", j.name, err)
	}
	now, err := j.advance(tx, before, r, at)
	if err != nil || now == before.at {
		return err
	}
	if err := j.forget(tx, before.at, now); err != nil {
		return fmt.Errorf("join %s: forget items: %w", j.name, err)
	}
	return nil
}

// keep pairs an item with those of the other side and stores it.
func (j *Join[L, R]) keep(tx *projection.Tx, own int, key string, t int64, item any, pair func([]byte, int64, []byte) error) error {
	data, err := encode(item)
	if err != nil {
		return err
	}
	type kept struct {
		at, row int64
		item    []byte
	}
	at, row := t-j.within, int64(0)
	for more := true; more; {
		var found []kept
		err := each(tx, func(scan func(...any) error) error {
			var k kept
			err := scan(&k.at, &k.row, &k.item)
			found = append(found, k)
			return err
		}, j.sides[1-own].match, key, t+j.within, at, row, foldPage)
		if err != nil {
			return err
		}
		for _, k := range found {
			if err := pair(data, k.at, k.item); err != nil {
				return err
			}
			at, row = k.at, k.row
		}
		more = len(found) == foldPage
	}
	_, err = tx.Exec(j.sides[own].insert, key, t, string(data))
	return err
}

// horizon returns the instant before which no item can find a partner that is
// not too late: a multiple of changes, so that items are forgotten many at a
// time, and a function of the watermark alone.
func (j *Join[L, R]) horizon(watermark int64) int64 {
	if watermark == none {
		return none
	}
	return floor(watermark-j.lateness-j.within, j.changes)
}

func (j *Join[L, R]) forget(tx *projection.Tx, before, now int64) error {
	horizon := j.horizon(now)
	if horizon == j.horizon(before) {
		return nil
	}
	for i := range j.sides {
		if _, err := tx.Exec(j.sides[i].forget, horizon); err != nil {
			return err
		}
	}
	return nil
}
