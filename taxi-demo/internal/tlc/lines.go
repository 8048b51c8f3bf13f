package tlc

import "github.com/leat-go/leat/taxi-demo/internal/meter"

// Lines returns the bill of a row, each surcharge in its own line once, and
// whether its lines sum up to the recorded total.
//
// Vendors differ: some add the congestion surcharge, the airport fee and the
// relief zone fee into extra as well as showing them in their own columns. Which
// of them are inside extra is seen from the total, and they are taken out of
// the extra line. When no reading gives the total, vendor 1 is read as
// including all of them and every other as including none, and ok is false.
//
// On a row whose fare is not negative no line is negative: such a cell is read
// as zero, which makes ok false unless the total agrees. On a refund all lines
// are as recorded.
func (t Trip) Lines() (lines meter.Breakdown, ok bool) {
	lines = meter.Breakdown{
		Fare: t.Fare, Extra: t.Extra, MTATax: t.MTATax, Improvement: t.Improvement,
		Congestion: t.Congestion, CBDCongestion: t.CBDCongestion, AirportFee: t.AirportFee,
		Tolls: t.Tolls, Tip: t.Tip,
	}
	surcharges := [...]int64{t.Congestion, t.AirportFee, t.CBDCongestion}
	excess := lines.Total() - t.Total // what would be counted twice, if all were apart
	inside := excess
	if excess != 0 && !partial(surcharges, excess) {
		inside = 0
		if t.Vendor == 1 {
			inside = surcharges[0] + surcharges[1] + surcharges[2]
		}
	}
	lines.Extra -= inside
	if t.Fare >= 0 {
		for _, line := range []*int64{
			&lines.Extra, &lines.MTATax, &lines.Improvement, &lines.Congestion,
			&lines.CBDCongestion, &lines.AirportFee, &lines.Tolls, &lines.Tip,
		} {
			*line = max(*line, 0)
		}
	}
	return lines, lines.Total() == t.Total
}

// partial reports whether sum is the sum of some of the parts.
func partial(parts [3]int64, sum int64) bool {
	for set := 1; set < 1<<len(parts); set++ {
		var s int64
		for i, part := range parts {
			if set&(1<<i) != 0 {
				s += part
			}
		}
		if s == sum {
			return true
		}
	}
	return false
}
