package tariff

import (
	"fmt"
	"time"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/taxi-demo/internal/meter"
)

// BookID is the id of the one book there is; its stream is tariff-nyc.
const BookID = "nyc"

// MaxTariffs is how many tariffs a book holds at most.
const MaxTariffs = 1000

// Why the book refuses a command.
var (
	ErrNotLater = aggregate.Reject("tariff_not_later", "the tariff is not effective after the last one")
	ErrInvalid  = aggregate.Reject("invalid_tariff", "the tariff has no date or unit, or an amount below 0")
	ErrFull     = aggregate.Reject("tariff_book_full", "the book holds no more tariffs")
	ErrNone     = aggregate.Reject("no_tariff", "no tariff was in force when the ride started: publish it")
)

// Book is the tariffs published so far, oldest first.
type Book struct {
	Tariffs []meter.Tariff `json:"tariffs,omitempty"`
}

// Books is the definition of the aggregate.
var Books = aggregate.Define("tariff", aggregate.On((*Book).published))

func (b *Book) published(e Published) { b.Tariffs = append(b.Tariffs, e.Tariff) }

// Publish adds the next tariff. One that is in the book already does nothing.
func (b *Book) Publish(c Publish) (aggregate.Events, error) {
	t := c.Tariff
	if err := check(t); err != nil {
		return nil, err
	}
	for _, old := range b.Tariffs {
		if same(old, t) {
			return nil, nil
		}
	}
	if n := len(b.Tariffs); n >= MaxTariffs {
		return nil, ErrFull
	} else if n > 0 && !t.EffectiveFrom.After(b.Tariffs[n-1].EffectiveFrom) {
		return nil, fmt.Errorf("effective from %s, the last one from %s: %w",
			t.EffectiveFrom.Format(time.DateOnly), b.Tariffs[n-1].EffectiveFrom.Format(time.DateOnly), ErrNotLater)
	}
	return aggregate.Events{Published{Tariff: t}}, nil
}

// InForce returns the tariff in force at New York's wall clock, or ErrNone.
func (b *Book) InForce(at time.Time) (meter.Tariff, error) {
	t, ok := meter.InForce(b.Tariffs, at)
	if !ok {
		return meter.Tariff{}, fmt.Errorf("at %s: %w", at.Format(time.DateTime), ErrNone)
	}
	return t, nil
}

func check(t meter.Tariff) error {
	lowest := min(t.Initial, t.Night, t.Rush, t.JFKFlat, t.JFKRush, t.Newark, t.LaGuardia,
		t.MTATax, t.Improvement, t.CongestionYellow, t.CongestionGreen, t.CBDCongestion, t.AirportFee)
	if t.EffectiveFrom.IsZero() || t.Unit <= 0 || lowest < 0 {
		return ErrInvalid
	}
	return nil
}

func same(a, b meter.Tariff) bool {
	equal := a.EffectiveFrom.Equal(b.EffectiveFrom)
	a.EffectiveFrom = b.EffectiveFrom
	return equal && a == b
}
