package tlc

import (
	"strings"
	"time"

	"github.com/leat-go/leat/taxi-demo/internal/meter"
)

// Color is the colour of the cab, and so the record's program: yellow (TPEP) or
// green (LPEP, street-hail livery).
type Color string

// The two colours of cabs.
const (
	Yellow Color = "yellow"
	Green  Color = "green"
)

// Payment is how a trip was paid, numbered as in the trip records.
type Payment int

// The payment types of the trip records. Zero is both an empty cell and a flex
// fare, which recent files number 0.
const (
	Card     Payment = 1
	Cash     Payment = 2
	NoCharge Payment = 3
	Dispute  Payment = 4
	Unknown  Payment = 5
	Voided   Payment = 6
)

// Zones that do not name a place: 264 is unknown, 265 outside the city.
const (
	ZoneUnknown = 264
	ZoneOutside = 265
)

// Trip is one row of a trip record file. Money is in cents. An empty cell is
// zero and flagged.
type Trip struct {
	Row   int64 `json:"row"`            // 1 for the first data row of its file
	Twin  int64 `json:"twin,omitempty"` // row of the other half of a refund pair, see [Pair]; otherwise 0
	Flags Flag  `json:"flags,omitempty"`

	Color  Color `json:"color"`
	Vendor int   `json:"vendor"`

	Pickup  time.Time `json:"pickup_local"` // New York wall clock held in UTC; zero when the cell is empty
	Dropoff time.Time `json:"dropoff_local"`

	Passengers  int            `json:"passengers"`
	Distance    int64          `json:"distance"`  // micro-miles (1e-6 mile)
	RateCode    meter.RateCode `json:"rate_code"` // zero when the cell is empty
	PickupZone  int            `json:"pickup_zone"`
	DropoffZone int            `json:"dropoff_zone"`
	Payment     Payment        `json:"payment"`

	Fare          int64 `json:"fare"`  // fare_amount: metered, flat or agreed
	Extra         int64 `json:"extra"` // as recorded; some vendors include other surcharges, see [Trip.Lines]
	MTATax        int64 `json:"mta_tax"`
	Tip           int64 `json:"tip"` // card tips only
	Tolls         int64 `json:"tolls"`
	Improvement   int64 `json:"improvement"`
	Total         int64 `json:"total"`
	Congestion    int64 `json:"congestion"`
	AirportFee    int64 `json:"airport_fee"`
	CBDCongestion int64 `json:"cbd_congestion"`
}

// Duration returns drop-off less pick-up by the wall clock. It is negative for
// a row whose drop-off is before its pick-up, and zero when either is missing.
func (t Trip) Duration() time.Duration {
	if t.Flags&FlagNoTime != 0 {
		return 0
	}
	return t.Dropoff.Sub(t.Pickup)
}

// Flag is a set of kinds of dirt in a row. A clean row has none; a row may have
// several. Flags are for counting, classes are decided by [Classify].
type Flag uint32

// The kinds of dirt, by their bits.
const (
	FlagNegativeFare    Flag = 1 << iota // a refund, or half of one
	FlagZeroDistance                     // zero or less
	FlagUnknownZone                      // either zone is 264, 265 or not a zone
	FlagDropoffNotAfter                  // drop-off at or before pick-up
	FlagOverFourHours                    // four hours or longer
	FlagTotalMismatch                    // the total is not the sum of its parts
	FlagNoRateCode                       // no usable rate code: empty, 99, …
	FlagEmptyCell                        // a cell is empty, other than of a surcharge that began later
	FlagUnreadableCell                   // a cell holds no value of its type; it is read as empty
	FlagNoTime                           // pick-up or drop-off is missing
	FlagNoFare                           // the fare is missing
	flagEnd
)

var flagNames = [...]string{
	"negative_fare", "zero_distance", "unknown_zone", "dropoff_not_after_pickup", "over_four_hours",
	"total_mismatch", "no_rate_code", "empty_cell", "unreadable_cell", "no_time", "no_fare",
}

// Names returns the names of the flags in the set, in the order of their bits:
// the keys to count dirt by.
func (f Flag) Names() []string {
	var names []string
	for i, name := range flagNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// String returns the names joined by commas, "clean" when there are none.
func (f Flag) String() string {
	if f&(flagEnd-1) == 0 {
		return "clean"
	}
	return strings.Join(f.Names(), ",")
}

// fourHours is the duration from which on a trip is not checkable.
const fourHours = 4 * time.Hour

// flag adds the kinds of dirt that follow from the values.
func (t *Trip) flag() {
	set := func(f Flag, when bool) {
		if when {
			t.Flags |= f
		}
	}
	set(FlagNoTime, t.Pickup.IsZero() || t.Dropoff.IsZero())
	set(FlagNegativeFare, t.Fare < 0)
	set(FlagZeroDistance, t.Distance <= 0)
	set(FlagUnknownZone, !knownZone(t.PickupZone) || !knownZone(t.DropoffZone))
	set(FlagNoRateCode, !t.RateCode.Usable())
	if t.Flags&FlagNoTime == 0 {
		d := t.Dropoff.Sub(t.Pickup)
		set(FlagDropoffNotAfter, d <= 0)
		set(FlagOverFourHours, d >= fourHours)
	}
	_, whole := t.Lines()
	set(FlagTotalMismatch, !whole)
}

func knownZone(zone int) bool { return zone >= 1 && zone < ZoneUnknown }
