package views

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/projection/window"
	"github.com/leat-go/leat/taxi-demo/internal/ride"
)

// Surge levels are in tenths: 10 is the plain fare.
const (
	SurgeLeast = 10
	SurgeMost  = 30
)

const (
	surgeSpan = 5 * time.Minute
	surgeStep = time.Minute
	// surgeQuiet is how many requests in a window say nothing yet.
	surgeQuiet = 3
	// A level rises to one that is surgeRise above it, and falls to one that is
	// surgeFall below it: between them it stays, so that it does not flicker.
	surgeRise = 2
	surgeFall = 4
)

// demand is one request, or one request that a driver took.
type demand struct{ asked, taken int64 }

// surgeDemand is by the log's own time, which is that of the played world: no
// event is ever late, and a window is final with the first event after it.
var surgeDemand = window.Define("demand", nil,
	window.Sliding("surge_window", surgeSpan, surgeStep,
		window.Sum("asked", func(d demand) int64 { return d.asked }),
		window.Sum("taken", func(d demand) int64 { return d.taken }),
		window.OnFinal[demand](surgeOf)))

// Surge is how much more a ride in a zone should cost while more people ask than
// drivers come, from 1.0 to 3.0. It is advice: nobody charges it.
var Surge = projection.Define("surge", 1, pendingSchema+`
	-- The level after the zone's last window, in tenths, and when that began.
	CREATE TABLE surge (
		zone   INTEGER PRIMARY KEY,
		level  INTEGER NOT NULL CHECK (level BETWEEN 10 AND 30),
		starts INTEGER NOT NULL
	) STRICT;`,
	surgeDemand.Tables(),
	projection.On(func(ctx context.Context, tx *projection.Tx, e eventstore.Of[ride.Requested]) error {
		if err := pending(tx, e.Payload); err != nil {
			return err
		}
		return surgeDemand.Add(ctx, tx, e.Recorded, window.Point{Key: zoneKey(e.Payload.Pickup), Time: e.RecordedAt()}, demand{asked: 1})
	}),
	projection.On(func(ctx context.Context, tx *projection.Tx, e eventstore.Of[ride.Accepted]) error {
		zone, found, err := pendingZone(tx, e.Payload.RideID)
		if err != nil || !found { // taken before, and given back
			return err
		}
		if err := notPending(tx, e.Payload.RideID); err != nil {
			return err
		}
		return surgeDemand.Add(ctx, tx, e.Recorded, window.Point{Key: zoneKey(zone), Time: e.RecordedAt()}, demand{taken: 1})
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.Cancelled]) error {
		return notPending(tx, e.Payload.RideID)
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.Unfulfilled]) error {
		return notPending(tx, e.Payload.RideID)
	}),
)

// surgeOf sets a zone's level after a window.
func surgeOf(_ context.Context, tx *projection.Tx, f window.Final) error {
	var asked, taken int64
	if err := f.Scan(&asked, &taken); err != nil {
		return err
	}
	zone, err := keyZone(f.Key)
	if err != nil {
		return err
	}
	level, starts := int64(SurgeLeast), int64(0)
	err = tx.QueryRow(`SELECT level, starts FROM surge WHERE zone = ?`, zone).Scan(&level, &starts)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if f.Start.UnixNano() > starts+int64(surgeStep) { // nothing happened in between
		level = SurgeLeast
	}
	return exec(tx, `
		INSERT INTO surge (zone, level, starts)
		VALUES (?, ?, ?)
		ON CONFLICT (zone) DO UPDATE SET level = excluded.level, starts = excluded.starts`,
		zone, nextLevel(level, asked, taken), f.Start.UnixNano())
}

// nextLevel returns the level after a window: one and as much as there are more
// requests than drivers who took one, to each of these.
func nextLevel(level, asked, taken int64) int64 {
	target := int64(SurgeLeast)
	if asked >= surgeQuiet && asked > taken {
		target = min(SurgeLeast+SurgeLeast*(asked-taken)/max(taken, 1), SurgeMost)
	}
	if target == SurgeLeast || target >= level+surgeRise || target <= level-surgeFall {
		return target
	}
	return level
}

// SurgeOf returns a zone's level, in tenths.
func SurgeOf(r *projection.Reader, zone int) (int64, error) {
	var level, starts int64
	err := r.QueryRow(`SELECT level, starts FROM surge WHERE zone = ?`, zone).Scan(&level, &starts)
	if errors.Is(err, sql.ErrNoRows) {
		return SurgeLeast, nil
	}
	if err != nil {
		return 0, err
	}
	mark, _, err := surgeDemand.Watermark(r)
	if err != nil {
		return 0, err
	}
	if next := time.Unix(0, starts).Add(surgeStep + surgeSpan); !mark.Before(next) {
		return SurgeLeast, nil // the window after it has ended too, and was empty
	}
	return level, nil
}
