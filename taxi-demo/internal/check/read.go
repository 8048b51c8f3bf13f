package check

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/taxi-demo/internal/tlc"
	"github.com/leat-go/leat/taxi-demo/internal/views"
)

// Reader gives a consistent look at one read model.
type Reader func(ctx context.Context, def *projection.Definition, fn func(*projection.Reader) error) error

// Host is what the check needs to know beside the read models.
type Host struct {
	Head       int64
	OpenSagas  int
	Parked     int
	Blocked    []string // consumers, each with its reason
	DeadLetter int      // all of them
	Injected   int      // dead letters that chaos put there
}

// Read fills a report from the read models and the host's state. Seconds and
// FsyncUS are the caller's.
func Read(ctx context.Context, read Reader, host Host) (Report, error) {
	r := Report{Head: host.Head, Events: host.Head, DeadLetter: host.DeadLetter}
	r.Sagas = Sagas{Open: host.OpenSagas, Parked: host.Parked}
	for _, part := range []struct {
		def  *projection.Definition
		read func(*projection.Reader) error
	}{
		{views.FareCheck, r.readTrips},
		{views.Rides, r.readRides},
		{views.Money, r.readMoney},
		{views.Branches, r.readBranches},
	} {
		if err := read(ctx, part.def, part.read); err != nil {
			return Report{}, fmt.Errorf("check %s: %w", part.def.Name(), err)
		}
	}
	if host.Injected > 0 {
		r.Branches["poison_event"] = host.Injected
	}
	r.judge(host)
	return r, nil
}

func (r *Report) judge(host Host) {
	say := func(bad bool, format string, args ...any) {
		if bad {
			r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
		}
	}
	mismatches := r.FareCheck.Meter.Mismatch + r.FareCheck.JFKFlat.Mismatch
	say(mismatches > 0, "%d fares differ from the recorded ones", mismatches)
	say(r.unfared > 0, "%d real trips that can be checked have no fare", r.unfared)
	say(r.lost > 0, "%d real trips did not end as they did", r.lost)
	fates := r.Rides.Settled + r.Rides.Cancelled + r.Rides.Unfulfilled + r.Rides.Outstanding + r.Rides.Refunded + r.Rides.Open
	say(r.Trips != fates+r.Rides.NotDriven+r.refundRows, "%d rows, but %d rides, %d rows not driven and %d refunds", r.Trips, fates, r.Rides.NotDriven, r.refundRows)
	say(r.Money.Sum != 0, "money is off by %d cents", r.Money.Sum)
	say(r.Rides.Open > 0, "%d rides are open", r.Rides.Open)
	say(host.OpenSagas > 0, "%d sagas are open", host.OpenSagas)
	say(host.Parked > 0, "%d sagas are parked", host.Parked)
	for _, reason := range host.Blocked {
		say(true, "blocked: %s", reason)
	}
	say(host.DeadLetter != host.Injected, "%d dead letters, %d were injected", host.DeadLetter, host.Injected)
	r.OK = len(r.Problems) == 0
}

func (r *Report) readTrips(q *projection.Reader) error {
	err := each(q, `
		SELECT t.class,
		       COUNT(*),
		       COUNT(*) FILTER (WHERE m.fare = t.fare),
		       COUNT(*) FILTER (WHERE m.fare <> t.fare),
		       COUNT(*) FILTER (WHERE t.ride_id IS NULL)
		FROM trip t
		LEFT JOIN metered m ON m.ride_id = t.ride_id
		GROUP BY t.class`,
		func(rows *sql.Rows) error {
			var class tlc.Class
			var trips, exact, mismatch, notDriven int
			if err := rows.Scan(&class, &trips, &exact, &mismatch, &notDriven); err != nil {
				return err
			}
			r.Trips += trips
			r.Rides.NotDriven += notDriven
			return r.FareCheck.set(class, Checked{Trips: trips, Exact: exact, Mismatch: mismatch})
		})
	if err != nil {
		return err
	}
	err = q.QueryRow(`
		SELECT (SELECT COUNT(*) FROM trip WHERE refund = 1 AND ride_id IS NOT NULL),
		       (SELECT COUNT(*) FROM real_trip WHERE lost = 1),
		       (SELECT COUNT(*)
		        FROM real_trip r
		        JOIN trip t ON t.ride_id = r.ride_id AND t.refund = 0
		        JOIN metered m ON m.ride_id = r.ride_id
		        WHERE t.class IN ('meter', 'jfk_flat') AND m.fare IS NULL)`).
		Scan(&r.refundRows, &r.lost, &r.unfared)
	if err != nil {
		return err
	}
	var exact, within float64
	err = q.QueryRow(`
		SELECT COUNT(*),
		       COALESCE(AVG(m.quote = t.fare), 0) * 100,
		       COALESCE(AVG(abs(m.quote - t.fare) * 20 <= t.fare), 0) * 100
		FROM trip t
		JOIN metered m ON m.ride_id = t.ride_id
		WHERE t.class = 'meter' AND m.fare IS NOT NULL`).
		Scan(&r.Quote.Trips, &exact, &within)
	r.Quote.ExactPct, r.Quote.Within5PctPct = percent(exact), percent(within)
	return err
}

func (f *FareCheck) set(class tlc.Class, c Checked) error {
	counted := Counted{Trips: c.Trips}
	switch class {
	case tlc.ClassMeter:
		f.Meter = c
	case tlc.ClassJFKFlat:
		f.JFKFlat = c
	case tlc.ClassMeterUnreachable:
		f.MeterUnreachable = counted
	case tlc.ClassNewark:
		f.Newark = counted
	case tlc.ClassNassauWestchester:
		f.NassauWestchester = counted
	case tlc.ClassNegotiated:
		f.Negotiated = counted
	case tlc.ClassNoCheck:
		f.NoCheck = counted
	default:
		return fmt.Errorf("unknown class %q", class)
	}
	return nil
}

func (r *Report) readRides(q *projection.Reader) error {
	return each(q, `SELECT status, rides FROM outcome`, func(rows *sql.Rows) error {
		var status string
		var n int
		if err := rows.Scan(&status, &n); err != nil {
			return err
		}
		switch status {
		case views.Settled:
			r.Rides.Settled = n
		case views.Cancelled:
			r.Rides.Cancelled = n
		case views.Unfulfilled:
			r.Rides.Unfulfilled = n
		case views.Outstanding:
			r.Rides.Outstanding = n
		case views.RefundedOut:
			r.Rides.Refunded = n
		case views.Open:
			r.Rides.Open = n
		default:
			return fmt.Errorf("unknown outcome %q", status)
		}
		return nil
	})
}

func (r *Report) readMoney(q *projection.Reader) error {
	m := &r.Money
	accounts := map[string]*int64{
		"charged": &m.Charged, "receivable": &m.Receivable,
		"driver_net": &m.DriverNet, "tips": &m.Tips, "tolls": &m.Tolls,
		"platform_fee": &m.PlatformFee, "taxes": &m.Taxes,
	}
	err := each(q, `SELECT name, cents FROM account`, func(rows *sql.Rows) error {
		var name string
		var cents int64
		if err := rows.Scan(&name, &cents); err != nil {
			return err
		}
		account, ok := accounts[name]
		if !ok {
			return fmt.Errorf("unknown account %q", name)
		}
		*account = cents
		return nil
	})
	m.Sum = m.Charged + m.Receivable - m.DriverNet - m.Tips - m.Tolls - m.PlatformFee - m.Taxes
	return err
}

func (r *Report) readBranches(q *projection.Reader) error {
	r.Branches = map[string]int{}
	return each(q, `SELECT name, n FROM counter`, func(rows *sql.Rows) error {
		var name string
		var n int
		if err := rows.Scan(&name, &n); err != nil {
			return err
		}
		r.Branches[name] = n
		return nil
	})
}

// each runs fn for every row of a query.
func each(q *projection.Reader, query string, fn func(*sql.Rows) error) (err error) {
	rows, err := q.Query(query)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Err(), rows.Close()) }()
	for rows.Next() {
		if err := fn(rows); err != nil {
			return err
		}
	}
	return nil
}
