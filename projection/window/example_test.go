package window_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/memory"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/projection/window"
)

// Measured is an event that says itself when it happened.
type Measured struct {
	Sensor string
	At     time.Time
	Milli  int64 // thousandths of a degree
}

func (Measured) EventType() string { return "measured" }

func degrees(m Measured) int64 { return m.Milli }

// Each sensor's readings by the minute, waiting a minute for what comes late.
var perMinute = window.Tumbling("reading_minute", time.Minute,
	window.Count[Measured]("readings"),
	window.Max("hottest", degrees),
	window.OnFinal[Measured](alarm))

var readings = window.Define("reading", &window.Options{Lateness: time.Minute}, perMinute)

var Weather = projection.Define("weather", 1, `CREATE TABLE alarm (sensor TEXT NOT NULL, minute INTEGER NOT NULL, hottest INTEGER NOT NULL) STRICT`,
	window.On(readings, func(e eventstore.Of[Measured]) (window.Point, Measured, bool) {
		return window.Point{Key: e.Payload.Sensor, Time: e.Payload.At}, e.Payload, true
	}))

// alarm is told of each minute once, when nothing can change it any more.
func alarm(_ context.Context, tx *projection.Tx, minute window.Final) error {
	var readings, hottest int64
	if err := minute.Scan(&readings, &hottest); err != nil || hottest < 40_000 {
		return err
	}
	_, err := tx.Exec(`INSERT INTO alarm (sensor, minute, hottest) VALUES (?, ?, ?)`, minute.Key, minute.Start.Unix(), hottest)
	return err
}

func Example() {
	if err := weather(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output:
	// roof 12:00 2 readings, hottest 41.5, final true
	// roof 12:01 1 readings, hottest 20.0, final false
	// roof 12:02 1 readings, hottest 21.0, final false
	// too late: 1, at position 5
}

func weather(ctx context.Context) (err error) {
	store := memory.New(nil)
	for _, m := range []Measured{
		{"roof", noon(0, 10), 39_000},
		{"roof", noon(1, 5), 20_000},
		{"roof", noon(0, 50), 41_500}, // behind the others, and counted
		{"roof", noon(2, 0), 21_000},  // noon is final: it ended a minute ago
		{"roof", noon(0, 59), 50_000}, // too late
	} {
		data, err := eventstore.Encode(m)
		if err != nil {
			return err
		}
		_, err = store.Append(ctx, eventstore.Batch{Writes: []eventstore.Write{{Stream: "sensor-roof", Events: []eventstore.EventData{data}}}})
		if err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "weather")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	board, err := projection.Open(ctx, dir, store, Weather, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, board.Close()) }()
	page, err := store.ReadLog(ctx, 0, bus.DefaultPageSize, eventstore.Filter{}) // a router does this
	if err != nil {
		return err
	}
	if err := board.Apply(ctx, bus.Page{Events: page.Events, Through: page.Through}); err != nil {
		return err
	}
	return board.Read(ctx, page.Through.Position, show)
}

func noon(minute, second int) time.Time {
	return time.Date(2026, time.July, 1, 12, minute, second, 0, time.UTC)
}

func show(r *projection.Reader) error {
	rows, err := r.Query(`SELECT key, starts, readings, hottest, final FROM reading_minute ORDER BY starts`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var key string
		var starts, readings, hottest int64
		var final bool
		if err := rows.Scan(&key, &starts, &readings, &hottest, &final); err != nil {
			return err
		}
		fmt.Printf("%s %s %d readings, hottest %.1f, final %v\n", key, time.Unix(0, starts).UTC().Format("15:04"), readings, float64(hottest)/1000, final)
	}
	late, err := readings.Late(r)
	for _, l := range late {
		fmt.Printf("too late: %d, at position %d\n", l.Events, l.First)
	}
	return errors.Join(err, rows.Err())
}
