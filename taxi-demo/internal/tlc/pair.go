package tlc

import "iter"

// Window is how many rows a refund may be away from its charge. In the
// published files the two are neighbours or a few rows apart.
const Window = 1024

// Pair finds refunds: a row with a negative fare and the row of which it is the
// exact opposite, which is the same ride charged and then refunded. Both rows
// are yielded, in their place, each with the row number of the other in
// [Trip.Twin]. Together they are two rows and one ride, the positive row's.
//
// Two rows are opposites when vendor, colour, both times and both zones are the
// same and every amount of one is the other's negated: fare, extra, tax, tip,
// tolls, surcharges and total. Either may come first. Of several candidates the
// nearest before is taken, and no row is in two pairs.
//
// The result is deterministic. At most window rows are held back; a window below
// one is [Window]. An error of trips is yielded after the rows before it, and
// ends the sequence.
func Pair(trips iter.Seq2[Trip, error], window int) iter.Seq2[Trip, error] {
	if window < 1 {
		window = Window
	}
	return func(yield func(Trip, error) bool) {
		p := pairing{ring: make([]Trip, window+1)}
		for t, err := range trips {
			if err != nil {
				if p.flush(yield) {
					yield(Trip{}, err)
				}
				return
			}
			if p.count == len(p.ring) {
				if !yield(p.pop(), nil) {
					return
				}
			}
			p.push(t)
		}
		p.flush(yield)
	}
}

// pairing is a ring of the rows held back. Comparing with each of them is dear,
// so it is done for negative rows only, of which there are few, and for positive
// rows only while a negative one waits.
type pairing struct {
	ring    []Trip
	first   int // place of the oldest row
	count   int
	waiting int // negative rows held back without a twin
}

// at returns the row that is i rows younger than the oldest.
func (p *pairing) at(i int) *Trip { return &p.ring[(p.first+i)%len(p.ring)] }

func (p *pairing) push(t Trip) {
	p.count++
	last := p.at(p.count - 1)
	*last = t
	last.Twin = 0
	switch {
	case t.Fare < 0:
		p.waiting++
	case t.Fare == 0 || p.waiting == 0:
		return
	}
	for i := p.count - 2; i >= 0; i-- {
		if old := p.at(i); old.Twin == 0 && opposite(old, last) {
			old.Twin, last.Twin = last.Row, old.Row
			p.waiting--
			return
		}
	}
}

func (p *pairing) pop() Trip {
	t := *p.at(0)
	p.first = (p.first + 1) % len(p.ring)
	p.count--
	if t.Fare < 0 && t.Twin == 0 {
		p.waiting--
	}
	return t
}

func (p *pairing) flush(yield func(Trip, error) bool) bool {
	for p.count > 0 {
		if !yield(p.pop(), nil) {
			return false
		}
	}
	return true
}

func opposite(a, b *Trip) bool {
	return a.Fare == -b.Fare && a.Total == -b.Total &&
		a.Pickup.Equal(b.Pickup) && a.Dropoff.Equal(b.Dropoff) &&
		a.PickupZone == b.PickupZone && a.DropoffZone == b.DropoffZone &&
		a.Vendor == b.Vendor && a.Color == b.Color &&
		a.Extra == -b.Extra && a.MTATax == -b.MTATax && a.Tip == -b.Tip && a.Tolls == -b.Tolls &&
		a.Improvement == -b.Improvement && a.Congestion == -b.Congestion &&
		a.AirportFee == -b.AirportFee && a.CBDCongestion == -b.CBDCongestion
}
