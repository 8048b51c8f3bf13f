package tlc

import (
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDecimalsAreExact(t *testing.T) {
	for _, row := range []struct {
		in    string
		scale int
		want  int64
		cell  cell
	}{
		{"12.95", scaleCents, 1295, cellValue},
		{"-3.5", scaleCents, -350, cellValue},
		{"+0.30", scaleCents, 30, cellValue},
		{"0.1", scaleCents, 10, cellValue},
		{".5", scaleCents, 50, cellValue},
		{"7.", scaleCents, 700, cellValue},
		{" 7.0\t", scaleCents, 700, cellValue},
		{"2.675", scaleCents, 268, cellValue},
		{"-2.675", scaleCents, -268, cellValue},
		{"2.6749999", scaleCents, 267, cellValue},
		{"1e-05", scaleCents, 0, cellValue},
		{"1.5E+2", scaleCents, 15000, cellValue},
		{"623261.66", scaleCents, 62326166, cellValue},
		{"1.60", scaleMicro, 1_600_000, cellValue},
		{"312722.3", scaleMicro, 312_722_300_000, cellValue},
		{"0.12345678", scaleMicro, 123_457, cellValue},
		{"1.0", scaleWhole, 1, cellValue},
		{"99", scaleWhole, 99, cellValue},
		{"", scaleCents, 0, cellEmpty},
		{"  ", scaleCents, 0, cellEmpty},
		{"NaN", scaleCents, 0, cellEmpty},
		{"null", scaleCents, 0, cellEmpty},
		{"None", scaleCents, 0, cellEmpty},
		{`\N`, scaleCents, 0, cellEmpty},
		{"$5", scaleCents, 0, cellUnreadable},
		{"1,000", scaleCents, 0, cellUnreadable},
		{"1.2.3", scaleCents, 0, cellUnreadable},
		{"-", scaleCents, 0, cellUnreadable},
		{".", scaleCents, 0, cellUnreadable},
		{"1e400", scaleCents, 0, cellUnreadable},
		{"e5", scaleCents, 0, cellUnreadable},
		{"99999999999999999999", scaleCents, 0, cellUnreadable},
		{"99999999999", scaleWhole, 0, cellUnreadable},
	} {
		got, cell := parseDecimal([]byte(row.in), row.scale)
		require.Equal(t, row.cell, cell, "%q", row.in)
		require.Equal(t, row.want, got, "%q", row.in)
	}
}

func TestBinaryFractionsBecomeTheDecimalTheyWereWrittenFor(t *testing.T) {
	for cents := int64(-300_00); cents <= 300_00; cents += 7 {
		got, cell := fromFloat(float64(cents)/100, scaleCents)
		require.Equal(t, cellValue, cell)
		require.Equal(t, cents, got)
		got, _ = fromFloat(float64(float32(cents)/100), scaleCents)
		require.Equal(t, cents, got, "32 bits")
	}
	_, cell := fromFloat(math.NaN(), scaleCents)
	require.Equal(t, cellEmpty, cell)
	_, cell = fromFloat(math.Inf(1), scaleCents)
	require.Equal(t, cellUnreadable, cell)
}

func TestIntegersWithDecimals(t *testing.T) {
	for _, row := range []struct {
		in              int64
		decimals, scale int
		want            int64
	}{
		{12, 0, scaleCents, 1200}, {1295, 2, scaleCents, 1295}, {12955, 3, scaleCents, 1296}, {-12955, 3, scaleCents, -1296},
		{129549, 4, scaleCents, 1295}, {16, 1, scaleMicro, 1_600_000},
	} {
		got, cell := fromInteger(row.in, row.decimals, row.scale)
		require.Equal(t, cellValue, cell)
		require.Equal(t, row.want, got, "%+v", row)
	}
	_, cell := fromInteger(math.MinInt64, 0, scaleCents)
	require.Equal(t, cellUnreadable, cell)
	_, cell = fromInteger(math.MaxInt64, 0, scaleCents)
	require.Equal(t, cellUnreadable, cell)
}

func TestTimesAreWallClocks(t *testing.T) {
	at := func(y, mo, d, h, mi, s, ns int) time.Time {
		return time.Date(y, time.Month(mo), d, h, mi, s, ns, time.UTC)
	}
	for in, want := range map[string]time.Time{
		"2019-03-23 20:21:09":        at(2019, 3, 23, 20, 21, 9, 0),
		"2019-03-10 02:30:00":        at(2019, 3, 10, 2, 30, 0, 0), // does not exist in New York, is in the records
		"2017-01-01T00:00:05.000":    at(2017, 1, 1, 0, 0, 5, 0),
		"2024-01-31T23:59:59.25Z":    at(2024, 1, 31, 23, 59, 59, 250_000_000),
		"2024-01-31 23:59:59 UTC":    at(2024, 1, 31, 23, 59, 59, 0),
		"2024-01-31 23:59:59-05:00":  at(2024, 1, 31, 23, 59, 59, 0),
		"2024-02-29 07:08":           at(2024, 2, 29, 7, 8, 0, 0),
		"2024-02-29":                 at(2024, 2, 29, 0, 0, 0, 0),
		"01/02/2017 03:04:05 PM":     at(2017, 1, 2, 15, 4, 5, 0),
		"01/02/2017 12:04:05 AM":     at(2017, 1, 2, 0, 4, 5, 0),
		"01/02/2017 12:04:05 pm":     at(2017, 1, 2, 12, 4, 5, 0),
		"1/2/2017 3:04 PM":           at(2017, 1, 2, 15, 4, 0, 0),
		" 12/31/2017  11:59:59 PM  ": at(2017, 12, 31, 23, 59, 59, 0),
		"1/2/2017 15:04":             at(2017, 1, 2, 15, 4, 0, 0),
	} {
		got, cell := parseTime([]byte(in))
		require.Equal(t, cellValue, cell, "%q", in)
		require.Equal(t, want, got, "%q", in)
	}
	for _, in := range []string{
		"yesterday", "2019-13-01 00:00:00", "2019-02-29 00:00:00", "13/01/2017 01:00:00 AM", "01/02/2017 13:00:00 PM",
		"01/02/2017 00:00:00 AM", "2019-03-23 24:00:00", "2019-03-23 10:60:00", "2019-03-23 10:00:60", "2019-03-23x10:00:00",
		"2019-03-23 10:00:00 nonsense", "2019-03-23 10", "1553372469", "2019-03-", "//",
	} {
		_, cell := parseTime([]byte(in))
		require.Equal(t, cellUnreadable, cell, "%q", in)
	}
	_, cell := parseTime(nil)
	require.Equal(t, cellEmpty, cell)
}

func FuzzMoney(f *testing.F) {
	for _, s := range []string{"12.95", "-0.5", "1e-5", "NaN", "", ".", "0.005", "99999999999.999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, cell := parseDecimal([]byte(s), scaleCents)
		if cell != cellValue {
			require.Zero(t, got)
			return
		}
		require.LessOrEqual(t, max(got, -got), maxCents)
		if strings.ContainsAny(s, "eE") {
			return // binary
		}
		exact, ok := new(big.Rat).SetString(strings.Trim(s, " \t\r"))
		require.True(t, ok, "%q", s)
		distance := exact.Sub(exact, big.NewRat(got, 100))
		require.LessOrEqual(t, distance.Abs(distance).Cmp(big.NewRat(5, 1000)), 0, "%q is not %d cents", s, got)
	})
}

func FuzzTime(f *testing.F) {
	for _, s := range []string{"2019-03-23 20:21:09", "01/02/2017 03:04:05 PM", "2024-01-31T23:59:59.25Z", "1/2/2017 3:04", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, cell := parseTime([]byte(s))
		if cell != cellValue {
			require.True(t, got.IsZero())
			return
		}
		require.Equal(t, time.UTC, got.Location())
		again, cell := parseTime([]byte(got.Format("2006-01-02 15:04:05.999999999")))
		require.Equal(t, cellValue, cell)
		require.Equal(t, got, again)
	})
}

func FuzzHeader(f *testing.F) {
	f.Add("VendorID,tpep_pickup_datetime, Trip_Distance ,\"fare_amount\"")
	f.Add(header2017)
	f.Add("\"a\"\"b\",c\"")
	f.Fuzz(func(t *testing.T, line string) {
		cells, ok := splitRow(nil, []byte(line))
		if !ok {
			return
		}
		require.NotEmpty(t, cells)
		names := make([]string, len(cells))
		for i, c := range cells {
			names[i] = string(c)
		}
		l, problem := newLayout(names)
		if problem != nil {
			require.NotEmpty(t, problem.Problem)
			return
		}
		for c := range numColumns {
			require.Less(t, l.at[c], len(names))
			require.True(t, l.at[c] >= 0 || columns[c].optional)
		}
	})
}
