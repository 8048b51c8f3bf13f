package views

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/projection/window"
	"github.com/leat-go/leat/taxi-demo/internal/origin"
	"github.com/leat-go/leat/taxi-demo/internal/ride"
)

// Zone windows: the trips that begin in a zone, by the meter's start.
var (
	ZoneMinute  = window.Tumbling("zone_minute", time.Minute, window.Count[ride.Started]("trips"))
	ZoneFive    = window.Sliding("zone_five", 5*time.Minute, time.Minute, window.Count[ride.Started]("trips"))
	ZoneFifteen = window.Sliding("zone_fifteen", 15*time.Minute, time.Minute, window.Count[ride.Started]("trips"))
)

// ZoneTrips are the trips that begin, by zone. Their event time is that of the
// meter. In a city that is the clock's, and a window is final two minutes after
// its end. An import takes it from the trip record, and neither are the rows of a
// file in the order of time nor do their rides begin in the order of the rows:
// every trip counts, and no window is ever final, since another file may have
// more for it.
var ZoneTrips = window.Define("zone", &window.Options{Lateness: 2 * time.Minute}, ZoneMinute, ZoneFive, ZoneFifteen)

// Zones counts the trips that begin in a zone by the minute, and in the last five
// and fifteen minutes at each.
var Zones = projection.Define("zones", 3, pendingSchema+importedSchema,
	ZoneTrips.Tables(),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[origin.ImportBegun]) error {
		return imported(tx, e.Payload)
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.Requested]) error {
		return pending(tx, e.Payload)
	}),
	projection.On(func(ctx context.Context, tx *projection.Tx, e eventstore.Of[ride.Started]) error {
		zone, found, err := pendingZone(tx, e.Payload.RideID)
		if err != nil || !found {
			return err
		}
		at := window.Point{Key: zoneKey(zone), Time: e.Payload.At}
		if at.Unordered, err = imports(tx); err != nil {
			return err
		}
		if err := ZoneTrips.Add(ctx, tx, e.Recorded, at, e.Payload); err != nil {
			return err
		}
		return notPending(tx, e.Payload.RideID)
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.Cancelled]) error {
		return notPending(tx, e.Payload.RideID)
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.NoShow]) error {
		return notPending(tx, e.Payload.RideID)
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.Unfulfilled]) error {
		return notPending(tx, e.Payload.RideID)
	}),
)

// pendingSchema holds the zones of rides that somebody still waits for.
const pendingSchema = `
	CREATE TABLE pending (
		ride_id TEXT PRIMARY KEY,
		zone    INTEGER NOT NULL
	) STRICT, WITHOUT ROWID;`

func pending(tx *projection.Tx, r ride.Requested) error {
	return exec(tx, `
		INSERT INTO pending (ride_id, zone)
		VALUES (?, ?)`,
		r.RideID, r.Pickup)
}

func pendingZone(tx *projection.Tx, rideID string) (zone int, found bool, err error) {
	err = tx.QueryRow(`SELECT zone FROM pending WHERE ride_id = ?`, rideID).Scan(&zone)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	return zone, err == nil, err
}

func notPending(tx *projection.Tx, rideID string) error {
	return exec(tx, `DELETE FROM pending WHERE ride_id = ?`, rideID)
}

// importedSchema holds the files that are imported: none in a city.
const importedSchema = `
	CREATE TABLE imported (
		source TEXT PRIMARY KEY
	) STRICT, WITHOUT ROWID;`

func imported(tx *projection.Tx, e origin.ImportBegun) error {
	return exec(tx, `
		INSERT INTO imported (source)
		VALUES (?)
		ON CONFLICT DO NOTHING`,
		e.File.Source)
}

// imports tells whether the trips are those of files.
func imports(tx *projection.Tx) (yes bool, err error) {
	err = tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM imported)`).Scan(&yes)
	return yes, err
}

// zoneKey is the key of a zone's windows, and keyZone the zone of a key.
func zoneKey(zone int) string { return strconv.Itoa(zone) }

func keyZone(key string) (int, error) {
	zone, err := strconv.Atoi(key)
	if err != nil {
		return 0, fmt.Errorf("a window of the zone %q: %w", key, err)
	}
	return zone, nil
}
