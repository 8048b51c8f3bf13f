package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/serverless"
	"github.com/leat-go/leat/taxi-demo/internal/chaos"
	"github.com/leat-go/leat/taxi-demo/internal/check"
	"github.com/leat-go/leat/taxi-demo/internal/functions"
	"github.com/leat-go/leat/taxi-demo/internal/importer"
	"github.com/leat-go/leat/taxi-demo/internal/meter"
	"github.com/leat-go/leat/taxi-demo/internal/replay"
	"github.com/leat-go/leat/taxi-demo/internal/tlc"
	"github.com/leat-go/leat/taxi-demo/internal/views"
)

// sample returns a file with the first rows of the real trip records that lie
// beside the project, all of them for rows 0, and skips where there are none.
func sample(t *testing.T, rows int) string {
	t.Helper()
	path := filepath.Join("..", "..", "shared", "data", "nyc_tlc_2019-03_sample.csv")
	f, err := os.Open(path)
	if err != nil {
		t.Skipf("the real trip records are not here: %v", err)
	}
	defer f.Close()
	if rows == 0 {
		return path
	}
	var b bytes.Buffer
	for lines := bufio.NewScanner(f); rows >= 0 && lines.Scan(); rows-- {
		b.Write(lines.Bytes())
		b.WriteByte('\n')
	}
	cut := filepath.Join(t.TempDir(), "trips.csv")
	require.NoError(t, os.WriteFile(cut, b.Bytes(), 0o600))
	return cut
}

// TestRealTripsToTheCent replays real trips and demands every checkable fare
// back from the telemetry, exactly.
func TestRealTripsToTheCent(t *testing.T) {
	rows := 0
	if raceDetector || testing.Short() {
		rows = 300
	}
	var out, errs bytes.Buffer
	store := filepath.Join(t.TempDir(), "store")
	began := time.Now()
	file := sample(t, rows)
	code := run([]string{"import", file, "--json", "--store", store}, terminal{out: &out, err: &errs})
	require.Equal(t, exitOK, code, "%s%s", out.String(), errs.String())
	var got check.Report
	require.NoError(t, json.Unmarshal(out.Bytes(), &got))
	t.Logf("%d rows, %d events in %v, one fsync %d µs", got.Trips, got.Events, time.Since(began).Round(time.Millisecond), got.FsyncUS)

	require.True(t, got.OK)
	require.Zero(t, got.Money.Sum)
	require.Zero(t, got.FareCheck.Meter.Mismatch)
	require.Zero(t, got.FareCheck.JFKFlat.Mismatch)
	require.Equal(t, got.FareCheck.Meter.Trips, got.FareCheck.Meter.Exact)
	require.Equal(t, got.FareCheck.JFKFlat.Trips, got.FareCheck.JFKFlat.Exact)
	rides := got.Rides.Settled + got.Rides.Cancelled + got.Rides.Unfulfilled + got.Rides.Outstanding + got.Rides.Refunded
	require.Equal(t, got.Trips, rides+got.Rides.NotDriven+got.Rides.Refunded, "every row has one fate")
	requireZones(t, store, file)
	if rows != 0 {
		require.Equal(t, rows, got.Trips)
		return
	}
	require.Equal(t, 6500, got.Trips)
	require.Equal(t, check.FareCheck{
		Meter:             check.Checked{Trips: 6109, Exact: 6109},
		JFKFlat:           check.Checked{Trips: 130, Exact: 130},
		MeterUnreachable:  check.Counted{Trips: 27},
		Newark:            check.Counted{Trips: 16},
		NassauWestchester: check.Counted{Trips: 8},
		Negotiated:        check.Counted{Trips: 147},
		NoCheck:           check.Counted{Trips: 63},
	}, got.FareCheck)
}

// requireZones demands that every trip of a file that was driven is counted where
// and when it began, though the file is in no order of time.
func requireZones(t *testing.T, store, file string) {
	t.Helper()
	want := map[string]int{}
	for trip, err := range tlc.Pair(tlc.Trips(file), tlc.Window) {
		require.NoError(t, err)
		if replay.NewPlan(trip, meter.Tariffs()).Driven {
			want[fmt.Sprint(trip.PickupZone, " ", trip.Pickup.Truncate(time.Minute).UnixNano())]++
		}
	}
	v, err := projection.OpenReader(t.Context(), store, views.Zones)
	require.NoError(t, err)
	defer func() { require.NoError(t, v.Close()) }()
	got := map[string]int{}
	require.NoError(t, v.Read(t.Context(), func(r *projection.Reader) (err error) {
		late, err := views.ZoneTrips.Late(r)
		require.NoError(t, err)
		require.Empty(t, late, "nothing is too late")
		rows, err := r.Query(`SELECT key || ' ' || starts, trips, final FROM zone_minute`)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, rows.Close()) }()
		for rows.Next() {
			var minute string
			var trips, final int
			if err := rows.Scan(&minute, &trips, &final); err != nil {
				return err
			}
			require.Zero(t, final, "another file may have more for it")
			got[minute] = trips
		}
		return rows.Err()
	}))
	require.NotEmpty(t, want)
	require.Equal(t, want, got)
}

// tickThief is a world whose cars lose one tick of even rows on the way and
// report one of odd rows twice.
type tickThief struct {
	*app
}

func (o tickThief) RequestTrip(ctx context.Context, id string, c functions.RequestTrip) error {
	tick := int64(c.Planned.TickMS)
	if c.Recorded.Row%2 == 0 {
		tick = -tick
	}
	c.Planned.Profile = longer(c.Planned.Profile, tick)
	return o.app.RequestTrip(ctx, id, c)
}

// longer returns the profile with so many milliseconds more, or less, of what
// the car did last.
func longer(p replay.Profile, ms int64) replay.Profile {
	if p.MS-p.MovingMS < -ms {
		p.Distance += p.Distance * ms / p.MovingMS
		p.MovingMS += ms
	}
	p.MS += ms
	return p
}

// TestALostOrDoubledTickIsSeen shows that the fare check can fail: one tick
// more or less is a wrong cent in most trips.
func TestALostOrDoubledTickIsSeen(t *testing.T) {
	const rows = 120
	info, err := tlc.Check(sample(t, rows))
	require.NoError(t, err)
	clk := clock.NewVirtual(importStart())
	a, err := openApp(t.Context(), filepath.Join(t.TempDir(), "store"), options{
		clock: clk, log: quiet(),
		source: func(a *app) (serverless.Source, error) {
			im := importer.New(info, tickThief{a}, meter.Tariffs(), chaos.Config{}, clk.Now)
			t.Cleanup(im.Close)
			return im, nil
		},
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, a.close()) }()
	_, err = a.host.Drain(t.Context(), serverless.Budget{})
	require.NoError(t, err)
	r, err := a.checked(t.Context(), 0)
	require.NoError(t, err)
	require.False(t, r.OK)
	require.Greater(t, r.FareCheck.Meter.Mismatch, r.FareCheck.Meter.Trips*8/10, "%+v", r.FareCheck.Meter)
	require.Zero(t, r.Money.Sum, "money adds up all the same: the fare is wrong, not its way")

	var out, errs bytes.Buffer
	require.ErrorIs(t, terminal{out: &out, err: &errs}.show(r, true), errCheckFailed)
	require.Contains(t, errs.String(), "fares differ from the recorded ones")
}
