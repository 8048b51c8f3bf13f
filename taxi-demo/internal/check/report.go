// Package check reads the read models and says whether everything that must be
// true of the demo is.
package check

import (
	"encoding/json"
	"math"
)

// Report is what run, import and check end with. Money is in cents.
type Report struct {
	Trips      int            `json:"trips"` // rows, of a file or generated
	Events     int64          `json:"events"`
	Head       int64          `json:"head"`
	Seconds    float64        `json:"seconds"`  // of this command
	FsyncUS    int64          `json:"fsync_us"` // one fsync on the store's disk, median
	Rides      Rides          `json:"rides"`
	FareCheck  FareCheck      `json:"fare_check"`
	Quote      Quote          `json:"quote"`
	Money      Money          `json:"money"`
	Branches   map[string]int `json:"branches"`
	Sagas      Sagas          `json:"sagas"`
	DeadLetter int            `json:"dead_letters"`
	OK         bool           `json:"ok"`
	// Problems says what OK misses, in sentences.
	Problems []string `json:"problems,omitempty"`

	refundRows int // rows that take back another row's ride
	unfared    int // real trips of a checked class without a fare
	lost       int // real trips whose ride ended otherwise
}

// Rides counts rides by how they ended, and rows that were never driven.
type Rides struct {
	Settled     int `json:"settled"`
	Cancelled   int `json:"cancelled"`
	Unfulfilled int `json:"unfulfilled"`
	Outstanding int `json:"outstanding"`
	Refunded    int `json:"refunded"`
	Open        int `json:"open"`
	NotDriven   int `json:"not_driven"`
}

// FareCheck counts trips by the class that was fixed before the ride.
type FareCheck struct {
	Meter             Checked `json:"meter"`
	JFKFlat           Checked `json:"jfk_flat"`
	MeterUnreachable  Counted `json:"meter_unreachable"`
	Newark            Counted `json:"newark"`
	NassauWestchester Counted `json:"nassau_westchester"`
	Negotiated        Counted `json:"negotiated"`
	NoCheck           Counted `json:"no_check"`
}

// Checked is a class whose fare the meter must get back from the telemetry.
type Checked struct {
	Trips    int `json:"trips"`
	Exact    int `json:"exact"`
	Mismatch int `json:"mismatch"`
}

// Counted is a class whose trips are only counted.
type Counted struct {
	Trips int `json:"trips"`
}

// Quote says how good the fare promised before the ride was, for metered trips.
type Quote struct {
	Trips         int     `json:"trips"`
	ExactPct      percent `json:"exact_pct"`
	Within5PctPct percent `json:"within_5pct_pct"`
}

// percent is written with one decimal.
type percent float64

func (p percent) MarshalJSON() ([]byte, error) {
	return json.Marshal(math.Round(float64(p)*10) / 10)
}

// Money is the law of money: what riders were charged and still owe is what
// drivers, the platform, the authorities and the bridges get. Sum is the
// difference of the two sides.
type Money struct {
	Sum         int64 `json:"sum_cents"`
	Charged     int64 `json:"charged_cents"`
	DriverNet   int64 `json:"driver_net_cents"`
	PlatformFee int64 `json:"platform_fee_cents"`
	Taxes       int64 `json:"taxes_cents"`
	Tolls       int64 `json:"tolls_cents"`
	Tips        int64 `json:"tips_cents"`
	Receivable  int64 `json:"receivable_cents"`
}

// Sagas counts instances that are not at their end.
type Sagas struct {
	Open   int `json:"open"`
	Parked int `json:"parked"`
}
