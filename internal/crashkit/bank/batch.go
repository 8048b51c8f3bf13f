package bank

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/internal/invariant"
)

// Kind of what an appender sends, the first part of its labels.
type Kind string

// The kinds.
const (
	// Notes go to one stream or several, under a batch ID.
	Notes Kind = "notes"
	// Loose are notes without a batch ID, known by their metadata.
	Loose Kind = "loose"
	// Own notes demand the version of a stream that one appender alone writes,
	// and guard one that does not exist.
	Own Kind = "own"
	// Contested notes demand the version of a stream that several write.
	Contested Kind = "contested"
	// Deposit and Transfer are commands, under a command id.
	Deposit  Kind = "deposit"
	Transfer Kind = "transfer"
)

// Appenders are the kinds that the appenders of one life send, side by side.
var Appenders = []Kind{Notes, Notes, Loose, Own, Contested, Contested, Deposit, Transfer}

const (
	noteStreams = 40
	accounts    = 12
	// Full is what an account holds at most: a credit beyond it is refused, and
	// so is one that ends in the digit of bad luck.
	Full  = 2500
	digit = 7
)

// Label names the n-th batch of an appender of a life.
func Label(life, appender, n int) string {
	return fmt.Sprintf("%s.%d.%d.%d", Appenders[appender], life, appender, n)
}

// parts is what a label says.
type parts struct {
	kind              Kind
	life, appender, n int
}

func parse(label string) (p parts, err error) {
	kind, rest, _ := strings.Cut(label, ".")
	p.kind = Kind(kind)
	if _, err := fmt.Sscanf(rest, "%d.%d.%d", &p.life, &p.appender, &p.n); err != nil {
		return p, fmt.Errorf("bank: label %q: %w", label, err)
	}
	return p, nil
}

// Next returns the label after this one, of the same appender and life.
func Next(label string) (string, error) {
	p, err := parse(label)
	return Label(p.life, p.appender, p.n+1), err
}

// chance returns the source of everything that a label leaves open.
func chance(label string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(label)) // never fails
	return rand.New(rand.NewPCG(h.Sum64(), 1))
}

// Batch returns what is stored under a label, with the expectation Any.
func Batch(label string) (eventstore.Batch, error) {
	p, err := parse(label)
	if err != nil {
		return eventstore.Batch{}, err
	}
	b := eventstore.Batch{ID: label}
	switch p.kind {
	case Notes, Loose:
		err = addNotes(&b, label, notes(label))
	case Own:
		err = addNotes(&b, label, []note{{fmt.Sprintf("own-%d-%d", p.life, p.appender), 1}})
	case Contested:
		err = addNotes(&b, label, []note{{"contested", 1}})
	case Deposit:
		d := deposit(label)
		err = add(&b, Accounts.Stream(d.Account), d)
	case Transfer:
		r := request(label)
		err = add(&b, Transfers.Stream(r.ID), r)
	default:
		err = fmt.Errorf("bank: label %q: unknown kind", label)
	}
	if p.kind == Loose {
		b.ID = ""
		for _, w := range b.Writes {
			for i := range w.Events {
				w.Events[i].Metadata = eventstore.Metadata{invariant.LabelKey: label}
			}
		}
	}
	return b, err
}

// note is how many events a stream gets.
type note struct {
	stream string
	events int
}

func notes(label string) (all []note) {
	r := chance(label)
	first := r.IntN(noteStreams)
	for i := range 1 + r.IntN(3) {
		all = append(all, note{fmt.Sprintf("note-%d", (first+7*i)%noteStreams), 1 + r.IntN(3)})
	}
	return all
}

func addNotes(b *eventstore.Batch, label string, streams []note) error {
	n := 0
	for _, s := range streams {
		for range s.events {
			if err := add(b, s.stream, Noted{Label: label, N: n}); err != nil {
				return err
			}
			n++
		}
	}
	return nil
}

// add adds an event to the batch.
func add(b *eventstore.Batch, stream string, e eventstore.Event) error {
	data, err := eventstore.Encode(e)
	if err != nil {
		return err
	}
	if n := len(b.Writes); n > 0 && b.Writes[n-1].Stream == stream {
		b.Writes[n-1].Events = append(b.Writes[n-1].Events, data)
		return nil
	}
	b.Writes = append(b.Writes, eventstore.Write{Stream: stream, Events: []eventstore.EventData{data}})
	return nil
}

func account(r *rand.Rand) string { return fmt.Sprint(r.IntN(accounts)) }

func deposit(label string) Deposited {
	r := chance(label)
	return Deposited{Label: label, Account: account(r), Cents: 10 + r.Int64N(90)}
}

func request(label string) Requested {
	r := chance(label)
	from := account(r)
	to := account(r)
	for to == from {
		to = account(r)
	}
	cents := 1 + r.Int64N(60)
	if r.IntN(6) == 0 {
		cents = 2 * Full // more than any account holds
	}
	return Requested{ID: label, From: from, To: to, Cents: cents}
}
