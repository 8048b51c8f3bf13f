package replay

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/taxi-demo/internal/meter"
	"github.com/leat-go/leat/taxi-demo/internal/tlc"
)

// A month nobody has seen: a simulated meter drives random profiles second by
// second, through traffic that has nothing to do with the solver's way of
// driving, and the records are written in the layout of the year, with dirt.

// driven is what a simulated cab recorded.
type driven struct {
	miles   float64 // rounded as the vendor does
	seconds int
	units   meter.Units
}

func simulate(rng *rand.Rand, vendor int) driven {
	var d driven
	var distance int64
	seconds := 60 + rng.IntN(600) + rng.IntN(1500)
	cruise := int64(8 + rng.IntN(30)) // mph, a fifth of the way at most on a highway
	for d.seconds < seconds {
		speed := int64(0)
		switch rng.IntN(10) {
		case 0, 1, 2:
		case 3, 4:
			speed = 1 + rng.Int64N(11)
		default:
			speed = cruise + rng.Int64N(12)
		}
		for range 5 + rng.IntN(40) {
			step := speed * 1_000_000 / 3600
			distance += step
			d.units += meter.Interval(step, 1000)
			d.seconds++
		}
	}
	decimals := int64(10_000) // vendor 2 records hundredths of a mile
	if vendor == 1 {
		decimals = 100_000 // vendor 1 tenths
	}
	distance = max((distance+decimals/2)/decimals*decimals, decimals)
	d.miles = float64(distance) / 1e6
	return d
}

// row is a record before it is written.
type row struct {
	vendor          int
	pickup, dropoff time.Time
	miles           float64
	code            int // 0 is an empty cell
	pu, do          int
	bill            meter.Breakdown
	sign            float64
}

// month makes n rows and counts those that a standard meter charged.
func month(seed uint64, n int, start time.Time) (rows []row, metered, pairs int) {
	rng := rand.New(rand.NewPCG(seed, 1))
	tariffs := meter.Tariffs()
	for len(rows) < n {
		r := row{vendor: 1 + rng.IntN(2), code: 1, pu: 1 + rng.IntN(263), do: 1 + rng.IntN(263), sign: 1}
		r.pickup = start.Add(time.Duration(rng.IntN(27*24*3600)) * time.Second)
		tariff, _ := meter.InForce(tariffs, r.pickup)
		d := simulate(rng, r.vendor)
		r.miles, r.dropoff = d.miles, r.pickup.Add(time.Duration(d.seconds)*time.Second)
		fare := meter.Fare(tariff, d.units)
		switch dirt := rng.IntN(100); {
		case dirt < 3:
			r.code, fare = 2, tariff.JFKFlat
		case dirt == 3:
			r.code, fare = 2, tariff.JFKFlat-1000
		case dirt == 4:
			r.code, fare = 5, 100*rng.Int64N(80)
		case dirt == 5:
			r.code, fare = 3, fare+tariff.Newark
		case dirt == 6:
			r.miles = 0
		case dirt == 7:
			r.dropoff = r.pickup
		case dirt == 8:
			r.code = 0
		case dirt == 9:
			r.code = 99
		case dirt == 10:
			r.dropoff = r.pickup.Add(23*time.Hour + 50*time.Minute)
		case dirt == 11:
			r.sign = -1
		case dirt == 12:
			r.pickup, r.dropoff = r.pickup.AddDate(-22, 0, 0), r.dropoff.AddDate(-22, 0, 0)
		default:
			metered++
		}
		r.bill = tariff.Bill(meter.Ride{PickedUp: r.pickup, Code: meter.RateCode(r.code), CongestionZone: rng.IntN(2) == 0, FromJFK: r.pu == 132}, fare)
		r.bill.Tip = rng.Int64N(500)
		rows = append(rows, r)
		if r.code == 1 && r.sign > 0 && fare > 0 && rng.IntN(50) == 0 { // charged and refunded
			r.sign = -1
			rows = append(rows, r)
			pairs++
		}
	}
	return rows, metered, pairs
}

func dollars(r row, cents int64) float64 { return r.sign * float64(cents) / 100 }

// extra is what the vendor writes into extra: vendor 1 all surcharges again.
func (r row) extra() int64 {
	if r.vendor == 1 {
		return r.bill.Extra + r.bill.Congestion + r.bill.AirportFee
	}
	return r.bill.Extra
}

func csv2017(rows []row) []byte {
	var b strings.Builder
	b.WriteString("VendorID,lpep_pickup_datetime,lpep_dropoff_datetime,store_and_fwd_flag,RatecodeID,PULocationID,DOLocationID,passenger_count,trip_distance,fare_amount,extra,mta_tax,tip_amount,tolls_amount,ehail_fee,improvement_surcharge,total_amount,payment_type,trip_type\r\n\r\n")
	const clock = "01/02/2006 03:04:05 PM"
	for _, r := range rows {
		code := fmt.Sprint(r.code)
		if r.code == 0 {
			code = ""
		}
		fmt.Fprintf(&b, "%d,%s,%s,N,%s,%d,%d,1,%.2f,%v,%v,%v,%v,0,,%v,%v,2,1\r\n", r.vendor, r.pickup.Format(clock), r.dropoff.Format(clock), code, r.pu, r.do, r.miles,
			dollars(r, r.bill.Fare), dollars(r, r.extra()), dollars(r, r.bill.MTATax), dollars(r, r.bill.Tip), dollars(r, r.bill.Improvement), dollars(r, r.bill.Total()))
	}
	return []byte(b.String())
}

type record2024 struct {
	Vendor      int32     `parquet:"VendorID"`
	Pickup      time.Time `parquet:"tpep_pickup_datetime,timestamp(microsecond:local)"`
	Dropoff     time.Time `parquet:"tpep_dropoff_datetime,timestamp(microsecond:local)"`
	Passengers  *int64    `parquet:"passenger_count"`
	Distance    float64   `parquet:"trip_distance"`
	RateCode    *int64    `parquet:"RatecodeID"`
	Flag        *string   `parquet:"store_and_fwd_flag"`
	PU          int32     `parquet:"PULocationID"`
	DO          int32     `parquet:"DOLocationID"`
	Payment     int64     `parquet:"payment_type"`
	Fare        float64   `parquet:"fare_amount"`
	Extra       float64   `parquet:"extra"`
	MTA         float64   `parquet:"mta_tax"`
	Tip         float64   `parquet:"tip_amount"`
	Tolls       float64   `parquet:"tolls_amount"`
	Improvement float64   `parquet:"improvement_surcharge"`
	Total       float64   `parquet:"total_amount"`
	Congestion  *float64  `parquet:"congestion_surcharge"`
	Airport     *float64  `parquet:"Airport_fee"`
}

// recordOld is the same month after a round trip through another tool.
type recordOld struct {
	Vendor      float64  `parquet:"VendorID"`
	Pickup      int64    `parquet:"tpep_pickup_datetime,timestamp(nanosecond)"`
	Dropoff     int64    `parquet:"tpep_dropoff_datetime,timestamp(millisecond)"`
	Passengers  *float64 `parquet:"passenger_count"`
	Distance    float32  `parquet:"trip_distance"`
	RateCode    *float64 `parquet:"RatecodeID"`
	PU          int64    `parquet:"PULocationID"`
	DO          string   `parquet:"DOLocationID"`
	Payment     int32    `parquet:"payment_type"`
	Fare        float32  `parquet:"fare_amount"`
	Extra       string   `parquet:"extra"`
	MTA         float32  `parquet:"mta_tax"`
	Tip         float64  `parquet:"tip_amount"`
	Tolls       int32    `parquet:"tolls_amount"`
	Improvement float64  `parquet:"improvement_surcharge"`
	Total       float32  `parquet:"total_amount"`
	Congestion  *float32 `parquet:"congestion_surcharge"`
	Airport     *float64 `parquet:"airport_fee"`
}

func parquet2024(t testing.TB, rows []row) []byte {
	records := make([]record2024, len(rows))
	for i, r := range rows {
		code, one, congestion, airport := int64(r.code), int64(1), dollars(r, r.bill.Congestion), dollars(r, r.bill.AirportFee)
		records[i] = record2024{
			Vendor: int32(r.vendor), Pickup: r.pickup, Dropoff: r.dropoff, Passengers: &one, Distance: r.miles, RateCode: &code,
			PU: int32(r.pu), DO: int32(r.do), Payment: 1, Fare: dollars(r, r.bill.Fare), Extra: dollars(r, r.extra()), MTA: dollars(r, r.bill.MTATax),
			Tip: dollars(r, r.bill.Tip), Improvement: dollars(r, r.bill.Improvement), Total: dollars(r, r.bill.Total()), Congestion: &congestion, Airport: &airport,
		}
		if r.code == 0 { // a flex fare
			records[i].RateCode, records[i].Passengers, records[i].Payment = nil, nil, 0
		}
	}
	return table(t, records)
}

func parquetOld(t testing.TB, rows []row) []byte {
	records := make([]recordOld, len(rows))
	for i, r := range rows {
		code, congestion, airport := float64(r.code), float32(dollars(r, r.bill.Congestion)), dollars(r, r.bill.AirportFee)
		records[i] = recordOld{
			Vendor: float64(r.vendor), Pickup: r.pickup.UnixNano(), Dropoff: r.dropoff.UnixMilli(), Distance: float32(r.miles), RateCode: &code,
			PU: int64(r.pu), DO: fmt.Sprint(r.do), Payment: 1, Fare: float32(dollars(r, r.bill.Fare)), Extra: fmt.Sprint(dollars(r, r.extra())),
			MTA: float32(dollars(r, r.bill.MTATax)), Tip: dollars(r, r.bill.Tip), Improvement: dollars(r, r.bill.Improvement),
			Total: float32(dollars(r, r.bill.Total())), Congestion: &congestion, Airport: &airport,
		}
		if r.code == 0 {
			records[i].RateCode = nil
		}
	}
	return table(t, records)
}

func table[T any](t testing.TB, records []T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := parquet.NewGenericWriter[T](&b, parquet.Compression(&parquet.Snappy), parquet.MaxRowsPerRowGroup(700))
	_, err := w.Write(records)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func zipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func TestMonthsNobodyHasSeen(t *testing.T) {
	day := func(year int, month time.Month, day int) time.Time {
		return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	}
	const n = 1500
	for _, m := range []struct {
		name  string
		start time.Time
		write func(testing.TB, []row) []byte
	}{
		{"2017 green CSV, 12 hours, gzip", day(2017, 6, 1), func(t testing.TB, r []row) []byte { return zipped(t, csv2017(r)) }},
		{"2022-12, the tariff changes, Parquet", day(2022, 12, 2), parquet2024},
		{"2024 yellow Parquet", day(2024, 5, 1), parquet2024},
		{"2024 Parquet of other types", day(2024, 5, 1), parquetOld},
	} {
		t.Run(m.name, func(t *testing.T) {
			rows, metered, pairs := month(uint64(len(m.name)), n, m.start)
			path := filepath.Join(t.TempDir(), "month")
			require.NoError(t, os.WriteFile(path, m.write(t, rows), 0o600))
			info, err := tlc.Check(path)
			require.NoError(t, err)
			require.EqualValues(t, len(rows), info.Rows)

			trips := readAll(t, path)
			require.Len(t, trips, len(rows))
			for i, trip := range trips {
				lines, ok := trip.Lines()
				require.True(t, ok, "%+v", trip)
				if rows[i].sign > 0 {
					require.Equal(t, rows[i].bill, lines)
				}
			}
			sum := drive(t, trips)
			reached := 100 * float64(sum.classes[tlc.ClassMeter]) / float64(metered)
			t.Logf("%d of %d standard trips reached, %.2f %%; classes %v, landings %v, reasons %v, not driven %d, pairs %d of %d",
				sum.classes[tlc.ClassMeter], metered, reached, sum.classes, sum.landings, sum.reasons, sum.notDriven, sum.pairs, pairs)
			require.Zero(t, sum.mismatch)
			require.Equal(t, metered, sum.classes[tlc.ClassMeter]+sum.classes[tlc.ClassMeterUnreachable])
			require.Greater(t, reached, 98.0)
			require.GreaterOrEqual(t, sum.pairs, pairs, "every pair is found")
			require.Positive(t, sum.classes[tlc.ClassJFKFlat])
			for _, reason := range []tlc.Reason{
				tlc.ReasonRefund, tlc.ReasonNegativeFare, tlc.ReasonNoRateCode, tlc.ReasonDropoffNotAfter, tlc.ReasonNoTariff,
				tlc.ReasonNotTheFlatFare, tlc.ReasonZeroDistance, tlc.ReasonOverFourHours, tlc.ReasonByAgreement,
			} {
				require.Positive(t, sum.reasons[reason], "%s", reason)
			}
		})
	}
}
