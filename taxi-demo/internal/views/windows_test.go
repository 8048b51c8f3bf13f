package views_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/taxi-demo/internal/origin"
	"github.com/leat-go/leat/taxi-demo/internal/ride"
	"github.com/leat-go/leat/taxi-demo/internal/tlc"
	"github.com/leat-go/leat/taxi-demo/internal/views"
)

// told is an event and when the log hears of it.
type told struct {
	at    time.Time
	event eventstore.Event
}

func record(t *testing.T, all []told) *memory.Store {
	t.Helper()
	clk := clock.NewVirtual(all[0].at)
	log := memory.New(&memory.Options{Clock: clk})
	for _, e := range all {
		clk.Advance(e.at)
		data, err := eventstore.Encode(e.event)
		require.NoError(t, err)
		_, err = log.Append(t.Context(), eventstore.Batch{Writes: []eventstore.Write{{Stream: "all", Events: []eventstore.EventData{data}}}})
		require.NoError(t, err)
	}
	return log
}

// open applies a whole log, in pages, closing the file in the middle.
func open(t *testing.T, log *memory.Store, def *projection.Definition, size int) *projection.Projection {
	t.Helper()
	head, err := log.Head(t.Context())
	require.NoError(t, err)
	dir := t.TempDir()
	again := func() *projection.Projection {
		p, err := projection.Open(t.Context(), dir, log, def, &projection.Options{Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		return p
	}
	p, closed := again(), false
	for at := int64(0); at < head; {
		read, err := log.ReadLog(t.Context(), at, size, eventstore.Filter{})
		require.NoError(t, err)
		require.NoError(t, p.Apply(t.Context(), bus.Page{After: at, Events: read.Events, Through: read.Through}))
		if at = read.Through.Position; at > head/2 && !closed {
			require.NoError(t, p.Close())
			p, closed = again(), true
		}
	}
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

func rows(t *testing.T, p *projection.Projection, query string) (all []string) {
	t.Helper()
	require.NoError(t, p.Read(t.Context(), 0, func(r *projection.Reader) error {
		found, err := r.Query(query)
		if err != nil {
			return err
		}
		defer found.Close()
		columns, err := found.Columns()
		if err != nil {
			return err
		}
		for found.Next() {
			row, dest := make([]any, len(columns)), make([]any, len(columns))
			for i := range row {
				dest[i] = &row[i]
			}
			if err := found.Scan(dest...); err != nil {
				return err
			}
			all = append(all, fmt.Sprint(row...))
		}
		return found.Err()
	}))
	return all
}

func rebuilt(t *testing.T, p *projection.Projection) {
	t.Helper()
	got, err := p.Rebuild(t.Context(), nil)
	require.NoError(t, err)
	require.True(t, got.Identical, got.Difference)
}

// realTrips returns the trip records beside the project, in the order of their
// time, and skips the test where there are none.
func realTrips(t *testing.T) (all []tlc.Trip) {
	t.Helper()
	path := filepath.Join("..", "..", "..", "..", "shared", "data", "nyc_tlc_2019-03_sample.csv")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		t.Skip("the trip record sample is not beside the project: ../shared/data/nyc_tlc_2019-03_sample.csv")
	}
	for trip, err := range tlc.Trips(path) {
		require.NoError(t, err)
		all = append(all, trip)
	}
	require.Len(t, all, 6500)
	slices.SortStableFunc(all, func(a, b tlc.Trip) int { return a.Pickup.Compare(b.Pickup) })
	return all
}

// plainTrips has a row for each trip, for a plain GROUP BY over all of them.
var plainTrips = projection.Define("plain", 1, `
	CREATE TABLE zone (ride_id TEXT PRIMARY KEY, zone INTEGER NOT NULL) STRICT;
	CREATE TABLE trip (zone INTEGER NOT NULL, at INTEGER NOT NULL) STRICT;`,
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.Requested]) error {
		_, err := tx.Exec(`INSERT INTO zone (ride_id, zone) VALUES (?, ?)`, e.Payload.RideID, e.Payload.Pickup)
		return err
	}),
	projection.On(func(_ context.Context, tx *projection.Tx, e eventstore.Of[ride.Started]) error {
		_, err := tx.Exec(`INSERT INTO trip (zone, at) SELECT zone, ? FROM zone WHERE ride_id = ?`, e.Payload.At.Unix(), e.Payload.RideID)
		return err
	}))

// plainly counts the trips of every window of so many minutes that begins with
// one, in SQL that knows of no stream.
func plainly(minutes int) string {
	return fmt.Sprintf(`
		WITH RECURSIVE back (n) AS (VALUES (0) UNION ALL SELECT n + 1 FROM back WHERE n + 1 < %d)
		SELECT zone || '', (at / 60 - n) * 60, COUNT(*)
		FROM trip, back
		GROUP BY 1, 2
		ORDER BY 1, 2`, minutes)
}

// TestZonesOfRealTrips compares the windows over real trips with a plain GROUP
// BY over the same: in order, in others that the lateness allows, and imported in
// the order of the file, which is none; in pages of several sizes with a restart,
// and after a rebuild.
func TestZonesOfRealTrips(t *testing.T) {
	trips := realTrips(t)
	begun := func(before func(a, b int) int, first ...eventstore.Event) *memory.Store {
		order := make([]int, len(trips))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, before)
		var all []told
		for _, e := range first {
			all = append(all, told{trips[0].Pickup, e})
		}
		for _, i := range order {
			id := fmt.Sprint("r", i)
			all = append(all, told{trips[0].Pickup, ride.Requested{RideID: id, Pickup: trips[i].PickupZone}},
				told{trips[0].Pickup, ride.Started{RideID: id, At: trips[i].Pickup}})
		}
		return record(t, all)
	}
	delayed := func(delay func(i int) time.Duration) func(a, b int) int {
		return func(a, b int) int {
			return cmp.Compare(trips[a].Pickup.Add(delay(a)).UnixNano(), trips[b].Pickup.Add(delay(b)).UnixNano())
		}
	}
	asInTheFile := func(a, b int) int { return cmp.Compare(trips[a].Row, trips[b].Row) }
	var want [3][]string
	for name, c := range map[string]struct {
		log  *memory.Store
		page int
	}{
		"in order":                    {begun(delayed(func(int) time.Duration { return 0 })), 500},
		"shuffled":                    {begun(delayed(func(i int) time.Duration { return time.Duration(i*7919%121) * time.Second })), 5000},
		"shuffled otherwise, in bits": {begun(delayed(func(i int) time.Duration { return time.Duration(i*104729%121) * time.Second })), 37},
		"imported":                    {begun(asInTheFile, origin.ImportBegun{File: origin.File{Source: "sample"}}), 500},
	} {
		t.Run(name, func(t *testing.T) {
			if want[0] == nil {
				plain := open(t, c.log, plainTrips, 5000)
				require.Equal(t, []string{"6500"}, rows(t, plain, `SELECT COUNT(*) FROM trip`))
				want = [3][]string{rows(t, plain, plainly(1)), rows(t, plain, plainly(5)), rows(t, plain, plainly(15))}
				require.Greater(t, len(want[0]), 6000)
			}
			p := open(t, c.log, views.Zones, c.page)
			for i, table := range []string{"zone_minute", "zone_five", "zone_fifteen"} {
				require.Equal(t, want[i], rows(t, p, `SELECT key, starts / 1000000000, trips FROM `+table+` ORDER BY key, starts`), table)
			}
			require.Empty(t, rows(t, p, `SELECT * FROM zone_late`), "nothing was too late")
			require.Equal(t, rows(t, p, `SELECT COUNT(*) FROM zone_minute WHERE ends <= (SELECT at - 120000000000 FROM zone_watermark)`),
				rows(t, p, `SELECT COUNT(*) FROM zone_minute WHERE final = 1`))
			require.Equal(t, []string{"0"}, rows(t, p, `SELECT COUNT(*) FROM pending`))
			rebuilt(t, p)
		})
	}
}

// TestTripsThatCameTooLateAreCounted takes the trips in the order of the file,
// which is none, but as those of a city: what is in a window and what was too late
// for it is everything.
func TestTripsThatCameTooLateAreCounted(t *testing.T) {
	trips := realTrips(t)
	slices.SortFunc(trips, func(a, b tlc.Trip) int { return cmp.Compare(a.Row, b.Row) })
	var all []told
	for i, trip := range trips[:2000] {
		id := fmt.Sprint("r", i)
		all = append(all, told{trips[0].Pickup, ride.Requested{RideID: id, Pickup: trip.PickupZone}},
			told{trips[0].Pickup, ride.Started{RideID: id, At: trip.Pickup}})
	}
	p := open(t, record(t, all), views.Zones, 500)
	for table, each := range map[string]int{"zone_minute": 1, "zone_five": 5, "zone_fifteen": 15} {
		require.Equal(t, []string{fmt.Sprint(2000 * each)}, rows(t, p, fmt.Sprintf(`
			SELECT (SELECT SUM(trips) FROM %[1]s) + (SELECT windows FROM zone_late WHERE part = '%[1]s')`, table)))
	}
	rebuilt(t, p)
}

var morning = time.Date(2025, time.June, 2, 7, 0, 0, 0, time.UTC)

func TestWaitsByZoneAndHour(t *testing.T) {
	var all []told
	for i := range 10 { // they wait 1 to 10 minutes
		id := fmt.Sprint("r", i)
		asked := morning.Add(time.Duration(i) * time.Minute)
		all = append(all, told{asked, ride.Requested{RideID: id, Pickup: 4}},
			told{asked.Add(time.Duration(i+1) * time.Minute), ride.Arrived{RideID: id}})
	}
	all = append(all, told{morning.Add(3 * time.Hour), ride.Requested{RideID: "later", Pickup: 4}}, told{morning.Add(3*time.Hour + time.Second), ride.Arrived{RideID: "later"}})
	slices.SortStableFunc(all, func(a, b told) int { return a.at.Compare(b.at) })
	p := open(t, record(t, all), views.Waits, 7)
	require.Equal(t, []string{fmt.Sprint(4, " ", morning.Unix(), 10, 300, 541, 600)}, rows(t, p, `SELECT zone, ' ', hour, arrivals, p50, p90, longest FROM wait_quantiles`))
	require.NoError(t, p.Read(t.Context(), 0, func(r *projection.Reader) error {
		longest, ok, err := views.WaitHour.Quantile(r, "seconds", "4", morning, 1)
		require.True(t, ok)
		require.InEpsilon(t, 600, longest, 1.0/256)
		return err
	}))
	rebuilt(t, p)
}

// TestSurge rises while nobody takes the rides that are asked for, does not
// flicker, and falls when it is over.
func TestSurge(t *testing.T) {
	var all []told
	n := 0
	minute := func(m, asked, taken int) {
		at := morning.Add(time.Duration(m) * time.Minute)
		for i := range asked {
			id := fmt.Sprint("r", n)
			n++
			all = append(all, told{at, ride.Requested{RideID: id, Pickup: 4}})
			if i < taken {
				all = append(all, told{at.Add(time.Second), ride.Accepted{RideID: id}}, told{at.Add(time.Second), ride.Accepted{RideID: id}})
			}
		}
	}
	level := func() int64 {
		var level int64
		p := open(t, record(t, all), views.Surge, 10)
		require.NoError(t, p.Read(t.Context(), 0, func(r *projection.Reader) (err error) {
			level, err = views.SurgeOf(r, 4)
			return err
		}))
		rebuilt(t, p)
		return level
	}
	minute(0, 10, 10)
	minute(5, 1, 1)
	require.EqualValues(t, 10, level(), "everybody is served")
	minute(6, 10, 6)
	minute(11, 3, 2)
	require.EqualValues(t, 15, level(), "11 asked in five minutes, 7 taken")
	minute(12, 10, 8)
	minute(16, 1, 1)
	require.EqualValues(t, 15, level(), "a little better is not enough to fall")
	minute(20, 40, 0)
	minute(25, 1, 1)
	require.EqualValues(t, 30, level(), "nobody comes: no more than 3.0")
	minute(60, 1, 1)
	require.EqualValues(t, 10, level(), "it is long over")
}
