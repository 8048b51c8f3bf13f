package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/leat-go/leat/taxi-demo/internal/check"
)

// checked reads the report of an open app.
func (a *app) checked(ctx context.Context, took time.Duration) (check.Report, error) {
	blocked, err := a.catchUp(ctx)
	if err != nil {
		return check.Report{}, err
	}
	host, err := a.state(ctx)
	if err != nil {
		return check.Report{}, err
	}
	host.Blocked = append(host.Blocked, blocked...)
	r, err := check.Read(ctx, a.read, host)
	if err != nil {
		return check.Report{}, err
	}
	r.Seconds = float64(took.Milliseconds()) / 1000
	r.FsyncUS, err = fsyncTime(a.store.Dir())
	return r, err
}

// fsyncTime measures one fsync of a small file in dir: the median of several,
// in microseconds.
func fsyncTime(dir string) (_ int64, err error) {
	const times = 21
	f, err := os.CreateTemp(dir, ".fsync-*")
	if err != nil {
		return 0, fmt.Errorf("measure fsync: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	took := make([]time.Duration, times)
	page := make([]byte, 4096)
	for i := range took {
		if _, err := f.WriteAt(page, 0); err != nil {
			return 0, fmt.Errorf("measure fsync on %s: %w", filepath.Dir(f.Name()), err)
		}
		start := time.Now()
		if err := f.Sync(); err != nil {
			return 0, fmt.Errorf("measure fsync on %s: %w", filepath.Dir(f.Name()), err)
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	return took[times/2].Microseconds(), nil
}

// show prints a report and returns errCheckFailed where it is not ok.
func (t terminal) show(r check.Report, asJSON bool) error {
	if asJSON {
		if err := t.json(r); err != nil {
			return err
		}
	} else if _, err := fmt.Fprint(t.out, printable(table(r))); err != nil {
		return err
	}
	if !r.OK {
		for _, p := range r.Problems {
			fmt.Fprintf(t.err, "check: %s\n", cell(p))
		}
		return errCheckFailed
	}
	return nil
}

func table(r check.Report) string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-20s "+format+"\n", append([]any{name}, args...)...)
	}
	line("trips", "%d rows, %d events, %.1f s (one fsync %d µs)", r.Trips, r.Events, r.Seconds, r.FsyncUS)
	line("rides", "%d settled, %d cancelled, %d unfulfilled, %d outstanding, %d refunded, %d open, %d not driven",
		r.Rides.Settled, r.Rides.Cancelled, r.Rides.Unfulfilled, r.Rides.Outstanding, r.Rides.Refunded, r.Rides.Open, r.Rides.NotDriven)
	f := r.FareCheck
	line("fare check: meter", "%d/%d exact, %d mismatches", f.Meter.Exact, f.Meter.Trips, f.Meter.Mismatch)
	line("fare check: JFK", "%d/%d exact, %d mismatches", f.JFKFlat.Exact, f.JFKFlat.Trips, f.JFKFlat.Mismatch)
	line("  not checked", "%d unreachable by a meter, %d Newark, %d Nassau/Westchester, %d negotiated, %d other",
		f.MeterUnreachable.Trips, f.Newark.Trips, f.NassauWestchester.Trips, f.Negotiated.Trips, f.NoCheck.Trips)
	line("  what it proves", "the way of the telemetry to the fare, not a prediction: the replay chose how long the car stood")
	line("quotes", "%.1f %% exact, %.1f %% within 5 %% of %d metered fares", float64(r.Quote.ExactPct), float64(r.Quote.Within5PctPct), r.Quote.Trips)
	m := r.Money
	line("money", "Σ = %s: charged %s + receivable %s = drivers %s + tips %s + platform %s + taxes %s + tolls %s", dollars(m.Sum),
		dollars(m.Charged), dollars(m.Receivable), dollars(m.DriverNet), dollars(m.Tips), dollars(m.PlatformFee), dollars(m.Taxes), dollars(m.Tolls))
	line("sagas", "%d open, %d parked", r.Sagas.Open, r.Sagas.Parked)
	line("dead letters", "%d", r.DeadLetter)
	names := make([]string, 0, len(r.Branches))
	for name := range r.Branches {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		line("branch", "%-28s %d", name, r.Branches[name])
	}
	verdict := "ok"
	if !r.OK {
		verdict = "NOT OK"
	}
	line("check", "%s", verdict)
	return b.String()
}
