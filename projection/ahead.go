package projection

import (
	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
)

// aheadBytes is how much data of a page is decoded before its turn, at most: it
// bounds the memory of what waits decoded, which JSON makes a few times larger.
const aheadBytes = 4 << 20

// ahead are payloads of a page that were decoded before its turn. Decoding
// takes longer than all else that is done for an ordinary event, so in a
// backlog it is shared: the router's lane decodes the next page for as long as
// the handlers are at the present one, and they decode the rest themselves.
// Whichever is faster takes more of it, and nobody waits for the other.
//
// It changes nothing that a handler sees. A payload that cannot be decoded is
// left to its turn, to fail there as an event does. One that was taken is not
// given again, since a handler may have changed what it refers to: the second
// time it is decoded anew.
type ahead struct {
	events   []eventstore.Recorded // of the page
	payloads []any                 // of the first of them; nil where there is none
	next     int                   // index of the first that can still be taken
}

// Prepare decodes payloads of the page until ended is closed. It implements
// bus.Preparer and is called by a Router.
func (p *Projection) Prepare(page bus.Page, ended <-chan struct{}) any {
	a := &ahead{events: page.Events, payloads: make([]any, 0, len(page.Events))}
	a.decode(p.def, ended)
	return a
}

func (a *ahead) decode(def *Definition, ended <-chan struct{}) {
	// A panic of UnmarshalJSON or Upcast comes again in the event's turn, where
	// it is judged. What was decoded before it stays.
	defer func() { _ = recover() }()
	for i, room := 0, aheadBytes; i < len(a.events); i++ {
		select {
		case <-ended:
			return
		default:
		}
		e := &a.events[i]
		if room -= len(e.Data); room < 0 {
			return
		}
		var payload any
		if h := def.handlers[e.Type]; h != nil {
			if decoded, err := h.decode(e); err == nil {
				payload = decoded
			}
		}
		a.payloads = append(a.payloads, payload)
	}
}

// take returns the payload of the event at a position, nil where it is to be
// decoded. Positions are asked for in ascending order, and again from any of
// them.
func (a *ahead) take(position int64) any {
	if a == nil {
		return nil
	}
	for a.next < len(a.payloads) && a.events[a.next].Position < position {
		a.payloads[a.next] = nil
		a.next++
	}
	if a.next == len(a.payloads) || a.events[a.next].Position > position {
		return nil
	}
	payload := a.payloads[a.next]
	a.payloads[a.next] = nil
	a.next++
	return payload
}
