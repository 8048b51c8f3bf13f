package meter

import "time"

// RateCode is the rate a trip was driven at, numbered as in the trip records.
type RateCode int

// The rate codes of the trip records. Zero means that none is known.
const (
	Standard          RateCode = 1 // the meter
	JFK               RateCode = 2 // flat between Kennedy airport and Manhattan
	Newark            RateCode = 3 // the meter and a surcharge
	NassauWestchester RateCode = 4 // the meter, double beyond the city line
	Negotiated        RateCode = 5 // by agreement
	Group             RateCode = 6 // by agreement, per head
)

// Usable reports whether the code is one of the six that exist. Trip records
// have 99 and empty cells where the rate is not known.
func (c RateCode) Usable() bool { return c >= Standard && c <= Group }

// Tariff is the official rate of fare from one date on. All amounts are int64
// cents and never negative; zero means that the item did not exist yet.
//
// A tariff is what an effective-dated event carries: a ride is charged by the
// one in force when it started, see [InForce].
type Tariff struct {
	EffectiveFrom time.Time `json:"effective_from_local"` // New York wall clock, see the package documentation

	Initial int64 `json:"initial"` // charged when the meter starts
	Unit    int64 `json:"unit"`    // for each whole unit after that

	Night int64 `json:"night"` // 20:00 to 06:00
	Rush  int64 `json:"rush"`  // weekdays 16:00 to 20:00, not on legal holidays

	JFKFlat   int64 `json:"jfk_flat"`  // the whole fare of [JFK]
	JFKRush   int64 `json:"jfk_rush"`  // instead of Rush at that rate
	Newark    int64 `json:"newark"`    // on top of the meter, at [Newark]
	LaGuardia int64 `json:"laguardia"` // to and from LaGuardia; green cabs: to it

	MTATax           int64 `json:"mta_tax"`
	Improvement      int64 `json:"improvement"`
	CongestionYellow int64 `json:"congestion_yellow"` // begins, ends or passes Manhattan south of 96 St
	CongestionGreen  int64 `json:"congestion_green"`
	CBDCongestion    int64 `json:"cbd_congestion"` // in the congestion relief zone, south of 60 St
	AirportFee       int64 `json:"airport_fee"`    // yellow cabs, pick-up at LaGuardia or Kennedy
}

// Tariffs returns the published tariffs of New York City, oldest first. The
// slice is the caller's own.
//
// Sources: 34 RCNY §58-26 and §82-26 (taximeter rate of fare), the TLC rates
// page, the adopted rule "Taximeter Rate of Fare and Various Surcharges"
// effective 2022-12-19, NY Tax Law article 29-C (congestion surcharge), the
// Port Authority's airport access fee. The rush surcharge of the JFK flat fare
// was added during the life of the 2015 tariff, and the dates of the airport
// fee are those at which the records begin to show it: neither is ever part of
// a metered fare.
func Tariffs() []Tariff {
	from := func(year int, month time.Month, day int) time.Time {
		return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	}
	t := Tariff{
		EffectiveFrom: from(2009, time.November, 1),
		Initial:       250, Unit: 40, Night: 50, Rush: 100,
		JFKFlat: 4500, Newark: 1500, MTATax: 50,
	}
	table := []Tariff{t}
	next := func(at time.Time, change func(*Tariff)) {
		t.EffectiveFrom = at
		change(&t)
		table = append(table, t)
	}
	next(from(2012, time.September, 4), func(t *Tariff) { t.Unit, t.JFKFlat, t.Newark = 50, 5200, 1750 })
	next(from(2015, time.January, 1), func(t *Tariff) { t.Improvement, t.JFKRush = 30, 450 })
	next(from(2019, time.February, 2), func(t *Tariff) { t.CongestionYellow, t.CongestionGreen = 250, 275 })
	next(from(2021, time.April, 5), func(t *Tariff) { t.AirportFee = 125 })
	next(from(2022, time.December, 19), func(t *Tariff) {
		t.Initial, t.Unit, t.Night, t.Rush = 300, 70, 100, 250
		t.JFKFlat, t.JFKRush, t.Newark, t.LaGuardia = 7000, 500, 2000, 500
		t.Improvement = 100
	})
	next(from(2023, time.April, 1), func(t *Tariff) { t.AirportFee = 175 })
	next(from(2025, time.January, 5), func(t *Tariff) { t.CBDCongestion = 75 })
	return table
}

// InForce returns the tariff that applies to a ride starting at the given wall
// clock time: of those effective by then, the latest. It yields false when none
// is. The tariffs may be in any order.
func InForce(tariffs []Tariff, at time.Time) (Tariff, bool) {
	best := -1
	for i := range tariffs {
		from := tariffs[i].EffectiveFrom
		if from.After(at) || best >= 0 && from.Before(tariffs[best].EffectiveFrom) {
			continue
		}
		best = i
	}
	if best < 0 {
		return Tariff{}, false
	}
	return tariffs[best], true
}

// Fare returns the metered fare in cents: what the trip records call
// fare_amount, without surcharges, taxes, tolls and tip.
func Fare(t Tariff, u Units) int64 { return t.Initial + t.Unit*u.Whole() }

// FareAt returns the fare in cents at a rate code: the meter at [Standard], the
// meter and its surcharge at [Newark], the flat fare at [JFK]. It yields false
// for the other codes, whose fare is by agreement or depends on the city line.
func FareAt(t Tariff, code RateCode, u Units) (int64, bool) {
	switch code {
	case Standard:
		return Fare(t, u), true
	case JFK:
		return t.JFKFlat, true
	case Newark:
		return Fare(t, u) + t.Newark, true
	}
	return 0, false
}
