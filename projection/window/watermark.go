package window

import (
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/projection"
)

// Options say how long a feed waits for what comes late.
type Options struct {
	// Lateness is how far behind the watermark a window's end may fall before the
	// window is final, so how much later than others an event may be recorded
	// and still count. Defaults to 0, at most MaxDuration.
	Lateness time.Duration
	// Sources are the names of the sources, MaxSources at most, each of which has
	// its events roughly in order: categories, partitions, devices. The watermark
	// is the least of theirs, and there is none before each has had an event.
	// Every Point names one of them. Defaults to one source without a name.
	Sources []string
	// IdleAfter has the watermark no longer wait for a source once the log's own
	// time (eventstore.Recorded.Time, never a wall clock) is further than this
	// past the source's last event, or past the feed's first for one that had
	// none. It is noticed at the next event of the feed. Which windows are final
	// then depends on when events were recorded, though what is in them does not.
	// Defaults to 0: no source is ever idle.
	IdleAfter time.Duration
}

// Point says where an item belongs.
type Point struct {
	// Key is what is counted apart: each key has windows of its own. At most
	// MaxKey bytes; may be empty.
	Key string
	// Time is the event time, MinTime to MaxTime: when it happened, by the
	// event's own account. Nanoseconds count.
	Time time.Time
	// Source is the source of the event, one of Options.Sources; empty without
	// them.
	Source string
	// Unordered says that the item is one of many that come in no order of time,
	// as the rows of a file do: it goes into its windows as any other, and leaves
	// the watermark, its source's too, where it is. In a feed of such items alone
	// nothing is too late, and no window ever final.
	Unordered bool
}

// none is the watermark before there is one.
const none = math.MinInt64

// progress is the watermark of a feed and its bucket of what came too late,
// in two tables.
type progress struct {
	name     string
	lateness int64
	idle     int64
	sources  []string

	selectOverall, upsertOverall, upsertSource, selectLeast, upsertLate, selectLate string
}

const progressSchema = `
-- How far event time has come, by source; the row without a name is what all
-- have reached. Times are Unix nanoseconds; seen is when the log recorded the
-- source's last event, and in the row without a name the feed's first, or 0
-- where no source is ever idle.
CREATE TABLE {p}_watermark (
  source TEXT    PRIMARY KEY,
  at     INTEGER,
  seen   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Events that came too late for a window, and how many windows they missed.
CREATE TABLE {p}_late (
  part           TEXT    PRIMARY KEY,
  events         INTEGER NOT NULL,
  windows        INTEGER NOT NULL,
  first_position INTEGER NOT NULL,
  last_position  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
`

func newProgress(name string, opts *Options) (progress, error) {
	if opts == nil {
		opts = &Options{}
	}
	p := progress{name: name, lateness: int64(opts.Lateness), idle: int64(opts.IdleAfter), sources: slices.Sorted(slices.Values(opts.Sources))}
	fill := strings.NewReplacer("{p}", name).Replace
	p.selectOverall = fill(`SELECT at, seen FROM {p}_watermark WHERE source = ''`)
	p.upsertOverall = fill(`
		INSERT INTO {p}_watermark (source, at, seen)
		VALUES ('', ?, ?)
		ON CONFLICT (source) DO UPDATE SET at = excluded.at`)
	p.upsertSource = fill(`
		INSERT INTO {p}_watermark (source, at, seen)
		VALUES (?, ?, ?)
		ON CONFLICT (source) DO UPDATE SET at = MAX(at, excluded.at), seen = MAX(seen, excluded.seen)`)
	p.selectLeast = fill(`
		SELECT COUNT(*), MIN(CASE WHEN seen >= ? THEN at END)
		FROM {p}_watermark
		WHERE source <> ''`)
	p.upsertLate = fill(`
		INSERT INTO {p}_late (part, events, windows, first_position, last_position)
		VALUES (?, 1, ?, ?, ?)
		ON CONFLICT (part) DO UPDATE
		SET events = events + 1, windows = windows + excluded.windows,
		    first_position = MIN(first_position, excluded.first_position),
		    last_position = MAX(last_position, excluded.last_position)`)
	p.selectLate = fill(`
		SELECT part, events, windows, first_position, last_position
		FROM {p}_late
		ORDER BY part`)
	return p, errors.Join(checkName("feed", name), checkDuration("Options.Lateness", opts.Lateness, 0),
		checkDuration("Options.IdleAfter", opts.IdleAfter, 0), p.checkSources())
}

func (p *progress) checkSources() error {
	switch {
	case len(p.sources) > MaxSources:
		return invalid("feed %q has %d sources, %d are allowed", p.name, len(p.sources), MaxSources)
	case len(p.sources) > 0 && p.sources[0] == "":
		return invalid("feed %q has a source without a name", p.name)
	case len(slices.Compact(slices.Clone(p.sources))) < len(p.sources):
		return invalid("feed %q names a source twice", p.name)
	case p.idle > 0 && len(p.sources) == 0:
		return invalid("feed %q: IdleAfter is about several sources: name them in Sources", p.name)
	}
	return nil
}

// schema begins with what the rows depend on and the columns do not. See shape.
func (p *progress) schema() string {
	shape := fmt.Sprintf("\n-- {p}: lateness %d, idle %d, sources %q", p.lateness, p.idle, p.sources)
	return strings.ReplaceAll(shape+progressSchema, "{p}", p.name)
}

// check refuses a point that cannot be placed.
func (p *progress) check(at Point) error {
	_, known := slices.BinarySearch(p.sources, at.Source)
	switch {
	case len(at.Key) > MaxKey:
		return invalid("feed %s: a key has %d bytes, %d are allowed", p.name, len(at.Key), MaxKey)
	case at.Time.Before(MinTime) || at.Time.After(MaxTime):
		return invalid("feed %s: the event time %v is not between %d and %d: give the time at which it happened", p.name, at.Time, MinTime.Year(), MaxTime.Year())
	case !known && (at.Source != "" || len(p.sources) > 0):
		return invalid("feed %s: Point.Source is %q, which is none of Options.Sources", p.name, at.Source)
	}
	return nil
}

// mark is a feed's watermark.
type mark struct {
	at    int64 // none: there is none yet
	since int64 // log time of the feed's first event that moves it
	first bool  // there was no such event before
}

func (p *progress) read(tx *projection.Tx) (m mark, err error) {
	var at sql.NullInt64
	err = tx.QueryRow(p.selectOverall).Scan(&at, &m.since)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return mark{at: none, first: true}, nil
	case err != nil:
		return m, fmt.Errorf("window: feed %s: read the watermark: %w", p.name, err)
	}
	m.at = none
	if at.Valid {
		m.at = at.Int64
	}
	return m, nil
}

// advance has the watermark know of an event and returns what it then is. It
// never goes back.
func (p *progress) advance(tx *projection.Tx, m mark, r *eventstore.Recorded, at Point) (int64, error) {
	if at.Unordered {
		return m.at, nil
	}
	now := at.Time.UnixNano()
	if m.first && p.idle > 0 {
		m.since = r.Time
	}
	if len(p.sources) > 0 {
		var err error
		if now, err = p.least(tx, m, r, at); err != nil {
			return none, fmt.Errorf("window: feed %s: %w", p.name, err)
		}
	}
	if now = max(now, m.at); now == m.at && !m.first {
		return now, nil
	}
	reached := sql.NullInt64{Int64: now, Valid: now != none}
	if _, err := tx.Exec(p.upsertOverall, reached, m.since); err != nil {
		return none, fmt.Errorf("window: feed %s: write the watermark: %w", p.name, err)
	}
	return now, nil
}

// least returns the least of the sources' times, of those that are not idle;
// none where one of these had no event yet.
func (p *progress) least(tx *projection.Tx, m mark, r *eventstore.Recorded, at Point) (int64, error) {
	var seen, awake int64 // without IdleAfter the tables know nothing of the log's time
	if p.idle > 0 {
		seen, awake = r.Time, r.Time-p.idle
	}
	if _, err := tx.Exec(p.upsertSource, at.Source, at.Time.UnixNano(), seen); err != nil {
		return none, fmt.Errorf("write the time of source %s: %w", at.Source, err)
	}
	var known int
	var least sql.NullInt64
	if err := tx.QueryRow(p.selectLeast, awake).Scan(&known, &least); err != nil {
		return none, fmt.Errorf("read the times of the sources: %w", err)
	}
	if !least.Valid || known < len(p.sources) && m.since >= awake {
		return none, nil
	}
	return least.Int64, nil
}

// missed counts an event that came too late for some windows.
func (p *progress) missed(tx *projection.Tx, part string, r *eventstore.Recorded, windows int64) error {
	if _, err := tx.Exec(p.upsertLate, part, windows, r.Position, r.Position); err != nil {
		return fmt.Errorf("window: %s: count an event that came too late: %w", part, err)
	}
	return nil
}
