package tlc

import (
	"time"

	"github.com/leat-go/leat/taxi-demo/internal/meter"
)

// Class says how the fare of a row can be checked. Every row is in exactly one
// class; it is fixed before the ride starts.
//
// The rules, the first that fits:
//
//	row                                              class               driven
//	pick-up, drop-off or fare missing                no_check            no
//	fare below zero (a refund, with or without twin) no_check            no
//	no usable rate code (empty, 99, …)               no_check            no
//	rate code 3, 4, 5                                newark,             if its times
//	                                                 nassau_westchester, are a ride's
//	                                                 negotiated
//	drop-off not after pick-up                       no_check            no
//	longer than a day                                no_check            no
//	no tariff known for the day                      no_check            no
//	rate code 2, fare is the flat fare               jfk_flat            yes
//	rate code 2, any other fare                      no_check            yes
//	rate code 6                                      no_check            yes
//	rate code 1, fare zero, distance zero or less,
//	  or four hours and longer                       no_check            yes
//	rate code 1, all others                          meter               yes
//
// Rate codes 3 to 5 keep their class even when the row cannot be a ride: they
// are not checked in any case. A row of class meter for which no ride exists
// that a meter would charge the recorded fare for becomes meter_unreachable;
// finding that out is the replay solver's part.
type Class string

// The classes, by their names in the fare check.
const (
	ClassMeter             Class = "meter"
	ClassJFKFlat           Class = "jfk_flat"
	ClassNewark            Class = "newark"
	ClassNassauWestchester Class = "nassau_westchester"
	ClassNegotiated        Class = "negotiated"
	ClassMeterUnreachable  Class = "meter_unreachable"
	ClassNoCheck           Class = "no_check"
)

// Classes returns all classes, in the order in which they are shown.
func Classes() []Class {
	return []Class{
		ClassMeter, ClassJFKFlat, ClassMeterUnreachable, ClassNewark,
		ClassNassauWestchester, ClassNegotiated, ClassNoCheck,
	}
}

// Checked reports whether the fare check compares the rides of the class to
// the cent.
func (c Class) Checked() bool { return c == ClassMeter || c == ClassJFKFlat }

// Reason says why a row is not checked or not driven, "" for a checked one.
type Reason string

// The reasons, by their names in reports.
const (
	ReasonRefund          Reason = "refund" // a negative row with its twin: the ride is the twin's
	ReasonNegativeFare    Reason = "negative_fare"
	ReasonNoTime          Reason = "no_time"
	ReasonNoFare          Reason = "no_fare"
	ReasonNoRateCode      Reason = "no_rate_code"
	ReasonDropoffNotAfter Reason = "dropoff_not_after_pickup"
	ReasonOverADay        Reason = "over_a_day"
	ReasonNoTariff        Reason = "no_tariff"
	ReasonByAgreement     Reason = "by_agreement" // rate codes 3, 4, 5 and 6
	ReasonNotTheFlatFare  Reason = "not_the_flat_fare"
	ReasonZeroFare        Reason = "zero_fare"
	ReasonZeroDistance    Reason = "zero_distance"
	ReasonOverFourHours   Reason = "over_four_hours"
	ReasonUnreachable     Reason = "unreachable" // no meter gets this fare
)

// MaxRide is how long a row may last that is driven as a ride. Longer ones are
// clocks that were set wrong.
const MaxRide = 24 * time.Hour

// Verdict is what [Classify] decides about a row.
type Verdict struct {
	Class  Class  `json:"class"`
	Driven bool   `json:"driven"` // whether the row is a ride at all
	Reason Reason `json:"reason,omitempty"`
}

// Classify puts a row into its class by the rules on [Class]. It depends on
// nothing but its arguments.
func Classify(t Trip, tariffs []meter.Tariff) Verdict {
	refuse := func(r Reason) Verdict { return Verdict{Class: ClassNoCheck, Reason: r} }
	drive := func(r Reason) Verdict { return Verdict{Class: ClassNoCheck, Driven: true, Reason: r} }

	switch {
	case t.Pickup.IsZero() || t.Dropoff.IsZero():
		return refuse(ReasonNoTime)
	case t.Flags&FlagNoFare != 0:
		return refuse(ReasonNoFare)
	case t.Fare < 0 && t.Twin != 0:
		return refuse(ReasonRefund)
	case t.Fare < 0:
		return refuse(ReasonNegativeFare)
	case !t.RateCode.Usable():
		return refuse(ReasonNoRateCode)
	}

	tariff, known := meter.InForce(tariffs, t.Pickup)
	duration := t.Dropoff.Sub(t.Pickup)
	var obstacle Reason
	switch {
	case duration <= 0:
		obstacle = ReasonDropoffNotAfter
	case duration > MaxRide:
		obstacle = ReasonOverADay
	case !known:
		obstacle = ReasonNoTariff
	}
	if class := byAgreement(t.RateCode); class != "" {
		if obstacle != "" {
			return Verdict{Class: class, Reason: obstacle}
		}
		return Verdict{Class: class, Driven: true, Reason: ReasonByAgreement}
	}
	if obstacle != "" {
		return refuse(obstacle)
	}

	switch {
	case t.RateCode == meter.JFK && t.Fare == tariff.JFKFlat:
		return Verdict{Class: ClassJFKFlat, Driven: true}
	case t.RateCode == meter.JFK:
		return drive(ReasonNotTheFlatFare)
	case t.RateCode == meter.Group:
		return drive(ReasonByAgreement)
	case t.Fare == 0:
		return drive(ReasonZeroFare)
	case t.Distance <= 0:
		return drive(ReasonZeroDistance)
	case duration >= fourHours:
		return drive(ReasonOverFourHours)
	}
	return Verdict{Class: ClassMeter, Driven: true}
}

func byAgreement(code meter.RateCode) Class {
	switch code {
	case meter.Newark:
		return ClassNewark
	case meter.NassauWestchester:
		return ClassNassauWestchester
	case meter.Negotiated:
		return ClassNegotiated
	}
	return ""
}
