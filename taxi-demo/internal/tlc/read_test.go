package tlc

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/taxi-demo/internal/meter"
)

const (
	header2017 = "VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,RatecodeID,store_and_fwd_flag,PULocationID,DOLocationID,payment_type,fare_amount,extra,mta_tax,tip_amount,tolls_amount,improvement_surcharge,total_amount"
	row2017    = "2,01/02/2017 03:04:05 PM,01/02/2017 03:14:05 PM,1,1.60,1,N,141,233,1,9.00,0.00,0.50,2.00,0.00,0.30,11.80"
	header2019 = header2017 + ",congestion_surcharge"
	row2019    = "1,2019-03-23 20:21:09,2019-03-23 20:27:24,1,1.6,1,N,141,233,1,7.0,3.0,0.5,2.15,0.0,0.3,12.95,2.5"
)

func write(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path
}

func zipped(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func read(t testing.TB, path string) []Trip {
	t.Helper()
	var trips []Trip
	for trip, err := range Trips(path) {
		require.NoError(t, err)
		trips = append(trips, trip)
	}
	return trips
}

func want2017() Trip {
	return Trip{
		Row: 1, Color: Yellow, Vendor: 2,
		Pickup: time.Date(2017, 1, 2, 15, 4, 5, 0, time.UTC), Dropoff: time.Date(2017, 1, 2, 15, 14, 5, 0, time.UTC),
		Passengers: 1, Distance: 1_600_000, RateCode: meter.Standard, PickupZone: 141, DropoffZone: 233, Payment: Card,
		Fare: 900, MTATax: 50, Tip: 200, Improvement: 30, Total: 1180,
	}
}

func TestLayoutsOfTheYears(t *testing.T) {
	green := want2017()
	green.Color = Green
	for _, row := range []struct {
		name, text string
		want       Trip
	}{
		{"2017, 12 hours", header2017 + "\n" + row2017 + "\n", want2017()},
		{"CRLF, no last line break", header2017 + "\r\n" + row2017, want2017()},
		{"blank line after the header, empty cells at the end", header2017 + "\n\n" + row2017 + ",,\n", want2017()},
		{"byte order mark, quotes", "\xef\xbb\xbf\"" + strings.ReplaceAll(header2017, ",", `","`) + "\"\n\"" + strings.ReplaceAll(row2017, ",", `","`) + "\"\n", want2017()},
		{"other case and spaces", strings.ReplaceAll(strings.ToUpper(header2017), ",", " , ") + "\n" + row2017, want2017()},
		{"green", strings.ReplaceAll(header2017, "tpep", "lpep") + ",ehail_fee,trip_type\n" + row2017 + ",,1", green},
		{"color column", header2017 + ",color\n" + row2017 + ",green", green},
		{"color column, empty", header2017 + ",color\n" + row2017 + ",", want2017()},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := write(t, "trips.csv", []byte(row.text))
			require.Equal(t, []Trip{row.want}, read(t, path))
			info, err := Check(path)
			require.NoError(t, err)
			require.EqualValues(t, 1, info.Rows)
			require.Equal(t, FormatCSV, info.Format)
			require.Len(t, info.SHA256, 64)

			path = write(t, "any name", zipped(t, row.text))
			require.Equal(t, []Trip{row.want}, read(t, path))
			info, err = Check(path)
			require.NoError(t, err)
			require.Equal(t, FormatGzip, info.Format)
		})
	}
}

func TestColumnsAreFoundInAnyOrder(t *testing.T) {
	names := strings.Split(header2017, ",")
	cells := strings.Split(row2017, ",")
	for i, j := 0, len(names)-1; i < j; i, j = i+1, j-1 {
		names[i], names[j] = names[j], names[i]
		cells[i], cells[j] = cells[j], cells[i]
	}
	path := write(t, "trips.csv", []byte("something_new,"+strings.Join(names, ",")+"\nx,"+strings.Join(cells, ",")+"\n"))
	require.Equal(t, []Trip{want2017()}, read(t, path))
}

func TestDirtIsFlaggedAndNeverFailsTheReading(t *testing.T) {
	header := header2019 + ",Airport_fee"
	for _, row := range []struct {
		name, cells string
		want        Flag
	}{
		{"clean, extra apart", "2,2024-03-23 20:21:09,2024-03-23 20:27:24,1,1.6,1,N,132,233,1,7.0,1.0,0.5,0,0,1.0,13.75,2.5,1.75", 0},
		{"clean, extra includes", "1,2024-03-23 20:21:09,2024-03-23 20:27:24,1,1.6,1,N,132,233,1,7.0,5.25,0.5,0,0,1.0,13.75,2.5,1.75", 0},
		{"refund", "2,2019-03-23 20:21:09,2019-03-23 20:27:24,1,1.6,1,N,141,233,4,-7.0,-0.5,-0.5,0,0,-0.3,-10.8,-2.5,0", FlagNegativeFare},
		{"no rate code", "2,2024-03-23 20:21:09,2024-03-23 20:27:24,,1.6,,,141,233,0,7.0,0,0.5,0,0,1.0,8.5,,", FlagNoRateCode | FlagEmptyCell},
		{"rate code 99", "2,2024-03-23 20:21:09,2024-03-23 20:27:24,1,1.6,99,N,141,233,1,7.0,0,0.5,0,0,1.0,8.5,0,0", FlagNoRateCode},
		{"zones, distance", "2,2024-03-23 20:21:09,2024-03-23 20:27:24,1,0,1,N,264,265,1,7.0,0,0.5,0,0,1.0,8.5,0,0", FlagUnknownZone | FlagZeroDistance},
		{"times", "2,2024-03-23 20:21:09,2024-03-23 20:21:09,1,1.6,1,N,1,2,1,7.0,0,0.5,0,0,1.0,8.5,0,0", FlagDropoffNotAfter},
		{"long", "2,2024-03-23 20:21:09,2024-03-24 00:21:09,1,1.6,1,N,1,2,1,7.0,0,0.5,0,0,1.0,8.5,0,0", FlagOverFourHours},
		{"total", "2,2024-03-23 20:21:09,2024-03-23 20:27:24,1,1.6,1,N,1,2,1,7.0,0,0.5,0,0,1.0,10.45,0,0", FlagTotalMismatch},
		{"no fare, no time", "2,2024-03-23 20:21:09,,1,1.6,1,N,1,2,1,,0,0,0,0,0,0,0,0", FlagNoFare | FlagNoTime | FlagEmptyCell},
		{"unreadable", "2,2024-03-23 20:21:09,soon,1,1.6,1,N,1,2,1,7 dollars,0,0,0,0,0,0,0,0", FlagNoFare | FlagNoTime | FlagUnreadableCell},
	} {
		t.Run(row.name, func(t *testing.T) {
			trips := read(t, write(t, "trips.csv", []byte(header+"\n"+row.cells+"\n")))
			require.Len(t, trips, 1)
			require.Equal(t, row.want.String(), trips[0].Flags.String())
		})
	}
	require.Equal(t, []string{"negative_fare", "no_rate_code"}, (FlagNegativeFare | FlagNoRateCode).Names())
	require.Len(t, (flagEnd - 1).Names(), len(flagNames))
}

func TestBadFilesGetOneClearLineBeforeTheFirstTrip(t *testing.T) {
	good := header2017 + "\n" + strings.Repeat(row2017+"\n", 20_000)
	gz := zipped(t, good)
	flipped := bytes.Clone(gz)
	flipped[len(flipped)-5] ^= 0xff
	for _, row := range []struct {
		name string
		data []byte
		kind error
		says []string
	}{
		{"empty", nil, ErrEmpty, []string{"the file is empty"}},
		{"blank lines", []byte("\n\n \n"), ErrEmpty, []string{"only empty lines"}},
		{"header only", []byte(header2017 + "\n"), ErrEmpty, []string{"no row"}},
		{"empty gzip", zipped(t, ""), ErrEmpty, []string{"nothing in the gzip file"}},
		{"text", []byte("Dear passenger,\nthank you.\n"), ErrNotTripRecords, []string{":1:", "none of the columns", "yellow or green"}},
		{"other table", []byte("\"LocationID\",\"Borough\"\n1,\"EWR\"\n"), ErrNotTripRecords, []string{":1:"}},
		{"coordinates instead of zones", []byte(strings.ReplaceAll(header2017, "PULocationID,DOLocationID", "pickup_longitude,pickup_latitude") + "\n" + row2017), ErrLayout, []string{":1:", "missing columns: PULocationID, DOLocationID"}},
		{"no times", []byte(strings.ReplaceAll(header2017, "tpep_", "") + "\n" + row2017), ErrLayout, []string{"tpep_pickup_datetime or lpep_pickup_datetime"}},
		{"column twice", []byte(header2017 + ",extra\n" + row2017 + ",1\n"), ErrLayout, []string{"two columns extra"}},
		{"times of another kind", []byte(header2017 + "\n" + strings.ReplaceAll(row2017, "01/02/2017", "2. Jan 2017") + "\n"), ErrLayout, []string{":2:", "readable times"}},
		{"binary", []byte("\x7fELF\x02\x01\x01\x00\x00\x00"), ErrNotTripRecords, []string{"a binary file"}},
		{"zip", []byte("PK\x03\x04....."), ErrNotTripRecords, []string{"a zip archive", "unpack"}},
		{"one endless line", bytes.Repeat([]byte("x"), bufferSize+1), ErrNotTripRecords, []string{":1:", "longer than"}},
		{"row too short", []byte(header2017 + "\n" + row2017 + "\n1,2,3\n" + row2017 + "\n"), ErrDamaged, []string{":3:", "3 cells, the header 17"}},
		{"row too long", []byte(header2017 + "\n" + row2017 + "\n" + row2017 + ",7\n"), ErrDamaged, []string{":3:", "18 cells, the header 17"}},
		{"open quote", []byte(header2017 + "\n\"" + row2017 + "\n"), ErrDamaged, []string{":2:", "quote"}},
		{"cut in a row", []byte(good[:len(good)-40]), ErrTruncated, []string{":20001:", "the file ends there", "download"}},
		{"truncated gzip", gz[:len(gz)*3/4], ErrTruncated, []string{"the gzip file ends too early", "download"}},
		{"gzip without its checksum", gz[:len(gz)-6], ErrTruncated, []string{"ends too early"}},
		{"gzip header only", gz[:5], ErrTruncated, []string{"ends too early"}},
		{"gzip with a wrong checksum", flipped, ErrDamaged, []string{"damaged"}},
		{"truncated parquet", []byte("PAR1" + strings.Repeat("x", 100)), ErrTruncated, []string{"footer is missing"}},
		{"tiny parquet", []byte("PAR1"), ErrTruncated, []string{"too early"}},
		{"no parquet", []byte("PAR1" + strings.Repeat("x", 100) + "PAR1"), ErrDamaged, []string{"cannot be opened"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := write(t, "trips.csv", row.data)
			_, err := Check(path)
			require.ErrorIs(t, err, row.kind)
			file, ok := errors.AsType[*FileError](err)
			require.True(t, ok)
			require.Equal(t, path, file.Path)
			for _, says := range append(row.says, path, "; ") {
				require.Contains(t, err.Error(), says)
			}
			require.NotContains(t, err.Error(), "\n")
		})
	}

	_, err := Check(filepath.Join(t.TempDir(), "nowhere.csv"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = Check(t.TempDir())
	require.ErrorIs(t, err, ErrNotTripRecords)
}

func TestAnErrorEndsTheTripsAndIsTheLast(t *testing.T) {
	path := write(t, "trips.csv", []byte(header2017+"\n"+row2017+"\n"+row2017+"\n1,2\n"+row2017+"\n"))
	var rows, failed int
	for trip, err := range Pair(Trips(path), 5) {
		if err != nil {
			require.ErrorIs(t, err, ErrDamaged)
			require.Zero(t, trip)
			failed++
			continue
		}
		require.Zero(t, failed)
		rows++
	}
	require.Equal(t, []int{2, 1}, []int{rows, failed})

	for range Pair(Trips(path), 1) {
		break // the file is closed
	}
}

// bigCSV writes rows of the shape of a month of 2019.
func bigCSV(b *testing.B, rows int) string {
	return write(b, "month.csv", []byte(header2019+"\n"+strings.Repeat(row2019+"\n", rows)))
}

func BenchmarkTripsCSV(b *testing.B) {
	const rows = 100_000
	path := bigCSV(b, rows)
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for _, err := range Pair(Trips(path), 0) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != rows {
			b.Fatal(n)
		}
	}
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

func BenchmarkCheckCSV(b *testing.B) {
	const rows = 100_000
	path := bigCSV(b, rows)
	for b.Loop() {
		if _, err := Check(path); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
