package meter

import "time"

// Ride is what the surcharges of a ride depend on, apart from its fare.
type Ride struct {
	PickedUp       time.Time `json:"picked_up_local"` // New York wall clock
	Code           RateCode  `json:"rate_code"`
	Green          bool      `json:"green,omitempty"`           // a green cab, otherwise yellow
	CongestionZone bool      `json:"congestion_zone,omitempty"` // begins, ends or passes Manhattan south of 96 St
	ReliefZone     bool      `json:"relief_zone,omitempty"`     // the same south of 60 St
	FromLaGuardia  bool      `json:"from_laguardia,omitempty"`
	ToLaGuardia    bool      `json:"to_laguardia,omitempty"`
	FromJFK        bool      `json:"from_jfk,omitempty"`
}

// Breakdown is the bill of one ride, line by line, in cents. The total is the
// sum of the lines and nothing else.
type Breakdown struct {
	Fare          int64 `json:"fare"`  // metered, flat or agreed; includes the Newark surcharge
	Extra         int64 `json:"extra"` // night, rush and LaGuardia
	MTATax        int64 `json:"mta_tax"`
	Improvement   int64 `json:"improvement"`
	Congestion    int64 `json:"congestion"`
	CBDCongestion int64 `json:"cbd_congestion"`
	AirportFee    int64 `json:"airport_fee"`
	Tolls         int64 `json:"tolls"`
	Tip           int64 `json:"tip"`
}

// Total returns the sum of all lines, in cents.
func (b Breakdown) Total() int64 {
	return b.Fare + b.Taxes() + b.Extra + b.Tolls + b.Tip
}

// Taxes returns the sum of the lines that are passed on to an authority, in
// cents: MTA tax, improvement, both congestion surcharges and the airport fee.
func (b Breakdown) Taxes() int64 {
	return b.MTATax + b.Improvement + b.Congestion + b.CBDCongestion + b.AirportFee
}

// Extra returns the night, rush and LaGuardia surcharges of a ride in cents:
// what the trip records call extra. A negotiated ride has none, and the flat
// fare only its own rush surcharge.
func (t Tariff) Extra(r Ride) int64 {
	var extra int64
	switch r.Code {
	case Negotiated, Group:
		return 0
	case JFK:
		if IsRush(r.PickedUp) {
			extra = t.JFKRush
		}
		return extra
	}
	if IsRush(r.PickedUp) {
		extra += t.Rush
	}
	if IsNight(r.PickedUp) {
		extra += t.Night
	}
	if r.ToLaGuardia || r.FromLaGuardia && !r.Green {
		extra += t.LaGuardia
	}
	return extra
}

// Bill returns the lines of a ride for a fare in cents. Tolls and tip are left
// at zero, they are not the tariff's.
func (t Tariff) Bill(r Ride, fare int64) Breakdown {
	b := Breakdown{Fare: fare, Extra: t.Extra(r), MTATax: t.MTATax, Improvement: t.Improvement}
	if r.CongestionZone {
		b.Congestion = t.CongestionYellow
		if r.Green {
			b.Congestion = t.CongestionGreen
		}
	}
	if r.ReliefZone {
		b.CBDCongestion = t.CBDCongestion
	}
	if (r.FromLaGuardia || r.FromJFK) && !r.Green {
		b.AirportFee = t.AirportFee
	}
	return b
}
