package bank

import (
	"encoding/json"
	"fmt"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/invariant"
)

// moves is what happened to one transfer.
type moves struct {
	requested, debited, refunded, credited, uncredited int
	misplaced                                          string
}

// open says what of the transfer is taken and not given back.
func (m moves) open() (debit, credit int) { return m.debited - m.refunded, m.credited - m.uncredited }

// Money is the law of the bank: each step of a transfer takes effect once, and
// in order; and once all is settled, the money of a transfer has moved wholly
// or not at all, as its saga says, and the accounts hold what was deposited.
func Money(settled bool) invariant.Law {
	return func(s *invariant.State) (broken []string) {
		say := func(format string, args ...any) { broken = append(broken, fmt.Sprintf(format, args...)) }
		all, deposited, held, err := tally(s.Log)
		if err != nil {
			return []string{err.Error()}
		}
		between := int64(0)
		for id, m := range all {
			switch {
			case m.requested != 1 || m.debited > 1 || m.refunded > m.debited || m.credited > 1 || m.uncredited > m.credited:
				say("transfer %s took effect more than once: %+v", id, *m)
			case m.misplaced != "":
				say("transfer %s: %s: %+v", id, m.misplaced, *m)
			}
			debit, credit := m.open()
			between += int64(debit-credit) * request(id).Cents
			if settled && debit != credit {
				say("transfer %s is settled by half: %+v", id, *m)
			}
		}
		if deposited != held+between {
			say("%d was deposited, the accounts hold %d and %d is on its way", deposited, held, between)
		}
		if settled {
			broken = append(broken, ended(s, all)...)
		}
		return broken
	}
}

// ended compares the sagas with what happened.
func ended(s *invariant.State, all map[string]*moves) (broken []string) {
	done := map[string]bool{}
	for _, i := range s.Instances {
		m := all[i.Key]
		if m == nil {
			broken = append(broken, fmt.Sprintf("the saga of %s has no transfer", i.Key))
			continue
		}
		done[i.Key] = true
		debit, credit := m.open()
		good := false
		switch i.Status {
		case "completed":
			good = debit == 1 && credit == 1
		case "compensated":
			good = debit == 0 && credit == 0
		case "failed":
			good = m.debited == 0 && m.credited == 0
		}
		if !good || i.Commands+i.Timers > 0 {
			broken = append(broken, fmt.Sprintf("the saga of %s is %s with %d commands and %d timers, its moves are %+v", i.Key, i.Status, i.Commands, i.Timers, *m))
		}
	}
	for id := range all {
		if !done[id] {
			broken = append(broken, fmt.Sprintf("transfer %s has no saga", id))
		}
	}
	return broken
}

// tally adds up the log.
func tally(log []eventstore.Recorded) (all map[string]*moves, deposited, held int64, err error) {
	all = map[string]*moves{}
	for i := range log {
		e := &log[i]
		switch e.Type {
		case depositedType:
			var d Deposited
			if err := json.Unmarshal(e.Data, &d); err != nil {
				return nil, 0, 0, fmt.Errorf("position %d: %w", e.Position, err)
			}
			deposited, held = deposited+d.Cents, held+d.Cents
		case requestedType:
			var r Requested
			if err := json.Unmarshal(e.Data, &r); err != nil {
				return nil, 0, 0, fmt.Errorf("position %d: %w", e.Position, err)
			}
			if all[r.ID] == nil {
				all[r.ID] = &moves{}
			}
			all[r.ID].requested++
		case debitedType, refundedType, creditedType, uncreditedType:
			var m Move
			if err := json.Unmarshal(e.Data, &m); err != nil {
				return nil, 0, 0, fmt.Errorf("position %d: %w", e.Position, err)
			}
			if all[m.Transfer] == nil {
				all[m.Transfer] = &moves{misplaced: "it moved before it was requested"}
			}
			held += all[m.Transfer].move(e.Type, m.Cents)
		}
	}
	return all, deposited, held, nil
}

// move counts one, and returns by how much the accounts grow.
func (m *moves) move(typ string, cents int64) int64 {
	before := ""
	switch typ {
	case debitedType:
		m.debited++
		cents = -cents
	case creditedType:
		m.credited++
		if m.debited == 0 {
			before = "credited before it was debited"
		}
	case refundedType:
		m.refunded++
		if m.credited > m.uncredited {
			before = "refunded while it was credited"
		}
	case uncreditedType:
		m.uncredited++
		cents = -cents
	}
	if before != "" && m.misplaced == "" {
		m.misplaced = before
	}
	return cents
}
