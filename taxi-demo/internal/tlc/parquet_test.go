package tlc

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/stretchr/testify/require"
)

// published is the shape of the files that the TLC publishes.
type published struct {
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

// older is what other tools make of them: doubles for counts, nanoseconds,
// 32 bits, nullable everything.
type older struct {
	Vendor      *int64   `parquet:"vendorid"`
	Pickup      int64    `parquet:"lpep_pickup_datetime,timestamp(nanosecond)"`
	Dropoff     int64    `parquet:"lpep_dropoff_datetime,timestamp(millisecond:utc)"`
	Passengers  *float64 `parquet:"passenger_count"`
	Distance    *float32 `parquet:"trip_distance"`
	RateCode    *float64 `parquet:"ratecodeid"`
	PU          *float64 `parquet:"pulocationid"`
	DO          uint8    `parquet:"dolocationid"`
	Payment     *float32 `parquet:"payment_type"`
	Fare        float32  `parquet:"fare_amount"`
	Extra       int64    `parquet:"extra"`
	MTA         int32    `parquet:"mta_tax,decimal(2:9)"`
	Tip         int64    `parquet:"tip_amount,decimal(3:18)"`
	Tolls       *float64 `parquet:"tolls_amount"`
	Improvement float32  `parquet:"improvement_surcharge"`
	Total       float64  `parquet:"total_amount"`
	Airport     *int32   `parquet:"airport_fee"`
	EHail       *int32   `parquet:"ehail_fee"`
}

// texts holds everything as text, times without a unit and INT96.
type texts struct {
	Vendor      string           `parquet:"VendorID"`
	Pickup      deprecated.Int96 `parquet:"tpep_pickup_datetime"`
	Dropoff     int64            `parquet:"tpep_dropoff_datetime"`
	Passengers  string           `parquet:"passenger_count"`
	Distance    string           `parquet:"trip_distance"`
	RateCode    string           `parquet:"RatecodeID,dict"`
	PU          string           `parquet:"PULocationID"`
	DO          string           `parquet:"DOLocationID"`
	Payment     string           `parquet:"payment_type"`
	Fare        string           `parquet:"fare_amount"`
	Extra       string           `parquet:"extra"`
	MTA         string           `parquet:"mta_tax"`
	Tip         string           `parquet:"tip_amount"`
	Tolls       string           `parquet:"tolls_amount"`
	Improvement string           `parquet:"improvement_surcharge"`
	Total       string           `parquet:"total_amount"`
	Color       string           `parquet:"color"`
}

func table[T any](t testing.TB, rows []T, options ...parquet.WriterOption) []byte {
	t.Helper()
	var b bytes.Buffer
	w := parquet.NewGenericWriter[T](&b, options...)
	_, err := w.Write(rows)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func of[T any](v T) *T { return &v }

func publishedRow() published {
	want := want2017()
	return published{
		Vendor: 2, Pickup: want.Pickup, Dropoff: want.Dropoff, Passengers: of(int64(1)), Distance: 1.6, RateCode: of(int64(1)), Flag: of("N"),
		PU: 141, DO: 233, Payment: 1, Fare: 9, MTA: 0.5, Tip: 2, Improvement: 0.3, Total: 11.8,
	}
}

func TestParquetWhateverThePhysicalTypes(t *testing.T) {
	want := want2017()

	t.Run("as published", func(t *testing.T) {
		flex := publishedRow()
		flex.Passengers, flex.RateCode, flex.Flag, flex.Congestion, flex.Payment = nil, nil, nil, of(2.5), 0
		data := table(t, []published{publishedRow(), flex}, parquet.Compression(&parquet.Snappy))
		got := read(t, write(t, "trips.parquet", data))
		require.Len(t, got, 2)
		require.Equal(t, want, got[0])
		require.Equal(t, FlagNoRateCode|FlagEmptyCell|FlagTotalMismatch, got[1].Flags)
		require.EqualValues(t, 250, got[1].Congestion)
	})
	t.Run("doubles, decimals, 32 bits", func(t *testing.T) {
		data := table(t, []older{{
			Vendor: of(int64(2)), Pickup: want.Pickup.UnixNano(), Dropoff: want.Dropoff.UnixMilli(), Passengers: of(1.0), Distance: of(float32(1.6)),
			RateCode: of(1.0), PU: of(141.0), DO: 233, Payment: of(float32(1)), Fare: 9, MTA: 50, Tip: 2000, Tolls: of(0.0), Improvement: 0.3, Total: 11.8,
		}})
		green := want
		green.Color = Green
		require.Equal(t, []Trip{green}, read(t, write(t, "trips.parquet", data)))
	})
	t.Run("texts", func(t *testing.T) {
		nanos := uint64(want.Pickup.Sub(want.Pickup.Truncate(24 * time.Hour)))
		julian := uint32(want.Pickup.Unix()/86400 + 2440588)
		data := table(t, []texts{{
			Vendor: "2", Pickup: deprecated.Int96{uint32(nanos), uint32(nanos >> 32), julian}, Dropoff: want.Dropoff.UnixMicro(),
			Passengers: "1", Distance: "1.60", RateCode: "1.0", PU: "141", DO: "233", Payment: "1", Fare: "9.00", Extra: "0", MTA: "0.50", Tip: "2",
			Tolls: "0", Improvement: "0.3", Total: "11.80", Color: "Yellow",
		}})
		require.Equal(t, []Trip{want}, read(t, write(t, "trips.parquet", data)))
	})
}

func TestParquetOfManyRowGroupsAndPages(t *testing.T) {
	const rows = 10_000
	all := make([]published, rows)
	for i := range all {
		all[i] = publishedRow()
		all[i].Distance = float64(i) / 100
		if i%3 == 0 {
			all[i].RateCode = nil
		}
	}
	path := write(t, "trips.parquet", table(t, all, parquet.MaxRowsPerRowGroup(3_000), parquet.PageBufferSize(4_096)))
	got := read(t, path)
	require.Len(t, got, rows)
	for i, trip := range got {
		if trip.Row != int64(i+1) || trip.Distance != int64(i)*10_000 || (trip.RateCode == 0) != (i%3 == 0) || trip.Total != 1180 {
			t.Fatalf("row %d: %+v", i+1, trip)
		}
	}
	info, err := Check(path)
	require.NoError(t, err)
	require.Equal(t, FormatParquet, info.Format)
	require.EqualValues(t, rows, info.Rows)
	require.Len(t, info.SHA256, 64)
}

func TestParquetThatIsNotATripRecord(t *testing.T) {
	type zone struct {
		LocationID int32
		Borough    string
	}
	_, err := Check(write(t, "zones.parquet", table(t, []zone{{1, "EWR"}})))
	require.ErrorIs(t, err, ErrNotTripRecords)

	type half struct {
		Pickup time.Time `parquet:"tpep_pickup_datetime,timestamp"`
		Fare   float64   `parquet:"fare_amount"`
	}
	_, err = Check(write(t, "half.parquet", table(t, []half{{}})))
	require.ErrorIs(t, err, ErrLayout)
	require.ErrorContains(t, err, "trip_distance, RatecodeID, PULocationID")

	_, err = Check(write(t, "none.parquet", table(t, []published{})))
	require.ErrorIs(t, err, ErrEmpty)

	whole := table(t, []published{publishedRow()})
	_, err = Check(write(t, "trips.parquet", whole[:len(whole)-20]))
	require.ErrorIs(t, err, ErrTruncated)
}

func TestADamagedParquetFileIsAnErrorNeverAPanic(t *testing.T) {
	rows := make([]published, 300)
	for i := range rows {
		rows[i] = publishedRow()
	}
	whole := table(t, rows, parquet.Compression(&parquet.Snappy))
	failed := 0
	for at := 4; at < len(whole)-4; at += 29 {
		damaged := bytes.Clone(whole)
		damaged[at] ^= 0x5a
		path := write(t, "trips.parquet", damaged)
		for _, err := range Trips(path) {
			if err == nil {
				continue
			}
			_, ok := errors.AsType[*FileError](err)
			require.True(t, ok, "%v", err)
			failed++
		}
	}
	t.Logf("%d of %d damaged files were noticed", failed, (len(whole)-8)/29)
	require.Positive(t, failed)
}

func BenchmarkTripsParquet(b *testing.B) {
	const rows = 100_000
	all := make([]published, rows)
	for i := range all {
		all[i] = publishedRow()
		all[i].Distance = float64(i) / 100
	}
	path := write(b, "trips.parquet", table(b, all, parquet.Compression(&parquet.Snappy)))
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for _, err := range Trips(path) {
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
