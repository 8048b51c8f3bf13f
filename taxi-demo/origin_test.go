package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/taxi-demo/internal/origin"
	"github.com/leat-go/leat/taxi-demo/internal/tlc"
)

const rows = `VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,RatecodeID,store_and_fwd_flag,PULocationID,DOLocationID,payment_type,fare_amount,extra,mta_tax,tip_amount,tolls_amount,improvement_surcharge,total_amount,congestion_surcharge,Airport_fee
2,2024-03-04 10:00:00,2024-03-04 10:10:00,1,1.6,1,N,141,233,1,10.0,0.0,0.5,2.8,0.0,1.0,16.8,2.5,0.0
`

// TestAnInterruptedImportIsFinishedFirst: its rows are nowhere else said to be
// missing.
func TestAnInterruptedImportIsFinishedFirst(t *testing.T) {
	dir, files := filepath.Join(t.TempDir(), "store"), t.TempDir()
	one, two := filepath.Join(files, "one.csv"), filepath.Join(files, "two.csv")
	require.NoError(t, os.WriteFile(one, []byte(rows), 0o600))
	require.NoError(t, os.WriteFile(two, []byte(rows+"\n"), 0o600))
	info, err := tlc.Check(one)
	require.NoError(t, err)
	a, err := openApp(t.Context(), dir, options{
		clock: clock.NewVirtual(importStart()), log: terminal{err: &bytes.Buffer{}}.logger(),
		origin: func(o *origin.Origin) (aggregate.Events, error) {
			return o.Begin(origin.File{Source: info.SHA256, Name: one, Rows: info.Rows}, nil)
		},
	})
	require.NoError(t, err)
	require.NoError(t, a.close()) // before the first row

	call := func(args ...string) (int, string) {
		var out bytes.Buffer
		return run(append(args, "--store", dir), terminal{out: &out, err: &out}), out.String()
	}
	code, said := call("import", two)
	require.Equal(t, exitError, code, said)
	require.Contains(t, said, "it holds the import of "+one+" (1 rows), which was interrupted")
	code, said = call("run", "--once", "--rides", "1")
	require.Equal(t, exitError, code, said)
	code, said = call("import", two, one)
	require.Zero(t, code, said)
	code, said = call("import", two)
	require.Zero(t, code, said)
}
