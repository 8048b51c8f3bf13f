package invariant

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/leat-go/leat/eventstore"
)

// LabelKey is the metadata key that names a batch without an ID: all its
// events carry it, so that the batch is found in the log.
const LabelKey = "label"

// fate of a batch, as its sender knows it.
type fate int

const (
	unknown fate = iota
	acked
	refused
)

// sent is a batch that was sent to the store.
type sent struct {
	label       string
	batch       eventstore.Batch
	fate        fate
	first, last int64
}

// mark is an event that was seen: what makes it the same one.
type mark struct {
	id   string
	hash [32]byte
}

// History is what is known of a store from outside, over all its lives. A
// batch is known by its label: its ID, or the metadata LabelKey of its events.
// It is safe for concurrent use.
type History struct {
	mu      sync.Mutex // guards what follows
	batches map[string]*sent
	log     []mark           // by position, as checks have seen it
	seen    map[int64]string // event ids by position, as others have
	effects map[string]map[string]int
	broken  []Violation // what the acknowledgements alone say
}

// NewHistory returns a History that knows nothing.
func NewHistory() *History {
	return &History{batches: map[string]*sent{}, seen: map[int64]string{}, effects: map[string]map[string]int{}}
}

// Sent notes that a batch may be stored from now on.
func (h *History) Sent(label string, b eventstore.Batch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.batches[label] == nil {
		h.batches[label] = &sent{label: label, batch: b}
	}
}

// Acked notes that an append was answered with these positions.
func (h *History) Acked(label string, first, last int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.batches[label]
	switch {
	case s == nil:
		h.broken = append(h.broken, Violation{"I1", fmt.Sprintf("batch %q was acknowledged and never sent", label)})
	case s.fate == refused:
		h.broken = append(h.broken, Violation{"I1", fmt.Sprintf("batch %q was refused, and later acknowledged at %d", label, first)})
	case s.fate == acked && (s.first != first || s.last != last):
		h.broken = append(h.broken, Violation{"I1", fmt.Sprintf("batch %q was acknowledged at %d to %d, and later at %d to %d", label, s.first, s.last, first, last)})
	default:
		s.fate, s.first, s.last = acked, first, last
	}
}

// Refused notes that an append was answered with an error that says that it
// is not stored, ever.
func (h *History) Refused(label string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.batches[label]
	switch {
	case s == nil:
	case s.fate == acked:
		h.broken = append(h.broken, Violation{"I1", fmt.Sprintf("batch %q was acknowledged at %d, and later refused", label, s.first)})
	default:
		s.fate = refused
	}
}

// Saw notes that somebody read this event at this position.
func (h *History) Saw(position int64, eventID string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if before, ok := h.seen[position]; ok && before != eventID {
		h.broken = append(h.broken, Violation{"I3", fmt.Sprintf("position %d was event %s, and later %s", position, before, eventID)})
		return
	}
	h.seen[position] = eventID
}

// Effect notes that a function took effect outside, with this event.
func (h *History) Effect(function, eventID string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.effects[function] == nil {
		h.effects[function] = map[string]int{}
	}
	h.effects[function][eventID]++
}

// HasEffect tells whether a function took effect with the event.
func (h *History) HasEffect(function, eventID string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.effects[function][eventID] > 0
}

// Counts returns how many batches were acknowledged, how many are unknown, and
// how many effects came again.
func (h *History) Counts() (acknowledged, unanswered, again int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.batches {
		switch s.fate {
		case acked:
			acknowledged++
		case unknown:
			unanswered++
		}
	}
	for _, ids := range h.effects {
		for _, n := range ids {
			again += n - 1
		}
	}
	return acknowledged, unanswered, again
}

// Unknown returns the labels of the batches whose fate is unknown, in order.
func (h *History) Unknown() (labels []string) {
	for _, s := range h.list() {
		if s.fate == unknown {
			labels = append(labels, s.label)
		}
	}
	return labels
}

// list returns copies of all batches, by label.
func (h *History) list() []sent {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]sent, 0, len(h.batches))
	for _, s := range h.batches {
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b sent) int { return cmp.Compare(a.label, b.label) })
	return all
}

// markOf returns what makes an event the same one.
func markOf(e *eventstore.Recorded) mark {
	h := sha256.New()
	var n [8]byte
	for _, text := range []string{e.Stream, e.Type, e.BatchID, string(e.Meta), string(e.Data)} {
		binary.BigEndian.PutUint64(n[:], uint64(len(text)))
		h.Write(n[:])
		h.Write([]byte(text))
	}
	for _, number := range []int64{e.Version, int64(e.SchemaVersion), e.Time} {
		binary.BigEndian.PutUint64(n[:], uint64(number))
		h.Write(n[:])
	}
	m := mark{id: e.ID.String()}
	h.Sum(m.hash[:0])
	return m
}

// compare returns what of the log is not what was seen before, and remembers
// the log. It forgets what only the acknowledgements said.
func (h *History) compare(log []eventstore.Recorded) (broken []Violation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	broken, h.broken = h.broken, nil
	if len(log) < len(h.log) {
		broken = append(broken, Violation{"I3", fmt.Sprintf("the log ends at position %d, and reached %d before", len(log), len(h.log))})
	}
	for i := range log {
		e := &log[i]
		m := markOf(e)
		if i < len(h.log) && h.log[i] != m {
			broken = append(broken, Violation{"I3", fmt.Sprintf("position %d was event %s, now it is %s", e.Position, h.log[i].id, m.id)})
			continue
		}
		if i >= len(h.log) {
			h.log = append(h.log, m)
		}
	}
	for position, id := range h.seen {
		if position > int64(len(log)) {
			broken = append(broken, Violation{"I3", fmt.Sprintf("position %d was read as event %s, now the log ends at %d", position, id, len(log))})
		} else if at := h.log[position-1]; at.id != id {
			broken = append(broken, Violation{"I3", fmt.Sprintf("position %d was read as event %s, now it is %s", position, id, at.id)})
		}
	}
	h.seen = map[int64]string{} // the log is remembered
	return broken
}
