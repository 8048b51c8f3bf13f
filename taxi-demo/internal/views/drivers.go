package views

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/taxi-demo/internal/driver"
)

// Drivers is one row a driver: where, free or not, for which ride. Dispatch
// chooses from it.
var Drivers = projection.Define("drivers", 1, `
	CREATE TABLE driver (
		driver_id TEXT PRIMARY KEY,
		zone      INTEGER NOT NULL,
		status    TEXT NOT NULL CHECK (status IN ('free', 'reserved', 'driving', 'offline')),
		ride_id   TEXT,
		rides     INTEGER NOT NULL DEFAULT 0
	) STRICT, WITHOUT ROWID;
	CREATE INDEX driver_free ON driver (zone, driver_id) WHERE status = 'free';`,
	projection.On(driverOnline),
	projection.On(driverOffline),
	projection.On(driverReserved),
	projection.On(driverReleased),
	projection.On(driverStarted),
	projection.On(driverFinished),
)

func driverOnline(_ context.Context, tx *projection.Tx, e eventstore.Of[driver.Online]) error {
	return exec(tx, `
		INSERT INTO driver (driver_id, zone, status)
		VALUES (?, ?, 'free')
		ON CONFLICT (driver_id) DO UPDATE SET zone = excluded.zone, status = 'free'`,
		e.Payload.DriverID, e.Payload.Zone)
}

func driverOffline(_ context.Context, tx *projection.Tx, e eventstore.Of[driver.Offline]) error {
	return driverIs(tx, e.Payload.DriverID, "offline", nil)
}

func driverReserved(_ context.Context, tx *projection.Tx, e eventstore.Of[driver.Reserved]) error {
	return driverIs(tx, e.Payload.DriverID, "reserved", e.Payload.RideID)
}

func driverReleased(_ context.Context, tx *projection.Tx, e eventstore.Of[driver.Released]) error {
	return driverIs(tx, e.Payload.DriverID, "free", nil)
}

func driverStarted(_ context.Context, tx *projection.Tx, e eventstore.Of[driver.Started]) error {
	return driverIs(tx, e.Payload.DriverID, "driving", e.Payload.RideID)
}

func driverFinished(_ context.Context, tx *projection.Tx, e eventstore.Of[driver.Finished]) error {
	return exec(tx, `
		UPDATE driver
		SET status = 'free', ride_id = NULL, zone = ?, rides = rides + 1
		WHERE driver_id = ?`,
		e.Payload.Zone, e.Payload.DriverID)
}

func driverIs(tx *projection.Tx, driverID, status string, rideID any) error {
	return exec(tx, `
		UPDATE driver
		SET status = ?, ride_id = ?
		WHERE driver_id = ?`,
		status, rideID, driverID)
}

// Nearest returns the free drivers nearest to a zone, limit at most, without the
// excluded ones, ordered by distance and name. Zones are numbered so that near
// numbers are near places: the index gives the nearest at and above the zone,
// and those below it, without a look at the whole fleet.
func Nearest(r *projection.Reader, zone int, exclude []string, limit int) (_ []string, err error) {
	rows, err := r.Query(`
		SELECT driver_id
		FROM (
			SELECT * FROM (
				SELECT driver_id, zone FROM driver
				WHERE status = 'free' AND zone >= ?1
				ORDER BY zone, driver_id LIMIT ?2)
			UNION ALL
			SELECT * FROM (
				SELECT driver_id, zone FROM driver
				WHERE status = 'free' AND zone < ?1
				ORDER BY zone DESC, driver_id LIMIT ?2)
		)
		ORDER BY abs(zone - ?1), driver_id`,
		zone, limit+len(exclude))
	if err != nil {
		return nil, fmt.Errorf("nearest drivers: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Err(), rows.Close()) }()
	var ids []string
	for rows.Next() && len(ids) < limit {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, fmt.Errorf("nearest drivers: %w", err)
		}
		if !slices.Contains(exclude, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}
