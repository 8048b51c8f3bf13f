package saga

import (
	"strconv"
	"strings"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/eventstore"
)

// HopsKey is the metadata key of the length of the chain of steps that an
// event comes from.
const HopsKey = "saga_hops"

// Kinds of inputs, as they stand in the journal.
const (
	kindEvent     = "event"
	kindTimer     = "timer"
	kindRejection = "rejection"
	kindAdmin     = "admin"
	kindUndo      = "undo"
)

// input is what an instance is given: an event, a timer or a rejection.
type input struct {
	kind      string
	name      string // event type, timer name or command type
	ref       string // see DESIGN: what identifies the input for ever
	root      int64  // position of the root cause
	at        int64  // its time
	hops      int
	position  int64
	event     *eventInput
	handler   *eventHandler
	payload   any
	begins    bool // the instance was made for it
	timerRef  string
	rejection rejection
}

// past tells whether the input is an event of what was there before the saga
// was, see FromOrigin.
func (b *binding) past(in *input) bool { return in.kind == kindEvent && in.position <= b.silent }

// clockAt returns what After counts from: the clock, but for an event of the
// past its time.
func (w *work) clockAt(b *binding, in *input) int64 {
	if b.past(in) {
		return in.at
	}
	return max(w.now, in.at)
}

// eventInput is an event, with its metadata decoded when first needed.
type eventInput struct {
	eventstore.Recorded
	released bool // its stream held it back: no instance was given it
	meta     eventstore.Metadata
}

func (e *eventInput) metadata() eventstore.Metadata {
	if e.meta == nil {
		meta, err := e.Meta.Decode()
		if err != nil {
			meta = eventstore.Metadata{} // correlation is lost with it, not the event
		}
		e.meta = meta
	}
	return e.meta
}

func (e *eventInput) correlation() string {
	if id := e.metadata()[eventstore.CorrelationID]; id != "" {
		return strings.Clone(id) // it is kept, and all of the metadata is one string
	}
	return e.ID.String()
}

// chain returns how many steps, without time between them, led to the input.
func (in *input) chain() int {
	if in.event == nil {
		return in.hops
	}
	n, err := strconv.Atoi(in.event.metadata()[HopsKey])
	if err != nil {
		return 0 // it comes from outside
	}
	return n
}

// causation names the input as the cause of a command.
func (in *input) causation() string {
	if in.event != nil {
		return in.event.ID.String()
	}
	return in.ref
}

// safeRoute calls the key function. What it cannot read is an error.
func (h *eventHandler) safeRoute(ev eventstore.Recorded) (payload any, keys []string, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = bus.Recovered(v)
		}
	}()
	payload, keys, err = h.route(ev)
	if err != nil {
		return nil, nil, err
	}
	for _, key := range keys {
		if key == "" {
			continue
		}
		if err := eventstore.CheckName("saga key", key); err != nil {
			return nil, nil, err
		}
	}
	return payload, keys, nil
}

// metadata returns what the events of a command are stamped with.
func (w *work) metadata(i *instance, causation string, hops int, ev *eventInput) string {
	m := eventstore.Metadata{
		eventstore.CorrelationID: i.correlation,
		eventstore.CausationID:   causation,
		HopsKey:                  strconv.Itoa(hops),
	}
	if ev != nil {
		for _, k := range [...]string{eventstore.TraceParent, eventstore.TraceState} {
			if v, ok := ev.metadata()[k]; ok {
				m[k] = v
			}
		}
	}
	return string(m.Encode())
}
