package views

import (
	"context"
	"time"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/projection/window"
	"github.com/leat-go/leat/taxi-demo/internal/ride"
)

// longestWait is how long after a request an arrival is still that of its
// driver.
const longestWait = 4 * time.Hour

// wait is how long somebody waited for a car.
type wait struct {
	seconds int64
}

// WaitHour has the waits of a zone, by the hour in which the car came.
var WaitHour = window.Tumbling("wait_hour", time.Hour,
	window.Count[wait]("arrivals"),
	window.Max("longest", func(w wait) int64 { return w.seconds }),
	window.Quantiles("seconds", func(w wait) int64 { return w.seconds }),
	window.OnFinal[wait](waitFinal))

var waits = window.Define("wait", nil, WaitHour)

// place is where a rider waits.
type place struct {
	Zone int `json:"zone"`
}

// arrival is a car that came.
type arrival struct{}

// pickups pairs a ride's request with each arrival of a driver, by the log's own
// time, which is that of the played world.
var pickups = window.DefineJoin("pickup", longestWait, nil, waited)

func waited(ctx context.Context, tx *projection.Tx, p window.Pair[place, arrival]) error {
	at := window.Point{Key: zoneKey(p.Left.Zone), Time: p.RightTime}
	return waits.Add(ctx, tx, p.Completed, at, wait{seconds: int64(p.RightTime.Sub(p.LeftTime) / time.Second)})
}

// Waits is how long riders wait from the request to the arrival, by zone and
// hour.
var Waits = projection.Define("waits", 1, `
	-- Hours that are final, with the waits that half and nine in ten of the
	-- arrivals did not exceed, in seconds.
	CREATE TABLE wait_quantiles (
		zone     INTEGER NOT NULL,
		hour     INTEGER NOT NULL, -- Unix seconds of its start
		arrivals INTEGER NOT NULL,
		p50      INTEGER NOT NULL,
		p90      INTEGER NOT NULL,
		longest  INTEGER NOT NULL,
		PRIMARY KEY (zone, hour)
	) STRICT, WITHOUT ROWID;`,
	waits.Tables(),
	window.OnLeft(pickups, func(e eventstore.Of[ride.Requested]) (window.Point, place, bool) {
		return window.Point{Key: e.Payload.RideID, Time: e.RecordedAt()}, place{e.Payload.Pickup}, true
	}),
	window.OnRight(pickups, func(e eventstore.Of[ride.Arrived]) (window.Point, arrival, bool) {
		return window.Point{Key: e.Payload.RideID, Time: e.RecordedAt()}, arrival{}, true
	}),
)

func waitFinal(_ context.Context, tx *projection.Tx, f window.Final) error {
	var arrivals, longest int64
	if err := f.Scan(&arrivals, &longest); err != nil {
		return err
	}
	zone, err := keyZone(f.Key)
	if err != nil {
		return err
	}
	half, err := f.Quantile("seconds", 0.5)
	if err != nil {
		return err
	}
	most, err := f.Quantile("seconds", 0.9)
	if err != nil {
		return err
	}
	return exec(tx, `
		INSERT INTO wait_quantiles (zone, hour, arrivals, p50, p90, longest)
		VALUES (?, ?, ?, ?, ?, ?)`,
		zone, f.Start.Unix(), arrivals, half, most, longest)
}
