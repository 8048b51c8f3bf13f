package tlc

import (
	"fmt"
	"strings"
	"time"

	"github.com/leat-go/leat/taxi-demo/internal/meter"
)

// column is a column that is read.
type column int

const (
	colVendor column = iota
	colPickup
	colDropoff
	colPassengers
	colDistance
	colRateCode
	colPickupZone
	colDropoffZone
	colPayment
	colFare
	colExtra
	colMTATax
	colTip
	colTolls
	colImprovement
	colTotal
	colCongestion
	colAirportFee
	colCBDCongestion
	colColor
	numColumns
)

// columns says how each column is called and what it holds. Optional ones are
// missing in some years; all others have to be there.
var columns = [numColumns]struct {
	name     string // as published; compared without case, spaces and underscores
	alias    string // the green name of a yellow column
	scale    int
	optional bool
}{
	colVendor:        {name: "VendorID"},
	colPickup:        {name: "tpep_pickup_datetime", alias: "lpep_pickup_datetime"},
	colDropoff:       {name: "tpep_dropoff_datetime", alias: "lpep_dropoff_datetime"},
	colPassengers:    {name: "passenger_count", optional: true},
	colDistance:      {name: "trip_distance", scale: scaleMicro},
	colRateCode:      {name: "RatecodeID"},
	colPickupZone:    {name: "PULocationID"},
	colDropoffZone:   {name: "DOLocationID"},
	colPayment:       {name: "payment_type"},
	colFare:          {name: "fare_amount", scale: scaleCents},
	colExtra:         {name: "extra", scale: scaleCents},
	colMTATax:        {name: "mta_tax", scale: scaleCents},
	colTip:           {name: "tip_amount", scale: scaleCents},
	colTolls:         {name: "tolls_amount", scale: scaleCents},
	colImprovement:   {name: "improvement_surcharge", scale: scaleCents},
	colTotal:         {name: "total_amount", scale: scaleCents},
	colCongestion:    {name: "congestion_surcharge", scale: scaleCents, optional: true},
	colAirportFee:    {name: "airport_fee", scale: scaleCents, optional: true},
	colCBDCongestion: {name: "cbd_congestion_fee", scale: scaleCents, optional: true},
	colColor:         {name: "color", optional: true},
}

// layout says at which position of a row each column is, -1 where it is not.
type layout struct {
	at    [numColumns]int
	width int
	color Color // of a row whose color cell says nothing
}

var squeeze = strings.NewReplacer(" ", "", "_", "", "\t", "")

func plainName(name string) string { return squeeze.Replace(strings.ToLower(name)) }

// plainNames leads from the plain name to the column.
var plainNames = func() map[string]column {
	names := make(map[string]column)
	for c := range numColumns {
		names[plainName(columns[c].name)] = c
		if columns[c].alias != "" {
			names[plainName(columns[c].alias)] = c
		}
	}
	return names
}()

// newLayout finds the columns in a header. The error is a [FileError] without
// path and line.
func newLayout(header []string) (layout, *FileError) {
	l := layout{width: len(header), color: Yellow}
	for i := range l.at {
		l.at[i] = -1
	}
	found := 0
	for i, name := range header {
		plain := plainName(name)
		c, ok := plainNames[plain]
		if !ok {
			continue
		}
		if l.at[c] >= 0 {
			return l, &FileError{kind: ErrLayout, Problem: fmt.Sprintf("two columns %s", columns[c].name), Advice: adviceSource}
		}
		l.at[c] = i
		found++
		if c == colPickup && strings.HasPrefix(plain, "lpep") {
			l.color = Green
		}
	}
	if found == 0 {
		return l, &FileError{kind: ErrNotTripRecords, Problem: "none of the columns of a trip record is in it", Advice: adviceSource}
	}
	var missing []string
	for c := range numColumns {
		if l.at[c] >= 0 || columns[c].optional {
			continue
		}
		name := columns[c].name
		if columns[c].alias != "" {
			name += " or " + columns[c].alias
		}
		missing = append(missing, name)
	}
	if len(missing) > 0 {
		return l, &FileError{
			kind:    ErrLayout,
			Problem: "unknown layout, missing columns: " + strings.Join(missing, ", "),
			Advice:  adviceSource + "; the TLC publishes every year with these columns as Parquet",
		}
	}
	return l, nil
}

// setNumber puts a number into its field.
func (t *Trip) setNumber(c column, v int64) {
	switch c {
	case colVendor:
		t.Vendor = int(v)
	case colPassengers:
		t.Passengers = int(v)
	case colDistance:
		t.Distance = v
	case colRateCode:
		t.RateCode = meter.RateCode(v)
	case colPickupZone:
		t.PickupZone = int(v)
	case colDropoffZone:
		t.DropoffZone = int(v)
	case colPayment:
		t.Payment = Payment(v)
	case colFare:
		t.Fare = v
	case colExtra:
		t.Extra = v
	case colMTATax:
		t.MTATax = v
	case colTip:
		t.Tip = v
	case colTolls:
		t.Tolls = v
	case colImprovement:
		t.Improvement = v
	case colTotal:
		t.Total = v
	case colCongestion:
		t.Congestion = v
	case colAirportFee:
		t.AirportFee = v
	case colCBDCongestion:
		t.CBDCongestion = v
	}
}

func (t *Trip) setTime(c column, v time.Time) {
	if c == colPickup {
		t.Pickup = v
	} else {
		t.Dropoff = v
	}
}

// setText puts a text cell into its field, and flags it if it holds no value.
func (t *Trip) setText(c column, b []byte) {
	switch c {
	case colColor:
		switch b = trim(b); {
		case equalFold(b, string(Yellow)):
			t.Color = Yellow
		case equalFold(b, string(Green)):
			t.Color = Green
		}
	case colPickup, colDropoff:
		v, got := parseTime(b)
		t.setTime(c, v)
		t.note(c, got)
	default:
		v, got := parseDecimal(b, columns[c].scale)
		t.setNumber(c, v)
		t.note(c, got)
	}
}

// note flags a cell without a value.
func (t *Trip) note(c column, got cell) {
	if got == cellValue {
		return
	}
	switch {
	case got == cellUnreadable:
		t.Flags |= FlagUnreadableCell
	case c < colCongestion: // those that began later are empty in whole years
		t.Flags |= FlagEmptyCell
	}
	if c == colFare {
		t.Flags |= FlagNoFare
	}
}
